"""A response for http.client that is whole and well formed, or an error.

Knows http.client's classes and the timeout of a socket. What an error means for the source is decided in url.py. The
errors here are neither OSError nor HTTPException, which urllib3 and requests would wrap beyond recognition.
"""

from __future__ import annotations

import http.client
import io
import math
import re
import time
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
    """A part that is not content came so slowly that it might never end. Says which part."""


class StrictResponse(http.client.HTTPResponse):
    """What a connection of http.client or urllib3 makes of an answer. Raises MalformedAnswer, CutAnswer, SlowAnswer."""

    fp: Any = None  # of one that an interrupt has stopped while it was made: its end asks for this, too

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:  # Any: a socket, also one of ssl or urllib3
        super().__init__(sock, *args, **kwargs)
        plain, self.fp = self.fp, None
        self._source = _TimedReader(plain.detach(), sock)
        self.fp = io.BufferedReader(self._source)
        # From here on, because a proxy's answer to CONNECT is read without `begin`.
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
        if head.framing is not Framing.CLOSE:
            self.fp = _Content(self.fp, self._source, head)

    def flush(self) -> None:
        """Do nothing. http.client's asks the stream; if an interrupt has closed that, it would raise another error."""


def _message(head: Head) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, value in head.fields:
        if name.lower() in ("transfer-encoding", "content-encoding"):
            continue  # the one is undone here, the other stays on; urllib3 is to see neither field
        if name.lower() == "set-cookie":
            value = _ODD_EXPIRY.sub("", value)
        message[name] = value
    return message


class _TimedReader(io.RawIOBase):
    """What a socket receives, and how long some parts of it may take from their first byte on."""

    _raw: Any = None  # as above

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:  # Any: as above
        self._raw = raw
        self._socket = sock
        self._timeout: float = math.inf if sock.gettimeout() is None else sock.gettimeout()
        self._until: float | None = None  # by the monotonic clock; infinite before the first byte
        self._part = ""

    def hurry(self, part: str) -> None:
        """Have what comes next arrive within the socket's timeout after its first byte. *part* says what it is."""
        self._until = math.inf
        self._part = part

    def take_time(self) -> None:
        """Let what comes next take as long as it takes, with the socket's timeout for each byte."""
        self._until = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:  # a writable buffer; as io has it
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
            if self._raw is not None:
                self._raw.close()
        finally:
            super().close()


class _Content(io.BufferedIOBase):
    """Content that is as long as its head says, or that comes in chunks."""

    _stream: Any = None  # as above

    def __init__(self, stream: io.BufferedReader, source: _TimedReader, head: Head) -> None:
        self._stream = stream
        self._source = source
        self._left = head.length  # bytes until its end, or until that of the chunk that is being read
        self._may_go_on = head.framing is Framing.CHUNKED  # after these
        self._has_begun = False

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = math.inf if size is None or size < 0 else size
        parts: list[bytes] = []
        try:
            while wanted and (self._left or (self._may_go_on and self._find_chunk())):
                data = self._stream.read(int(min(wanted, self._left)))
                if not data:
                    raise CutAnswer
                parts.append(data)
                self._left -= len(data)
                wanted -= len(data)
        except CutAnswer:
            # What did come counts; the next read meets the end again.
            if not parts:
                raise
        return b"".join(parts)

    def _find_chunk(self) -> bool:
        """Read on to where there is content. Returns whether there is more."""
        self._source.hurry("the frame of a chunk")
        if self._has_begun:
            read_chunk_end(self._stream)
        self._left = read_chunk_size(self._stream)
        self._has_begun = True
        if not self._left:
            read_trailer(self._stream)
            self._may_go_on = False
        self._source.take_time()
        return self._may_go_on

    def close(self) -> None:
        try:
            if self._stream is not None:
                self._stream.close()
        finally:
            super().close()
