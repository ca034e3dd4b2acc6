"""How many threads may do the same thing at a time, by a key: for one disk, say, which may not answer and keeps them.

Knows a count for each key. Does not know what is counted.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Seats:
    """So many for each key. Safe from any thread; waits for nothing.

    Args:
        most: How many each key has.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._taken: dict[Hashable, int] = {}

    def take(self, key: Hashable) -> bool:
        """Take one; False where there is none left."""
        with self._lock:
            taken = self._taken.get(key, 0)
            if taken >= self._most:
                return False
            self._taken[key] = taken + 1
            return True

    def give_back(self, key: Hashable) -> None:
        """Give back one that was taken."""
        with self._lock:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
