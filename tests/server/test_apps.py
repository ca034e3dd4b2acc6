"""Apps as others write them, under the real server: bodies that come piece by piece, and content that they read."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from httpserve.plan import Data, Plan, RegionFile, Repeatable, Stream
from httpserve.server.limits import Limits
from tests.server.limited import Clock, Limited
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern

StartResponse = Callable[..., object]
Environ = dict[str, Any]
HEAD = b"PUT /f HTTP/1.1\r\nHost: bench\r\n"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the content of the request, all of it read before."""
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]


def answering(body: Callable[[Environ], Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Return an app that answers with what *body* makes of the environ."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body(environ)

    return app


def pieces_of(*pieces: bytes, fields: tuple[tuple[str, str], ...] = ()) -> Callable[..., Iterator[bytes]]:
    """Return an app that yields these pieces."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(fields))
        yield from pieces

    return app


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def until_last_chunk(wire: Wire) -> bytes:
    """Return what was sent in chunks."""
    data = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += wire.read_exactly(1)
        data += (piece := wire.read_exactly(int(line, 16)))
        assert wire.read_exactly(2) == b"\r\n"
        if not piece:
            return data


# Bodies


def test_each_piece_leaves_when_it_comes() -> None:
    taken = [threading.Event() for _ in range(3)]

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        for event in taken:
            yield b"piece"
            event.wait(10)

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.get("/")
        wire.read_head()
        for event in taken:
            assert wire.read_exactly(len(b"5\r\npiece\r\n")) == b"5\r\npiece\r\n"
            event.set()

        assert wire.read_exactly(5) == b"0\r\n\r\n"


def test_a_body_of_unknown_length_is_chunked_and_the_connection_lives_on() -> None:
    with Limited(Limits(), app=pieces_of(b"one", b"", b"two" * 100_000)) as server, server.wire() as wire:
        for _ in range(3):
            wire.get("/")
            assert b"\r\nTransfer-Encoding: chunked\r\n" in wire.read_head()
            assert until_last_chunk(wire) == b"one" + b"two" * 100_000

        eventually(lambda: [one.bytes for one in server.requests()] == [300_003] * 3, "all has arrived")


def test_for_http_1_0_the_end_of_the_connection_ends_a_body_of_unknown_length() -> None:
    with Limited(Limits(), app=pieces_of(b"one", b"two")) as server, server.wire() as wire:
        wire.get("/", "Connection: keep-alive", version="1.0")

        head = wire.read_head()
        assert b"Transfer-Encoding" not in head
        assert b"\r\nConnection: close\r\n" in head
        assert wire.rest() == b"onetwo"


def test_a_body_as_long_as_it_says_needs_no_chunks() -> None:
    app = pieces_of(b"on", b"etwo, and more", fields=(("Content-Length", "6"),))
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        assert [wire.ask("/").body for _ in range(3)] == [b"onetwo"] * 3


def test_a_body_that_is_larger_than_the_memory_for_all_of_them_arrives() -> None:
    """A body that is joined in memory would be refused beyond 32 MiB."""
    piece = bytes(1 << 20)
    app = pieces_of(*[piece] * 33, fields=(("Content-Length", str(33 << 20)),))
    with Limited(Limits(), app=app) as server, server.wire(receive_bytes=65536) as wire:
        wire.get("/")
        wire.read_head()

        assert len(wire.read_exactly(33 << 20)) == 33 << 20
        assert wire.ask("/", method="HEAD").status == 200


def test_a_body_that_ends_too_early_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    app = pieces_of(b"one", fields=(("Content-Length", "6"),))
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.get("/")
        with pytest.raises(ConnectionResetError):
            wire.rest()

        assert server.only().outcome == "failed"
    assert "3 bytes of the content that was promised did not come" in caplog.text


def test_an_app_that_fails_in_the_middle_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"some"
        raise ZeroDivisionError("the app's own fault")

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.get("/")
        with pytest.raises(ConnectionResetError):
            wire.rest()

        assert not server.only().completed
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "ZeroDivisionError" in error.getMessage()


def test_head_and_answers_without_content_have_none() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        none = environ["PATH_INFO"] == "/none"
        start_response("204 No Content" if none else "200 OK", [("Content-Length", "17")] if none else [])
        yield b"nobody wants this"

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        assert wire.ask("/", method="HEAD").status == 200
        answer = wire.ask("/none")
        assert (answer.status, "Content-Length" in answer) == (204, False)
        assert wire.ask("/", method="HEAD").status == 200


@pytest.mark.parametrize(
    ("status", "fields", "body"),
    [
        ("", [], [b"no beginning"]),
        ("200 OK", [("X-Two", "lines\r\nX-Other: one")], [b""]),
        ("OK", [], [b"no status"]),
        ("200 OK", [], ["a text"]),
        ("200 \N{SNOWMAN}", [], [b""]),
        ("200 OK\r\nX-Other: one", [], [b""]),
        ("100 Continue", [], [b""]),
        ("200 OK", [("Content-Length", "-3")], [b"abc"]),
        ("200 OK", [("Content-Length", "+3")], [b"abc"]),
        ("200 OK", [("Content-Length", "3"), ("content-length", "3")], [b"abc"]),
    ],
)
def test_an_answer_that_is_none_is_a_500(status: str, fields: list[tuple[str, str]], body: list[bytes]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        if status:
            start_response(status, fields)
        return body

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        assert [wire.ask("/").status for _ in range(2)] == [500] * 2


@pytest.mark.parametrize("first", [True, False])
def test_an_app_that_exits_ends_its_answer_and_not_the_thread(first: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The connection stayed open, without an answer, and the body was not closed."""
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            if not first:
                yield b"some"
            sys.exit(3)

        def close(self) -> None:
            closed.append(self)

    def app(environ: Environ, start_response: StartResponse) -> Body:
        start_response("200 OK", [])
        return Body()

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.get("/")
        head = wire.read_head()
        if first:
            assert head.startswith(b"HTTP/1.1 500 ")
        else:
            with pytest.raises(ConnectionResetError):
                wire.rest()
        eventually(lambda: len(closed) == 1, "the body is closed")
    assert "SystemExit" in caplog.text


def test_a_body_is_closed_when_the_client_goes_away() -> None:
    closed = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(65536)
        finally:
            closed.set()

    with Limited(Limits(), app=app) as server:
        with server.wire() as wire:
            wire.get("/")
            wire.read_head()
            wire.reset()

        assert closed.wait(10)


def test_a_stream_of_a_plan_leaves_among_other_steps() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Plan:
        start_response("200 OK", [("Content-Length", "9")])
        return Plan((Data(b"<"), Stream(iter([b"one", b"two"]), 6), Data(b"|>")), 9)

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        assert [wire.ask("/").body for _ in range(2)] == [b"<onetwo|>"] * 2


# Content of requests


@pytest.mark.parametrize("size", [1, 10, 65_536, 3_000_000])
def test_an_app_reads_content_of_a_known_length(size: int) -> None:
    with Limited(Limits(), app=echo) as server, server.wire() as wire:
        for _ in range(2):
            wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % size + pattern(size))
            assert wire.answer().body == pattern(size)

        assert wire.ask("/").body == b""


def test_an_app_reads_content_in_chunks() -> None:
    with Limited(Limits(), app=echo) as server, server.wire() as wire:
        for _ in range(2):
            wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"one", b"two" * 50_000))
            assert wire.answer().body == b"one" + b"two" * 50_000

        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"one") + HEAD + b"Content-Length: 0\r\n\r\n")
        assert [wire.answer().body, wire.answer().body] == [b"one", b""]


