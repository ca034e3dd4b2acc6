"""The answers of one connection that are not known to have arrived, and how that becomes known.

Knows exchanges, the ledger and positions in the bytes of the connection. Knows no sockets: its caller says how many of
all bytes the client has acknowledged.
"""

from __future__ import annotations

from httpserve.plan import ASIDE, PROBE
from httpserve.records.exchange import End, Exchange, State
from httpserve.server.shared import Shared

MOST_UNSETTLED = 256  # answers of one connection; a client that asks for more waits until it has acknowledged some
MOST_OPEN = 20_000  # of all connections; beyond this, each may have one
# Looking up a member of an Enum takes a tenth of the time under its own name (before Python 3.12).
_COMPLETED = End.COMPLETED
_HANDED_OVER = State.HANDED_OVER


class Receipts:
    """Answers in the order in which they left; more than one only when the client pipelines.

    Attributes:
        latest: The answer that left last, or is leaving; None where everything is known to have arrived.
    """

    __slots__ = ("_begin", "_between", "_earlier", "_shared", "latest")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._begin = 0  # where the head of the latest answer begins, in all the bytes of the connection
        self._between = 0  # how many bytes have left since the latest answer that belong to none
        self._earlier: list[Exchange] = []
        self.latest: Exchange | None = None

    def begin(self, exchange: Exchange, start: int, all_arrived: bool = False) -> None:
        """Record an answer before its first byte leaves, so that a client that has it finds the record.

        Args:
            exchange: The answer.
            start: The length of its head.
            all_arrived: Whether the client has everything that left before.
        """
        latest, shared = self.latest, self._shared
        if latest is not None:
            self._begin = latest.at + latest.length
        exchange.at = self._begin + self._between + start
        self._between = 0
        if all_arrived and latest is not None and not self._earlier:  # one step of the ledger
            self.latest = exchange
            shared.ledger.follow(latest, exchange)
            if shared.logs_access:
                self._log(latest)
            return
        if all_arrived:
            self.arrived(exchange.began)
        elif latest is not None:
            self._earlier.append(latest)
        self.latest = exchange
        shared.ledger.begin(exchange)

    def skip(self, count: int) -> None:
        """Count bytes that leave before the next answer and are not part of it."""
        self._between += count

    def position(self) -> int:
        """Return how many bytes of the connection have been handed to the kernel, or a few less."""
        latest = self.latest
        if latest is None:
            return self._begin
        if latest.state is _HANDED_OVER:
            return latest.at + latest.length
        handed = latest.handed
        return latest.at + handed if handed else self._begin  # nobody counts how much of a head has left

    @property
    def is_full(self) -> bool:
        """Whether the client has asked so often that it must first acknowledge something."""
        earlier = self._earlier
        return bool(earlier) and (len(earlier) >= MOST_UNSETTLED or self._shared.ledger.open_count > MOST_OPEN)

    def arrived(self, now: float) -> None:
        """Count every answer that was handed over as received."""
        latest = self.latest
        if latest is None or latest.state is not _HANDED_OVER:
            return
        for exchange in (*self._earlier, latest):
            self._settle(exchange, exchange.length, now, _COMPLETED)
        self._forget(latest)

    def settle(self, acknowledged: int, now: float) -> None:
        """Count as received, in order, what the client has acknowledged of all the bytes of the connection."""
        earlier, latest = self._earlier, self.latest
        count = 0
        for exchange in earlier:
            if exchange.at + exchange.length > acknowledged:
                break
            self._settle(exchange, exchange.length, now, _COMPLETED)
            count += 1
        del earlier[:count]
        if not earlier and latest is not None and latest.at + latest.length <= acknowledged:
            self.arrived(now)

    def ended(self, acknowledged: int, now: float, end: End) -> None:
        """Count as received what the client has acknowledged; `end` says why the rest is not."""
        latest = self.latest
        if latest is None:
            return
        for exchange in (*self._earlier, latest):
            received = min(exchange.handed, max(0, acknowledged - exchange.at))
            self._settle(exchange, received, now, end, has_head=acknowledged >= exchange.at)
        self._forget(latest)

    def _settle(self, exchange: Exchange, received: int, now: float, end: End, *, has_head: bool = True) -> None:
        self._shared.ledger.settle(exchange, received, now, end, has_head=has_head)
        self._log(exchange)

    def _forget(self, latest: Exchange) -> None:
        self._begin = latest.at + latest.length
        self._earlier = []
        self.latest = None  # last: until then other threads may ask for the position

    def _log(self, exchange: Exchange) -> None:
        if self._shared.logs_access and exchange.subject not in (ASIDE, PROBE):
            self._shared.log_access(exchange)
