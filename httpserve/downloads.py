"""Which client has which files whole, or how much of them: what waits look at.

Knows exchanges that have ended, and what was waited for already. Not safe from
several threads: the ledger's lock guards it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from httpserve.coverage import Coverage
from httpserve.plan import Subject
from httpserve.records import DownloadRecord, Exchange, printable

MOST_NAMES = 10_000  # names whose downloads are kept; the oldest goes first
MOST_CLIENTS = 1000  # per name, likewise


class _Done(NamedTuple):
    """A whole download; `serial` orders it among other downloads and waits."""

    serial: int
    validator: str
    total: int
    began: float
    ended: float
    user_agent: str
    ranges: tuple[tuple[int, int], ...]


class Mark(NamedTuple):
    """What had been taken of a name when a wait began: only later downloads count for it."""

    taken: int
    taken_from: dict[str, int]


class _Name:
    __slots__ = ("done", "epoch", "partial", "taken", "taken_from")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch  # exchanges that began before do not count
        self.partial: dict[str, Coverage] = {}
        self.done: dict[str, _Done] = {}
        self.taken = 0
        self.taken_from: dict[str, int] = {}


class Downloads:
    """Downloads by name and client."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}
        self._serial = 0

    def start_over(self, name: str, epoch: int) -> None:
        """Forget all about a name: a new version is put in place, and counts from this epoch on."""
        self._names.pop(name, None)
        self._new(name, epoch)

    def _new(self, name: str, epoch: int) -> _Name:
        while len(self._names) >= MOST_NAMES:
            del self._names[next(iter(self._names))]
        entry = self._names[name] = _Name(epoch)
        return entry

    def add(self, exchange: Exchange, received: int, *, whole: bool) -> None:
        """Count what has arrived of an answer."""
        subject = exchange.subject
        if subject is None or not subject.pieces:
            return
        entry = self._names.get(subject.name)
        if entry is None:
            entry = self._new(subject.name, 0)
        if exchange.epoch < entry.epoch:
            return
        client = exchange.link.client
        if any(
            _is_older(exchange, subject.validator, counted)
            for counted in (entry.done.get(client), entry.partial.get(client))
        ):
            return
        if whole and exchange.status == 200:
            user_agent = exchange.head.user_agent
            self._finish(entry, client, subject, (exchange.began, exchange.ended), user_agent, ())
            return
        spans = exchange.spans(received)
        if not spans:
            return
        coverage = entry.partial.get(client)
        if coverage is None or coverage.validator != subject.validator:
            _make_room(entry.partial)
            coverage = entry.partial[client] = Coverage(subject.validator, subject.total)
        asked = exchange.status == 206
        coverage.add(spans, exchange.began, exchange.ended, exchange.head.user_agent, asked=asked)
        if coverage.whole:
            when = (coverage.began, coverage.ended)
            self._finish(entry, client, subject, when, coverage.user_agent, tuple(coverage.ranges))

    def _finish(
        self,
        entry: _Name,
        client: str,
        subject: Subject,
        when: tuple[float, float],
        user_agent: str,
        ranges: tuple[tuple[int, int], ...],
    ) -> None:
        entry.partial.pop(client, None)
        if client not in entry.done:
            _make_room(entry.done)
        self._serial += 1
        entry.done[client] = _Done(self._serial, subject.validator, subject.total, *when, user_agent, ranges)

    def mark(self, name: str) -> Mark:
        """Return what has been taken of a name so far."""
        entry = self._names.get(name)
        return Mark(0, {}) if entry is None else Mark(entry.taken, dict(entry.taken_from))

    def take(self, name: str, validator: str, client: str | None, mark: Mark) -> DownloadRecord | None:
        """Return a whole download of this version, by any client or by that one, which nobody took before the mark."""
        entry = self._names.get(name)
        if entry is None:
            return None
        for address, done in entry.done.items():
            if done.validator != validator or client not in (None, address):
                continue
            if done.serial <= max(mark.taken, mark.taken_from.get(address, 0)):
                continue
            self._serial += 1
            if client is None:
                entry.taken = self._serial
            else:
                _make_room(entry.taken_from)
                entry.taken_from[address] = self._serial
            return DownloadRecord(
                name=name,
                client=address,
                bytes=done.total,
                seconds=done.ended - done.began,
                user_agent=printable(done.user_agent),
                ranges=done.ranges,
            )
        return None

    def has_any(self, name: str, validator: str) -> bool:
        """Tell whether anybody has the whole of this version, taken or not."""
        entry = self._names.get(name)
        return entry is not None and any(done.validator == validator for done in entry.done.values())

    def partial(self, name: str, validator: str) -> dict[str, Coverage]:
        """Return what clients have of this version that have not all of it."""
        entry = self._names.get(name)
        clients = {} if entry is None else entry.partial
        return {client: coverage for client, coverage in clients.items() if coverage.validator == validator}

    def epoch(self, name: str) -> int:
        """Return the epoch from which exchanges count for a name."""
        entry = self._names.get(name)
        return 0 if entry is None else entry.epoch


def _is_older(exchange: Exchange, validator: str, counted: _Done | Coverage | None) -> bool:
    """Tell whether an answer is of an earlier version than what was counted: slow, it ended last."""
    return counted is not None and counted.validator != validator and exchange.began < counted.began


def _make_room(clients: dict[str, Any]) -> None:
    while len(clients) >= MOST_CLIENTS:
        del clients[next(iter(clients))]
