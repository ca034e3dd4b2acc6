"""The head of an answer and the frames of its chunks, by tables."""

from __future__ import annotations

import io

import pytest

from httpserve.storage.copying.answer_grammar import (
    CutAnswer,
    Framing,
    MalformedAnswer,
    read_chunk_end,
    read_chunk_size,
    read_head,
    read_trailer,
)
from tests.cases import each

OK = b"HTTP/1.1 200 OK\r\n"


def malformed(head: bytes) -> str:
    with pytest.raises(MalformedAnswer) as caught:
        read_head(io.BytesIO(head))
    return str(caught.value)


@each(
    ("head", "framing", "length"),
    [
        (OK + b"\r\n", Framing.CLOSE, 0),
        (b"HTTP/1.0 200 OK\r\n\r\n", Framing.CLOSE, 0),
        (b"HTTP/1.1 200\r\n\r\n", Framing.CLOSE, 0),
        (b"HTTP/1.1 200 \r\n\r\n", Framing.CLOSE, 0),
        (b"HTTP/1.1 200 Na ja\xfc\t\r\n\r\n", Framing.CLOSE, 0),
        (OK + b"Content-Length: 5\r\n\r\n", Framing.LENGTH, 5),
        (OK + b"content-LENGTH:\t0005 \t\r\n\r\n", Framing.LENGTH, 5),
        (OK + b"Content-Length:" + b"9" * 18 + b"\r\n\r\n", Framing.LENGTH, 10**18 - 1),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", Framing.CHUNKED, 0),
        (OK + b"TRANSFER-encoding:CHUNKED\r\n\r\n", Framing.CHUNKED, 0),
        (b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", Framing.LENGTH, 0),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", Framing.LENGTH, 0),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", Framing.LENGTH, 0),
    ],
)
def test_a_head_says_what_ends_its_content(head: bytes, framing: Framing, length: int) -> None:
    read = read_head(io.BytesIO(head + b"content"))

    assert (read.framing, read.length) == (framing, length)


def test_fields_come_as_they_are_and_what_follows_is_not_read() -> None:
    stream = io.BytesIO(
        b"HTTP/1.0 999 Odd\r\nA:\r\n!#$%&'*+-.^_`|~9zZ: \t \xff : \x80 \t\r\nB: b\tb\r\n\r\n\r\ncontent"
    )

    head = read_head(stream)

    assert head.fields == (("A", ""), ("!#$%&'*+-.^_`|~9zZ", "\xff : \x80"), ("B", "b\tb"))
    assert (head.minor, head.status, head.reason) == (0, 999, "Odd")
    assert stream.read() == b"\r\ncontent"


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\n\r\n"

    assert read_head(io.BytesIO(interim + OK + b"Content-Length: 5\r\n\r\n")).length == 5


