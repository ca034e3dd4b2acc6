"""How long everything may take, and how much of it a server has: timeouts, connections, threads, memory.

Knows numbers. Knows nothing of what is counted.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

MOST_SENDING = 64  # threads in a send from one disk
MOST_RECEIVING = 64  # threads that give content to an app, which may wait for a disk
DESCRIPTORS_KEPT = 64  # for the user's script
FEWEST_CONNECTIONS = 16
MOST_CONNECTIONS = 16_384  # by default: each may take a KiB or two of memory
MOST_BODY_BYTES = 32 * 1024 * 1024  # of content in memory that waits for clients to take it
MOST_HEAD_BYTES = 16 * 1024 * 1024  # of heads that have begun and not ended
MANY_DESCRIPTORS = 1024  # with more than this, not every connection will need a file at the same time


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds, and how many there may be.

    Attributes:
        timeout: An answer that makes no progress is given up after this.
        lost: A client that no longer acknowledges anything is given up after this.
        head: A head must be complete this long after its first byte, however slowly it drips.
        idle: A connection without a request is closed after this.
        short_idle: When connections are scarce, an idle one is kept at least this long: iPXE comes back after 10 s.
        linger: How long to wait, after our close, for the client's.
        connections: The most connections at a time; more wait in the backlog.
    """

    timeout: float = 600.0
    lost: float = 30.0
    head: float = 20.0
    idle: float = 75.0
    short_idle: float = 15.0
    linger: float = 2.0
    connections: int = 1024

    @property
    def look(self) -> float:
        """How often to check whether a client still takes what was sent."""
        return min(self.lost / 12, self.timeout / 4, self.idle)


def most_connections() -> int:
    """Return how many connections fit the limit of descriptors: a busy one needs another for its file."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return 1024
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    left = soft - DESCRIPTORS_KEPT
    fitting = left * 2 // 3 if soft > MANY_DESCRIPTORS else left // 2
    return min(MOST_CONNECTIONS, max(FEWEST_CONNECTIONS, fitting))


class Budget:
    """Bytes that all connections together may hold for some purpose. Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._taken = 0

    def take(self, count: int) -> bool:
        """Take some; False, with nothing taken, if too few are left. The first taker gets any number."""
        with self._lock:
            if self._taken and self._taken + count > self._most:
                return False
            self._taken += count
            return True

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._taken -= count
