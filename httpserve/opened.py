"""A file that is open for reading: one version, in one regular file.

Knows one descriptor. Does not know how names become paths, nor when a root is
open.
"""

from __future__ import annotations

import os
import stat

from httpserve.created import Identity
from httpserve.errors import IsADirectory, NotPermitted, StorageError

FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a fifo without a writer must not hold up the server
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


class OpenFile:
    """A regular file that is open for reading, and which version of it."""

    __slots__ = ("fd", "identity", "name", "sha256", "shares_second")

    def __init__(
        self, fd: int, name: str, identity: Identity, sha256: str | None, *, shares_second: bool = False
    ) -> None:
        self.fd = fd
        self.name = name
        self.identity = identity
        self.sha256 = sha256
        self.shares_second = shares_second  # as in `Version`

    @property
    def disk(self) -> int:
        """The device that it lies on."""
        return self.identity.device

    def unchanged(self) -> bool:
        """Say whether the file still has the size and the time that it had when it was opened.

        Not its ctime: a file that is replaced or deleted while it is sent gets another one, and its bytes stay.
        """
        found = os.fstat(self.fd)
        return found.st_mtime_ns == self.identity.mtime_ns and found.st_size == self.identity.size

    def close(self) -> None:
        """Close the descriptor. Harmless when called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "fd"):  # a Ctrl-C may come before anybody holds it
            self.close()


def irregular(name: str, mode: int) -> StorageError:
    """Return the error for what is no file that could be sent."""
    if stat.S_ISDIR(mode):
        return IsADirectory(f"open {name!r}: it is a directory", name)
    return NotPermitted(f"open {name!r}: it is not a regular file", name)


def real_path(fd: int, path: str) -> str:
    """Return where an open file really lies, whatever symlinks led to it."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # not Linux, or no /proc in this container
        return os.path.realpath(path)
