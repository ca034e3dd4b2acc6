"""The answers of one connection that are not known to have arrived, and how that becomes known.

Knows exchanges and the ledger. Knows no sockets: it is told how many bytes are outstanding.
"""

from __future__ import annotations

from httpserve.exchange import End, Exchange, State
from httpserve.ledger import Ledger

# A member of an Enum is looked up in a tenth of the time under a name of its own (before Python 3.12).
_COMPLETED = End.COMPLETED
_HANDED_OVER = State.HANDED_OVER


class Tally:
    """Answers in the order in which they left; more than one only when the client pipelines."""

    __slots__ = ("_earlier", "_ledger", "latest")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._earlier: list[Exchange] = []
        self.latest: Exchange | None = None

    def begin(self, exchange: Exchange) -> None:
        """Record an answer before its first byte leaves: who has the answer finds the record."""
        if self.latest is not None:
            self._earlier.append(self.latest)
        self.latest = exchange
        self._ledger.begin(exchange)

    def follow(self, exchange: Exchange) -> None:
        """Do what `arrived` does, and then `begin`; for a single answer before in one step of the ledger."""
        latest = self.latest
        if latest is None or self._earlier:
            self.arrived(exchange.began)
            self.begin(exchange)
            return
        self.latest = exchange
        self._ledger.follow(latest, exchange)

    @property
    def is_pipelined(self) -> bool:
        """Whether the client asked on before it can have had an answer, so that asking on proves nothing."""
        return bool(self._earlier)

    def arrived(self, now: float) -> None:
        """Count every answer that was handed over as received."""
        latest = self.latest
        if latest is None or latest.state is not _HANDED_OVER:
            return
        self.latest = None
        self._ledger.settle(latest, latest.length, now, _COMPLETED)
        if self._earlier:
            for exchange in self._earlier:
                self._ledger.settle(exchange, exchange.length, now, _COMPLETED)
            self._earlier = []

    def ended(self, outstanding: int, now: float, end: End) -> None:
        """Count as received what the client has acknowledged: the bytes outstanding are of the latest answers."""
        if self.latest is None:
            return
        for exchange in [self.latest, *reversed(self._earlier)]:
            self._ledger.settle(exchange, max(0, exchange.handed - outstanding), now, end)
            outstanding = max(0, outstanding - exchange.handed)
        self.latest = None
        self._earlier = []
