"""The journal of a root: what must be removed if this process is killed in the middle of a write.

Knows what is on record, and how to sweep what dead processes left in a root. Does not know what is being written.
A journal is a lock file: one that is locked has a living owner, and a copy of one removes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import stat
from collections.abc import Callable
from threading import RLock

from httpserve.base.descriptors import Descriptors
from httpserve.base.log import logger
from httpserve.base.names import RESERVED_PREFIX
from httpserve.storage.directory import lock_file
from httpserve.storage.directory.inode import Inode
from httpserve.storage.directory.lock_file import DIRECTORY, NOFOLLOW, LockFile

log = logger("httpserve.storage")

SUFFIX = "journal"  # of a root's: it lies beside the names of what is in the root
_FILE, _DIRECTORY, _END = b"F", b"D", b"\0"
# A directory is made with the sticky bit and loses it when its inode is on record. So if it is empty and has the bit,
# and a journal says that it was about to be made, the process that was killed in between has made it.
_UNFINISHED = stat.S_ISVTX
_MADE_RECORD = re.compile(rb"M([0-9]{1,20}) ([0-9]{1,20}) ([0-9]{1,20}) (.+)", re.DOTALL)
# There is nothing, or something else, or others have put something into it.
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)


class Journal:
    """What is under way in one opened root. Safe from any number of threads.

    Attributes:
        file: Where this is written down; None once closed, where files cannot be locked, and for a private root, which
            is swept as a whole.
    """

    def __init__(self, root: str, token: str | None = None) -> None:
        """Make a journal in *root*. Raises OSError. Given a *token*, which no other has, it writes nothing down."""
        self._root = root
        self.file: LockFile | None = None
        if token is None:
            with lock_file.opened(root) as where:
                self.file = lock_file.made(where, SUFFIX)
        self.token = token or (secrets.token_hex(8) if self.file is None else self.file.token)
        # Guards _underway, _counter, file, and the order of writes to it. Reentrant, as a finalizer may leave().
        self._lock = RLock()
        self._underway = 0
        self._counter = 0
        self._littered = False  # something could not be removed: the next process to open the root tries again
        self._pid = os.getpid()

    def enter(self) -> str:
        """Announce a change, which `leave` ends. Returns a unique name for its temporary file."""
        with self._lock:
            self._underway += 1
            self._counter += 1
            return f"{RESERVED_PREFIX}{self.token}-{self._counter}.part"

    def note_file(self, path: str) -> None:
        """Write down a temporary that is about to be made. *path* is relative to the root."""
        self._note(_FILE + os.fsencode(path))

    def make_directory(self, key: str, place: str, where: int | None = None) -> None:
        """Make the directory *place* for a file, in the directory *where*, and note it by its path in the root."""
        if self.file is None:
            os.mkdir(place, dir_fd=where)
            return
        self._note(_DIRECTORY + os.fsencode(key))
        os.mkdir(place, 0o777 | _UNFINISHED, dir_fd=where)
        fd = os.open(place, DIRECTORY | NOFOLLOW, dir_fd=where)
        try:
            device, number, birth = Inode.of(fd)
            self._note(f"M{device} {number} {birth} ".encode() + os.fsencode(key))
            os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) & ~_UNFINISHED)
        except BaseException:  # a Ctrl-C too: the directory would stay as it is
            with contextlib.suppress(OSError):
                os.rmdir(place, dir_fd=where)
            raise
        finally:
            os.close(fd)

    def leave(self, *, littered: bool = False) -> None:
        """End a change. When nothing is under way, there is nothing to remember, except litter that had to stay."""
        with self._lock:
            self._underway -= 1
            self._littered |= littered
            mine = self._pid == os.getpid()  # a forked child shares the file with its parent
            if self._underway == 0 and self.file is not None and mine and not self._littered:
                try:
                    os.ftruncate(self.file.fd, 0)
                except OSError as error:  # the file system is gone; a record that is kept too long does no harm
                    log.debug("the journal of %s cannot be emptied: %s", self._root, error)

    def renew_lock(self) -> None:
        """Make the lock anew in a forked child."""
        self._lock = RLock()

    def close(self, *, remove: bool = True) -> None:
        """Give up the lock; *remove* the file as well, as its owner does, unless litter is on record. Never raises."""
        with self._lock:
            file, self.file = self.file, None
        if file is None:
            return
        try:
            if remove and not self._littered:
                with lock_file.opened(self._root) as where:
                    file.unlink(where)
        except OSError as error:  # a root that is read-only by now, or replaced; the next start removes it
            log.info("left %s in %s: %s", file.name, self._root, error)
        finally:
            with contextlib.suppress(OSError):  # of a file system that is gone; the descriptor is free all the same
                os.close(file.fd)

    def _note(self, text: bytes) -> None:
        with self._lock:
            if self.file is not None:
                fd, record = self.file.fd, text + _END
                written = os.write(fd, record)
                if written < len(record):  # the disk is full; what followed half a record would belong to it
                    os.ftruncate(fd, os.fstat(fd).st_size - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sweep(root: str) -> None:
    """Remove the litter of dead owners from *root*. Looks only at the root itself, does not walk, and never raises."""
    try:
        with lock_file.opened(root, DIRECTORY) as where:
            for file in lock_file.of_the_dead(where, os.listdir(where), SUFFIX):
                _sweep_one(root, where, file)
    except OSError as error:
        log.info("could not look in %s for what a killed process left: %s", root, error)


def _sweep_one(root: str, where: int, file: LockFile) -> None:
    temporary = re.compile(re.escape(f"{RESERVED_PREFIX}{file.token}-") + r"[0-9]+\.part")
    with open(file.fd, "rb", closefd=False) as reader:
        # What follows the last end mark was cut off before the thing itself was made.
        records = reader.read().split(_END)[:-1]
    directories: dict[str, Inode | None] = {}  # None: the directory was about to be made
    is_clean = True
    for record in records:
        kind, path = record[:1], os.fsdecode(record[1:])
        if kind == _FILE and temporary.fullmatch(path.rpartition("/")[2]):
            # Nothing else has that name: it holds the token of a journal that nobody has copied.
            is_clean &= _swept(root, where, path, lambda name, fd: os.unlink(name, dir_fd=fd))
        elif kind == _DIRECTORY:
            directories[path] = None
        elif (made := _MADE_RECORD.fullmatch(record)) is not None:
            directories[os.fsdecode(made[4])] = Inode(int(made[1]), int(made[2]), int(made[3]))
    for path in sorted(directories, key=lambda path: path.count("/"), reverse=True):
        remove = functools.partial(_remove_directory, inode=directories[path])
        is_clean &= _swept(root, where, path, remove)
    if is_clean:
        file.unlink(where)
        log.info("removed what a killed process left in %s", root)


def _swept(root: str, where: int, path: str, remove: Callable[[str, int], object]) -> bool:
    """Remove what is at *path* in the root, without going through any symlink; return whether nothing is left to do."""
    *parents, last = path.split("/")
    if ".." in parents or last in ("", ".", ".."):
        return True
    fds = Descriptors()
    try:
        fds.take(".", DIRECTORY, where)
        for parent in parents:
            fds.take(parent, DIRECTORY | NOFOLLOW, fds[0])
            fds.drop()
        remove(last, fds[0])
    except OSError as error:
        log.debug("left %s in %s: %s", path, root, error)
        return error.errno in _NOT_OURS
    finally:
        fds.close()
    return True


def _remove_directory(name: str, where: int, inode: Inode | None) -> None:
    """Remove an empty directory if it is the one on record."""
    with lock_file.opened(name, DIRECTORY | NOFOLLOW, where) as fd:
        is_unfinished = os.fstat(fd).st_mode & _UNFINISHED and os.fstat(fd).st_uid == os.geteuid()
        is_ours = is_unfinished if inode is None else Inode.of(fd) == inode
    if is_ours:
        os.rmdir(name, dir_fd=where)
    else:
        log.info("left directory %s: it is not the one that a killed process made", name)
