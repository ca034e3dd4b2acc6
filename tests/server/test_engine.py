"""The engine under apps and limits of a test's own: what blocks, pauses, fails, is too much, or runs out."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from httpserve import HttpServerClient
from httpserve.plan import Abort, Data, Plan, Step
from httpserve.server import sending
from httpserve.server.limits import Limits
from httpserve.server.repeats import LENT_FROM_BYTES
from tests.server.limited import BEFORE, Blocking, Clock, Limited
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern, script

ASKED = 100  # at once, of 48 KiB each: more than both queues take

StartResponse = Callable[..., object]


# Apps as others write them


def test_an_app_that_may_block_is_answered_for(capfd: pytest.CaptureFixture[str]) -> None:
    with Limited(Limits(), app=Blocking()) as server, server.wire() as wire:
        for size in (0, 1, 200_000, 3 << 20):
            assert wire.ask(f"/{size}").body == b"x" * size

    assert capfd.readouterr() == ("", "")


def test_an_app_that_blocks_holds_up_nobody() -> None:
    entered, leave = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            leave.wait(10)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with Limited(Limits(), app=app) as server, server.wire() as slow, server.wire() as quick:
        slow.get("/slow")
        entered.wait(10)
        try:
            assert [quick.ask("/").body for _ in range(20)] == [b"ok"] * 20
        finally:
            leave.set()
        assert slow.answer().body == b"ok"


def _fail_in_call(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    raise ZeroDivisionError("the app's own fault")


def _fail_before_a_byte(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "100")])
    yield b""
    raise ZeroDivisionError("the app's own fault")


@pytest.mark.parametrize("app", [_fail_in_call, _fail_before_a_byte])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_app_that_raises_is_a_500_and_a_log_entry(
    app: StartResponse, method: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        assert [wire.ask("/", method=method).status for _ in range(3)] == [500] * 3

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert "ZeroDivisionError" in errors[0].getMessage()
    assert capfd.readouterr() == ("", "")


def test_the_environ_says_who_asks_and_where() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        seen.update(environ)
        start_response("204 No Content", [])
        return []

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.ask("/a%20b/%C3%BC?x=%20", "X-Board: one", "X-Board: two")
        port = wire.sock.getsockname()[1]

    assert (seen["REQUEST_METHOD"], seen["QUERY_STRING"]) == ("GET", "x=%20")
    assert seen["PATH_INFO"] == "/a b/ü".encode().decode("latin-1")
    assert (seen["REMOTE_ADDR"], int(seen["REMOTE_PORT"])) == ("127.0.0.1", port)
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    assert seen["HTTP_X_BOARD"] in ("one,two", "one, two")
    assert (seen["HTTP_HOST"], seen["SERVER_PROTOCOL"], seen["wsgi.url_scheme"]) == ("bench", "HTTP/1.1", "http")


# Plans


def test_a_stop_cuts_a_pause() -> None:
    with Limited(Limits(), clock=Clock()) as server, server.wire() as wire:
        wire.get("/wait/600")
        wire.read_head()
        wire.read_exactly(len(BEFORE))
        server.stop(0.0)

        assert wire.rest_until_any_end() == b""


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_on_purpose_is_an_orderly_close_or_a_reset(reset: bool) -> None:
    def app(environ: dict[str, Any], start_response: StartResponse) -> Plan:
        start_response("200 OK", [("Content-Length", "100")])
        steps: tuple[Step, ...] = (Data(b"some"), Abort(reset=reset))
        return Plan(steps, 100)

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.get("/")
        if reset:
            with pytest.raises(ConnectionResetError):
                wire.rest()
        else:
            assert wire.rest().endswith(b"\r\n\r\nsome")

        eventually(lambda: server.connections() == 0, "the end was seen")
        assert not server.only().completed


# Limits


def test_more_unwanted_content_than_is_worth_reading_ends_the_connection() -> None:
    with Limited(Limits(linger=0.1)) as server, server.wire() as wire:
        wire.send(b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert wire.answer().status == 200
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                wire.send(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

        with contextlib.suppress(ConnectionError):
            wire.rest()
        eventually(lambda: server.connections() == 0, "it was ended")


# What runs out


OUT_OF_DESCRIPTORS = """
import resource, socket, sys
from httpserve import HttpServerClient
client = HttpServerClient(host="127.0.0.1")
client.start()
client.storage.write_bytes("f", b"content")
client.storage.write_bytes("large", bytes(1 << 20))
used = len(__import__("os").listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, used + 5))
print(client.get_port(), flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, used + 5))
client.close()
print(client.is_running)
"""


def served(port: int) -> bool:
    with contextlib.suppress(ConnectionError), Wire(port) as wire:
        return wire.ask("/f").body == b"content"
    return False


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not list descriptors")
def test_out_of_descriptors_the_server_goes_on_when_there_are_some_again() -> None:
    with script(OUT_OF_DESCRIPTORS, measured=False) as process, contextlib.ExitStack() as stack:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        wires = [stack.enter_context(Wire(port)) for _ in range(12)]
        for wire in wires:
            wire.get("/large", "Connection: close")
        answers = []
        for wire in wires:
            with contextlib.suppress(ConnectionError):
                answers.append(wire.answer())
            wire.close()
        eventually(lambda: served(port), "there are some again")

        out, err = process.communicate("\n", timeout=20)

    assert {answer.status for answer in answers} <= {200, 503}
    assert all(answer.body == bytes(1 << 20) for answer in answers if answer.status == 200)
    assert (process.returncode, out, err) == (0, "False\n", "")


# The same answer again and again


def test_an_answer_given_again_is_whole_although_the_client_takes_it_in_parts(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("a", pattern(100_000, 1))
    bench.storage.write_bytes("b", pattern(100_000, 2))
    with Wire(bench.get_port(), receive_bytes=65536) as slow, Wire(bench.get_port()) as quick:
        for asked in range(1, 61):  # more than both queues take
            slow.get("/a")
            if asked % 10 == 0:
                assert quick.ask("/b").body == pattern(100_000, 2)

        assert [slow.answer().body for _ in range(60)] == [pattern(100_000, 1)] * 60


@pytest.fixture(params=["read", "kept", "lent"])
def old(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Content of a file that is read anew for each answer, or kept for a second, as bytes or in a file in memory."""
    if request.param != "read":
        monkeypatch.setattr("httpserve.storage.directory.recheck.SETTLED_SECONDS", 0.0)
    return b"old" * LENT_FROM_BYTES if request.param == "lent" else b"old"