def test_interim_answers_without_end_are_malformed() -> None:
    assert "more than 20 interim" in malformed(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@each(
    "head",
    [
        OK + b'Content-Length: 5\r\nETag: "a"\r\n\r\n',
        b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_a_head_that_is_cut_at_any_byte_is_cut(head: bytes) -> None:
    for end in range(len(head)):
        with pytest.raises(CutAnswer):
            read_head(io.BytesIO(head[:end]))


@each(
    "line",
    [
        *(b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 +20 OK"),
        *(b"HTTP/1.1 2_0 OK", b"HTTP/1.1 \xb2\xb2\xb2 OK", b"HTTP/1.1 099 Low", b"HTTP/1.1 200OK"),
        *(b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b" HTTP/1.1 200 OK", b"http/1.1 200 OK", b"HTTP/0.9 200 OK"),
        *(b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/1 200 OK", b"HTTP/1. 200 OK", b"HTTP/1.10 200 OK"),
        *(b"HTTP/11.1 200 OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\x1b[2JK", b"HTTP/1.1 200 O\rK"),
        *(b"HTTP/1.1 " + b"2" * 5000 + b" OK", b"ICY 200 OK", b"SSH-2.0-x", b"<html>"),
    ],
)
def test_what_does_not_begin_as_http_1_does_is_malformed(line: bytes) -> None:
    assert "does not begin" in malformed(line + b"\r\nContent-Length: 5\r\n\r\n")


@each(
    "line",
    [
        *(b"broken line", b"Content-Length", b": 5", b":", b"Content-Length : 5", b"Content-Length\t: 5"),
        *(b"Content Length: 5", b" Content-Length: 5", b" folded", b"\tfolded", b" ", b"A\0: b", b"A: b\0c"),
        *(b"A: b\x01c", b"A: b\x1b[2J", b"A: b\x7f", b"A: b\rc", b"A: b\x0bc", b"A: b\x0cc", b"\rA: b", b"A\xfc: b"),
        *(b"(A): b", b'"A": b', b"A: b\r"),
    ],
)
def test_a_line_that_is_no_field_is_malformed(line: bytes) -> None:
    assert malformed(OK + b"A: a\r\n" + line + b"\r\nContent-Length: 5\r\n\r\n") == "field 2 of its head is malformed"


@each(
    "head",
    [
        *(OK[:-2] + b"\n\r\n", OK + b"A: b\n\r\n", OK + b"A: b\r\n\n", OK + b"\n"),
        b"HTTP/1.1 100 Continue\n\n" + OK + b"\r\n",
    ],
)
def test_a_line_that_ends_with_lf_alone_is_malformed(head: bytes) -> None:
    assert "LF alone" in malformed(head)


@each(
    ("head", "why"),
    [
        (b"HTTP/1.1 200 " + b"y" * 70_000, "too long"),
        (OK + b"A: " + b"y" * 70_000, "too long"),
        (OK + b"A: yyyyyy\r\n" * 70_000, "more than 100 fields"),
        (OK + (b"A: " + b"y" * 1000 + b"\r\n") * 99, "too long"),
        (OK + b"A: b\r\n" * 101 + b"\r\n", "more than 100 fields"),
    ],
)
def test_a_head_beyond_measure_is_malformed(head: bytes, why: str) -> None:
    assert why in malformed(head)


@each(
    "value",
    [
        *(b"", b"-1", b"-0", b"+5", b"5 5", b"5,5", b"5, 5", b"5;", b"5.0", b"1e1", b"0x5", b"5_0", b"five", b"\xb2"),
        *(b'"5"', "\u0665".encode(), b"9" * 19, b"9" * 5000, b"0" * 30 + b"5"),
    ],
)
def test_a_content_length_that_is_no_number_is_malformed(value: bytes) -> None:
    assert "Content-Length" in malformed(OK + b"Content-Length: " + value + b"\r\n\r\n")


@each(
    "value",
    [
        *(b"", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity, chunked"),
        *(b"chunked;q=1", b"chunked,", b", chunked", b"xchunked", b"chunke", b'"chunked"', b"chunked\x0b"),
    ],
)
def test_a_transfer_coding_that_is_not_just_chunked_is_malformed(value: bytes) -> None:
    malformed(OK + b"Transfer-Encoding: " + value + b"\r\n\r\n")


@each(
    ("head", "why"),
    [
        (OK + b"Content-Length: 5\r\nContent-Length: 3\r\n\r\n", "more than one Content-Length"),
        (OK + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\n", "more than one Content-Length"),
        (OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", "more than one Transfer-Encoding"),
        (OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", "more than one Transfer-Encoding"),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "both"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
        (b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\n\r\n", "more than one Location"),
        (b"HTTP/1.1 404 None\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 100 Continue\r\nbroken\r\n\r\n" + OK + b"\r\n", "field 1"),
    ],
)
def test_a_framing_that_can_be_understood_in_two_ways_is_malformed(head: bytes, why: str) -> None:
    assert why in malformed(head)


@each(
    ("line", "size"),
    [
        *((b"0", 0), (b"000", 0), (b"a", 10), (b"A", 10), (b"fF", 255), (b"0" * 100 + b"5", 5)),
        *((b"5;", 5), (b"5;a=b", 5), (b'5 \t; a = "b\xff"', 5), (b"5;a;b=c", 5)),
        (b"f" * 15, 16**15 - 1),
    ],
)
def test_a_chunk_says_its_size(line: bytes, size: int) -> None:
    assert read_chunk_size(io.BytesIO(line + b"\r\nx")) == size


@each(
    "line",
    [
        *(b"", b" ", b"-5", b"+5", b" 5", b"5 ", b"5\t", b"0x5", b"0X5", b"5_0", b"g", b"5g", b"5.", b"5 5", b"5,5"),
        *(b"-0", b";a", b"5;\0", b"5;\x1b", b"5\r", b"\xb2", b"f" * 16, b"f" * 1000, b"5;" + b"a" * 5000),
    ],
)
def test_a_chunk_whose_size_is_no_number_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read_chunk_size(io.BytesIO(line + b"\r\n"))


@each("line", [b"5\n", b"5;a\n", b"\n"])
def test_a_chunk_size_before_lf_alone_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="LF alone"):
        read_chunk_size(io.BytesIO(line))


@each("end", [b"\n", b"\n\r", b"xy", b"\rx", b"0\r\n", b"x"])
def test_a_chunk_that_does_not_end_where_it_says_is_malformed(end: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read_chunk_end(io.BytesIO(end))


def test_a_frame_that_is_cut_at_any_byte_is_cut() -> None:
    for end in range(5):
        with pytest.raises(CutAnswer):
            read_chunk_size(io.BytesIO(b"1f;a\r\n"[:end]))
    for end in range(2):
        with pytest.raises(CutAnswer):
            read_chunk_end(io.BytesIO(b"\r\n"[:end]))
    for end in range(8):
        with pytest.raises(CutAnswer):
            read_trailer(io.BytesIO(b"A: b\r\n\r\n"[:end]))


@each("trailer", [b"broken\r\n\r\n", b"A: b\n\n", b" folded\r\n\r\n", b"A: b\r\n" * 101 + b"\r\n"])
def test_a_malformed_trailer_is_malformed(trailer: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="trailer"):
        read_trailer(io.BytesIO(trailer))
