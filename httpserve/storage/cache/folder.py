"""Where the entries of a cache lie: a private directory that goes with its server, or one that processes share.

A shared one has a folder for each host, known by its machine id: so hosts that mount one directory leave each other's
entries alone. Only its owner may write there, as whoever can write there chooses what boards get. Knows directories.
Does not know what lies in them.
"""

from __future__ import annotations

import os
import stat
import tempfile
from hashlib import blake2b

from httpserve.base.log import logger
from httpserve.errors import RootUnusable
from httpserve.storage.cache import locks
from httpserve.storage.directory import private_root

log = logger("httpserve.storage")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
HOST_BYTES = 8  # of the digest that a host's folder is named by
MACHINE_ID = "/etc/machine-id"
_PROBE = "locks"  # the file by which it is known whether there are locks


class Folder:
    """One that is open. `fd` is its descriptor, `path` where it lies."""

    def __init__(self, path: str | None) -> None:
        """Open the folder of this host in a directory, which is made where it is missing; None: a private one.

        Raises RootUnusable.
        """
        self.fd = -1
        self.is_shared = path is not None
        self._private: private_root.PrivateDirectory | None = None
        try:
            if path is not None:
                self._open_shared(os.path.realpath(path))
            if self.fd < 0:  # no path, or no locks there: a part for this process then
                self._open_private(tempfile.gettempdir() if path is None else path)
        except OSError as error:
            self.close()
            if isinstance(error, RootUnusable):
                raise
            raise RootUnusable(
                _unusable(path or tempfile.gettempdir(), error.strerror or str(error)), path or ""
            ) from error

    def _open_shared(self, path: str) -> None:
        os.makedirs(path, 0o700, exist_ok=True)
        self.path = os.path.join(path, host_name())
        above = _opened(path)
        try:
            try:
                os.mkdir(host_name(), 0o700, dir_fd=above)
            except FileExistsError:
                pass
            self.fd = _opened(self.path, host_name(), above)
        finally:
            os.close(above)
        probe = os.open(_PROBE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self.fd)
        try:
            if not locks.work(probe):
                os.close(self.fd)
                self.fd = -1
        finally:
            os.close(probe)

    def _open_private(self, parent: str) -> None:
        self.is_shared = False
        private_root.sweep(parent)
        self._private = private_root.PrivateDirectory(parent)
        self.path = self._private.path
        self.fd = os.open(self.path, _DIRECTORY | os.O_NOFOLLOW)

    def close(self) -> None:
        """Close it, and remove a private one with all in it. Harmless when repeated."""
        self.leave()
        if self._private is not None:
            self._private.remove()

    def leave(self) -> None:
        """Close it and remove nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def release(self) -> None:
        """Close it as a forked child does, whose parent goes on."""
        self.leave()
        if self._private is not None:
            self._private.release()


def host_name() -> str:
    """Return what this host's folder is called."""
    try:
        with open(MACHINE_ID, "rb") as file:
            machine = file.read().strip()
    except OSError:  # a container without one, or not Linux
        machine = b""
    return "host-" + blake2b(machine or os.uname().nodename.encode(), digest_size=HOST_BYTES).hexdigest()


def _opened(path: str, name: str | None = None, above: int | None = None) -> int:
    """Open a directory into which only this user may write. Raises RootUnusable for others, or OSError."""
    fd = os.open(path if name is None else name, _DIRECTORY | (0 if name is None else os.O_NOFOLLOW), dir_fd=above)
    found = os.fstat(fd)
    mine, mode = os.geteuid(), stat.S_IMODE(found.st_mode)
    reason = ""
    if found.st_uid != mine:
        reason = f"it belongs to user {found.st_uid}, and this is user {mine}; take a directory of your own"
    elif mode & 0o022:
        reason = f"others may write there (mode {mode:o}); chmod go-w {path}"
    if reason:
        os.close(fd)
        raise RootUnusable(_unusable(path, reason), path)
    return fd


def _unusable(path: str, reason: str) -> str:
    return f"keep a cache in {path!r}: {reason[:1].lower()}{reason[1:]}"
