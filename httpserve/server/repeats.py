"""Whole answers that are kept for a moment, to be sent again: small ones as bytes, others in a file without a name.

Knows bytes and descriptors. Knows no requests, and not for how long an answer is right. Not safe from several threads.

What leaves a file by sendfile is not copied: the socket borrows its pages. So no byte of this file is written twice,
and it is not cut short, which would be felt across a fork: it is closed, and another one begun. Pages that are under
way live on.
"""

from __future__ import annotations

import os

CAN_LEND = hasattr(os, "memfd_create") and hasattr(os, "sendfile")
LENT_FROM_BYTES = 16 * 1024  # copying less takes no longer than lending it


class StoredAnswer:
    """An answer in the file.

    Attributes:
        fd: The file.
        length: How many bytes it has.
        offset: Where it begins.
    """

    __slots__ = ("fd", "length", "offset")

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.fd = fd
        self.offset = offset
        self.length = length

    def read(self) -> bytes:
        """Return the answer. Raises OSError when it cannot be had whole."""
        data = os.pread(self.fd, self.length, self.offset)
        if len(data) < self.length:
            raise OSError("a kept answer is incomplete")
        return data


class AnswerStore:
    """All that one server keeps.

    Args:
        most: How many bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = 0
        self._fd = -1
        self._written = 0  # into the file

    def keep(self, whole: memoryview) -> bytes | StoredAnswer | None:
        """Keep a copy of an answer. None: there is no room."""
        if self._kept + len(whole) > self._most:
            return None
        self._kept += len(whole)
        if len(whole) < LENT_FROM_BYTES or not CAN_LEND:
            return bytes(whole)
        try:
            return self._lend(whole)
        except OSError:  # out of descriptors or of memory
            return bytes(whole)

    def _lend(self, whole: memoryview) -> bytes | StoredAnswer:
        if self._fd < 0:
            self._fd = os.memfd_create("httpserve")
        offset = self._written
        written = os.pwrite(self._fd, whole, offset)
        self._written += written
        return StoredAnswer(self._fd, offset, written) if written == len(whole) else bytes(whole)

    def forget(self) -> None:
        """Give up all that is kept: nothing that `keep` returned is to be used any more. Harmless when repeated."""
        fd, self._fd = self._fd, -1
        self._kept = self._written = 0
        if fd >= 0:
            os.close(fd)
