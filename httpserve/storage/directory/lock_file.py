"""A file that says who owns something: locked while its owner lives, and named after itself.

Its name holds a digest of its own inode and of the directory that it was made in. So a copy of it, or one that was
restored from an archive, does not match its name and proves nothing. It is named once it is locked: nobody finds
one that is not, except those of dead owners. Knows files and locks. Does not know what is owned.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from httpserve.base.log import logger
from httpserve.base.names import RESERVED_PREFIX
from httpserve.storage.directory.inode import Inode

SALT_CHARACTERS = 8
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NOFOLLOW = os.O_NOFOLLOW
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC  # NFS locks only what may be written
_NAME = re.compile(re.escape(RESERVED_PREFIX) + r"([0-9a-f]{16})\.([a-z.]+)")

log = logger("httpserve.storage")


class LockFile(NamedTuple):
    """One that this process has open and locked. It keeps `salt`, the first half of its `token`, when it is moved."""

    token: str
    name: str
    fd: int
    inode: Inode

    @property
    def salt(self) -> str:
        return self.token[:SALT_CHARACTERS]

    def unlink(self, where: int) -> None:
        """Remove it from the directory *where*, if it is still there. Raises OSError."""
        if self.inode.is_at(self.name, where):
            os.unlink(self.name, dir_fd=where)

    def moved(self, where: int, to: int, suffix: str, home: str = "") -> LockFile:
        """Move it from one directory to another in one step, and return it under its name there. Raises OSError."""
        token = _token(self.salt, self.inode, to, home)
        name = f"{RESERVED_PREFIX}{token}.{suffix}"
        os.rename(self.name, name, src_dir_fd=where, dst_dir_fd=to)
        return self._replace(token=token, name=name)


@contextlib.contextmanager
def opened(path: str, flags: int = _PLACE, within: int | None = None) -> Iterator[int]:
    """Give a descriptor for a block, by default of a directory, which need not be readable. Raises OSError."""
    fd = os.open(path, flags, dir_fd=within)
    try:
        yield fd
    finally:
        os.close(fd)


def made(where: int, suffix: str) -> LockFile | None:
    """Make one in a directory; None where files cannot be locked. Needs no room on the disk except an entry."""
    try:
        fd = os.open(".", _FLAGS | os.O_TMPFILE, 0o600, dir_fd=where)
        return _named(where, suffix, fd, f"/proc/self/fd/{fd}", is_link=True)
    except (AttributeError, OSError):  # NFS and FUSE have no files without a name; or /proc is not there
        path = f"{RESERVED_PREFIX}{secrets.token_hex(8)}.new"  # a name that nobody looks for
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=where)
        try:
            return _named(where, suffix, fd, path, is_link=False)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path, dir_fd=where)


def _named(where: int, suffix: str, fd: int, path: str, *, is_link: bool) -> LockFile | None:
    """Lock the file and give it its name. Takes over *fd*."""
    keep = False
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("no locks here (%s): litter of a killed process will stay", error)
            return None
        inode = Inode.of(fd)
        token = _token(secrets.token_hex(SALT_CHARACTERS // 2), inode, where, "")
        name = f"{RESERVED_PREFIX}{token}.{suffix}"
        if is_link:  # with a src_dir_fd, since only then does Python follow the link in /proc
            os.link(path, name, src_dir_fd=where, dst_dir_fd=where, follow_symlinks=True)
        else:
            os.rename(path, name, src_dir_fd=where, dst_dir_fd=where)
        keep = True
        return LockFile(token, name, fd, inode)
    finally:
        if not keep:
            os.close(fd)


def _token(salt: str, inode: Inode, where: int, home: str) -> str:
    """Return what is in the name of such a file in that directory. *home*: what else it is to stand for."""
    # Without the birth of the directory: on overlayfs that differs before and after the first change in it.
    directory = os.fstat(where)
    text = f"{salt} {tuple(inode)} {directory.st_dev} {directory.st_ino} {home}"
    return salt + hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def found(names: Iterable[str], suffix: str) -> list[str]:
    """Return those of *names* that look like a lock file's."""
    return [match.string for match in filter(None, map(_NAME.fullmatch, names)) if match[2] == suffix]


def of_the_dead(where: int, names: Iterable[str], suffix: str, home: str = "") -> Iterator[LockFile]:
    """Give those of the *names* in a directory that belong to this user and whose owner is dead, each locked during its
    turn.
    """
    for name in found(names, suffix):
        try:
            fd = _opened(where, name)
        except OSError:  # its owner is just ending, or it is another user's
            continue
        try:
            file = _verified(where, name, fd, home)
            if file is not None:
                yield file
        finally:
            os.close(fd)


def _opened(where: int, name: str) -> int:
    if not stat.S_ISREG(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode):
        raise OSError(errno.EINVAL, "it is no file")  # opening a fifo to write would wake who waits for that
    return os.open(name, _FLAGS | os.O_NONBLOCK | NOFOLLOW, dir_fd=where)


def _verified(where: int, name: str, fd: int, home: str) -> LockFile | None:
    match = _NAME.fullmatch(name)
    status = os.fstat(fd)
    if match is None or not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or not _lockable(fd):
        return None
    inode = Inode.of(fd)
    if not inode.is_at(name, where):  # its owner ended in between
        return None
    token = match[1]
    if _token(token[:SALT_CHARACTERS], inode, where, home) != token:
        log.info("left %s and what it speaks of: it was not made there, but copied, moved or restored", name)
        return None
    return LockFile(token, name, fd, inode)


def _lockable(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_locked(where: int, name: str) -> bool:
    """Say whether a file has a living owner. Never raises."""
    try:
        fd = _opened(where, name)
    except OSError:
        return False
    try:
        return not _lockable(fd)
    finally:
        os.close(fd)
