"""Claims about a request's content: where it ends, and what of a chunked one is refused (RFC 9112 section 7.1)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.server.request_content import MOST_LINE_BYTES, MOST_TRAILER_BYTES, Content
from httpserve.server.request_head import CHUNKED, Refused
from tests.cases import each

NEXT = b"GET / HTTP/1.1\r\n"


def taken(received: bytes, length: int = CHUNKED) -> tuple[bytes, bool, bytes, int]:
    """Feed all at once; return the data, whether it ended, what came behind, and how much was content."""
    content = Content(length)
    data = content.feed(received)
    return data, content.done, content.rest, content.taken


def taken_bytewise(received: bytes, length: int = CHUNKED) -> tuple[bytes, bool, bytes, int]:
    content = Content(length)
    data = b""
    for at in range(len(received)):
        if content.done:
            return data, True, content.rest + received[at:], content.taken
        data += content.feed(received[at : at + 1])
    return data, content.done, content.rest, content.taken


# Content of a known length


def test_no_content_is_at_its_end() -> None:
    assert Content(0).done


def test_content_of_a_length_ends_there() -> None:
    assert taken(b"hello" + NEXT, 5) == (b"hello", True, NEXT, 5)


def test_content_that_has_not_all_come_is_not_at_its_end() -> None:
    assert taken(b"hel", 5) == (b"hel", False, b"", 3)


def test_content_of_a_length_may_come_in_any_pieces() -> None:
    assert taken_bytewise(b"hello" + NEXT, 5) == (b"hello", True, NEXT, 5)


# Chunks

GOOD = [
    pytest.param(b"0\r\n\r\n", b"", id="empty"),
    pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", id="one"),
    pytest.param(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", id="two"),
    pytest.param(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", id="any case"),
    pytest.param(b"000\r\n\r\n", b"", id="zeros"),
    pytest.param(b"0005\r\nhello\r\n00\r\n\r\n", b"hello", id="leading zeros"),
    pytest.param(b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", id="data that looks like an end"),
    pytest.param(b"5;a\r\nhello\r\n0;b\r\n\r\n", b"hello", id="extension"),
    pytest.param(b"5;a=b;c=d\r\nhello\r\n0\r\n\r\n", b"hello", id="extensions with values"),
    pytest.param(b'5;a="x y;\\"z"\r\nhello\r\n0\r\n\r\n', b"hello", id="quoted value"),
    pytest.param(b'5;a="\xe9"\r\nhello\r\n0\r\n\r\n', b"hello", id="quoted value beyond ASCII"),
    pytest.param(b"5 ; a = b\r\nhello\r\n0\r\n\r\n", b"hello", id="blanks in an extension"),
    pytest.param(b"0\r\nX-Sum: 1\r\n\r\n", b"", id="trailer"),
    pytest.param(b"0\r\nX:\r\nY: a\tb \r\n\r\n", b"", id="trailers"),
    pytest.param(b"5;" + b"x" * (MOST_LINE_BYTES - 2) + b"\r\nhello\r\n0\r\n\r\n", b"hello", id="long line"),
    pytest.param(
        b"0\r\n" + (b"X: " + b"x" * 1021 + b"\r\n") * (MOST_TRAILER_BYTES // 1024) + b"\r\n", b"", id="long trailer"
    ),
]


@each(("received", "data"), GOOD)
def test_chunks_are_taken_apart(received: bytes, data: bytes) -> None:
    assert taken(received + NEXT) == (data, True, NEXT, len(received))


@each(("received", "data"), GOOD)
def test_chunks_may_come_byte_by_byte(received: bytes, data: bytes) -> None:
    assert taken_bytewise(received + NEXT) == (data, True, NEXT, len(received))


@each(("received", "data"), [case for case in GOOD if "long" not in str(case.id)])
def test_chunks_may_be_split_anywhere(received: bytes, data: bytes) -> None:
    for at in range(len(received)):
        content = Content(CHUNKED)
        got = content.feed(received[:at])
        early = content.done
        got += content.feed(received[at:] + NEXT)
        assert (got, early, content.done, content.rest) == (data, False, True, NEXT)


BAD = [
    pytest.param(b"\r\n", id="no size"),
    pytest.param(b"+5\r\nhello\r\n", id="plus"),
    pytest.param(b"-5\r\nhello\r\n", id="minus"),
    pytest.param(b" 5\r\nhello\r\n", id="blank before"),
    pytest.param(b"5 \r\nhello\r\n", id="blank behind"),
    pytest.param(b"5\t\r\nhello\r\n", id="tab behind"),
    pytest.param(b"1_0\r\nhello\r\n", id="underscore"),
    pytest.param(b"0x5\r\nhello\r\n", id="prefix"),
    pytest.param(b"5h\r\nhello\r\n", id="letter"),
    pytest.param(b"g\r\nhello\r\n", id="no hexadecimal digit"),
    pytest.param("٥\r\nhello\r\n".encode(), id="digit of another script"),
    pytest.param(b"1" * 16 + b"\r\n", id="too large a size"),
    pytest.param(b"5;\r\nhello\r\n", id="extension without a name"),
    pytest.param(b"5;a=\r\nhello\r\n", id="extension without its value"),
    pytest.param(b"5;a b\r\nhello\r\n", id="blank in an extension's name"),
    pytest.param(b"5;a=b c\r\nhello\r\n", id="blank in an extension's value"),
    pytest.param(b'5;a="b\r\nhello\r\n', id="quote not closed"),
    pytest.param(b'5;a="b\\"\r\nhello\r\n', id="closing quote escaped"),
    pytest.param(b'5;a="b\x00"\r\nhello\r\n', id="NUL in a quoted value"),
    pytest.param(b"5;a;\r\nhello\r\n", id="semicolon at the end"),
    pytest.param(b"5,a\r\nhello\r\n", id="comma"),
    pytest.param(b"5\nhello\r\n", id="size ends with LF alone"),
    pytest.param(b"5\rhello\r\n", id="size ends with CR alone"),
    pytest.param(b"5;a\nb\r\nhello\r\n", id="LF in an extension"),
    pytest.param(b"5;a\x7f\r\nhello\r\n", id="control character in an extension"),
    pytest.param(b"5\r\nhello world\r\n", id="more data than the size"),
    pytest.param(b"5\r\nhello\n0\r\n\r\n", id="data ends with LF alone"),
    pytest.param(b"5\r\nhelloX\r\n", id="one byte more"),
    pytest.param(b"0\r\nX : 1\r\n\r\n", id="blank before the colon of a trailer"),
    pytest.param(b"0\r\n: 1\r\n\r\n", id="trailer without a name"),
    pytest.param(b"0\r\nX\r\n\r\n", id="trailer without a colon"),
    pytest.param(b"0\r\n X: 1\r\n\r\n", id="folded trailer"),
    pytest.param(b"0\r\nX: 1\n\r\n", id="trailer ends with LF alone"),
    pytest.param(b"0\r\nX: \x00\r\n\r\n", id="NUL in a trailer"),
    pytest.param(b"0\r\nGET / HTTP/1.1\r\n\r\n", id="a request in the place of a trailer"),
    pytest.param(b"5;" + b"x" * (MOST_LINE_BYTES - 1) + b"\r\nhello\r\n0\r\n\r\n", id="too long a line"),
    pytest.param(
        b"0\r\n" + (b"X: " + b"x" * 1021 + b"\r\n") * (MOST_TRAILER_BYTES // 1024) + b"X:\r\n\r\n",
        id="too many trailers",
    ),
]


@each("received", BAD)
def test_malformed_chunks_are_refused(received: bytes) -> None:
    with pytest.raises(Refused) as caught:
        taken(received)

    assert caught.value.status == 400


@each("received", BAD)
def test_malformed_chunks_are_refused_byte_by_byte(received: bytes) -> None:
    with pytest.raises(Refused) as caught:
        taken_bytewise(received)

    assert caught.value.status == 400


@each(
    "received",
    [
        pytest.param(b"1" * (MOST_LINE_BYTES + 2), id="a size"),
        pytest.param(b"0\r\nX: " + b"x" * MOST_LINE_BYTES, id="a trailer"),
        pytest.param(b"5\r\nhelloxy", id="an end of data"),
        pytest.param(b"5\n", id="a line with LF alone"),
    ],
)
def test_a_line_that_cannot_become_one_is_refused_before_its_end(received: bytes) -> None:
    with pytest.raises(Refused):
        taken(received)


@each(
    "received",
    [b"", b"5", b"5;", b"5\r", b"5\r\n", b"5\r\nhell", b"5\r\nhello", b"5\r\nhello\r", b"0\r\n", b"0\r\nX: 1\r\n"],
)
def test_what_may_still_become_content_is_waited_for(received: bytes) -> None:
    content = Content(CHUNKED)

    content.feed(received)

    assert not content.done


TOKEN = st.text("abcXYZ!#$%&'*+-.^_`|~019", min_size=1, max_size=5)
QUOTED = st.text("ab \t;=,[]\u00e9", max_size=5).map(lambda text: f'"{text}"')
EXTENSION = st.one_of(TOKEN.map(";{}".format), st.builds(";{}={}".format, TOKEN, st.one_of(TOKEN, QUOTED)))


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSION), max_size=5),
    st.lists(st.builds("{}: {}\r\n".format, TOKEN, TOKEN), max_size=3),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_what_a_client_put_into_chunks_comes_out_whatever_the_pieces(
    chunks: list[tuple[bytes, str]], trailers: list[str], cuts: list[int]
) -> None:
    whole = b"".join(b"%x%b\r\n%b\r\n" % (len(data), more.encode("latin-1"), data) for data, more in chunks)
    whole += b"0\r\n" + "".join(trailers).encode("latin-1") + b"\r\n"
    marks = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})

    content = Content(CHUNKED)
    data = b"".join(content.feed(whole[start:stop]) for start, stop in pairwise(marks))

    assert (data, content.done, content.rest, content.taken) == (
        b"".join(data for data, _ in chunks),
        True,
        b"",
        len(whole),
    )


@given(
    st.lists(st.sampled_from([b"0", b"5", b"\r", b"\n", b"\r\n", b";", b"x", b"hello", b":", b" ", b'"']), max_size=12)
)
def test_the_pieces_decide_nothing(parts: list[bytes]) -> None:
    received = b"".join(parts)

    def outcome(pieces: list[bytes]) -> tuple[bytes, bool] | int:
        content = Content(CHUNKED)
        data = b""
        try:
            for piece in pieces:
                if not content.done:
                    data += content.feed(piece)
        except Refused as refused:
            return refused.status
        return data, content.done

    assert outcome([received]) == outcome([bytes([byte]) for byte in received]) == outcome(parts)
