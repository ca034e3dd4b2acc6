"""What must hold of the content of a request, however the bytes come in: bytes in, an outcome in a few words out.

Knows no fuzzer, no socket and no file.
"""

from __future__ import annotations

from itertools import pairwise

from httpserve.server import request_content
from httpserve.server.request_content import Content
from httpserve.server.request_head import CHUNKED, Refused
from tests.fuzz.grammar import BLANKS, TOKEN, check_refusal, is_field, is_text, number

Outcome = tuple[bytes, bytes] | None  # data and rest, None while the end has not come


def check_content(data: bytes) -> str:
    """Take the first line for a length, or `chunked`, and for where to cut; what follows for the content."""
    first, _, received = data.partition(b"\n")
    words = first.split()
    said = number(words[0]) if words else None
    length = CHUNKED if said is None else said
    cuts = {cut % (len(received) + 1) for cut in map(number, words[1:]) if cut is not None}
    marks = sorted({0, len(received), *cuts})
    whole = _fed(length, [received])
    assert _fed(length, [received[start:stop] for start, stop in pairwise(marks)]) == whole
    assert _fed(length, [received[at : at + 1] for at in range(len(received))]) == whole
    try:
        expected = _read_plainly(length, received)
    except ValueError as error:
        assert whole == "refused"
        return f"refused: {error}"
    assert whole == expected
    return "not yet" if expected is None else f"{length == CHUNKED} {bool(expected[0])} {bool(expected[1])}"


def _fed(length: int, pieces: list[bytes]) -> Outcome | str:
    one = Content(length)
    data = b""
    given = 0
    try:
        for piece in pieces:
            data += one.feed(piece)
            given += len(piece)
            assert one.taken + len(one.rest) == given
    except Refused as refused:
        check_refusal(refused, 400)
        return "refused"
    return (data, one.rest) if one.done else None


def _read_plainly(length: int, received: bytes) -> Outcome:
    """Read content from its beginning, as RFC 9112 section 7.1.3 has it. Raises ValueError where it is malformed."""
    if length != CHUNKED:
        return (received[:length], received[length:]) if len(received) >= length else None
    data, rest = b"", received
    while True:
        line, rest, is_whole = _line(rest)
        if not is_whole:
            return None
        size = _chunk_size(line)
        if size == 0:
            break
        if len(rest) < size:
            return None
        data, rest = data + rest[:size], rest[size:]
        if not rest.startswith(b"\r\n"):
            if rest in (b"", b"\r"):
                return None
            raise ValueError("longer than its size")
        rest = rest[2:]
    trailers = 0
    while True:
        line, rest, is_whole = _line(rest)
        if not is_whole:
            return None
        if not line:
            return data, rest
        trailers += len(line)
        if not is_field(line) or trailers > request_content.MOST_TRAILER_BYTES:
            raise ValueError("trailer")


def _line(text: bytes) -> tuple[bytes, bytes, bool]:
    line, end, rest = text.partition(b"\r\n")
    if not end and line.endswith(b"\r"):
        line = line[:-1]
    if b"\n" in line or len(line) > request_content.MOST_LINE_BYTES:
        raise ValueError("line")
    return line, rest, bool(end)


def _chunk_size(line: bytes) -> int:
    at = 0
    while line[at : at + 1] and line[at : at + 1] in b"0123456789abcdefABCDEF":
        at += 1
    if not 0 < at <= 15:
        raise ValueError("size")
    size = int(line[:at], 16)
    while at < len(line):
        at = _after_extension(line, at)
    return size


def _after_extension(line: bytes, at: int) -> int:
    at = _after_blanks(line, at)
    if line[at : at + 1] != b";":
        raise ValueError("extension")
    at = _after_token(line, _after_blanks(line, at + 1))
    value = _after_blanks(line, at)
    if line[value : value + 1] != b"=":
        return at
    value = _after_blanks(line, value + 1)
    return _after_quoted(line, value + 1) if line[value : value + 1] == b'"' else _after_token(line, value)


def _after_blanks(line: bytes, at: int) -> int:
    while at < len(line) and line[at] in BLANKS:
        at += 1
    return at


def _after_token(line: bytes, at: int) -> int:
    end = at
    while end < len(line) and line[end] in TOKEN:
        end += 1
    if end == at:
        raise ValueError("token")
    return end


def _after_quoted(line: bytes, at: int) -> int:
    while at < len(line):
        if line[at] == 0x22:
            return at + 1
        at += 2 if line[at] == 0x5C else 1
        if not is_text(line[at - 1 : at]):
            raise ValueError("quoted character")
    raise ValueError("open quotes")