def settle(path: Path) -> None:
    """Wait until a change of a file gets another time than its last one."""
    with tempfile.TemporaryFile() as probe:
        eventually(lambda: probe.truncate() >= 0 and os.fstat(probe.fileno()).st_ctime_ns > path.stat().st_ctime_ns)


@pytest.mark.parametrize("how", ["in place", "replaced", "put", "touched back", "removed", "now a directory"])
def test_an_answer_given_again_is_of_the_file_as_it_stands(tmp_path: Path, how: str, old: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(old)
    new = old[::-1]
    before = path.stat()
    settle(path)
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        assert [wire.ask("/f").body for _ in range(5)] == [old] * 5
        match how:
            case "in place":
                path.write_bytes(new)
            case "replaced":
                (tmp_path / "g").write_bytes(new)
                os.replace(tmp_path / "g", path)
            case "put":
                client.storage.write_bytes("f", new)
            case "touched back":
                path.write_bytes(new)
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            case _:
                path.unlink()
        if how == "now a directory":
            path.mkdir()

        again = [wire.ask("/f") for _ in range(3)]

    if how == "removed":
        assert [answer.status for answer in again] == [404] * 3
    elif how == "now a directory":
        assert all(answer["Content-Type"].startswith("text/html") for answer in again)
    else:
        assert [answer.body for answer in again] == [new] * 3


def test_an_answer_is_kept_for_one_second(tmp_path: Path, old: bytes, turn: Callable[[float], None]) -> None:
    (tmp_path / "f").write_bytes(old)
    settle(tmp_path / "f")
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        for _ in range(25):
            began = int(time.time())
            answer = wire.ask("/f")
            assert answer.body == old
            assert began <= parsedate_to_datetime(answer["Date"]).timestamp() <= time.time()
            turn(0.2)


def test_a_kept_answer_goes_to_whoever_takes_it_in_parts(
    tmp_path: Path, old: bytes, turn: Callable[[float], None]
) -> None:
    (tmp_path / "f").write_bytes(old)
    settle(tmp_path / "f")
    with (
        HttpServerClient(tmp_path, host="127.0.0.1") as client,
        Wire(client.get_port(), receive_bytes=65536) as slow,
        Wire(client.get_port()) as quick,
    ):
        for asked in range(1, 1 + ASKED):
            slow.get("/f")
            if asked % 10 == 0:
                assert quick.ask("/f").body == old
        turn(1.1)  # what is kept is given up, and kept anew
        assert [quick.ask("/f").body for _ in range(5)] == [old] * 5

        assert [slow.answer().body for _ in range(ASKED)] == [old] * ASKED
        assert len(client.requests) == ASKED + ASKED // 10 + 5
        eventually(lambda: all(record.completed for record in client.requests), "all is acknowledged")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")
def test_an_answer_is_lent_only_where_its_file_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: Callable[[float], None]
) -> None:
    def in_memory() -> int:
        return sum("memfd:httpserve" in os.readlink(f"/proc/self/fd/{fd}") for fd in listed())

    def listed() -> list[str]:
        return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]

    (tmp_path / "f").write_bytes(b"x" * LENT_FROM_BYTES)
    monkeypatch.setattr("httpserve.storage.directory.recheck.SETTLED_SECONDS", 1e9)
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        for _ in range(5):
            wire.ask("/f")
        young = in_memory()
        monkeypatch.setattr("httpserve.storage.directory.recheck.SETTLED_SECONDS", 0.0)
        turn(1.0)
        eventually(lambda: wire.ask("/f").status == 200 and in_memory() == 1)

    assert (young, in_memory()) == (0, 0)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("Content-Length: 32", b"GET /b HTTP/1.1\r\nHost: bench\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"20\r\nGET /b HTTP/1.1\r\nHost: bench\r\n\r\n\r\n0\r\n\r\n"),
    ],
)
def test_content_behind_a_head_that_came_before_is_not_taken_for_a_request(
    bench: HttpServerClient, field: str, content: bytes
) -> None:
    bench.storage.write_bytes("a", b"a")
    bench.storage.write_bytes("b", b"not asked for")
    with Wire(bench.get_port()) as wire:
        for _ in range(3):
            wire.get("/a", field)
            assert wire.answer().body == b"a"
            wire.send(content)  # in a segment of its own
        assert wire.ask("/a").body == b"a"

    assert {record.target for record in bench.requests} == {"/a"}