def test_an_app_reads_lines() -> None:
    def count(environ: Environ) -> list[bytes]:
        lines = [environ["wsgi.input"].readline(), *environ["wsgi.input"]]
        return [b"%d" % len(lines)]

    with Limited(Limits(), app=answering(count)) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: 8\r\n\r\na\nb\nc\nde")

        assert wire.answer().body == b"4"


def test_an_app_answers_while_it_reads() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        while data := environ["wsgi.input"].read(4):
            yield data.upper()

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: 8\r\n\r\n")
        wire.send(b"abcd")
        wire.read_head()
        assert wire.read_exactly(len(b"4\r\nABCD\r\n")) == b"4\r\nABCD\r\n"
        wire.send(b"efgh")
        assert until_last_chunk(wire) == b"EFGH"


def test_a_client_that_waits_for_a_go_ahead_gets_it_when_the_app_reads() -> None:
    with Limited(Limits(), app=echo) as server, server.wire() as wire:
        for _ in range(2):
            wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            assert wire.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(b"abc")
            assert wire.answer().body == b"abc"

        eventually(lambda: all(one.completed for one in server.requests()), "all has arrived")


def test_no_go_ahead_stands_in_the_middle_of_an_answer() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        yield environ["wsgi.input"].read()

    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        wire.read_head()
        wire.send(b"abc")

        assert wire.rest() == chunked(b"first", b"abc")


def test_an_app_may_take_its_time_before_it_reads() -> None:
    """The client was to blame for what the app did before: its content took too long."""
    is_working, has_worked = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        is_working.set()
        has_worked.wait(10)
        return echo(environ, start_response)

    with Limited(Limits(head=20.0), app=app, clock=Clock()) as server, server.wire() as wire:
        wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert is_working.wait(10)
        server.turn(60.0)
        has_worked.set()
        assert wire.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"abc")

        assert wire.answer().body == b"abc"


def test_an_app_that_does_not_read_is_answered_for_without_a_go_ahead() -> None:
    with Limited(Limits(), app=pieces_of(b"no")) as server, server.wire() as wire:
        wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")

        assert b"\r\nConnection: close\r\n" in wire.read_head()
        assert wire.rest() == chunked(b"no")


