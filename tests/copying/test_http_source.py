"""An http(s) URL as a source, read from a server that does as each test says."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import inspect
import logging
import os
import random
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from httpserve.base.threads import Latch
from httpserve.errors import CopyFailed, InvalidArgument, SourceNotFound, SourceStalled
from httpserve.storage.copying import strict_response
from httpserve.storage.copying import url as http_source
from httpserve.storage.copying.copy import copy_in
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.opening import open_source
from httpserve.storage.copying.url import HttpSource
from tests.copying.raw_server import Answer, End, RawServer, answer, field, moved, resumed, target
from tests.server.waits import begin

CONTENT = random.Random(7).randbytes(700_001)
OTHER = random.Random(8).randbytes(500_003)
OLD_DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "FIRST_PAUSE", 0.001)


def fetch(url: str, dst: Path, *, timeout: float = 10.0, sha256: str | None = None) -> bytes:
    with contextlib.closing(open_source(url, timeout=timeout)) as source:
        copy_in(source, FileSink(str(dst)), sha256=sha256)
    return dst.read_bytes()


def broken(count: int, *, end: End = End.CLOSE, **fields: str) -> Answer:
    """An answer that promises CONTENT and sends *count* bytes of it."""
    return answer(CONTENT[:count], length=len(CONTENT), end=end, **fields)


# The request


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a%2fb?sig=%2f%2F%7e+%20a/b?c=d&x=%41", None),
        ("/~a%7Eb/%e2%82%ac", None),
        ("//double//slash", None),
        ("/a/../b/./c?x=/../y", None),
        ("/a;b=c,d!$'()*[]|^`{}\"<>\\", None),
        ("/%zz%?%", None),
        ("/?", None),
        ("/x?%", None),
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("/a#part?x", "/a"),
        ("/€ ü?q=ß\t", "/%E2%82%AC%20%C3%BC?q=%C3%9F%09"),
    ],
)
def test_a_target_arrives_byte_for_byte_and_encoded_where_no_request_line_can_carry_it(
    given: str, sent: str | None, dst: Path
) -> None:
    with RawServer(answer(b"content")) as server:
        fetch(server.url(given), dst)

    assert target(server.heads[0]) == (given if sent is None else sent)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """A proxy for every host, which redirects first."""
    with RawServer(moved("/there?sig=%2f"), answer(CONTENT)) as server:
        monkeypatch.setenv("http_proxy", server.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield server


def test_a_proxy_gets_the_whole_url_byte_for_byte_also_of_a_redirect(proxy: RawServer, dst: Path) -> None:
    fetch("http://user:word@files.example/a%2fb?sig=%2f", dst)

    assert target(proxy.heads[0]) == "http://files.example/a%2fb?sig=%2f"
    assert field(proxy.heads[0], "Host") == "files.example"
    assert target(proxy.heads[1]) == "http://files.example/there?sig=%2f"


def test_a_compressed_representation_stays_compressed(dst: Path) -> None:
    packed = gzip.compress(CONTENT)
    with RawServer(answer(packed, Content_Encoding="gzip")) as server:
        assert fetch(server.url(), dst) == packed

    assert field(server.heads[0], "Accept-Encoding") == "identity"


def test_userinfo_is_sent_as_basic_auth_and_not_in_the_target(dst: Path) -> None:
    with RawServer(answer(CONTENT)) as server:
        fetch(server.url(userinfo="us%40er:wörd:2@"), dst)

    scheme, _, credentials = field(server.heads[0], "Authorization").partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials).decode() == "us@er:wörd:2"
    assert target(server.heads[0]) == "/file"


# The answer


@pytest.mark.parametrize(
    "whole",
    [
        answer(CONTENT),
        answer(CONTENT, length=-1),
        answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT), length=-1, Transfer_Encoding="chunked"),
    ],
    ids=["with a length", "until the end of the connection", "chunked"],
)
def test_the_content_arrives_whole(whole: Answer, dst: Path) -> None:
    with RawServer(whole) as server:
        assert fetch(server.url().replace("http", "HTTP"), dst) == CONTENT


@pytest.mark.parametrize(("length", "size"), [(None, len(CONTENT)), (-1, None)])
def test_the_size_is_what_the_server_said(length: int | None, size: int | None) -> None:
    with (
        RawServer(answer(CONTENT, length=length)) as server,
        contextlib.closing(open_source(server.url(), timeout=10)) as source,
    ):
        assert source.size == size


@pytest.mark.parametrize(
    ("useless", "error", "said"),
    [
        *((answer(status=status), SourceNotFound, status) for status in ("404 Not Found", "410 Gone")),
        *((answer(status=status), CopyFailed, status) for status in ("401 Unauthorized", "403 Forbidden", "503 Busy")),
        *((answer(status=status), CopyFailed, status) for status in ("206 Partial Content", "204 No", "302 Found")),
        *((Answer(data), CopyFailed, "connection was closed") for data in (b"", b"SSH-2.0-x\r\n")),
        (answer(b"5\r\nab", length=-1, Transfer_Encoding="chunked"), CopyFailed, "of an unknown number bytes"),
        (moved("/again"), CopyFailed, "more than 20 redirects"),
    ],
)
def test_what_is_of_no_use_is_named_without_a_word_of_requests(
    useless: Answer, error: type[CopyFailed], said: str, dst: Path
) -> None:
    with RawServer(useless) as server, pytest.raises(error, match=said) as caught:
        fetch(server.url(), dst)

    assert "urllib3" not in "".join(traceback.format_exception(caught.value))


def test_a_refused_connection_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(CopyFailed, match="Connection refused"):
        open_source(f"http://127.0.0.1:{port}/file", timeout=10)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://?x",
        "http://h:port/x",
        "http://h:99999/x",
        "http://h:0/",
        "http://*/x",
        f"http://{70 * 'a'}.example",
    ],
)
def test_a_url_without_a_host_or_with_an_impossible_one_or_port_is_refused(url: str) -> None:
    with pytest.raises((InvalidArgument, CopyFailed), match="URL"):
        open_source(url, timeout=10)


# Redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_followed(status: str, dst: Path) -> None:
    with RawServer(moved("/there", status, cookie="pass=yes"), answer(CONTENT)) as server:
        assert fetch(server.url(userinfo="user:word@"), dst) == CONTENT

    assert target(server.heads[1]) == "/there"
    assert field(server.heads[1], "Authorization")
    assert field(server.heads[1], "Cookie") == "pass=yes"


def test_a_signed_absolute_redirect_arrives_byte_for_byte(dst: Path) -> None:
    with RawServer(answer(CONTENT)) as there:
        location = there.url("/a%2fb?sig=%2f%2F+%7e&e=1/2")
        with RawServer(moved(location)) as server:
            fetch(server.url(), dst)

    assert target(there.heads[0]) == "/a%2fb?sig=%2f%2F+%7e&e=1/2"


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("b%2fc?sig=%2f", "/dir/b%2fc?sig=%2f"),
        ("../b", "/b"),
        ("//127.0.0.1:{port}/b?sig=%2f", "/b?sig=%2f"),
    ],
)
def test_a_relative_redirect_keeps_its_query(location: str, wanted: str, dst: Path) -> None:
    with RawServer(answer(CONTENT)) as server:
        server.scripts.insert(0, moved(location.format(port=server.port)))
        fetch(server.url("/dir/a?old=1"), dst)

    assert target(server.heads[1]) == wanted


def test_raw_bytes_in_a_location_arrive_encoded_as_they_were(dst: Path) -> None:
    location = "/ü".encode().decode("latin-1") + "/\xff"
    with RawServer(moved(location), answer(CONTENT)) as server:
        fetch(server.url(), dst)

    assert target(server.heads[1]) == "/%C3%BC/%FF"


def test_credentials_are_not_shown_to_another_origin(dst: Path) -> None:
    with RawServer(answer(CONTENT)) as there, RawServer(moved(there.url())) as server:
        fetch(server.url(userinfo="user:word@"), dst)

    assert not field(there.heads[0], "Authorization")


def test_a_redirect_to_another_scheme_is_refused() -> None:
    with (
        RawServer(moved("ftp://127.0.0.1/x?sig=secret")) as server,
        pytest.raises(CopyFailed, match=r"ftp://127\.0\.0\.1/x") as caught,
    ):
        open_source(server.url(), timeout=10)

    assert "secret" not in str(caught.value)


# Breaking off and resuming


CHUNKED = answer(b"%x\r\n%b" % (len(CONTENT), CONTENT[:400_000]), length=-1, Transfer_Encoding="chunked", ETag='"v1"')


@pytest.mark.parametrize(
    ("start", "since"),
    [(broken(400_000, ETag='"v1"'), 400_000), (broken(400_000, end=End.RESET, ETag='"v1"'), None), (CHUNKED, 400_000)],
    ids=["close", "reset", "chunked"],
)
def test_a_broken_download_is_resumed_with_range_and_if_range(start: Answer, since: int | None, dst: Path) -> None:
    with RawServer(start, resumed(CONTENT)) as server:
        assert fetch(server.url("/f?sig=%2f"), dst) == CONTENT

    assert field(server.heads[1], "Range").startswith(f"bytes={'' if since is None else since}")
    assert field(server.heads[1], "If-Range") == '"v1"'
    assert target(server.heads[1]) == "/f?sig=%2f"


@pytest.mark.parametrize(
    ("start", "then"),
    [
        (broken(400_000, ETag='W/"weak"'), [answer(CONTENT)]),
        (broken(0, ETag='"v1"'), [answer(CONTENT, ETag='"v1"')]),
        (
            broken(400_000),
            [answer(OTHER[400_000:], "206 Partial", Content_Range="bytes 400000-700000/700001"), answer(CONTENT)],
        ),
    ],
    ids=["without a validator", "before the first byte", "with a part that nobody asked for"],
)
def test_what_cannot_be_resumed_starts_over(start: Answer, then: list[Answer], dst: Path) -> None:
    with RawServer(start, *then) as server:
        assert fetch(server.url(), dst) == CONTENT

    assert not field(server.heads[1], "Range")


def test_without_an_etag_the_date_is_the_validator(dst: Path) -> None:
    with RawServer(broken(400_000, Last_Modified=OLD_DATE), resumed(CONTENT, etag=None)) as server:
        assert fetch(server.url(), dst) == CONTENT

    assert field(server.heads[1], "If-Range") == OLD_DATE


def test_one_that_changed_meanwhile_starts_over(dst: Path) -> None:
    with RawServer(broken(400_000, ETag='"v1"'), answer(OTHER, ETag='"v2"')) as server:
        digest = hashlib.sha256(OTHER).hexdigest()

        assert fetch(server.url(), dst, sha256=digest) == OTHER


@pytest.mark.parametrize(
    "useless",
    [
        answer(OTHER[400_000:], "206 Partial", ETag='"v2"', Content_Range=f"bytes 400000-500002/{len(CONTENT)}"),
        answer(OTHER[400_000:], "206 Partial", ETag='"v1"', Content_Range="bytes 400000-500002/500003"),
        answer(CONTENT[9:], "206 Partial", ETag='"v1"', Content_Range=f"bytes 9-700000/{len(CONTENT)}"),
        answer(CONTENT[9:], "206 Partial", ETag='"v1"'),
        answer(status="416 Range Not Satisfiable"),
        answer(status="412 Precondition Failed"),
    ],
    ids=["other etag", "other length", "other offset", "no Content-Range", "416", "412"],
)
def test_an_answer_that_does_not_fit_is_not_spliced(useless: Answer, dst: Path) -> None:
    with RawServer(broken(400_000, ETag='"v1"'), useless, answer(OTHER, ETag='"v2"')) as server:
        assert fetch(server.url(), dst) == OTHER

    assert not field(server.heads[2], "Range")


def test_a_server_that_is_away_for_a_moment_is_asked_again(dst: Path) -> None:
    with RawServer(broken(400_000, ETag='"v1"'), Answer(b""), answer(status="503 Busy"), resumed(CONTENT)) as server:
        assert fetch(server.url(), dst) == CONTENT


def test_each_break_after_progress_has_its_own_tries(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "PROGRESS_BYTES", 50_000)

    def piece(head: bytes) -> Answer:
        start = int(field(head, "Range").removeprefix("bytes=").removesuffix("-"))
        part = CONTENT[start : start + 70_000]
        content_range = f"bytes {start}-{start + len(part) - 1}/{len(CONTENT)}"
        return answer(part, "206 Partial", Content_Range=content_range, ETag='"v1"')

    with RawServer(broken(70_000, ETag='"v1"'), piece) as server:
        assert fetch(server.url(), dst) == CONTENT

    assert len(server.heads) > 1 + http_source.RESUME_TRIES


def test_one_that_always_breaks_off_is_given_up_and_nothing_is_published(dst: Path) -> None:
    with (
        RawServer(broken(400_000)) as server,
        pytest.raises(CopyFailed, match=f"broke off after 400000 of {len(CONTENT)} bytes .* in 5 tries"),
    ):
        fetch(server.url(), dst)

    assert len(server.heads) == 1 + http_source.RESUME_TRIES
    assert os.listdir(dst.parent) == []


def test_one_that_is_gone_when_it_is_resumed_is_not_found(dst: Path) -> None:
    with (
        RawServer(broken(400_000, ETag='"v1"'), answer(status="404 Not Found")) as server,
        pytest.raises(SourceNotFound),
    ):
        fetch(server.url(), dst)


def test_pauses_grow(dst: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    with RawServer(broken(0)) as server, contextlib.closing(HttpSource(server.url(), timeout=10)) as source:
        monkeypatch.setattr(Latch, "wait", lambda latch, seconds: waited.append(seconds))
        with pytest.raises(CopyFailed):
            source.readinto(memoryview(bytearray(10)))

    assert waited == [0.001, 0.002, 0.004, 0.008, 0.016]


# Stalls, and close


def test_a_server_that_never_answers_is_a_stall() -> None:
    with RawServer(Answer(b"", End.STALL)) as server, pytest.raises(SourceStalled, match=r"no byte for 0\.1 s"):
        open_source(server.url(), timeout=0.1)


def test_a_stall_in_the_content_ends_the_copy(dst: Path) -> None:
    with RawServer(broken(400_000, end=End.STALL, ETag='"v1"')) as server, pytest.raises(SourceStalled):
        fetch(server.url(), dst, timeout=0.2)

    assert os.listdir(dst.parent) == []


def test_a_closed_source_does_not_read() -> None:
    with RawServer(answer(CONTENT)) as server:
        source = open_source(server.url(), timeout=10)
        source.close()
        source.close()

        with pytest.raises(CopyFailed, match="closed"):
            source.readinto(memoryview(bytearray(10)))


def test_close_ends_a_pause_of_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_source, "FIRST_PAUSE", 50)
    with (
        RawServer(broken(0)) as server,
        contextlib.closing(HttpSource(server.url(), timeout=10)) as source,
        ThreadPoolExecutor(1) as pool,
    ):
        reading = begin(pool, lambda: source.readinto(memoryview(bytearray(10))))

        source.close()

        assert "closed" in str(reading.exception(10))


# Secrets


def test_no_secret_is_in_the_label() -> None:
    with (
        RawServer(answer(CONTENT)) as server,
        contextlib.closing(open_source(server.url("/a?sig=secret", "user:word@"), timeout=10)) as source,
    ):
        assert source.label == f"http://…@127.0.0.1:{server.port}/a?…"


def test_no_secret_is_in_logs_of_any_logger(dst: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    redirect = moved("/there?sig=secret")
    with RawServer(redirect, broken(400_000, ETag='"v1"'), redirect, resumed(CONTENT)) as server:
        fetch(server.url("/a?sig=secret", "user:secret@"), dst)

    assert "broke off" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "script", [answer(status="403 No"), Answer(b""), Answer(b"", End.STALL), broken(9), broken(9, end=End.RESET)]
)
def test_no_secret_is_in_an_error_nor_in_its_traceback(script: Answer, dst: Path) -> None:
    with RawServer(script) as server:
        url = server.url("/a?sig=hun" + "ter2", "user:hun" + "ter2@")
        with pytest.raises(CopyFailed) as caught:
            fetch(url, dst, timeout=0.2)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.source == f"http://…@127.0.0.1:{server.port}/a?…"


# Imports


def test_requests_is_imported_on_first_use_only() -> None:
    code = (
        "import sys, httpserve.storage.copying.copy, httpserve.storage.copying.opening as s; "
        "s.open_source(sys.executable, timeout=1).close(); print('requests' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


# Interrupts


@contextlib.contextmanager
def pressing(moment: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt at one of the steps by which an answer is read; the list then says at which."""
    left, pressed = moment, []

    def at_step(frame: FrameType, event: str, argument: object) -> Any:  # as sys.settrace has it
        nonlocal left
        if event == "opcode":
            left -= 1
            if left == 0:
                pressed.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
                raise KeyboardInterrupt
        return at_step

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        # What a collected object does at its end raises nothing.
        is_read = frame.f_code.co_filename == strict_response.__file__ and frame.f_code.co_name != "close"
        frame.f_trace_opcodes = is_read
        return at_step if is_read and not pressed else None

    before, here = sys.gettrace(), inspect.currentframe()
    assert here is not None
    here.f_trace_opcodes = True  # else Python 3.12 gives no such events at all
    sys.settrace(at_call)
    try:
        yield pressed
    finally:
        sys.settrace(before)


def test_an_interrupt_while_an_answer_is_read_is_what_is_raised(dst: Path) -> None:
    script = answer(b"3\r\ncon\r\n4\r\ntent\r\n0\r\n\r\n", length=-1, Transfer_Encoding="chunked")
    moment, pressed = 0, ["yes"]
    with RawServer(script) as server:
        while pressed:
            moment += 3  # one of three steps: all of them take long
            with pressing(moment) as pressed, contextlib.suppress(KeyboardInterrupt):
                fetch(server.url(), dst)

    assert moment > 200
    assert os.listdir(dst.parent) == ["file"]
