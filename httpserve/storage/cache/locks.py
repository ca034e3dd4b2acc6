"""Locks on bytes of a file, which need not have these bytes. They belong to an open file, not to a process.

So they also hold between two that have opened the file in one process, and end with whoever is killed. Each call
returns at once. Knows fcntl, and not what is locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_SET, _ASK = getattr(fcntl, "F_OFD_SETLK", None), getattr(fcntl, "F_OFD_GETLK", None)  # Linux has them
_FORM = "hhqqi4x"  # struct flock: type, whence, start, length, process


def take(fd: int, start: int, count: int = 1, *, is_shared: bool = False) -> bool:
    """Lock bytes; return False if another open file has a lock on one of them that does not go with this one."""
    return _locked(fd, fcntl.F_RDLCK if is_shared else fcntl.F_WRLCK, start, count)


def give_back(fd: int, start: int, count: int = 1) -> None:
    """Unlock bytes. Harmless for those that are not locked."""
    _locked(fd, fcntl.F_UNLCK, start, count)


def is_taken(fd: int, start: int) -> bool:
    """Tell whether another open file has a lock on a byte."""
    if _ASK is None:
        return False
    answer = fcntl.fcntl(fd, _ASK, struct.pack(_FORM, fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0))
    return bool(struct.unpack(_FORM, answer)[0] != fcntl.F_UNLCK)


def work(fd: int) -> bool:
    """Tell whether there are such locks on this system, and in this file system."""
    try:
        take(fd, 0)  # whether or not another has it
    except OSError:
        return False
    return _SET is not None


def _locked(fd: int, kind: int, start: int, count: int) -> bool:
    if _SET is None:
        return True  # the folder is this process's own then
    try:
        fcntl.fcntl(fd, _SET, struct.pack(_FORM, kind, os.SEEK_SET, start, count, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
