"""`wsgi.input`: the content of a request, read from its connection when the app asks for it.

Knows files. Knows no sockets.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from httpserve.server.request_head import Refused

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES = 64 * 1024


class ContentFailed(OSError):
    """The content of a request did not come. `refused` is the answer to it."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class _Raw(io.RawIOBase):
    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._data = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._data:
            self._data = memoryview(self._read())
        into = memoryview(buffer).cast("B")
        count = min(len(into), len(self._data))
        into[:count], self._data = self._data[:count], self._data[count:]
        return count


class RequestBody(io.BufferedReader):
    """A file that ends where the content of a request does.

    Args:
        read: Waits for more of the content and returns it, empty at its end. Raises ContentFailed.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        super().__init__(_Raw(read), READ_BYTES)
