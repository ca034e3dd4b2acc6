"""Whether a file that was opened before is still the same version, so that an answer may be given again.

Knows one path and the times of the file there. Does not know whether its disk answers at once: `Disks` does.
"""

from __future__ import annotations

import os

from httpserve.storage.directory.disks import Disks
from httpserve.storage.directory.open_file import OpenFile, open_regular
from httpserve.storage.served import SETTLED_SECONDS, FileVersion, Identity


class Recheck:
    """One version of a file, to be read again if that needs no wait for its disk."""

    __slots__ = ("_identity", "_just_answered", "_name", "_path", "_sha256")

    def __init__(self, path: str, file: FileVersion, disks: Disks) -> None:
        self._path = path
        self._name = file.name
        assert isinstance(file.identity, Identity)
        self._identity = file.identity
        self._sha256 = file.sha256
        self._just_answered = disks.just_answered

    def read(self, into: memoryview) -> bool:
        """Read all its bytes into a buffer of its length; False when it has changed, or its disk may sleep."""
        if not self._just_answered(self._name):
            return False
        try:
            fd = open_regular(self._path)
        except OSError:
            return False
        try:
            length = _read_into(fd, into)
            found = os.fstat(fd)  # after the read: what is unchanged now was unchanged during it
        except OSError:
            return False
        finally:
            os.close(fd)
        return Identity.of(found) == self._identity and length == self._identity.size

    def is_unchanged(self) -> bool:
        """Tell whether it is there as before; False also where its disk may sleep.

        If `change_would_show` held, the bytes that were read then are still right.
        """
        if not self._just_answered(self._name):
            return False
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        # An Identity compares as a tuple; making one takes longer than the rest of this line.
        own = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return own == self._identity

    def change_would_show(self, since: float) -> bool:
        """Tell whether `is_unchanged` notices any change since a time, in seconds since the epoch.

        All but one: a program that has mapped the file into its memory may write there without a trace for a while.
        """
        # A disk that has just answered is local to this kernel.
        return since - self._identity.ctime_ns / 1e9 >= SETTLED_SECONDS and self._just_answered(self._name)

    def open(self) -> tuple[OpenFile | None, int]:
        """Open it, for an answer that has begun to leave, and return its size; None when it has changed."""
        try:
            fd = open_regular(self._path)
        except OSError:
            return None, 0
        found = os.fstat(fd)
        file = OpenFile(fd, self._name, Identity.of(found), self._sha256, self._path, found.st_nlink)
        if file.identity == self._identity:
            return file, self._identity.size
        file.close()
        return None, 0


def _read_into(fd: int, into: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [into], 0)
    data = os.pread(fd, len(into), 0)
    into[: len(data)] = data
    return len(data)
