"""Something to wait for that a Ctrl-C can interrupt at any moment without harm.

Knows locks. `Condition.wait` and `Event.wait` are no such thing: a KeyboardInterrupt at the wrong moment inside them
becomes a RuntimeError about an unlocked lock.
"""

from __future__ import annotations

import threading
import time

SLICE_SECONDS = 0.25  # a waiter that was interrupted may have kept the lock: look again


class Latch:
    """Closed at first, and open for ever once it was opened. Safe from any number of threads."""

    __slots__ = ("_is_open", "_lock")

    def __init__(self, *, is_open: bool = False) -> None:
        self._is_open = is_open
        self._lock = threading.Lock()
        self._lock.acquire()

    @property
    def is_open(self) -> bool:
        """Whether it was opened."""
        return self._is_open

    def open(self) -> None:
        """Let everybody pass who waits or will wait. Harmless when repeated."""
        self._is_open = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was open already

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the latch is open, at most `timeout` seconds (None: for ever). False when it is not."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_open:
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            if self._lock.acquire(timeout=left):
                self._lock.release()
        return True
