"""A response for http.client that is whole and well formed, or an error.

Knows http.client's classes and the timeout of a socket. The grammar is answer_grammar's; what an error means for the
source is decided in http_source. The errors here are no OSError and no HTTPException, which urllib3 and requests would
wrap until nobody can tell one from the other.
"""

from __future__ import annotations

import http.client
import io
import math
import re
import time
from enum import Enum
from typing import Any

from httpserve.storage.copying.answer_grammar import (
    CutAnswer,
    Framing,
    Head,
    read_chunk_end,
    read_chunk_size,
    read_head,
    read_trailer,
)

# A year of more than four digits makes http.cookiejar warn of a bug in itself. Without the attribute a cookie lives as
# long as the copy, which is long enough.
_ODD_EXPIRY = re.compile(r";\s*expires\s*=[^;]*[0-9]{5}[^;]*", re.IGNORECASE)


class SlowAnswer(Exception):
    """A part that is not content came so slowly that it would never end. Says which part."""


class StrictResponse(http.client.HTTPResponse):
    """What a connection of http.client or urllib3 makes of an answer: its `response_class`.

    `begin` and `read` raise MalformedAnswer, CutAnswer and SlowAnswer; else they block and raise as the socket does.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:  # Any: a socket, of ssl or urllib3 as well
        super().__init__(sock, *args, **kwargs)
        self._source = _TimedReader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._source)
        # From here on, as the answer of a proxy to CONNECT is read without `begin`.
        self._source.hurry("the head of its answer")

    def begin(self, **_limits: Any) -> None:  # Any: newer versions of Python may say how many fields
        head = read_head(self.fp)
        self._source.take_time()
        self.status = self.code = head.status
        self.reason = head.reason
        self.version = 10 if head.minor == 0 else 11
        self.headers = self.msg = _message(head)
        # For what lies above, the content ends with its stream; the stream knows where that is.
        self.chunked, self.chunk_left, self.length = False, None, None
        self.will_close = True  # a connection serves one request
        match head.framing:
            case Framing.LENGTH:
                self.fp = _Sized(self.fp, head.length)  # type: ignore[assignment]  # what is used of it is there
            case Framing.CHUNKED:
                self.fp = _Chunked(self.fp, self._source)  # type: ignore[assignment]  # as above
            case Framing.CLOSE:
                pass


def _message(head: Head) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, value in head.fields:
        if name.lower() in ("transfer-encoding", "content-encoding"):
            continue  # the one is taken off here, the other stays on; urllib3 is not to look at either
        if name.lower() == "set-cookie":
            value = _ODD_EXPIRY.sub("", value)
        message[name] = value
    return message


class _TimedReader(io.RawIOBase):
    """What a socket receives, and how long some parts of it may take from their first byte on."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:  # Any: as above
        self._raw = raw
        self._socket = sock
        self._timeout: float = math.inf if sock.gettimeout() is None else sock.gettimeout()
        self._until: float | None = None  # by the monotonic clock; infinite before the first byte
        self._part = ""

    def hurry(self, part: str) -> None:
        """Let what comes next arrive within the socket's timeout after its first byte. *part* is what it is."""
        self._until = math.inf
        self._part = part

    def take_time(self) -> None:
        """Let what comes next take as long as it takes, with the socket's timeout for each byte."""
        self._until = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # Any: a writable buffer
        if self._until is None:
            return self._raw.readinto(buffer)
        if self._until == math.inf:
            count = self._raw.readinto(buffer)
            self._until = time.monotonic() + self._timeout
            return count
        left = self._until - time.monotonic()
        if left <= 0:
            raise SlowAnswer(self._part)
        self._socket.settimeout(min(left, self._timeout))
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            raise SlowAnswer(self._part) from None
        finally:
            self._socket.settimeout(self._timeout)

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _Content(io.BufferedIOBase):
    """Content whose end is not that of the connection."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            super().close()


class _Sized(_Content):
    def __init__(self, stream: io.BufferedReader, length: int) -> None:
        super().__init__(stream)
        self._left = length

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        self._left -= len(data)
        if wanted and not data:
            raise CutAnswer
        return data


class _Chunked(_Content):
    def __init__(self, stream: io.BufferedReader, source: _TimedReader) -> None:
        super().__init__(stream)
        self._source = source
        self._place = _Place.BEFORE_THE_FIRST_CHUNK
        self._left = 0  # bytes of the chunk that is being read

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = math.inf if size is None or size < 0 else size
        parts: list[bytes] = []
        try:
            while wanted and self._find_content():
                parts.append(self._take(wanted))
                wanted -= len(parts[-1])
        except CutAnswer:
            # What did come counts; the next read meets the end again.
            if not parts:
                raise
        return b"".join(parts)

    def _take(self, most: float) -> bytes:
        data = self._stream.read(int(min(most, self._left)))
        if not data:
            raise CutAnswer
        self._left -= len(data)
        return data

    def _find_content(self) -> bool:
        """Read on to where there is content. Tells whether there is more of it."""
        if self._left:
            return True
        if self._place is _Place.BEHIND_THE_LAST_CHUNK:
            return False
        self._source.hurry("the frame of a chunk")
        if self._place is _Place.IN_A_CHUNK:
            read_chunk_end(self._stream)
        self._left = read_chunk_size(self._stream)
        self._place = _Place.IN_A_CHUNK
        if not self._left:
            read_trailer(self._stream)
            self._place = _Place.BEHIND_THE_LAST_CHUNK
        self._source.take_time()
        return self._left > 0


class _Place(Enum):
    """Where in chunked content the next byte is."""

    BEFORE_THE_FIRST_CHUNK = "before it begins"
    IN_A_CHUNK = "in a chunk, or at its end"
    BEHIND_THE_LAST_CHUNK = "behind it all"
