"""The file with the port, which tells a script that the server is ready.

Knows files. Does not know the server.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from httpserve import StorageError


def remove_stale(path: str | None) -> None:
    """Remove the port file of a killed server, before a script takes it for this server's."""
    if path is None:
        return
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):  # anything else is not from port_file
            os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StorageError(f"the old port file {path!r} could not be removed: {error.strerror}", path) from error


@contextlib.contextmanager
def port_file(path: str | None, port: int) -> Iterator[None]:
    """Keep a file with the port while the block runs. It appears in one step; a pipe or a device is only written to."""
    if path is None:
        yield
        return
    try:
        ours = write_whole(path, f"{port}\n")
    except OSError as error:
        raise StorageError(f"the port could not be written to {path!r}: {error.strerror}", path) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if identity(os.stat(path)) == ours:  # else another server has written its own meanwhile
                os.unlink(path)


Identity = tuple[int, int, int]


def identity(status: os.stat_result) -> Identity:
    """Return what distinguishes a file from the next one under its name, which may get the same inode."""
    return status.st_dev, status.st_ino, status.st_mtime_ns


def write_whole(path: str, text: str) -> Identity | None:
    """Write a file in one step, and return its identity; None for an existing pipe or device."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="ascii") as there:
            there.write(text)
        return None
    sibling = f"{path}.{os.getpid()}"
    try:
        with open(sibling, "x", encoding="ascii") as new:
            new.write(text)
            new.flush()
            status = os.fstat(new.fileno())
        os.replace(sibling, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(sibling)
        raise
    return identity(status)
