"""Small objects in memory: the latest that were asked for, within a bound. Knows bytes and their keys."""

from __future__ import annotations

import threading

from httpserve.storage.cache.source import Key

MEMORY_BYTES = 64 * 1024 * 1024


class MemoryCache:
    """Whole objects, the least recently used of which go first. Safe from any thread; waits for nothing.

    Args:
        limit: How many bytes all of them may have together.
    """

    def __init__(self, limit: int = MEMORY_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()  # guards _kept and _bytes
        self._kept: dict[Key, bytes] = {}  # in the order of their last use
        self._bytes = 0

    def get(self, key: Key) -> bytes | None:
        """Return the object, or None if it is not kept."""
        with self._lock:
            data = self._kept.pop(key, None)
            if data is not None:
                self._kept[key] = data
            return data

    def put(self, key: Key, data: bytes) -> None:
        """Keep an object, in place of what was not used for longer. One above the limit is not kept."""
        if len(data) > self._limit:
            return
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._bytes > self._limit:
                self._bytes -= len(self._kept.pop(next(iter(self._kept))))
