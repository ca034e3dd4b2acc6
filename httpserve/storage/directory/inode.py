"""Identifies a file or directory, whatever its name, and whatever had its number before.

Knows the system's numbers, and the time of birth, which nobody can set: neither `cp -a` nor tar nor rsync gives a
copy the birth of its original, and a reused number comes with a later one. Does not know what this is for.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple, Self

_EMPTY_PATH, _BIRTH = 0x1000, 0x800  # AT_EMPTY_PATH of linux/fcntl.h, STATX_BTIME of linux/stat.h
_STATX_BYTES, _BIRTH_AT = 256, 80  # struct statx of linux/stat.h
_SECOND_NS = 1_000_000_000


class Inode(NamedTuple):
    """A file or a directory. `birth` is in ns; 0 where the file system does not say."""

    device: int
    number: int
    birth: int

    @classmethod
    def of(cls, fd: int) -> Self:
        """Return what is open under *fd*. Raises OSError."""
        found = os.fstat(fd)
        return cls(found.st_dev, found.st_ino, _birth(fd, found))

    @classmethod
    def at(cls, directory: str) -> Self:
        """Return which directory is at a path, not following a symlink. Raises OSError."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return cls.of(fd)
        finally:
            os.close(fd)

    def is_at(self, name: str, where: int | None = None) -> bool:
        """Say whether *name*, in the directory *where*, is a link to it; somebody has it open. Never raises."""
        try:
            found = os.stat(name, dir_fd=where, follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self.device, self.number)


def _birth(fd: int, found: os.stat_result) -> int:
    seconds = getattr(found, "st_birthtime", None)  # BSD and macOS; Python asks Linux for it from 3.15 on
    if seconds is not None:  # pragma: no cover - the tests run on one system at a time
        return int(seconds * _SECOND_NS)
    return _statx()(fd)


@functools.cache
def _statx() -> Callable[[int], int]:
    """Return what asks Linux for a birth. Loads ctypes, which a program that changes nothing need not wait for."""
    try:
        import ctypes

        call = ctypes.CDLL(None, use_errno=True).statx if sys.platform == "linux" else None
    except (ImportError, OSError, AttributeError):  # a static Python, an old C library
        call = None
    if call is None:  # pragma: no cover - likewise
        return lambda fd: 0

    def birth(fd: int) -> int:
        answer = ctypes.create_string_buffer(_STATX_BYTES)
        if call(fd, b"", _EMPTY_PATH, _BIRTH, answer) != 0:
            return 0
        (known,) = struct.unpack_from("I", answer)
        seconds, nanoseconds = struct.unpack_from("qI", answer, _BIRTH_AT)
        return int(seconds * _SECOND_NS + nanoseconds) if known & _BIRTH else 0

    return birth
