"""How a quick answer gives way to small ones.

Knows the clock, and when a small answer left last. Knows no plans.
"""

from __future__ import annotations

import socket
import time

from httpserve.server import tcp
from httpserve.server.shared import Shared

# While somebody asks for small files, a large one leaves no faster than this for a MiB, 250 MB/s: else clients
# that receive it on the same machine keep the processors busy, and each small answer waits for them.
GIVE_WAY_SECONDS = 0.004
ASKED_SECONDS = 0.02  # how long after a small answer others may follow
PACE_BYTES = 1024 * 1024


class Pace:
    """How fast an answer leaves, from now on."""

    __slots__ = ("_began", "_bytes", "_is_quick", "_shared", "_sock", "now")

    def __init__(self, shared: Shared, sock: socket.socket) -> None:
        self._shared = shared
        self._sock = sock
        self._bytes = 0  # that have left since `_began`
        self._is_quick = False
        self.now = shared.clock
        self._began = shared.clock()

    def add(self, sent: int) -> None:
        """Count bytes that have left, and wait for a moment if they went fast and others ask for small files.

        Raises ConnectionAbortedError when the server ends what is under way.
        """
        self._bytes += sent
        if self._bytes < PACE_BYTES:
            return
        self._bytes = 0
        shared = self._shared
        if shared.cutting:
            raise ConnectionAbortedError("the server stops")
        now = self.now()
        took = now - self._began
        if took < GIVE_WAY_SECONDS:
            if not self._is_quick:
                self._is_quick = True
                tcp.queue_more(self._sock)
            if now - shared.small_at < ASKED_SECONDS:
                time.sleep(GIVE_WAY_SECONDS - took)  # gives small answers the processor; not a wait for an event
                now = self.now()
        self._began = now
