"""The answers of one connection that are not known to have arrived, and how that becomes known.

Knows exchanges, the ledger and positions in the bytes of the connection. Knows no sockets: it is told how many of all
bytes the client has acknowledged.
"""

from __future__ import annotations

from httpserve.plan import PROBE
from httpserve.records.exchange import End, Exchange, State
from httpserve.server.shared import Shared

MOST_UNSETTLED = 256  # answers of one connection; a client that asks on waits until it has acknowledged some
MOST_OPEN = 20_000  # of all connections; beyond it each has one
# A member of an Enum is looked up in a tenth of the time under a name of its own (before Python 3.12).
_COMPLETED = End.COMPLETED
_HANDED_OVER = State.HANDED_OVER


class Receipts:
    """Answers in the order in which they left; more than one only when the client pipelines.

    Attributes:
        latest: The answer that left last, or is leaving; None where everything is known to have arrived.
    """

    __slots__ = ("_begin", "_earlier", "_end", "_service", "latest")

    def __init__(self, service: Shared) -> None:
        self._service = service
        self._begin = 0  # where the head of the latest answer begins, in all the bytes of the connection
        self._end = 0  # where its content ends
        self._earlier: list[Exchange] = []
        self.latest: Exchange | None = None

    def begin(self, exchange: Exchange, start: int) -> None:
        """Record an answer, whose head has `start` bytes, before its first byte leaves: who has it finds the record."""
        if self.latest is not None:
            self._earlier.append(self.latest)
        self._place(exchange, start)
        self._service.ledger.begin(exchange)

    def follow(self, exchange: Exchange, start: int) -> None:
        """Do what `arrived` does, and then `begin`; for a single answer before in one step of the ledger."""
        latest = self.latest
        if latest is None or self._earlier:
            self.arrived(exchange.began)
            self.begin(exchange, start)
            return
        self._place(exchange, start)
        service = self._service
        service.ledger.follow(latest, exchange)
        if service.logs_access:
            self._log(latest)

    def _place(self, exchange: Exchange, start: int) -> None:
        self._begin = self._end
        exchange.at = self._begin + start
        self._end = exchange.at + exchange.length
        self.latest = exchange

    def position(self) -> int:
        """Return how many bytes of the connection have been handed to the kernel, or a few less."""
        latest = self.latest
        if latest is None:
            return self._begin
        if latest.state is _HANDED_OVER:
            return latest.at + latest.length
        handed = latest.handed
        return latest.at + handed if handed else self._begin  # of a head nobody counts how much has left

    @property
    def is_full(self) -> bool:
        """Whether the client has asked on so often that it must acknowledge something first."""
        earlier = self._earlier
        return bool(earlier) and (len(earlier) >= MOST_UNSETTLED or self._service.ledger.open_count > MOST_OPEN)

    def arrived(self, now: float) -> None:
        """Count every answer that was handed over as received."""
        latest = self.latest
        if latest is None or latest.state is not _HANDED_OVER:
            return
        for exchange in self._earlier:
            self._settle(exchange, exchange.length, now, _COMPLETED)
        self._settle(latest, latest.length, now, _COMPLETED)
        self._forget()

    def settle(self, acknowledged: int, now: float) -> None:
        """Count as received, in order, what the client has acknowledged of all the bytes of the connection."""
        earlier = self._earlier
        count = 0
        for exchange in earlier:
            if exchange.at + exchange.length > acknowledged:
                break
            self._settle(exchange, exchange.length, now, _COMPLETED)
            count += 1
        del earlier[:count]
        if not earlier and self._end <= acknowledged:
            self.arrived(now)

    def ended(self, acknowledged: int, now: float, end: End) -> None:
        """Count as received what the client has acknowledged; `end` says why the rest is not."""
        latest = self.latest
        if latest is None:
            return
        for exchange in (*self._earlier, latest):
            received = min(exchange.handed, max(0, acknowledged - exchange.at))
            self._settle(exchange, received, now, end, has_head=acknowledged >= exchange.at)
        self._forget()

    def _settle(self, exchange: Exchange, received: int, now: float, end: End, *, has_head: bool = True) -> None:
        self._service.ledger.settle(exchange, received, now, end, has_head=has_head)
        self._log(exchange)

    def _forget(self) -> None:
        self._begin = self._end
        self._earlier = []
        self.latest = None  # last: until then others may ask for the position

    def _log(self, exchange: Exchange) -> None:
        if self._service.logs_access and exchange.subject is not PROBE:
            self._service.log_access(exchange)