def test_a_head_that_expects_a_go_ahead_ends_the_connection_each_time(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("a", b"a")
    for _ in range(3):
        with Wire(bench.get_port()) as wire:
            answer = wire.ask("/a", "Expect: 100-continue", "Content-Length: 9")
            assert (answer.body, answer["Connection"], wire.rest()) == (b"a", "close", b"")


def test_a_dot_file_of_others_is_not_given_again_after_ours_has_gone(tmp_path: Path) -> None:
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        client.storage.write_bytes(".f", b"ours")
        assert [wire.ask("/.f").body for _ in range(3)] == [b"ours"] * 3
        client.storage.delete(".f")
        (tmp_path / ".f").write_bytes(b"theirs")

        assert wire.ask("/.f").status == 404


def test_a_symlink_that_comes_to_lead_out_is_not_followed_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "f").write_bytes(b"inside")
    (tmp_path / "f").write_bytes(b"secret")
    (root / "link").symlink_to("in")
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        assert [wire.ask("/link/f").body for _ in range(3)] == [b"inside"] * 3
        (root / "link").unlink()
        (root / "link").symlink_to("..")
        os.replace(root / "link", root / "link")

        assert wire.ask("/link/f").status == 404


# Giving way


class Pauses:
    """Stands for the module `time` where an answer is sent, and notes how long it waits for others."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize("others_ask", [True, False])
def test_a_large_answer_gives_way_while_others_ask_for_small_files_and_not_else(
    tmp_path: Path, big: Path, monkeypatch: pytest.MonkeyPatch, others_ask: bool
) -> None:
    pauses = Pauses()
    monkeypatch.setattr(sending, "time", pauses)
    monkeypatch.setattr(sending, "GIVE_WAY_SECONDS", 60.0)  # no client here is as quick as it takes
    monkeypatch.setattr(sending, "ASKED_SECONDS", 60.0)
    os.link(big, tmp_path / "big")
    (tmp_path / "small").write_bytes(b"small")
    over = threading.Event()
    with HttpServerClient(tmp_path, host="127.0.0.1") as client:

        def ask_on() -> None:
            with Wire(client.get_port()) as wire:
                while not over.is_set():
                    assert wire.ask("/small").body == b"small"

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask_on) if others_ask else None
            eventually(lambda: len(client.requests) > 2 or not others_ask, "others ask")
            with Wire(client.get_port()) as wire:
                assert wire.ask("/big").body == pattern(BIG_BYTES)
            over.set()
            if asking is not None:
                asking.result(10)

    assert bool(pauses.seconds) is others_ask
    assert all(0 < seconds <= 60.0 for seconds in pauses.seconds)
