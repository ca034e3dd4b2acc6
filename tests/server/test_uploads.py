"""Files that boards send: by the programs that boards have, and byte by byte; stored in one step, or not at all."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from httpserve import HttpServerClient, InvalidArgument, InvalidName, NotFound, NotPermitted, UploadEvent, UploadRecord
from tests.cases import each
from tests.conftest import private_root
from tests.server.test_clients import run
from tests.server.waits import ONE, PATIENT
from tests.server.wire import Wire, eventually, pattern

CONTENT = bytes(range(256)) * 1000
TEXT = b"<testsuite/>\n" * 300  # busybox sends a file up to its first NUL
GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
PYTHON = (
    "import sys,urllib.request as u;"
    'print(u.urlopen(u.Request(sys.argv[1],open(sys.argv[2],"rb"),method="PUT")).read().decode(), end="")'
)

Program = Callable[[Path, str], list[str]]
PROGRAMS: dict[str, Program] = {
    "curl -T": lambda file, url: ["curl", "-sSf", "-T", str(file), url],
    "curl -T to a directory": lambda file, url: ["curl", "-sSf", "-T", str(file), url.rpartition("/")[0] + "/"],
    "curl -T in chunks": lambda file, url: ["curl", "-sSf", "-H", "Transfer-Encoding: chunked", "-T", str(file), url],
    "curl -T without a question": lambda file, url: ["curl", "-sSf", "-H", "Expect:", "-T", str(file), url],
    "curl --data-binary": lambda file, url: ["curl", "-sSf", "--data-binary", f"@{file}", url],
    "curl -F": lambda file, url: ["curl", "-sSf", "-F", f"log=@{file}", "-F", "note=text", url],
    "curl -F to a directory": lambda file, url: ["curl", "-sSf", "-F", f"log=@{file}", url.rpartition("/")[0] + "/"],
    "curl with HTTP/1.0": lambda file, url: ["curl", "-sSf0", "-T", str(file), url],
    "wget --post-file": lambda file, url: ["wget", "-q", "-O", "-", f"--post-file={file}", url],
    "wget --method=PUT": lambda file, url: ["wget", "-q", "-O", "-", "--method=PUT", f"--body-file={file}", url],
    "busybox wget": lambda file, url: ["busybox", "wget", "-q", "-O", "-", f"--post-file={file}", url],
    "python": lambda file, url: [sys.executable, "-c", PYTHON, url, str(file)],
}


def leftovers() -> list[str]:
    """Return the temporary files in the served directory."""
    return [path.name for path in private_root().rglob(".httpserve-*") if path.suffix != ".journal"]


def head(target: str, *fields: str, method: str = "PUT") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: bench", *fields, "", ""]).encode("latin-1")


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_of_a_board_sends_a_file(bench: HttpServerClient, tmp_path: Path, program: str) -> None:
    content = TEXT if program == "busybox wget" else CONTENT
    file = tmp_path / "results.xml"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()

    with bench.expect_upload("logs/results.xml", PATIENT) as up:
        done = run(*PROGRAMS[program](file, bench.get_url("logs/results.xml")))
        assert done.returncode == 0, done.stderr
    record = up.record

    assert done.stdout == f"{sha256}  logs/results.xml\n"
    assert (record.name, record.client, record.bytes, record.sha256) == (
        "logs/results.xml",
        "127.0.0.1",
        len(content),
        sha256,
    )
    assert (record.completed, record.outcome, record.status) == (True, "completed", 201)
    assert up.read() == record.read() == content
    assert requests.get(bench.get_url("logs/results.xml"), timeout=PATIENT).content == content
    assert bench.storage.get_created_resources() == {"logs/results.xml"}


def test_requests_sends_files_and_learns_their_digests(bench: HttpServerClient) -> None:
    bench.accept_uploads("/", overwrite=True)
    url = bench.get_url()
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    fields = {"Content-Digest": f"sha-256=:{digest}:"}

    with requests.Session() as session:
        new = session.put(f"{url}/a", data=CONTENT, headers=fields, timeout=PATIENT)
        again = session.put(f"{url}/a", data=iter([CONTENT]), timeout=PATIENT)
        form = session.post(f"{url}/", files={"b": ("b", CONTENT), "c": ("c", b"")}, timeout=PATIENT)
        wrong = session.put(f"{url}/d", data=CONTENT[1:], headers=fields, timeout=PATIENT)
        got = session.get(f"{url}/a", timeout=PATIENT)

    assert [new.status_code, again.status_code, form.status_code, wrong.status_code] == [201, 204, 201, 422]
    assert new.headers["ETag"] == again.headers["ETag"] == got.headers["ETag"]
    assert again.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert [line.split()[1] for line in form.text.splitlines()] == ["b", "c"]
    assert sorted(bench.storage.list("/")) == ["/", "a", "b", "c"]
    assert len(bench.connections) == 1


def test_nothing_is_accepted_that_was_not_asked_for(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        before = wire.ask("/results.xml", method="PUT")
        with bench.accept_uploads("results.xml"):
            wire.send(head("/other", "Expect: 100-continue", "Content-Length: 5"))
            other = wire.answer()
            rest = wire.rest()
    with Wire(bench.get_port()) as wire:
        after = wire.ask("/results.xml", method="POST")

    assert [before.line, other.line, after.line] == ["HTTP/1.1 405 Method Not Allowed"] * 3
    assert other["Connection"] == "close"
    assert rest == b""
    assert bench.uploads == ()
    assert bench.storage.get_created_resources() == set()


@pytest.mark.local_root("it looks for the file on its way in, which has no name beside a store")
def test_nobody_sees_a_file_before_all_of_it_has_come(bench: HttpServerClient) -> None:
    bench.accept_uploads("a", overwrite=True)
    bench.storage.write_bytes("a", b"old")
    with Wire(bench.get_port()) as wire:
        wire.send(head("/a", "Content-Length: 6") + b"ne")
        eventually(lambda: len(leftovers()) == 1, "it has begun")
        during = bench.storage.read_bytes("a"), bench.storage.list("/")
        wire.send(b"w on")
        status = wire.answer().status

    assert during == (b"old", ["/", "a"])
    assert (status, bench.storage.read_bytes("a"), leftovers()) == (204, b"new on", [])


def test_too_long_an_upload_is_refused_before_it_is_sent(bench: HttpServerClient) -> None:
    bench.accept_uploads("a", max_bytes=10)

    with Wire(bench.get_port()) as wire:
        wire.send(head("/a", "Content-Length: 11", "Expect: 100-continue"))
        answer = wire.answer()
    with Wire(bench.get_port()) as wire:
        wire.send(head("/a", f"Content-Length: {len(CONTENT)}") + CONTENT)  # as a client that does not ask
        other = wire.answer()
    with Wire(bench.get_port()) as wire:
        wire.send(head("/a", "Transfer-Encoding: chunked") + b"b\r\n" + bytes(11) + b"\r\n0\r\n\r\n")
        chunked = wire.answer()

    assert [answer.status, other.status, chunked.status] == [413, 413, 413]
    assert [(one.bytes, one.status) for one in bench.uploads] == [(11, 413)]  # of the others nothing came
    assert leftovers() == []


@each("how", ["closed", "reset"])
def test_upload_that_is_cut_leaves_nothing_but_a_record(how: str) -> None:
    with HttpServerClient(host="127.0.0.1") as bench:
        bench.accept_uploads("logs/")
        with Wire(bench.get_port()) as wire:
            wire.send(head("/logs/a", "Content-Length: 9", "User-Agent: board/1", "Content-Type: a/\xa0b") + b"12345")
            eventually(leftovers, "it has begun")
            (wire.half_close if how == "closed" else wire.reset)()
            eventually(lambda: bench.uploads, "it is over")
        (record,) = bench.uploads

        assert (record.name, record.bytes, record.sha256, record.completed) == ("logs/a", 5, "", False)
        assert (record.outcome, record.status) == (("closed", 400) if how == "closed" else ("reset", 0))
        assert (record.user_agent, record.content_type, record.filename) == ("board/1", "a/\\xa0b", "")
        assert not bench.storage.exists("logs/")
        with pytest.raises(NotFound, match="did not complete"):
            record.read()


def test_server_that_is_closed_cuts_uploads_and_removes_them() -> None:
    bench = HttpServerClient(host="127.0.0.1")
    with bench:
        bench.accept_uploads("a")
        with Wire(bench.get_port()) as wire:
            wire.send(head("/a", "Content-Length: 9") + b"12345")
            eventually(leftovers, "it has begun")
            bench.stop(0)
            wire.rest_until_any_end()

    (record,) = bench.uploads
    assert (record.outcome, record.bytes) == ("cut", 5)


def test_uploads_are_gone_on_close_unless_they_are_kept(tmp_path: Path) -> None:
    for kept in (False, True):
        with HttpServerClient(tmp_path, host="127.0.0.1", remove_created_on_close=not kept) as bench:
            bench.accept_uploads("logs/")
            requests.put(bench.get_url("logs/a"), data=b"1", timeout=PATIENT)
            there = (tmp_path / "logs" / "a").is_file()
        assert (there, (tmp_path / "logs" / "a").is_file()) == (True, kept)

    assert sorted(os.listdir(tmp_path)) == ["logs"]


def test_full_count_and_a_closed_handle_accept_nothing(bench: HttpServerClient) -> None:
    url = bench.get_url("logs/a")
    counted = bench.accept_uploads("logs/", count=1)
    in_force = bench.accepted_uploads
    statuses = [requests.put(url, data=b"1", timeout=PATIENT).status_code for _ in range(2)]
    with bench.accept_uploads("logs/b") as handle:
        names = [counted.name, handle.name]
        left = [counted.remaining, handle.remaining]
    after = requests.put(bench.get_url("logs/b"), data=b"1", timeout=PATIENT).status_code

    assert (statuses, after) == ([201, 405], 405)
    assert (names, left, handle.remaining) == (["logs/", "logs/b"], [0, None], 0)
    assert repr(handle) == "<accepts logs/b up to 64.0 MiB, 0 uploads left>"
    counted.close()
    assert (in_force, bench.accepted_uploads) == ((counted,), ())


def test_what_is_accepted_outlives_a_stop_and_not_a_close() -> None:
    bench = HttpServerClient(host="127.0.0.1")
    handle = bench.accept_uploads("a")
    bench.start()
    bench.stop()
    bench.start()
    status = requests.put(bench.get_url("a"), data=b"1", timeout=PATIENT).status_code
    bench.close()

    assert (status, handle.remaining) == (201, 0)


def test_uploads_are_events_and_requests(bench: HttpServerClient) -> None:
    bench.accept_uploads("a", max_bytes=3)
    requests.put(bench.get_url("a"), data=b"123", timeout=PATIENT)
    requests.put(bench.get_url("a"), data=iter([b"1234"]), timeout=PATIENT)

    events = bench.events(0, 0, "uploaded")

    assert all(isinstance(event, UploadEvent) for event in events)
    assert [event.as_dict()["upload"]["completed"] for event in events] == [True]
    assert [event.upload for event in events if isinstance(event, UploadEvent)] == list(bench.uploads)
    assert [(one.method, one.status) for one in bench.requests] == [("PUT", 201), ("PUT", 409)]


def test_record_knows_when_its_file_is_another_one(bench: HttpServerClient) -> None:
    bench.accept_uploads("a", overwrite=True)
    for data in (b"1", b"2"):
        requests.put(bench.get_url("a"), data=data, timeout=PATIENT)
    first, second = bench.uploads

    assert second.read() == b"2"
    with pytest.raises(NotFound, match="replaced since"):
        first.read()
    bench.storage.delete("a")
    with pytest.raises(NotFound, match="removed since"):
        second.read()
    assert str(first).startswith("time ")
    assert isinstance(first, UploadRecord)


def test_uploads_that_cannot_be_stored_or_served_are_not_accepted(tmp_path: Path) -> None:
    (tmp_path / "fw").write_bytes(b"1")
    read_only = HttpServerClient(tmp_path, read_only=True)
    some = HttpServerClient(tmp_path, only=["fw", "logs"])

    with pytest.raises(NotPermitted, match="read-only"):
        read_only.accept_uploads("a")
    with pytest.raises(InvalidArgument, match="only= names 'fw', 'logs'"):
        some.accept_uploads("a")
    with pytest.raises(InvalidName):
        some.accept_uploads("../a")
    for max_bytes, count in ((0, None), (1, 0)):
        with pytest.raises(InvalidArgument):
            some.accept_uploads("logs/a", max_bytes, count=count)
    assert some.accept_uploads("logs/").name == "logs/"


def test_symlink_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "logs").symlink_to(outside)
    with HttpServerClient(tmp_path / "root", host="127.0.0.1") as bench:
        bench.accept_uploads("logs/")
        status = requests.put(bench.get_url("logs/a"), data=b"1", timeout=PATIENT).status_code

    assert status == 400
    assert os.listdir(outside) == []


def test_several_boards_send_at_once(bench: HttpServerClient) -> None:
    bench.accept_uploads("logs/")
    content = pattern(3 << 20)
    wires = [Wire(bench.get_port(), source=ONE) for _ in range(8)]
    for number, wire in enumerate(wires):
        wire.send(head(f"/logs/{number}", f"Content-Length: {len(content)}"))
    for start in range(0, len(content), 1 << 18):
        for wire in wires:
            wire.send(content[start : start + (1 << 18)])
    statuses = [wire.answer().status for wire in wires]
    for wire in wires:
        wire.close()

    assert statuses == [201] * len(wires)
    assert {one.sha256 for one in bench.uploads} == {hashlib.sha256(content).hexdigest()}
    assert all(bench.storage.read_bytes(f"logs/{number}") == content for number in range(len(wires)))


def test_file_comes_in_by_each_way_that_a_system_may_offer(site: HttpServerClient) -> None:
    site.accept_uploads("logs/")
    with Wire(site.get_port()) as wire:
        wire.send(head("/logs/a", f"Content-Length: {len(CONTENT)}", "Expect: 100-continue"))
        assert wire.read_exactly(len(GO_AHEAD)) == GO_AHEAD
        wire.send(CONTENT + b"GET /logs/a HTTP/1.1\r\nHost: bench\r\n\r\n")
        stored, got = wire.answer(), wire.answer()

    assert (stored.status, got.body) == (201, CONTENT)
