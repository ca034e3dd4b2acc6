"""What is counted of an answer while it leaves, and how a quick one gives way to small ones.

Knows an exchange and the clock. Knows no plans.
"""

from __future__ import annotations

import socket
import time

from httpserve.records.exchange import Exchange, State
from httpserve.server import tcp
from httpserve.server.shared import Shared

# While somebody asks for small files, a large one leaves no faster than this for a MiB, 250 MB/s: else whoever receives
# it on the same machine, or several of them, keep the processors, and each small answer waits for them.
GIVE_WAY_SECONDS = 0.004
ASKED_SECONDS = 0.02  # for so long after a small answer others may follow


class Pace:
    """Counts what the kernel takes of an answer, and says before the last send that it is as good as complete."""

    __slots__ = ("_exchange", "_is_quick", "_paced_at", "_service", "_sock")

    def __init__(self, exchange: Exchange, service: Shared, sock: socket.socket) -> None:
        self._exchange = exchange
        self._service = service
        self._sock = sock
        self._is_quick = False
        self._paced_at = time.monotonic()

    @property
    def handed(self) -> int:
        return self._exchange.handed

    @handed.setter
    def handed(self, count: int) -> None:
        self._exchange.handed = count

    def give_way(self) -> None:
        """Wait for a moment if it went fast and others ask: whoever is fetching much lets those go first.

        Raises ConnectionAbortedError when the server ends what is under way.
        """
        if self._service.cutting:
            raise ConnectionAbortedError("the server stops")
        now = time.monotonic()
        took = now - self._paced_at
        if took < GIVE_WAY_SECONDS:
            if not self._is_quick:
                self._is_quick = True
                tcp.queue_more(self._sock)
            if now - self._service.small_at < ASKED_SECONDS:
                time.sleep(GIVE_WAY_SECONDS - took)
                now = time.monotonic()
        self._paced_at = now

    def before_last(self) -> None:
        """Say in the record, before the last bytes leave, that they do: their acknowledgment is due from then on."""
        exchange = self._exchange
        if exchange.state is State.UNDER_WAY:
            exchange.state = State.LEAVING
            exchange.ended = time.monotonic()

    def not_last(self) -> None:
        """Take back that it was the last send."""
        self._exchange.state = State.UNDER_WAY
        self._exchange.ended = 0.0
