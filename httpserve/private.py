"""The private root of a server that was given none: made in the directory for temporary files, and removed on close.

Knows the directory by its descriptor, so whatever takes its name is left alone. What a killed process leaves is the
journal's to sweep, which knows it by a lock file that is made before the directory, and linked into it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import tempfile

from httpserve import cleanup, lock_file
from httpserve.journal import PRIVATE_PREFIX, PRIVATE_SUFFIX
from httpserve.lock_file import CAN_LOCK, DIRECTORY, NOFOLLOW

log = logging.getLogger(__name__)


class PrivateDirectory:
    """One that this process has made. `path` is its real path; `token` is in the name of no other."""

    def __init__(self, parent: str) -> None:
        """Make it in *parent*. Raises OSError, and leaves nothing then."""
        self._parent = os.path.realpath(parent)
        self._fd: int | None = None  # None: closed, or a system without descriptors of directories
        self._mark: lock_file.LockFile | None = None  # None: closed, or files cannot be locked
        if not CAN_LOCK:  # pragma: no cover - Windows
            self.token = secrets.token_hex(8)
            self.path = tempfile.mkdtemp(prefix=PRIVATE_PREFIX, dir=self._parent)
            return
        with lock_file.place(self._parent) as where:
            self._mark = lock_file.made(where, PRIVATE_SUFFIX)
            self.token = secrets.token_hex(8) if self._mark is None else self._mark.token
            self.path = os.path.join(self._parent, PRIVATE_PREFIX + self.token)
            try:
                self._make(where)
            except BaseException:  # a Ctrl-C too: nobody else knows it
                self.remove()
                raise

    def _make(self, where: int) -> None:
        name = os.path.basename(self.path)
        os.mkdir(name, 0o700, dir_fd=where)
        try:
            self._fd = os.open(name, DIRECTORY | NOFOLLOW, dir_fd=where)
        except BaseException:
            os.rmdir(name, dir_fd=where)
            raise
        if self._mark is not None:
            try:
                os.link(self._mark.name, self._mark.name, src_dir_fd=where, dst_dir_fd=self._fd)
            except OSError as error:  # not every file system has hard links
                log.debug("what is in %s would stay if this process were killed: %s", self.path, error)

    def remove(self) -> None:
        """Remove it with whatever is in it, and give it up; it is left if it is not in its place. Never raises."""
        if self._fd is not None or not CAN_LOCK:
            is_gone = cleanup.remove_private(self.path, self._fd, "" if self._mark is None else self._mark.name)
        else:
            is_gone = True  # it was not made
        if is_gone and self._mark is not None:
            with contextlib.suppress(OSError), lock_file.place(self._parent) as where:
                self._mark.unlink(where)
        self.release()

    def release(self) -> None:
        """Give it up as it is, as a forked child does, whose parent goes on. Never raises."""
        fds = [self._fd, None if self._mark is None else self._mark.fd]
        self._fd = self._mark = None
        for fd in fds:
            if fd is not None:
                with contextlib.suppress(OSError):  # of a file system that is gone
                    os.close(fd)
