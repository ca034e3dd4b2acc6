"""A file that is open for reading: one version, in one regular file.

Knows one descriptor, and the path that it was opened by. Does not know how
names become paths, nor when a root is open.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time

from httpserve.storage.served import Fields, Identity

# A fifo without a writer must not block the server.
FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
MOST_LOOKS = 5
BETWEEN_LOOKS_SECONDS = 0.001


class WouldBlock(BlockingIOError):
    """A file that cannot be opened without waiting for another program."""


class OpenFile:
    """A regular file that is open for reading, and which version it is: a `FileVersion`.

    It closes *fd*; *path* is what was opened, and had this number of *links*.
    """

    __slots__ = ("_has_path", "_path", "_seen", "disk", "fd", "fields", "identity", "name", "sha256", "shares_second")

    is_whole = True
    etag = None  # the site makes one of the identity

    def __init__(
        self,
        fd: int,
        name: str,
        identity: Identity,
        sha256: str | None,
        path: str,
        links: int,
        *,
        shares_second: bool = False,
        fields: Fields = (),
    ) -> None:
        self.fd = fd
        self.disk = identity.device  # that it lies on
        self.name = name
        self.identity = identity
        self.sha256 = sha256
        self.shares_second = shares_second
        self.fields = fields
        self._path = path
        self._has_path = True  # at the last look: whether the path led here
        self._seen = (identity.mtime_ns, identity.size, identity.ctime_ns, links)  # at the last look

    def arrived(self, offset: int, length: int, seconds: float) -> int:
        """Return *length*: all of it is there."""
        return length

    def unchanged(self) -> bool:
        """Say whether the bytes read so far are those of the version that was opened. Raises OSError.

        Size and mtime alone do not tell, as mtime can be set back; ctime cannot. A file that is replaced, deleted,
        renamed or linked while it is sent also gets another ctime, but its bytes stay: each look is compared with the
        one before, and what shows in the file's names is not a change. This takes some milliseconds.
        """
        seen = _look(self.fd)
        return seen == self._seen or self._is_only_called_otherwise(seen)

    def _is_only_called_otherwise(self, seen: tuple[int, int, int, int]) -> bool:
        """Say whether a file that has changed somehow since the last look has other names, but the same bytes."""
        if seen[:2] != self._seen[:2]:
            return False
        # The kernel updates the number of names and the ctime one after the other: tmpfs the ctime first, ext4 last.
        for _ in range(MOST_LOOKS):
            time.sleep(BETWEEN_LOOKS_SECONDS)  # nothing tells when both are updated
            before, seen = seen, _look(self.fd)
            if seen == before:
                break
        try:
            has_path = os.path.samestat(os.stat(self._path), os.fstat(self.fd))
        except (FileNotFoundError, NotADirectoryError):
            has_path = False
        had_path, self._has_path = self._has_path, has_path
        before, self._seen = self._seen, seen
        has_other_names = seen[3] != before[3] or (had_path and not has_path)
        return has_other_names and seen[:2] == before[:2]

    def close(self) -> None:
        """Close the descriptor. Harmless when called again."""
        fd, self.fd = self.fd, -1  # a signal's handler comes after a call, so not between this and the next
        if fd >= 0:
            try:
                os.close(fd)  # not by `close_read`, where a signal's handler may come first
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise
        self.__class__ = _Closed

    def __del__(self) -> None:
        if hasattr(self, "fd"):  # an interrupt may come before anybody holds it
            self.close()


class _Closed(OpenFile):
    """A file that is closed. Its finalizer is in C: what a signal raises in a Python finalizer is lost."""

    __slots__ = ()

    __del__ = object.__init__


def _look(fd: int) -> tuple[int, int, int, int]:
    """Return mtime, size, ctime and the number of names of an open file."""
    found = os.fstat(fd)
    return found.st_mtime_ns, found.st_size, found.st_ctime_ns, found.st_nlink


def open_regular(path: str) -> int:
    """Open a regular file for reading, and nothing else: a fifo's writer would take us for its reader.

    Raises:
        Irregular: it is something else.
        WouldBlock: another program has a lease on it, which it has been asked to give up.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise Irregular(mode)
    try:
        return os.open(path, FLAGS)
    except BlockingIOError as error:  # fcntl(2), F_SETLEASE: Samba has one on what its clients have open
        raise WouldBlock(error.errno, error.strerror, path) from None


def wait_for_lease(path: str) -> None:
    """Wait until a regular file can be opened at once, at most for the kernel's lease-break-time (45 seconds)."""
    with io.FileIO(path, opener=_waiting):  # a Ctrl-C does not lose this one
        pass


def _waiting(path: str, flags: int) -> int:
    look = os.open(path, getattr(os, "O_PATH", os.O_NONBLOCK) | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(mode := os.fstat(look).st_mode):
            raise Irregular(mode)
        return os.open(f"/proc/self/fd/{look}", flags)  # the very file that was looked at: waiting for it is safe
    finally:
        os.close(look)


def close_read(fd: int) -> None:
    """Close a descriptor that was only read from: what the disk reports then no longer matters."""
    try:
        os.close(fd)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise


class Irregular(OSError):
    """Something other than a regular file."""

    def __init__(self, mode: int) -> None:
        if stat.S_ISDIR(mode):
            super().__init__(errno.EISDIR, "it is a directory")
        else:
            super().__init__(errno.EACCES, "it is not a regular file")


def real_path(fd: int, path: str) -> str:
    """Return where an open file really lies, whatever symlinks led to it."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # not Linux, or no /proc in this container
        return os.path.realpath(path)
