"""How much the entries of a folder may take on the disk, and which go when that is not enough.

Room is taken before a block is read. Other processes write to the same folder: each looks what is there, and takes a
part of what is left before it looks again. What is in use, by any process, stays. Knows the folder. Does not know what
is read, nor from where.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from httpserve.base.log import logger
from httpserve.storage.cache import block_files
from httpserve.storage.cache.block_files import DATA, MAP

log = logger("httpserve.storage")

KEPT_PART = 0.9  # of the limit, after an eviction: so that not every new block needs one
PART = 4  # of what is left, a process takes one part in this many before it looks again
LOOKS_PART = 10  # a folder that was full is looked at for one part in this many of the time
UNIT = 512  # of st_blocks


@dataclass(frozen=True)
class KeptObject:
    """One version of an object, as far as it is in the cache.

    Attributes:
        store: Where it comes from.
        name: Its name there.
        etag: Which version it is.
        size: How many bytes it has.
        kept: How many bytes it takes on the disk.
        used: When it was last used, in seconds since the epoch.
        in_use: Whether a server has it open now.
    """

    store: str
    name: str
    etag: str
    size: int
    kept: int
    used: float
    in_use: bool


@dataclass(frozen=True)
class Usage:
    """What is in a cache.

    Attributes:
        path: The folder.
        limit: How many bytes it may take; None if that is not known here.
        bytes: How many it takes.
        entries: The objects, the one used last first.
    """

    path: str
    limit: int | None
    bytes: int
    entries: tuple[KeptObject, ...]


class _Found(NamedTuple):
    used: float
    name: str
    kept: int


class Room:
    """The bound of one folder. Safe from any thread; its calls block for the disk.

    Args:
        where: A descriptor of the folder.
        limit: How many bytes its entries may take.
        is_shared: Whether other processes write there too.
        is_open: Tells whether this process uses an entry.
    """

    def __init__(self, where: int, limit: int, *, is_shared: bool, is_open: Callable[[str], bool]) -> None:
        self._where = where
        self._limit = limit
        self._part = PART if is_shared else 1
        self._is_open = is_open
        self._lock = threading.Lock()  # guards what follows
        self._left = 0  # to be taken before the next look
        self._taken = 0  # what is taken and not yet written
        self._full_until = 0.0
        self._is_closed = False

    def close(self) -> None:
        """Give out no more: the folder is about to be closed. Harmless when repeated."""
        with self._lock:
            self._is_closed = True

    def take(self, count: int) -> bool:
        """Take room for so many bytes that are to be written; False if there is none, and nothing can go."""
        with self._lock:
            if self._is_closed or (self._left < count and not self._found(count)):
                return False
            self._left -= count
            self._taken += count
            return True

    def is_there(self, count: int) -> bool:
        """Tell whether so many bytes could be taken now."""
        if not self.take(count):
            return False
        self.give_back(count)
        return True

    def written(self, count: int) -> None:
        """Say that what was taken is on the disk."""
        with self._lock:
            self._taken -= count

    def give_back(self, count: int) -> None:
        """Give back what was taken and is not to be written."""
        with self._lock:
            self._taken -= count
            self._left += count

    def make(self, count: int) -> bool:
        """Remove what was not used for longest, as the disk is full. Return whether so many bytes are gone."""
        with self._lock:
            if self._is_closed:
                return False
            found = sorted(on_disk(self._where))
            most = sum(one.kept for one in found) - count
            return evicted_to(self._where, most, found, self._is_open) <= most

    def _found(self, count: int) -> bool:
        """Look how much is left, and evict if that is too little. False if it stays too little."""
        began = time.monotonic()
        if began < self._full_until:
            return False
        found = sorted(on_disk(self._where))
        used = sum(one.kept for one in found)
        disk = os.fstatvfs(self._where)
        bound = min(self._limit, used + disk.f_bavail * disk.f_frsize)
        left = bound - used - self._taken
        if left < count:
            most = min(int(bound * KEPT_PART), bound - self._taken - count)
            left = bound - evicted_to(self._where, most, found, self._is_open) - self._taken
        self._left = max(0, min(left, max(count, left // self._part)))
        if left < count:
            now = time.monotonic()
            self._full_until = now + LOOKS_PART * (now - began)
        return left >= count


def on_disk(where: int) -> Iterator[_Found]:
    """Give the entries of a folder, and what both of their files take."""
    for file in os.listdir(where):
        name, suffix = os.path.splitext(file)
        if suffix not in (DATA, MAP):
            continue
        with contextlib.suppress(FileNotFoundError):
            own = os.stat(file, dir_fd=where, follow_symlinks=False)
            if suffix == MAP:
                kept = own.st_blocks * UNIT
                with contextlib.suppress(FileNotFoundError):
                    kept += os.stat(name + DATA, dir_fd=where, follow_symlinks=False).st_blocks * UNIT
                yield _Found(own.st_mtime, name, kept)
            elif not _exists(name + MAP, where):  # its process was killed while it removed both
                yield _Found(own.st_mtime, name, own.st_blocks * UNIT)


def _exists(name: str, where: int) -> bool:
    try:
        os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def usage_of(where: int, path: str, limit: int | None) -> Usage:
    """Return what is in a folder. Blocks for the disk."""
    entries, total = [], 0
    for found in sorted(on_disk(where), reverse=True):
        total += found.kept
        with contextlib.suppress(OSError):
            fd = os.open(found.name + MAP, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=where)
            try:
                head = block_files.read_head(fd)
                if head is not None:
                    store, name, etag, size, _ = head
                    in_use = block_files.is_in_use(fd)
                    entries.append(KeptObject(store, name, etag, size, found.kept, found.used, in_use))
            finally:
                os.close(fd)
    return Usage(path, limit, total, tuple(entries))


def evicted_to(where: int, most: int, found: list[_Found], is_open: Callable[[str], bool] = lambda name: False) -> int:
    """Remove entries that nobody uses, in this order, until the rest has at most so many bytes; return how many."""
    used = sum(one.kept for one in found)
    for one in found:
        if used <= most:
            break
        with contextlib.suppress(OSError):  # of one entry, which stays
            if not is_open(one.name) and block_files.evicted(where, one.name):
                used -= one.kept
                log.debug("evicted %s from the cache: %s bytes", one.name, one.kept)
    return used


def prune(where: int, most: int) -> None:
    """Remove what nobody uses and was not used for longest, until the rest has at most so many bytes."""
    evicted_to(where, most, sorted(on_disk(where)))
