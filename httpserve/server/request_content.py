"""The content of a request, as it arrives: where it ends, and which bytes of it are data.

Bytes in, bytes out, by the grammar of RFC 9112 section 7.1. Knows no socket.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from httpserve.server.request_head import CHUNKED, Refused

MOST_LINE_BYTES = 4096  # a chunk's size with its extensions, or one trailer field
MOST_TRAILER_BYTES = 16 * 1024

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*")
_TRAILER = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*")


class _Next(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    NOTHING = auto()


class Content:
    """The content of one request.

    Args:
        length: The number of bytes, or `CHUNKED`.
        is_held: Whether the client waits for a go-ahead before it sends the first of them.

    Attributes:
        is_held: The same.
        taken: How many bytes of the connection were content.
        waited: How many seconds somebody has waited for them.
    """

    def __init__(self, length: int, *, is_held: bool = False) -> None:
        self.is_held = is_held
        self._chunked = length == CHUNKED
        self._next = _Next.SIZE if self._chunked else (_Next.DATA if length else _Next.NOTHING)
        self._left = 0 if self._chunked else length
        self._buffer = b""
        self._at = 0  # in it: what comes before was taken
        self._trailer_bytes = 0
        self.taken = 0
        self.waited = 0.0

    @property
    def done(self) -> bool:
        """Whether the content has come to its end."""
        return self._next is _Next.NOTHING

    @property
    def left(self) -> int:
        """How many bytes are still to come at least."""
        return self._left

    @property
    def rest(self) -> bytes:
        """What came after the end of the content: the beginning of the next request."""
        return self._buffer

    def feed(self, received: bytes) -> bytes:
        """Take the next bytes of the connection and return the data in them.

        Raises:
            Refused: A chunk or a trailer is malformed.
        """
        self._buffer += received
        data: list[bytes] = []
        while not self.done and self._step(data):
            pass
        self._buffer = self._buffer[self._at :]
        self._at = 0
        return b"".join(data)

    def _step(self, data: list[bytes]) -> bool:
        if self._next is _Next.DATA:
            return self._take_data(data)
        line = self._take_line()
        if line is None:
            return False
        if self._next is _Next.SIZE:
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise Refused(400, "the size of a chunk is malformed")
            self._left = int(match[1], 16)
            self._next = _Next.DATA if self._left else _Next.TRAILER
        elif self._next is _Next.DATA_END:
            self._next = _Next.SIZE
        else:
            self._take_trailer(line)
        return True

    def _take_data(self, data: list[bytes]) -> bool:
        piece = self._buffer[self._at : self._at + self._left]
        data.append(piece)
        self._at += len(piece)
        self._left -= len(piece)
        self.taken += len(piece)
        if self._left:
            return False
        self._next = _Next.DATA_END if self._chunked else _Next.NOTHING
        return True

    def _take_line(self) -> bytes | None:
        buffer, at = self._buffer, self._at
        longest = at + MOST_LINE_BYTES + len(b"\r\n")
        end = buffer.find(b"\r\n", at, longest)
        begun = buffer[at:longest].removesuffix(b"\r") if end < 0 else buffer[at:end]
        if self._next is _Next.DATA_END and begun:
            raise Refused(400, "a chunk is longer than its size")
        if len(begun) > MOST_LINE_BYTES or b"\n" in begun:
            raise Refused(400, "a line of the chunked content is malformed")
        if end < 0:
            return None
        self._at = end + len(b"\r\n")
        self.taken += self._at - at
        return begun

    def _take_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if not line:
            self._next = _Next.NOTHING
        elif self._trailer_bytes > MOST_TRAILER_BYTES or _TRAILER.fullmatch(line) is None:
            raise Refused(400, "a trailer field is malformed")
