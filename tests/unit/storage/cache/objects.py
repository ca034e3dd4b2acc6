"""Objects that are read by the cache's own protocol, with a count of what is read, and gates where a read waits."""

from __future__ import annotations

import os
import threading

from httpserve.errors import StoreUnavailable
from httpserve.storage.cache.cache import Cache
from httpserve.storage.cache.cached_file import CachedFile
from httpserve.storage.cache.source import Key
from httpserve.storage.served import VersionGone
from tests.server.wire import eventually, pattern

BLOCK = 256 * 1024
MIB = 1024 * 1024


class Object:
    """One version of an object in a store that is this process.

    Attributes:
        reads: The offset and the length of each read that was begun.
        sent: How many bytes were read in all.
        open: How many reads are open.
        gates: At which bytes a read waits until the gate is opened.
        breaks_at: At which byte a read breaks off; None: nowhere.
        replaced_by: The bytes that are there by now.
        asked: How often it was asked whether it is still this version.
    """

    def __init__(self, size: int, name: str = "image", seed: int = 0) -> None:
        self.data = pattern(size, seed)
        self.key = Key("memory", name, f'"{seed}"', size)
        self.reads: list[tuple[int, int]] = []
        self.sent = 0
        self.open = 0
        self.gates: dict[int, threading.Event] = {}
        self.breaks_at: int | None = None
        self.replaced_by: bytes | None = None
        self.is_gone = False
        self.asked = 0
        self._lock = threading.Lock()

    def count(self, sent: int = 0, opened: int = 0) -> None:
        """Add to the counts, from any thread."""
        with self._lock:
            self.sent += sent
            self.open += opened

    def fetch(self, offset: int, length: int) -> _Read:
        if self.is_gone:
            raise VersionGone("read 'image': it is another version by now", "image")
        self.reads.append((offset, length))
        return _Read(self, offset, offset + length)

    def gate(self, at: int) -> threading.Event:
        """Let reads wait at a byte until this is set."""
        return self.gates.setdefault(at, threading.Event())


class _Read:
    def __init__(self, of: Object, at: int, stop: int) -> None:
        self._of = of
        self._at = at
        self._stop = stop
        of.count(opened=1)

    def readinto(self, buffer: memoryview) -> int:
        of, at = self._of, self._at
        gate = of.gates.get(at)
        if gate is not None:
            assert gate.wait(20), f"nobody has opened the gate at {at}"
        if of.breaks_at == at:
            raise StoreUnavailable("read 'image': the store broke off", "image")
        if of.is_gone:
            raise VersionGone("read 'image': it is another version by now", "image")
        ends = [end for end in [self._stop, *of.gates, *([of.breaks_at] if of.breaks_at else [])] if end > at]
        count = min(len(buffer), 100_000, min(ends, default=at) - at)
        data = of.data if of.replaced_by is None else of.replaced_by
        buffer[:count] = data[at : at + count]
        of.count(sent=count)
        self._at += count
        return count

    def finish(self) -> None:
        self._of.asked += 1
        if self._of.replaced_by is not None:
            raise VersionGone("read 'image': it is another version by now", "image")

    def close(self) -> None:
        self._of.count(opened=-1)


def opened(cache: Cache, thing: Object, *, is_pinned: bool = True) -> CachedFile:
    """Open an object for one answer, which a cache has room for."""
    file = cache.file(thing.key, thing.fetch, is_pinned=is_pinned)
    assert file is not None
    return file


def read(file: CachedFile, offset: int, length: int, wanted: int = 0) -> bytes:
    """Return what a board has that asked for *wanted* bytes, as the server sends them, once it has *length*."""
    data = b""
    while len(data) < length:
        there = file.arrived(offset + len(data), max(length, wanted) - len(data), 10.0)
        assert there, "no more came"
        data += os.pread(file.fd, min(there, MIB, length - len(data)), offset + len(data))
    return data


def fetched(cache: Cache, thing: Object, start: int = 0, stop: int | None = None, *, is_pinned: bool = True) -> bytes:
    """Return what a board gets that asks for these bytes and goes."""
    stop = thing.key.size if stop is None else stop
    file = opened(cache, thing, is_pinned=is_pinned)
    try:
        return read(file, start, stop - start)
    finally:
        file.close()


def at_rest(cache: Cache) -> None:
    """Wait until no answer and no read uses an entry any more."""
    eventually(lambda: not any(one.in_use for one in cache.usage().entries), "the end of all reads")
