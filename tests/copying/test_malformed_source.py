"""An http URL whose answers are cut, malformed, or without end: nothing is published that is not the whole."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from httpserve.errors import CopyFailed, SourceStalled
from httpserve.storage.copying import strict_response
from httpserve.storage.copying import url as http_source
from httpserve.storage.copying.copy import copy_in
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.opening import open_source
from tests.copying.raw_server import Answer, End, RawServer, Script, answer, field, moved, target

CONTENT = bytes(range(256)) * 4
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(CONTENT)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
FRAMED = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in (CONTENT[:9], CONTENT[9:])) + b"0\r\nA: b\r\n\r\n"
HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "FIRST_PAUSE", 0.001)


def fetch(url: str, dst: Path, *, timeout: float = 10.0) -> bytes:
    with contextlib.closing(open_source(url, timeout=timeout)) as source:
        copy_in(source, FileSink(str(dst)))
    return dst.read_bytes()


def refused(scripts: list[Script], dst: Path, *, timeout: float = 10.0) -> tuple[CopyFailed, int]:
    """Return the error that a fetch ends with, and how many requests it took; what was there stays."""
    dst.write_bytes(b"old")
    with RawServer(*scripts) as server, pytest.raises(CopyFailed) as caught:
        fetch(server.url(), dst, timeout=timeout)
    assert dst.read_bytes() == b"old"
    assert os.listdir(dst.parent) == [dst.name]
    assert caught.value.source == server.url()
    return caught.value, len(server.heads)


def shown(data: bytes | str) -> str:
    """Return the id of a case."""
    return repr(data[:50])[1:]


def broken() -> Answer:
    """The first half of CONTENT, of which all was promised."""
    return answer(CONTENT[:HALF], length=len(CONTENT), ETag='"v1"')


def rest(*lines: bytes) -> Answer:
    """The second half, in an answer with these fields."""
    return Answer(b"HTTP/1.1 206 Partial\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + CONTENT[HALF:])


RANGE = b"Content-Range: bytes %d-%d/%d" % (HALF, len(CONTENT) - 1, len(CONTENT))

HEADS = {
    "length": OK + b"Content-Type: application/octet-stream\r\n" + LENGTH + b"\r\n",
    "length first": OK + LENGTH + b'ETag: "v1"\r\n\r\n',
    "chunked": OK + b"Server: x\r\n" + CHUNKED + b"\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" + OK + LENGTH + b"\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /there/and/on\r\nContent-Length: 0\r\n\r\n",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
}


# Cut


def cuts(head: bytes, end: End) -> list[Answer]:
    """Return the head cut at its begin and wherever something else begins or ends; fewer ones that end by a reset."""
    places = [at for at in range(len(head)) if at == 0 or set(head[at - 1 : at + 1]) & set(b"\r\n: ")]
    return [Answer(head[:at], end) for at in places[:: 1 if end is End.CLOSE else 7]]


each_end = pytest.mark.parametrize("end", [End.CLOSE, End.RESET])


@each_end
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_that_is_cut_anywhere_publishes_nothing(head: bytes, end: End, dst: Path) -> None:
    dst.write_bytes(b"old")
    answers = cuts(head, end)
    with RawServer(*answers) as server:
        for _ in answers:
            with pytest.raises(CopyFailed, match=r"connection was closed|reset"):
                fetch(server.url(), dst)
        assert len(server.heads) == len(answers)

    assert dst.read_bytes() == b"old"
    assert os.listdir(dst.parent) == [dst.name]


@each_end
@pytest.mark.parametrize(
    "head",
    [
        b'HTTP/1.1 206 Partial\r\nETag: "v1"\r\n' + RANGE + b"\r\nContent-Length: %d\r\n\r\n" % (len(CONTENT) - HALF),
        b"HTTP/1.1 206 Partial\r\n" + RANGE + b"\r\n" + CHUNKED + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n",
    ],
    ids=["length", "chunked", "redirect"],
)
def test_a_head_that_is_cut_anywhere_of_a_resumption_is_asked_for_again(head: bytes, end: End, dst: Path) -> None:
    answers = cuts(head, end)
    with RawServer(*(one for cut in answers for one in (broken(), cut, rest(RANGE)))) as server:
        for _ in answers:
            assert fetch(server.url(), dst) == CONTENT
        assert len(server.heads) == 3 * len(answers)


@pytest.mark.parametrize(
    "head", [OK + CHUNKED + b"\r\n", OK + CHUNKED + b'ETag: "v1"\r\n\r\n'], ids=["plain", "tagged"]
)
def test_chunked_content_that_is_cut_at_any_frame_publishes_nothing(
    head: bytes, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_source, "RESUME_TRIES", 1)
    first = FRAMED.index(CONTENT[:9])
    frames = [*range(first + 3), *range(first + 8, first + 20, 2), *range(len(FRAMED) - 14, len(FRAMED))]
    for count in frames:
        error, tries = refused([Answer(head + FRAMED[:count])], dst)

        assert "could not be resumed" in str(error)
        assert tries == 1 + http_source.RESUME_TRIES


def test_a_resumption_that_is_cut_is_not_the_end_where_the_first_answer_had_no_length(dst: Path) -> None:
    start = Answer(OK + CHUNKED + b'ETag: "v1"\r\n\r\n' + b"%x\r\n" % len(CONTENT) + CONTENT[:HALF])
    at = HALF + 100
    last = b"Content-Range: bytes %d-%d/%d" % (at, len(CONTENT) - 1, len(CONTENT))
    for framing in (b"Content-Length: %d" % HALF, b"Connection: close"):
        cut = Answer(rest(RANGE, framing).data[: -(HALF - 100)])
        end = Answer(rest(last).data[:-HALF] + CONTENT[at:])
        with RawServer(start, cut, end) as server:
            assert fetch(server.url(), dst) == CONTENT

        assert field(server.heads[2], "Range") == f"bytes={at}-"


# Malformed


@pytest.mark.parametrize(
    "lines",
    [
        *([b"broken line", LENGTH], [b"A: \x1b[2J", LENGTH], [b"Content-Length: 5", LENGTH], [CHUNKED, LENGTH]),
        *([b"Content-Length: 0x5"], [b"Transfer-Encoding: gzip, chunked"], [b"A: " + b"y" * 100_000]),
    ],
    ids=lambda lines: shown(b"".join(lines)),
)
@pytest.mark.parametrize("body", [CONTENT, FRAMED], ids=["plain", "chunks"])
def test_a_malformed_head_fails_at_once(lines: list[bytes], body: bytes, dst: Path) -> None:
    head = OK + b"".join(line.removesuffix(b"\r\n") + b"\r\n" for line in lines) + b"\r\n"

    error, tries = refused([Answer(head + body)], dst)
    again, more = refused([broken(), Answer(head.replace(b"200 OK", b"206 Partial") + body)], dst)

    assert "its answer is malformed" in str(error)
    assert "its answer is malformed" in str(again)
    assert (tries, more) == (1, 2)


@pytest.mark.parametrize("head", [OK[:-2] + b"\n" + LENGTH + b"\r\n", OK + LENGTH[:-2] + b"\n\n"])
def test_lines_that_end_with_lf_alone_fail_at_once(head: bytes, dst: Path) -> None:
    error, tries = refused([Answer(head + CONTENT)], dst)

    assert "ends with LF alone" in str(error)
    assert tries == 1


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 2000 OK", b"ICY 200 OK", b"\x16\x03\x03\x00"], ids=shown)
def test_what_does_not_begin_as_http_does_is_malformed(head: bytes, dst: Path) -> None:
    error, tries = refused([Answer(head + b"\r\n" + LENGTH + b"\r\n" + CONTENT, End.STALL)], dst)

    assert "does not begin as one of HTTP/1" in str(error)
    assert tries == 1


@pytest.mark.parametrize(
    "frames",
    [
        *(b"-5\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhelloxx0\r\n\r\n"),
        *(b"5\r\nhello\r\n0\r\nbroken\r\n\r\n", b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 1000 + b"\r\n"),
    ],
    ids=shown,
)
def test_malformed_chunks_fail_at_once(frames: bytes, dst: Path) -> None:
    error, tries = refused([Answer(OK + CHUNKED + b'ETag: "v1"\r\n\r\n' + frames)], dst)

    assert "its answer is malformed" in str(error)
    assert tries == 1


@pytest.mark.parametrize(
    "location",
    [
        *(
            "//[foo/",
            "http://[]/x",
            "http://h:99999/",
            "http://h:0/",
            "http://:80/",
            "http://a..b/",
            "http://\xff\xfe/",
        ),
        *("http://a b/", "http://*/", "file:///etc/passwd", "http://" + "a" * 70 + ".example/"),
    ],
    ids=shown,
)
def test_a_redirect_to_what_is_none_fails_at_once(location: str, dst: Path) -> None:
    redirect = Answer(b"HTTP/1.1 302 Found\r\nLocation: " + location.encode("latin-1") + b"\r\n\r\n")

    error, tries = refused([redirect], dst)
    again, more = refused([broken(), redirect], dst)

    assert "redirects to" in str(error)
    assert "redirects to" in str(again)
    assert (tries, more) == (1, 2)


@pytest.mark.parametrize("location", ["", "//", "http:x"])
def test_a_redirect_to_itself_ends(location: str, dst: Path) -> None:
    error, _ = refused([moved(location)], dst)

    assert "more than 20 redirects" in str(error)


@pytest.mark.parametrize(
    "expiry",
    ["Mon, 01-Jan-99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 10000 00:00:00 GMT", "Mon, 99 Foo 9999999", "x", ""],
)
def test_a_cookie_with_an_odd_expiry_is_sent_on(expiry: str, dst: Path) -> None:
    redirect = moved("/there", cookie=f"pass=yes; Expires={expiry}; Path=/")
    with RawServer(redirect, answer(CONTENT)) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fetch(server.url(), dst) == CONTENT

    assert field(server.heads[1], "Cookie") == "pass=yes"


# A part that nobody asked for


@pytest.mark.parametrize("framing", [b"Connection: close", CHUNKED[:-2]], ids=["close", "chunked"])
def test_a_part_that_is_longer_than_its_range_publishes_nothing(framing: bytes, dst: Path) -> None:
    content_range = b"Content-Range: bytes %d-%d/%d" % (HALF, HALF + 9, len(CONTENT))
    head = b"HTTP/1.1 206 Partial\r\n" + content_range + b"\r\n" + framing + b"\r\n\r\n"
    body = b"14\r\n" + CONTENT[HALF : HALF + 20] + b"\r\n0\r\n\r\n" if b"chunked" in framing else CONTENT[HALF:]

    error, tries = refused([broken(), Answer(head + body)], dst)

    assert "Content-Range" in str(error)
    assert tries == 2


# Without end


def slowly(connection: socket.socket, pieces: Iterator[bytes], gone: threading.Event) -> None:
    """Send *pieces* one by one until the client goes away."""
    connection.settimeout(0.005)
    with contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    break
    gone.set()


@contextlib.contextmanager
def dripping(pieces: Callable[[], Iterator[bytes]]) -> Iterator[tuple[str, threading.Event]]:
    """Answer one request piece by piece. Gives the server's URL, and what is set when the client goes away."""
    gone = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            slowly(connection, pieces(), gone)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, name="dripping server")
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", gone
        thread.join()


