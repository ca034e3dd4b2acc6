"""The journal of a root: what must be removed if this process is killed in the middle of a write.

Knows the journal's file, its lock, and how to sweep those whose owner is dead.
Does not know what is being written. A journal that is locked has a living
owner; without fcntl nothing is ever swept.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from threading import RLock

from httpserve.names import RESERVED_PREFIX

if sys.platform != "win32":  # pragma: no branch - Windows has no fcntl
    import fcntl

CAN_LOCK = sys.platform != "win32"
log = logging.getLogger(__name__)

PRIVATE_PREFIX = "httpserve-"  # of the temporary directories of servers without a root of their own
_JOURNAL = re.compile(re.escape(RESERVED_PREFIX) + r"([0-9a-f]{16})\.journal")
_FILE, _DIRECTORY, _END = b"F", b"D", b"\0"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """What is under way in one opened root. Safe from any number of threads."""

    def __init__(self, root: str) -> None:
        self.token, self._path, self._fd = _take(root)
        # Guards _underway, _counter, and the order of writes to _fd. Reentrant, as a finalizer may leave().
        self._lock = RLock()
        self._underway = 0
        self._counter = 0
        self._littered = False  # something could not be removed: whoever opens the root next is to try again
        self._pid = os.getpid()

    def enter(self) -> None:
        """Announce a change, which `leave` ends."""
        with self._lock:
            self._underway += 1

    def temporary(self) -> str:
        """Return a name for a temporary file that no other has."""
        with self._lock:
            self._counter += 1
            return f"{RESERVED_PREFIX}{self.token}-{self._counter}.part"

    def note_file(self, path: str) -> None:
        """Write down a temporary that is about to be made. *path* is relative to the root."""
        self._note(_FILE, path)

    def note_directory(self, path: str) -> None:
        """Write down a directory that is about to be made for a file in it."""
        self._note(_DIRECTORY, path)

    def leave(self, *, littered: bool = False) -> None:
        """End a change. When nothing is under way, nothing is left to remember, except litter that had to stay."""
        with self._lock:
            self._underway -= 1
            self._littered |= littered
            mine = self._pid == os.getpid()  # a forked child shares the file with its parent
            if self._underway == 0 and self._fd is not None and mine and not self._littered:
                os.ftruncate(self._fd, 0)

    def renew_lock(self) -> None:
        """Make the lock anew in a forked child."""
        self._lock = RLock()

    def close(self, *, remove: bool = True) -> None:
        """Give up the lock; *remove* the file as well, as its owner does, unless litter is on record."""
        with self._lock:
            fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            if remove and not self._littered:
                os.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:  # a root that is read-only by now, or replaced; the next start removes it
            log.info("left %s: %s", self._path, error)
        finally:
            os.close(fd)

    def _note(self, kind: bytes, path: str) -> None:
        with self._lock:
            if self._fd is not None:
                record = kind + os.fsencode(path) + _END
                written = os.write(self._fd, record)
                if written < len(record):  # the disk is full, and what followed half a record would belong to it
                    os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _take(root: str) -> tuple[str, str, int | None]:
    """Make and lock a journal in *root*; no descriptor where files cannot be locked."""
    while True:
        token = secrets.token_hex(8)
        path = os.path.join(root, f"{RESERVED_PREFIX}{token}.journal")
        if not CAN_LOCK:  # pragma: no cover - Windows
            return token, path, None
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("no locks in %s (%s): litter of a killed process will stay there", root, error)
            os.unlink(path)
            os.close(fd)
            return token, path, None
        if os.fstat(fd).st_nlink:
            return token, path, fd
        os.close(fd)  # another process took it for a dead one's between open and lock


def sweep(root: str) -> None:
    """Remove the litter of dead owners from *root*. Looks at the root itself only, and walks nowhere."""
    with os.scandir(root) as entries:
        found = [(match[1], entry.path) for entry in entries if (match := _JOURNAL.fullmatch(entry.name))]
    for token, path in found:
        with _dead(path) as fd:
            if fd is not None:
                _sweep_one(root, token, fd)
                os.unlink(path)
                log.info("removed what a killed process left in %s", root)


def sweep_private(parent: str) -> None:
    """Remove the private roots in *parent* that belong to this user and whose owner is dead."""
    with os.scandir(parent) as entries:
        roots = [entry.path for entry in entries if entry.name.startswith(PRIVATE_PREFIX)]
    for root in roots:
        journals = _journals_of(root)
        with contextlib.ExitStack() as stack:
            dead = [stack.enter_context(_dead(path)) is not None for path in journals]
            if dead and all(dead):
                shutil.rmtree(root, ignore_errors=True)
                log.info("removed %s of a killed process", root)


def _journals_of(root: str) -> list[str]:
    """Return the journals in a private root of this user's; none where it is not that."""
    try:
        found = os.lstat(root)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return []
        return [os.path.join(root, name) for name in os.listdir(root) if _JOURNAL.fullmatch(name)]
    except OSError:  # its owner ends just now
        return []


@contextlib.contextmanager
def _dead(path: str) -> Iterator[int | None]:
    """Give the locked descriptor of a journal of this user's whose owner is dead, else None."""
    if not CAN_LOCK:  # pragma: no cover - Windows
        yield None
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | _NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        found = os.fstat(fd)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        yield fd if ours and _lockable(fd) and os.fstat(fd).st_nlink else None
    finally:
        os.close(fd)


def _lockable(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep_one(root: str, token: str, fd: int) -> None:
    temporary = re.compile(re.escape(f"{RESERVED_PREFIX}{token}-") + r"[0-9]+\.part")
    with open(fd, "rb", closefd=False) as file:
        # What follows the last end mark was cut off before the thing itself was made.
        records = file.read().split(_END)[:-1]
    directories = []
    for record in records:
        kind, path = record[:1], os.fsdecode(record[1:])
        if kind == _DIRECTORY:
            directories.append(path)
        elif temporary.fullmatch(path.rpartition("/")[2]):
            _remove(root, path, directory=False)
    for path in sorted(directories, key=lambda path: path.count("/"), reverse=True):
        _remove(root, path, directory=True)


def _remove(root: str, path: str, *, directory: bool) -> None:
    """Remove a file or an empty directory inside *root*, without going through any symlink."""
    *parents, last = path.split("/")
    if ".." in parents or last in ("", ".", ".."):
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(root, flags)
    try:
        for parent in parents:
            below = os.open(parent, flags | _NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        (os.rmdir if directory else os.unlink)(last, dir_fd=fd)
    except OSError as error:
        log.debug("left %s in %s: %s", path, root, error)
    finally:
        os.close(fd)
