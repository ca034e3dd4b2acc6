"""The private root of a server that was given none: made in the directory for temporary files, and removed on close.

A lock file says whose it is. This is made beside the directory, moved into it once it exists, and out again before it
is removed: so whenever the owner is killed, a lock file for the directory is found. The directory itself is known by
its descriptor: whatever takes its name is left alone. Does not know what is served.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets

from httpserve.base.log import logger
from httpserve.storage.directory import journal, lock_file
from httpserve.storage.directory.emptying import InUse, emptied
from httpserve.storage.directory.inode import Inode
from httpserve.storage.directory.lock_file import DIRECTORY, NOFOLLOW, SALT_CHARACTERS, LockFile

log = logger("httpserve.storage")

_PREFIX = "httpserve-"  # followed by the salt of its lock file
_OUTSIDE, _INSIDE = "making.journal", "private.journal"  # the suffixes of the lock file beside it and in it
_NAME = re.compile(re.escape(_PREFIX) + f"[0-9a-f]{{{SALT_CHARACTERS}}}")


class PrivateDirectory:
    """One that this process has made. `path` is its real path; `token` is in the name of no other."""

    def __init__(self, parent: str) -> None:
        """Make it in *parent*. If this raises OSError, nothing is left."""
        self._parent = os.path.realpath(parent)
        self._fd: int | None = None  # None: closed
        self._file: LockFile | None = None  # None: closed, or files cannot be locked
        with lock_file.opened(self._parent) as where:
            self._file = lock_file.made(where, _OUTSIDE)
            self.token = secrets.token_hex(SALT_CHARACTERS) if self._file is None else self._file.token
            self._name = _PREFIX + self.token[:SALT_CHARACTERS]
            self.path = os.path.join(self._parent, self._name)
            try:
                self._make(where)
            except BaseException:  # a Ctrl-C too: the lock would stay
                self.release()
                raise

    def _make(self, where: int) -> None:
        try:
            os.mkdir(self._name, 0o700, dir_fd=where)
        except BaseException:  # there may be one of that name, which is someone else's
            if self._file is not None:
                self._file.unlink(where)
            raise
        try:
            self._fd = os.open(self._name, DIRECTORY | NOFOLLOW, dir_fd=where)
            if self._file is not None:
                self._file = self._file.moved(where, self._fd, _INSIDE, _home(where, self._name))
        except BaseException:  # a Ctrl-C too: the directory would stay
            if self._file is None:
                os.rmdir(self._name, dir_fd=where)
            else:
                _remove_empty(where, self._file)
            raise

    def remove(self) -> None:
        """Remove it with whatever is in it, and give it up. One that is not in its place is left. Never raises."""
        if self._fd is None:
            return
        try:
            with lock_file.opened(self._parent) as where:
                if not _removed(where, self._name, self._fd, self._file):
                    log.warning("could not remove all of the temporary directory %s", self.path)
        except OSError as error:
            log.warning("could not remove all of the temporary directory %s: %s", self.path, error)
        self.release()

    def release(self) -> None:
        """Give it up as it is, as a forked child does while its parent goes on. Never raises."""
        fds = [self._fd, None if self._file is None else self._file.fd]
        self._fd = self._file = None
        for fd in fds:
            if fd is not None:
                with contextlib.suppress(OSError):  # of a file system that is gone
                    os.close(fd)


def _home(where: int, name: str) -> str:
    """Return what else the lock file in a private root stands for: a root that was moved belongs to somebody."""
    parent = os.fstat(where)
    return f"{parent.st_dev} {parent.st_ino} {name}"


def _remove_empty(where: int, file: LockFile) -> bool:
    """Remove the private root that *file*, beside it, stands for, if it is empty, and then the file.

    Return whether it is gone: else it was not made, or has a lock file in it that stands for it.
    """
    try:
        os.rmdir(_PREFIX + file.salt, dir_fd=where)
        return True
    except OSError as error:
        return error.errno == errno.ENOENT
    finally:
        file.unlink(where)


def _removed(where: int, name: str, fd: int, file: LockFile | None, is_in_use: InUse = lambda fd, names: False) -> bool:
    """Remove a private root with all in it; return False if some of it has to stay. Raises OSError.

    It is *name* in the directory *where*, with the lock *file* in it. *fd* is a descriptor of it, from when it was made
    or looked at: anything else with its name is left. What is in use stays.
    """
    if not Inode.of(fd).is_at(name, where):
        log.info("left the temporary directory %s: it was removed, moved, or replaced by another", name)
        if file is not None:
            file.unlink(fd)
        return True
    if not emptied(fd, "" if file is None else file.name, is_in_use):
        return False
    if file is None or not file.inode.is_at(file.name, fd):
        os.rmdir(name, dir_fd=where)
        return True
    return _remove_empty(where, file.moved(fd, where, _OUTSIDE))


def sweep(parent: str) -> None:
    """Remove the private roots in *parent* that belong to this user and whose owner is dead. Never raises."""
    try:
        with lock_file.opened(parent, DIRECTORY) as where:
            names = os.listdir(where)
            for file in lock_file.of_the_dead(where, names, _OUTSIDE):
                _remove_empty(where, file)
            for name in filter(_NAME.fullmatch, names):
                _sweep_one(parent, where, name)
    except OSError as error:
        log.info("could not look in %s for what killed processes left: %s", parent, error)


def _sweep_one(parent: str, where: int, name: str) -> None:
    try:
        root = os.open(name, DIRECTORY | NOFOLLOW, dir_fd=where)
    except OSError:  # it is just going, is another user's, or is not a directory
        return
    try:
        for file in lock_file.of_the_dead(root, os.listdir(root), _INSIDE, _home(where, name)):
            if _removed(where, name, root, file, _is_in_use):
                log.info("removed %s of a killed process in %s", name, parent)
            else:
                log.info("left %s in %s: it is in use, or not all of it can be removed", name, parent)
    except OSError as error:
        log.info("left %s in %s: %s", name, parent, error)
    finally:
        os.close(root)


def _is_in_use(where: int, names: list[str]) -> bool:
    """Say whether a living process, such as a forked child, uses this directory of a private root as its root."""
    return any(lock_file.is_locked(where, name) for name in lock_file.found(names, journal.SUFFIX))
