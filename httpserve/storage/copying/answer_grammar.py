"""What an answer says about itself: its head, the sizes of its chunks, its trailer, by the letter of RFC 9112.

A stream in, data or an error out. Knows no socket, and nothing of what is done with the content. http.client takes the
end of a connection for the end of a head, drops every field after a line without a colon, and reads a chunk size as
int() does: each of these makes a part of a file look like the whole file.
"""

from __future__ import annotations

import re
from enum import Enum
from io import BufferedIOBase
from typing import NamedTuple

MOST_HEAD_BYTES = 64 * 1024
MOST_FIELDS = 100
MOST_INTERIM = 20  # heads of 1xx before the one that counts
MOST_CHUNK_LINE_BYTES = 4096

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
# 15 digits, as no file has more bytes; blanks are allowed only before an extension.
_CHUNK_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n")
# A field that came twice would be read as one value, or as the first of them.
_ONCE = ("content-length", "transfer-encoding", "location")


class MalformedAnswer(Exception):
    """What came breaks the grammar, or can be understood in two ways. Says which part, and quotes nothing."""


class CutAnswer(Exception):
    """The connection was closed before the answer was whole."""


class Framing(Enum):
    """What ends the content."""

    LENGTH = "as many bytes as Content-Length says"
    CHUNKED = "a last chunk"
    CLOSE = "the end of the connection"


class Head(NamedTuple):
    """The head of an answer. `length` is that of the content, 0 where there is none or it was not said."""

    minor: int  # of the HTTP version; the major one is 1
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    framing: Framing
    length: int


def read_head(stream: BufferedIOBase) -> Head:
    """Read up to the end of the first head that is not interim (1xx). Raises MalformedAnswer and CutAnswer."""
    for _ in range(MOST_INTERIM + 1):
        line = _line(stream, MOST_HEAD_BYTES, "its head")
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise MalformedAnswer("it does not begin as one of HTTP/1 does; the connection was closed")
        minor, status, reason = int(match[1]), int(match[2]), (match[3] or b"").decode("latin-1").strip()
        fields = _read_fields(stream, MOST_HEAD_BYTES - len(line), "its head")
        framing, length = _framing(minor, status, fields)
        if status >= 200 or status == 101:
            return Head(minor, status, reason, fields, framing, length)
    raise MalformedAnswer(f"more than {MOST_INTERIM} interim answers come before it")


def read_chunk_size(stream: BufferedIOBase) -> int:
    """Read the line before a chunk; 0 is the last. Blocks as *stream* does, and raises as `read_head` does."""
    line = stream.readline(MOST_CHUNK_LINE_BYTES + len(b"\r\n"))
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        _without_end(line, MOST_CHUNK_LINE_BYTES, "the frame of a chunk")
        raise MalformedAnswer("the size of a chunk is not a number")
    return int(match[1], 16)


def read_chunk_end(stream: BufferedIOBase) -> None:
    """Read the line end after a chunk. Blocks as *stream* does, and raises as `read_head` does."""
    end = stream.read(2)
    if end != b"\r\n":
        raise CutAnswer if b"\r\n".startswith(end) else MalformedAnswer("a chunk is longer than it says")


def read_trailer(stream: BufferedIOBase) -> None:
    """Read the fields after the last chunk, which are not needed here. Blocks and raises as `read_head` does."""
    _read_fields(stream, MOST_HEAD_BYTES, "its trailer")


def _read_fields(stream: BufferedIOBase, left: int, where: str) -> tuple[tuple[str, str], ...]:
    fields: list[tuple[str, str]] = []
    while line := _line(stream, left, where):
        left -= len(line)
        match = _FIELD.fullmatch(line)
        if match is None:
            raise MalformedAnswer(f"field {len(fields) + 1} of {where} is malformed")
        fields.append((match[1].decode("ascii"), match[2].strip(b" \t").decode("latin-1")))
        if len(fields) > MOST_FIELDS:
            raise MalformedAnswer(f"{where} has more than {MOST_FIELDS} fields")
    return tuple(fields)


def _line(stream: BufferedIOBase, most: int, where: str) -> bytes:
    return _without_end(stream.readline(max(most, 0) + len(b"\r\n")), most, where)


def _without_end(line: bytes, most: int, where: str) -> bytes:
    if line.endswith(b"\r\n"):
        return line[:-2]
    if line.endswith(b"\n"):
        raise MalformedAnswer(f"a line of {where} ends with LF alone; lines of HTTP end with CRLF")
    if len(line) > most:
        raise MalformedAnswer(f"{where} is too long")
    raise CutAnswer


def _framing(minor: int, status: int, fields: tuple[tuple[str, str], ...]) -> tuple[Framing, int]:
    """Find what ends the content (RFC 9112, 6.3); whatever could be understood in two ways is an error."""
    values: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        if name in _ONCE:
            if name in values:
                raise MalformedAnswer(f"it has more than one {name.title()} field")
            values[name] = value
    coding, length = values.get("transfer-encoding"), values.get("content-length")
    if coding is not None:
        if length is not None:
            raise MalformedAnswer("it has both a Content-Length and a Transfer-Encoding")
        if minor == 0:
            raise MalformedAnswer("it has a Transfer-Encoding, which has no place in HTTP/1.0")
        if coding.lower() != "chunked":
            raise MalformedAnswer("it has a transfer coding other than chunked, which nobody asked for")
    elif length is not None and _LENGTH.fullmatch(length) is None:
        raise MalformedAnswer("its Content-Length is not a number of bytes that a file can have")
    if status < 200 or status in (204, 304):
        return Framing.LENGTH, 0
    if coding is not None:
        return Framing.CHUNKED, 0
    return (Framing.CLOSE, 0) if length is None else (Framing.LENGTH, int(length))