def forever(*begin: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield from begin
        while True:
            yield piece

    return pieces


@pytest.mark.parametrize(
    "pieces",
    [
        forever(piece=b"H"),
        forever(OK, piece=b"X"),
        forever(OK, piece=b"A: b\r\n"),
        forever(b"HTTP/1.1 100 Continue\r\n", piece=b"X"),
        forever(OK + CHUNKED + b"\r\n5\r\nhello\r\n", piece=b"0"),
        forever(OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n", piece=b"X"),
        forever(OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n", piece=b"A: b\r\n"),
    ],
    ids=["status", "field", "fields", "interim", "chunk size", "trailer field", "trailer fields"],
)
def test_what_is_not_content_may_not_drip_for_ever(pieces: Callable[[], Iterator[bytes]], dst: Path) -> None:
    dst.write_bytes(b"old")
    with dripping(pieces) as (url, gone):
        with pytest.raises(SourceStalled, match=r"0\.1 s.*; pass a longer timeout"):
            fetch(f"{url}/file", dst, timeout=0.1)
        assert gone.wait(10)

    assert dst.read_bytes() == b"old"
    assert os.listdir(dst.parent) == [dst.name]


def test_the_head_of_a_proxys_answer_may_not_drip_for_ever(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with dripping(forever(b"HTTP/1.1 200 OK\r\n", piece=b"X")) as (url, gone):
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", url)
        with pytest.raises(SourceStalled, match=r"0\.1 s.*; pass a longer timeout"):
            fetch("https://files.example/a", dst, timeout=0.1)
        assert gone.wait(10)


def test_content_may_drip_for_longer_than_the_timeout(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(strict_response, "time", SimpleNamespace(monotonic=lambda: now[0]))
    has_head = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield OK + b"Content-Length: 5\r\n\r\n"
        has_head.wait(10)
        for _ in range(5):
            now[0] += 10.0
            yield b"x"

    with dripping(pieces) as (url, _), contextlib.closing(open_source(f"{url}/file", timeout=10)) as source:
        has_head.set()
        copy_in(source, FileSink(str(dst)))

    assert dst.read_bytes() == b"xxxxx"


# What is well formed


@pytest.mark.parametrize(
    "data",
    [
        OK + b"content-LENGTH:\t%d \t\r\nA:\r\nB: \xff\r\n\r\n" % len(CONTENT) + CONTENT + b"more than was promised",
        b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + CONTENT,
        b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + CONTENT,
        b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT,
        OK + b"Connection: close\r\n\r\n" + CONTENT,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + OK + LENGTH + b"\r\n" + CONTENT,
        OK + b"TRANSFER-encoding:Chunked\r\nTrailer: A\r\n\r\n" + FRAMED,
        OK + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in CONTENT) + b"000\r\n\r\n",
        OK + b"Content-Encoding: " + b"gzip, " * 50 + b"gzip\r\n" + LENGTH + b"\r\n" + CONTENT,
        OK + b"Content-Type: multipart/byteranges; boundary*=idna''x\r\n" + LENGTH + b"\r\n" + CONTENT,
    ],
)
@pytest.mark.parametrize("end", [End.CLOSE, End.STALL])
def test_what_is_well_formed_arrives_whole(data: bytes, end: End, dst: Path) -> None:
    is_framed = b"chunked" in data.lower() or b"content-length" in data.lower()
    with RawServer(Answer(data, end if is_framed else End.CLOSE)) as server:
        assert fetch(server.url(), dst) == CONTENT


def test_a_malformed_answer_through_a_proxy_publishes_nothing(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for data in (HEADS["length"][:-9], OK + b"broken\r\n" + LENGTH + b"\r\n" + CONTENT):
        with RawServer(Answer(data)) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url(""))
            with pytest.raises(CopyFailed, match=r"connection was closed|malformed"):
                fetch("http://files.example/a", dst)

        assert target(proxy.heads[0]) == "http://files.example/a"
        assert os.listdir(dst.parent) == []
