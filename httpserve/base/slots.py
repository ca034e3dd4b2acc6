"""Limits how many threads do the same thing at a time, such as wait for one disk that may not answer.

Knows a count for each key. Does not know what it counts.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Slots:
    """A limited number of seats for each key. Safe from any thread; waits for nothing."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._taken: dict[Hashable, int] = {}

    def take(self, key: Hashable) -> bool:
        """Take a seat. Return False if none is left."""
        with self._lock:
            taken = self._taken.get(key, 0)
            if taken >= self._most:
                return False
            self._taken[key] = taken + 1
            return True

    def give_back(self, key: Hashable) -> None:
        """Give a seat back."""
        with self._lock:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
