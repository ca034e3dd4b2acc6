"""The border where the system's errors become ours.

Knows errno. Does not know who called what; the caller says operation and name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import NoReturn

from httpserve.base.text import size
from httpserve.errors import (
    AlreadyExists,
    HttpServeError,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    StorageError,
)

_CLASSES: dict[int, type[StorageError]] = {
    errno.ENOENT: NotFound,
    errno.EEXIST: AlreadyExists,
    errno.EISDIR: IsADirectory,
    errno.ENOTDIR: NotADirectory,
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.EROFS: NotPermitted,
    errno.ENXIO: NotPermitted,  # open(2) of a socket
}
_MORE: dict[int, str] = {
    errno.ENOTDIR: "; a part of that path is a file",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAMES: dict[int, str] = {
    errno.ENAMETOOLONG: "the file system finds it too long",
    errno.ELOOP: "its symlinks lead in a circle",
}


def translated(
    error: OSError, operation: str, name: str, target: str | None = None, directory: str | None = None
) -> StorageError | InvalidName:
    """Return our error for one of the system's. *operation*, *name* and *target* begin its message.

    For a full disk it says more if a *directory* on that disk is known.
    """
    number = error.errno or 0
    if number in _NAMES:
        return InvalidName(name, _NAMES[number])
    reason = error.strerror or str(error)
    tried = f"{operation} {name!r}" if target is None else f"{operation} {name!r} to {target!r}"
    more = _way_out(directory) if directory is not None and number in _FULL else _MORE.get(number, "")
    ours = _CLASSES.get(number, StorageError)(f"{tried}: {reason[:1].lower()}{reason[1:]}{more}", name)
    ours.errno = error.errno
    return ours


def _way_out(directory: str) -> str:
    """Say how full the disk of a directory is, and what to do."""
    try:
        found = os.statvfs(directory)
    except (AttributeError, OSError):  # Windows, or the directory is gone
        return ""
    left, total = size(found.f_bavail * found.f_frsize), size(found.f_blocks * found.f_frsize)
    return (
        f"; {directory} has {left} of {total} left: make room, or serve a directory on another disk with root_dir= "
        f"(private directories are made where TMPDIR says)"
    )


def raise_translated(error: OSError, operation: str, name: str, target: str | None = None) -> NoReturn:
    """Raise our error for the system's error that is being handled; raise one of ours as it is."""
    if isinstance(error, HttpServeError):
        raise error
    raise translated(error, operation, name, target) from error


@contextlib.contextmanager
def translating(operation: str, name: str, target: str | None = None) -> Iterator[None]:
    """Translate the system's errors in a `with` block; ours pass as they are."""
    try:
        yield
    except OSError as error:
        raise_translated(error, operation, name, target)
