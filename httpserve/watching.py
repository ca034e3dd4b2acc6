"""The answers that count for one wait, where that is not simply every answer since the file was put there.

Knows exchanges, and what a user's predicate said of them. Not safe from several threads: the ledger's lock guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from httpserve.coverage import Coverage
from httpserve.downloads import cover
from httpserve.records import Exchange, RequestRecord, State

MOST_UNJUDGED = 10_000  # ended answers for which the user's predicate was not asked yet; the oldest go first


class Watch:
    """The answers about one name that count for one wait.

    Args:
        name: The file's name.
        first: The number of the first exchange that may count.
        since: When the first request that counts may have come, in seconds since the epoch.
        predicate: Tells of a request whether it counts; None: each does. Never called here: it may do anything.
        coverages: What clients have to begin with.
    """

    def __init__(
        self,
        name: str,
        *,
        first: int = 0,
        since: float | None = None,
        predicate: Callable[[RequestRecord], object] | None = None,
        coverages: dict[str, Coverage] | None = None,
    ) -> None:
        self.name = name
        self.predicate = predicate
        self.numbers: dict[str, list[int]] = {}  # which exchanges counted, by client
        self._first = first
        self._since = since
        self._coverages = coverages or {}
        self._unjudged: deque[tuple[Exchange, int]] = deque(maxlen=MOST_UNJUDGED)
        self._verdicts: dict[int, bool] = {}  # by number

    def may_count(self, exchange: Exchange) -> bool:
        """Tell whether an exchange counts, if the predicate says so too."""
        subject = exchange.subject
        return (
            subject is not None
            and subject.name == self.name
            and exchange.number >= self._first
            and (self._since is None or exchange.wall >= self._since)
        )

    def feed(self, exchange: Exchange, received: int) -> None:
        """Take in an exchange that has ended."""
        if not self.may_count(exchange):
            return
        if self.predicate is None:
            self._count(exchange, received)
        else:
            self._unjudged.append((exchange, received))

    def note_numbers(self, ended: Iterable[Exchange]) -> None:
        """Note which exchanges brought what clients had to begin with."""
        for exchange in ended:
            if self.may_count(exchange):
                self.numbers.setdefault(exchange.link.client, []).append(exchange.number)

    def unjudged(self, underway: Iterable[Exchange]) -> list[Exchange]:
        """Return what the predicate must be asked about, out of what has ended and of what is under way."""
        if self.predicate is None:
            return []
        ended = [exchange for exchange, _ in self._unjudged]
        mine = [exchange for exchange in underway if self.may_count(exchange)]
        return [exchange for exchange in (*ended, *mine) if exchange.number not in self._verdicts]

    def judge(self, verdicts: Mapping[int, bool]) -> None:
        """Take in what the predicate said of exchanges, by their numbers."""
        self._verdicts.update(verdicts)
        left = [(exchange, received) for exchange, received in self._unjudged if exchange.number not in self._verdicts]
        for exchange, received in self._unjudged:
            if self._verdicts.pop(exchange.number, False):
                self._count(exchange, received)
        self._unjudged = deque(left, MOST_UNJUDGED)

    def _count(self, exchange: Exchange, received: int) -> None:
        client = exchange.link.client
        self.numbers.setdefault(client, []).append(exchange.number)
        add(self._coverages, exchange, received)

    def standings(self, validator: str, underway: Iterable[Exchange]) -> dict[str, Coverage]:
        """Return what each client has of one version, with what is under way."""
        found = {
            client: coverage.copy() for client, coverage in self._coverages.items() if coverage.validator == validator
        }
        mine = (exchange for exchange in underway if self.may_count(exchange))
        add_underway(
            found,
            (exchange for exchange in mine if self.predicate is None or self._verdicts.get(exchange.number)),
            validator,
        )
        return found


def add(coverages: dict[str, Coverage], exchange: Exchange, received: int) -> None:
    """Count what a client has received of an answer that has pieces of a file."""
    subject = exchange.subject
    if subject is None or not subject.pieces:
        return
    coverage = coverages.get(exchange.link.client)
    if coverage is None or coverage.validator != subject.validator:
        coverage = coverages[exchange.link.client] = Coverage(subject.validator, subject.total)
    if subject.total == 0 or exchange.spans(received):
        cover(coverage, exchange, received)


def add_underway(coverages: dict[str, Coverage], underway: Iterable[Exchange], validator: str) -> None:
    """Count what clients have received so far of answers about one version that are under way."""
    for exchange in underway:
        if exchange.subject is None or exchange.subject.validator != validator:
            continue
        received = exchange.received()
        if received or (exchange.length == 0 and exchange.state is State.HANDED_OVER):
            add(coverages, exchange, received)
