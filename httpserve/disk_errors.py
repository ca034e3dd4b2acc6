"""The border where the system's errors become ours.

Knows errno. Does not know who called what; the caller says operation and name.
"""

from __future__ import annotations

import errno

from httpserve.errors import (
    AlreadyExists,
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
_NAMES: dict[int, str] = {
    errno.ENAMETOOLONG: "the file system finds it too long",
    errno.ELOOP: "its symlinks lead in a circle",
}


def translated(error: OSError, operation: str, name: str) -> StorageError | InvalidName:
    """Return our error for one of the system's. *operation* and *name* begin its message."""
    number = error.errno or 0
    if number in _NAMES:
        return InvalidName(name, _NAMES[number])
    reason = error.strerror or str(error)
    ours = _CLASSES.get(number, StorageError)(f"{operation} {name!r}: {reason[:1].lower()}{reason[1:]}", name)
    ours.errno = error.errno
    return ours
