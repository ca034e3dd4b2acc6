"""The answers that count for one wait, where that is not simply every answer since the file was put there.

Knows exchanges, and what a user's predicate said of them. Not safe from several threads: the log's lock guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from itertools import islice

from httpserve.records.coverage import Coverage
from httpserve.records.downloads import add
from httpserve.records.exchange import Exchange, State
from httpserve.records.model import RequestRecord

_RECEIVED = State.RECEIVED  # looking it up takes a tenth of the time under its own name (before Python 3.12)
MOST_FED = 1000  # answers that are over and not looked at; beyond these the serving threads look at them
MOST_TAKEN_IN = 16  # of these at a time: it has the log's lock, which others wait for
MOST_UNDECIDED = 10_000  # answers that are over and that the user's predicate has not seen; the oldest go first

# What a predicate must be asked about, and whether it is over: what was said of an answer under way holds until it is.
Undecided = tuple[Exchange, bool]


@dataclass(eq=False)
class Selection:
    """The answers about one name that count for one wait."""

    name: str
    most: int  # how many exchanges the log remembers, so that more need not be remembered here
    _: KW_ONLY
    first: int = 0  # the number of the first exchange that may count
    since: float | None = None  # when the first request that counts may have come, in seconds since the epoch
    predicate: Callable[[RequestRecord], object] | None = None  # not called here: it is a user's, and may do anything
    left_out: frozenset[int] = frozenset()  # the numbers of exchanges that do not count, since a wait has claimed them
    order: int = 0  # the place of the latest claim when it began; 0 where claims do not matter

    def __post_init__(self) -> None:
        self._counted: deque[Exchange] = deque(maxlen=self.most)  # those that are over
        self._coverages: dict[str, Coverage] = {}
        self._undecided: deque[Exchange] = deque(maxlen=MOST_UNDECIDED)  # that are over
        self._decisions: dict[int, bool] = {}  # on what is under way, by number
        self._fed: deque[Exchange] = deque()  # that are over, and not looked at yet

    def start_over(self, first: int) -> None:
        """Note that a new version is put in place: exchanges count from this number, unless the user gave a time."""
        if self.since is None:
            self.first = first
            self._coverages.clear()
            self._counted.clear()
            self._fed.clear()
            self._undecided.clear()
            self._decisions.clear()

    @property
    def counted(self) -> deque[Exchange]:
        """The latest exchanges that count, those that are over."""
        self.take_in()
        return self._counted

    def is_since(self, exchange: Exchange) -> bool:
        """Tell whether an exchange, about any name, is from the time that the wait is about."""
        return (
            exchange.number >= self.first
            and exchange.number not in self.left_out
            and (self.since is None or exchange.wall >= self.since)
        )

    def may_count(self, exchange: Exchange) -> bool:
        """Tell whether an exchange counts, if the predicate says so too."""
        return exchange.subject is not None and exchange.subject.name == self.name and self.is_since(exchange)

    def feed(self, exchange: Exchange) -> None:
        """Take in an exchange that is over. Leaves most of the work to the wait, as the serving threads call this."""
        self._fed.append(exchange)
        if len(self._fed) > MOST_FED:  # nobody looks
            self.take_in(MOST_TAKEN_IN)

    @property
    def is_behind(self) -> bool:
        """Whether more is to be taken in than at one time."""
        return len(self._fed) > MOST_TAKEN_IN

    def feed_all(self, exchanges: Iterable[Exchange]) -> None:
        """Take in exchanges that are over."""
        self._fed.extend(exchanges)

    def take_in(self, most: int | None = None) -> None:
        """Look at what was fed, the oldest first, at no more than `most`."""
        fed = self._fed
        left = len(fed) if most is None else min(most, len(fed))
        while left > 0:
            exchange = fed.popleft()
            left -= 1
            if not self.may_count(exchange):
                continue
            if self.predicate is not None:
                self._undecided.append(exchange)
            else:
                self._count(exchange)
                left -= self._take_in_alike(exchange, left)

    def _take_in_alike(self, whole: Exchange, most: int) -> int:
        """Take in, up to `most`, what was fed next if it is like a counted whole answer; returns how many.

        They add nothing new. Otherwise a board that asks for the same again and again would cost each wait much time.
        """
        subject, client, agent = whole.subject, whole.link.client, whole.head.user_agent
        coverage = self._coverages.get(client)
        if subject is None or not subject.pieces or whole.status != 200 or whole.state is not _RECEIVED:
            return 0
        if coverage is None or not coverage.whole or coverage.validator != subject.validator:
            return 0
        fed, first, since = self._fed, self.first, self.since
        alike = []
        for exchange in islice(fed, most):
            if (
                exchange.subject is not subject
                or exchange.state is not _RECEIVED
                or exchange.status != 200
                or exchange.link.client != client
                or exchange.head.user_agent != agent
                or exchange.number < first
                or exchange.number in self.left_out
                or (since is not None and exchange.wall < since)
            ):
                break
            alike.append(exchange)
        if alike:
            for _ in alike:
                fed.popleft()
            self._counted.extend(alike)
            coverage.answers += len(alike)
            coverage.arrived += len(alike) * whole.got
            coverage.began = min(coverage.began, *(exchange.began for exchange in alike))
            coverage.ended = max(coverage.ended, *(exchange.ended for exchange in alike))
        return len(alike)

    def begin_with(self, coverages: dict[str, Coverage], over: Iterable[Exchange]) -> None:
        """Take in what clients have to begin with, and which exchanges, all of them over, brought it."""
        self._coverages = coverages
        self._counted.extend(exchange for exchange in over if self.may_count(exchange))

    def undecided(self, underway: Iterable[Exchange]) -> list[Undecided]:
        """Return what the predicate must be asked about, out of what is over and of what is under way."""
        if self.predicate is None:
            return []
        self.take_in()
        return [(exchange, True) for exchange in self._undecided] + [
            (exchange, False)
            for exchange in underway
            if exchange.number not in self._decisions and self.may_count(exchange)
        ]

    def decide(self, decisions: Iterable[tuple[Undecided, bool]]) -> None:
        """Take in what the predicate said."""
        over: dict[int, bool] = {}
        for (exchange, is_over), counts in decisions:
            (over if is_over else self._decisions)[exchange.number] = counts
        undecided = self._undecided
        while undecided and undecided[0].number in over:  # what has come since is behind them
            exchange = undecided.popleft()
            self._decisions.pop(exchange.number, None)
            if over[exchange.number]:
                self._count(exchange)

    def _count(self, exchange: Exchange) -> None:
        self._counted.append(exchange)
        add(self._coverages, exchange, exchange.got, exchange.ended)

    def counting(self, underway: Iterable[Exchange]) -> Iterator[Exchange]:
        """Return what counts of what is under way."""
        return (
            exchange
            for exchange in underway
            if self.may_count(exchange) and (self.predicate is None or self._decisions.get(exchange.number))
        )

    def standings(
        self,
        validator: str,
        underway: Iterable[Exchange],
        now: float,
        received: Callable[[Exchange], int] = Exchange.received,
    ) -> dict[str, Coverage]:
        """Return what each client has of one version, with what is under way. Only to be read or copied."""
        self.take_in()
        found = {client: coverage for client, coverage in self._coverages.items() if coverage.validator == validator}
        counting = [one for one in self.counting(underway) if one.subject and one.subject.validator == validator]
        for client in {exchange.link.client for exchange in counting}.intersection(found):
            found[client] = found[client].copy()
        add_underway(found, counting, validator, now, received)
        return found


def add_underway(
    coverages: dict[str, Coverage],
    underway: Iterable[Exchange],
    validator: str,
    now: float,
    received: Callable[[Exchange], int] = Exchange.received,
) -> None:
    """Count what clients have received so far, by `received`, of the answers about one version that are under way."""
    for exchange in underway:
        if exchange.subject is not None and exchange.subject.validator == validator:
            count = received(exchange)
            ended = exchange.ended if exchange.ended and count == exchange.length else now
            add(coverages, exchange, count, ended)
