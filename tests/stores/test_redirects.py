"""Clients that are sent on to the store: who is, what they get there, and what is known of it afterwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import opendal
import pytest
import requests

from httpserve import HttpServerClient, InvalidArgument, Unsupported, WaitTimeout
from tests.cases import each
from tests.server.wire import pattern
from tests.stores.servers import Place

CONTENT = pattern(300_000)
RAUC = "rauc/1.11"


@pytest.fixture
def http(s3: Place) -> Iterator[HttpServerClient]:
    operator = s3.operator()
    operator.write("os/bundle.raucb", CONTENT)
    operator.write("os/Image", CONTENT)
    operator.write("os/boot.scr", CONTENT)
    redirect = ["*.raucb", "/os/*.scr", "User-Agent: rauc/*", "user-agent:casync/*"]
    with HttpServerClient(host="127.0.0.1", root=operator, redirect=redirect) as client:
        yield client


def ask(url: str, agent: str, **options: Any) -> requests.Response:
    return requests.request("GET", url, headers={"User-Agent": agent}, timeout=10, **options)


@each(
    ("name", "agent", "is_sent_on"),
    [
        ("os/bundle.raucb", "curl/8", True),
        ("os/Image", RAUC, True),
        ("os/Image", "casync/2", True),
        ("os/boot.scr", "curl/8", True),
        ("os/Image", "U-Boot", False),
        ("os/Image", "", False),
    ],
)
def test_who_is_sent_on(http: HttpServerClient, name: str, agent: str, is_sent_on: bool) -> None:
    answer = ask(http.get_url(name), agent, allow_redirects=False)

    assert answer.status_code == (302 if is_sent_on else 200)
    assert answer.content == (b"" if is_sent_on else CONTENT)
    assert ask(http.get_url(name), agent).content == CONTENT


def test_what_is_served_in_place_is_answered_here(http: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"here")
    http.serve("local.raucb", tmp_path / "file")

    answer = ask(http.get_url("local.raucb"), RAUC, allow_redirects=False)
    assert (answer.status_code, answer.content) == (200, b"here")


def test_what_is_asked_otherwise_is_answered_here(http: HttpServerClient) -> None:
    head = requests.head(http.get_url("os/Image"), headers={"User-Agent": RAUC}, timeout=10)
    absent = ask(http.get_url("os/other.raucb"), RAUC, allow_redirects=False)

    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert absent.status_code == 404


@each("command", [["curl", "-sfL"], ["wget", "-qO-"], ["busybox", "wget", "-qO-"]])
def test_clients_of_boards_follow(http: HttpServerClient, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")

    done = subprocess.run([*command, http.get_url("os/bundle.raucb")], capture_output=True, timeout=30, check=True)

    assert done.stdout == CONTENT


def test_a_part_is_fetched_there_too(http: HttpServerClient) -> None:
    url = http.get_url("os/bundle.raucb")

    answer = requests.get(url, headers={"Range": "bytes=1000-1999"}, timeout=10)

    assert (answer.status_code, answer.content) == (206, CONTENT[1000:2000])


def test_record_and_wait_say_that_it_ends_there(http: HttpServerClient) -> None:
    ask(http.get_url("os/Image"), RAUC)

    (record,) = http.requests
    with pytest.raises(WaitTimeout, match="was sent elsewhere for it") as caught:
        http.wait_for_download("os/Image", 0.1)

    assert (record.status, record.name, record.bytes) == (302, "os/Image", 0)
    assert caught.value.happened == "redirected"


def test_true_is_for_those_that_are_known_to_follow(s3: Place) -> None:
    operator = s3.operator()
    operator.write("Image", CONTENT)
    with HttpServerClient(host="127.0.0.1", root=operator, redirect=True) as http:
        sent = {
            agent: ask(http.get_url("Image"), agent, allow_redirects=False).status_code == 302
            for agent in (RAUC, "Wget", "Wget/1.21.3", "libostree/2022.7", "curl/7.88.1", "U-Boot", "iPXE/1.0.0+", "")
        }

    assert [agent for agent, is_sent_on in sent.items() if is_sent_on] == [*sent][:4]


@each(
    ("root", "redirect", "error"),
    [
        (None, True, InvalidArgument),
        ("memory", True, Unsupported),
        ("s3", [], InvalidArgument),
        ("s3", [3], InvalidArgument),
        ("s3", "", InvalidArgument),
    ],
)
def test_what_cannot_be(s3: Place, root: str | None, redirect: bool, error: type[Exception]) -> None:
    operator = None if root is None else s3.operator() if root == "s3" else opendal.Operator("memory")

    with pytest.raises(error, match="redirect"):
        HttpServerClient(root=operator, redirect=redirect)