@pytest.mark.parametrize("read", [0, 1, 5])
def test_content_that_an_app_does_not_read_is_not_taken_for_a_request(read: int) -> None:
    app = answering(lambda environ: [environ["wsgi.input"].read(read)])
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        assert wire.answer().body == smuggled[:read]
        assert wire.ask("/").body == b""

        assert [one.target for one in server.requests()] == ["/f", "/"]


def test_content_that_drips_is_408() -> None:
    entered = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        entered.set()
        return echo(environ, start_response)

    with Limited(Limits(head=20.0), app=app, clock=Clock()) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: 100\r\n\r\n")
        assert entered.wait(10)
        for _ in range(2):
            server.turn(19.0)
            wire.send(b"x")
        server.turn_until_input(wire, 19.0)  # the content may have begun after the first turn

        assert wire.answer().status == 408
        assert wire.rest_until_any_end() == b""


@pytest.mark.parametrize("begun", [b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc"])
def test_content_that_ends_too_early_reaches_the_app_as_an_error(
    begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with Limited(Limits(), app=echo) as server, server.wire() as wire:
        wire.send(HEAD + begun)
        wire.half_close()

        assert wire.answer().status == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_malformed_content_is_400() -> None:
    with Limited(Limits(), app=echo) as server, server.wire() as wire:
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n")

        assert wire.answer().status == 400
        assert wire.rest_until_any_end() == b""


def test_content_that_an_app_reads_has_no_limit() -> None:
    def digest(environ: Environ) -> list[bytes]:
        found = hashlib.sha256()
        while data := environ["wsgi.input"].read(1 << 16):
            found.update(data)
        return [found.hexdigest().encode()]

    data = pattern(BIG_BYTES)
    with Limited(Limits(), app=answering(digest)) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(data))
        wire.send(data)

        assert wire.answer().body == hashlib.sha256(data).hexdigest().encode()
        assert wire.ask("/").status == 200


@needs_curl
@pytest.mark.parametrize("how", [["--data-binary", "@f"], ["-T", "f"], ["-T", "f", "-H", "Transfer-Encoding: chunked"]])
def test_curl_sends_a_file_and_gets_it_back(tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "f").write_bytes(pattern(2_000_000))
    with Limited(Limits(), app=echo) as server:
        command = ["curl", "-sS", "--max-time", "30", *how, f"http://127.0.0.1:{server.port}/f"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    assert done.stdout == pattern(2_000_000)


# Who is asked


class Counted:
    """An app that says who asks, and counts."""

    plans = True

    def __init__(self, repeatable: Repeatable | None) -> None:
        self.asked: list[str] = []
        self.repeatable = repeatable

    def __call__(self, environ: Environ, start_response: StartResponse) -> Plan:
        self.asked.append(environ["REMOTE_ADDR"])
        data = environ["REMOTE_ADDR"].encode()
        fields = b"Content-Length: %d\r\n" % len(data)
        start_response("200 OK", [])
        return Plan((Data(data),), len(data), None, fields, self.repeatable)


class Same:
    """The same nine bytes, for whoever asks."""

    def read(self, into: memoryview) -> bool:
        into[:] = b"127.0.0.1"
        return True

    def open(self) -> tuple[RegionFile | None, int]:
        return None, 0

    def is_unchanged(self) -> bool:
        return True

    def change_would_show(self, since: float) -> bool:
        return False


def _ask_as_three(server: Limited) -> list[bytes]:
    bodies = []
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"):
        with Wire(server.port, source=address) as wire:
            bodies.append(wire.ask("/").body)
    return bodies


def test_an_answer_that_depends_on_the_client_is_asked_for_each_time() -> None:
    app = Counted(None)
    with Limited(Limits(), app=app) as server:
        bodies = _ask_as_three(server)

    assert bodies == [b"127.0.0.1", b"127.0.0.2", b"127.0.0.3", b"127.0.0.1"]
    assert app.asked == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]


def test_an_answer_that_may_be_repeated_is_asked_for_once() -> None:
    app = Counted(Same())
    with Limited(Limits(), app=app) as server:
        bodies = _ask_as_three(server)

    assert bodies == [b"127.0.0.1"] * 4
    assert app.asked == ["127.0.0.1"]


def test_an_answer_that_took_into_another_second_has_the_date_of_that(turn: Callable[[float], None]) -> None:
    """RFC 9110 8.8.2.1: no Last-Modified may be later than Date, and an app says what it knows when it says it."""

    def slow(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        turn(1.0)
        start_response("200 OK", [("Content-Length", "0"), ("Last-Modified", formatdate(usegmt=True))])
        return []

    with Limited(Limits(), app=slow) as server, server.wire() as wire:
        wire.get("/")
        fields = dict(line.split(": ", 1) for line in wire.read_head().decode().splitlines()[1:] if line)

    assert parsedate_to_datetime(fields["Last-Modified"]) <= parsedate_to_datetime(fields["Date"])
