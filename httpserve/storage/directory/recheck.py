"""A version of a file that was opened before: read once more, or seen to stand as it did.

Knows one path and which version it stood for. Does not know how names become paths. Never holds a descriptor: a file
system can be unmounted, and the space of a deleted file is free.
"""

from __future__ import annotations

import os

from httpserve.storage.directory.open_file import open_regular
from httpserve.storage.directory.version import Identity

# A change within a clock tick of the last one leaves the same times behind. Those of ext3 come in whole seconds.
SETTLED_SECONDS = 2.0
# Where each change is made by this kernel, and shows in the times of the file before the writer goes on. What is
# mounted from another machine, or from a program, tells of a change when it likes.
LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs"})


class Recheck:
    """One version of one file.

    Args:
        path: Where it stood.
        identity: Which version.
    """

    __slots__ = ("_identity", "_is_local", "_path")

    def __init__(self, path: str, identity: Identity) -> None:
        self._path = path
        self._identity = identity
        self._is_local: bool | None = None  # not looked at yet

    def read(self, into: memoryview) -> bool:
        """Read all its bytes into a buffer of its length; False when it no longer stands."""
        try:
            fd = open_regular(self._path)
        except OSError:
            return False
        try:
            length = _read_into(fd, into)
            found = os.fstat(fd)  # after the read: what has not changed until now was not changed before either
        except OSError:
            return False
        finally:
            os.close(fd)
        return Identity.of(found) == self._identity and length == self._identity.size

    def stands(self) -> bool:
        """Tell whether it stands as before; where `shows_changes`, the bytes that were read then are still right."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        # An Identity compares as a tuple; making one takes longer than all the rest of this line.
        own = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return own == self._identity

    def shows_changes(self, since: float) -> bool:
        """Tell whether any change since a time (in seconds since the epoch) makes `stands` say no.

        All but one: a program that has mapped the file into its memory may write there without a trace, on a disk until
        the system writes the page back, in memory (tmpfs) for ever.
        """
        if since - self._identity.ctime_ns / 1e9 < SETTLED_SECONDS:
            return False
        if self._is_local is None:
            self._is_local = self._lies_here()
        return self._is_local

    def _lies_here(self) -> bool:
        try:
            fd = open_regular(self._path)
        except OSError:
            return False
        try:
            return file_system(fd) in LOCAL
        finally:
            os.close(fd)


def _read_into(fd: int, into: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [into], 0)
    data = os.pread(fd, len(into), 0)
    into[: len(data)] = data
    return len(data)


def file_system(fd: int) -> str:
    """Return the type of the file system that an open file lies on, empty where this system does not tell.

    An overlay is of the type of the first of its layers that is not local: it waits for all of them.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as file:
            told = dict(line.split(":", 1) for line in file if ":" in line)
        mount = told["mnt_id"].strip()
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split() for line in file]
        for fields in mounts:
            if fields[0] == mount:
                return _layered_type(fields, mounts)
    except (OSError, KeyError, ValueError, IndexError):
        pass  # not Linux, no /proc in this container, or not as we know it
    return ""


def _layered_type(fields: list[str], mounts: list[list[str]]) -> str:
    kind, _, options = fields[fields.index("-") + 1 :]
    if kind != "overlay":
        return kind
    layers = [
        layer
        for option in options.split(",")
        if option.partition("=")[0] in ("lowerdir", "lowerdir+", "datadir+", "upperdir")
        for layer in option.partition("=")[2].split(":")
    ]
    for layer in layers:
        # What cannot be seen from here, as in most containers, is the host's own.
        below = [one for one in mounts if one is not fields and f"{layer}/".startswith(f"{one[4].rstrip('/')}/")]
        if below:
            nearest = max(below, key=lambda one: len(one[4]))
            under = nearest[nearest.index("-") + 1]
            if under not in LOCAL:
                return under
    return kind
