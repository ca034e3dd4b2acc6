"""`httpserve s3://bucket/prefix`: a store as the root, on a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.cli.arguments import parse
from httpserve.cli.serve import client_for
from tests.cases import each
from tests.interfaces.command import end, event, events, fetch, first_line
from tests.interfaces.conftest import Run, Start
from tests.stores.servers import KEYS, Place

HERE = ("-b", "127.0.0.1")


@pytest.fixture
def url(s3: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place with two objects; the environment has the key."""
    operator = s3.operator()
    operator.write("boot/zImage", b"kernel")
    operator.write("a file", b"text")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret_access_key"])
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://bench{s3.root}"


def options_of(s3: Place) -> list[str]:
    return ["-o", f"endpoint={s3.endpoint}", "--option", "disable_ec2_metadata=true"]


def test_a_store_is_served_and_paths_beside_it(start: Start, s3: Place, url: str, tmp_path: Path) -> None:
    (tmp_path / "board.dtb").write_bytes(b"tree")
    process = start(
        url, tmp_path / "board.dtb", *options_of(s3), *HERE, "--cache-bytes", "1M", "--exit-after", "a file"
    )
    base, local = first_line(process), first_line(process)

    assert local == f"{base}/board.dtb"
    assert [fetch(f"{base}/{name}") for name in ("boot/zImage", "board.dtb")] == [b"kernel", b"tree"]
    s3.operator().write("boot/zImage", b"another kernel")
    assert fetch(f"{base}/boot/zImage") == b"another kernel"
    assert fetch(f"{base}/a%20file") == b"text"
    assert end(process, told=False) == (0, "", "")


def test_events_and_errors_do_not_show_what_is_secret(start: Start, run: Run, s3: Place, url: str) -> None:
    process = start(f"{url}?session_token=geheim", *options_of(s3), *HERE, "--json")
    listening = event(events(process), "listening")
    _, output, errors = end(process)

    assert listening["path"] == url
    assert "geheim" not in output + errors
    wrong = run("s3://bench/x", "-o", "regoin=geheim", "-o", "bucket=bench")
    assert wrong[0] == 1
    assert wrong[2] == "httpserve: s3 has no option regoin=; there is region=\n"
    wrong = run("azblob://bench/x?account_key=geheim", "-o", "account_name=geheim")
    assert "azblob://bench/x' with account_key=, account_name=: endpoint= is missing" in wrong[2]
    assert "geheim" not in wrong[2]


def test_the_doctor_looks_at_the_store(run: Run, s3: Place, url: str) -> None:
    _, output, _ = run("doctor", url, *options_of(s3), *HERE, "--json")

    found = {finding["check"]: finding["status"] for finding in json.loads(output)["findings"]}
    assert found["store"] == "ok"


@each(
    ("words", "code", "message"),
    [
        (["s3://a/b", "s3://c/d"], 2, "one store is served by one command; give one URL"),
        (["fs:///srv"], 2, "fs:///srv is on this computer: give its path"),
        (["-o", "region=x"], 2, "-o needs the URL of a store as PATH, such as s3://bucket/prefix"),
        (["--cache-dir", "x"], 2, "--cache-dir needs the URL of a store"),
        (["s3://a/b", "-o", "geheim"], 2, "an option of a store is written KEY=VALUE"),
        (["s3://a/b", "--cache-bytes", "much"], 2, "is not a number of bytes above 0"),
        (["s4://a/b"], 1, "OpenDAL makes no operator of 's4://a/b': scheme is not registered"),
        (["http://127.0.0.1/x"], 1, "to serve a copy of what a URL has: httpserve put http://127.0.0.1/x NAME"),
        (["s3://a/b", "--command", "wget"], 2, "--command needs to know the file"),
    ],
)
def test_what_is_wrong_is_told(run: Run, words: list[str], code: int, message: str) -> None:
    ended, output, errors = run(*words)

    assert (ended, output) == (code, "")
    assert message in errors
    assert "geheim" not in errors.replace("-o geheim", "")


def test_what_is_kept_is_as_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []
    monkeypatch.setattr("httpserve.cli.serve.HttpServerClient", lambda *args, **given: seen.append(given))
    _, options = parse(
        ["memory:///x?a=b", "-o", "c=d&e", "--cache-dir", "/d", "--cache-bytes", "2T", "--fresh-for", "1.5"]
    )

    client_for(None, options)

    terms = {name: seen[0][name] for name in ("root", "cache_dir", "cache_bytes", "fresh_for", "read_only")}
    assert terms == {
        "root": "memory:///x?a=b&c=d%26e",
        "cache_dir": "/d",
        "cache_bytes": 2 << 40,
        "fresh_for": 1.5,
        "read_only": True,
    }
    assert isinstance(HttpServerClient(root="memory://"), HttpServerClient)
