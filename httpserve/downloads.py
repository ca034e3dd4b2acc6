"""Which client has which files whole, or how much of them: what waits look at.

Knows exchanges that have ended, and what was waited for already. Not safe from
several threads: the ledger's lock guards it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from httpserve.coverage import Coverage
from httpserve.records import DownloadRecord, Exchange, printable

MOST_NAMES = 10_000  # names whose downloads are kept; the oldest goes first
MOST_CLIENTS = 1000  # per name, likewise


class _Done(NamedTuple):
    """A whole download, in one answer or by ranges; `serial` orders it among other downloads and waits."""

    serial: int
    by: Exchange | Coverage


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
        done = entry.done.get(client)
        if done is not None and _is_older(exchange, subject.validator, done.by):
            return
        coverage = entry.partial.get(client)
        if coverage is not None and _is_older(exchange, subject.validator, coverage):
            return
        if whole and exchange.status == 200:
            self._finish(entry, client, exchange)
            return
        spans = exchange.spans(received)
        if not spans:
            return
        if coverage is None or coverage.validator != subject.validator:
            _make_room(entry.partial)
            coverage = entry.partial[client] = Coverage(subject.validator, subject.total)
        asked = exchange.status == 206
        coverage.add(spans, exchange.began, exchange.ended, exchange.head.user_agent, asked=asked)
        if coverage.whole:
            self._finish(entry, client, coverage)

    def _finish(self, entry: _Name, client: str, by: Exchange | Coverage) -> None:
        if entry.partial:
            entry.partial.pop(client, None)
        if client not in entry.done:
            _make_room(entry.done)
        self._serial += 1
        entry.done[client] = _Done(self._serial, by)

    def mark(self, name: str) -> Mark:
        """Return what has been taken of a name so far."""
        entry = self._names.get(name)
        return Mark(0, {}) if entry is None else Mark(entry.taken, dict(entry.taken_from))

    def take(self, name: str, validator: str, client: str | None, mark: Mark) -> DownloadRecord | None:
        """Return a whole download of this version, by any client or by that one, which nobody took before the mark."""
        entry = self._names.get(name)
        if entry is None:
            return None
        for address, (serial, by) in entry.done.items():
            if _validator(by) != validator or client not in (None, address):
                continue
            if serial <= max(mark.taken, mark.taken_from.get(address, 0)):
                continue
            self._serial += 1
            if client is None:
                entry.taken = self._serial
            else:
                _make_room(entry.taken_from)
                entry.taken_from[address] = self._serial
            return _record(name, address, by)
        return None

    def has_any(self, name: str, validator: str) -> bool:
        """Tell whether anybody has the whole of this version, taken or not."""
        entry = self._names.get(name)
        return entry is not None and any(_validator(done.by) == validator for done in entry.done.values())

    def partial(self, name: str, validator: str) -> dict[str, Coverage]:
        """Return what clients have of this version that have not all of it."""
        entry = self._names.get(name)
        clients = {} if entry is None else entry.partial
        return {client: coverage for client, coverage in clients.items() if coverage.validator == validator}

    def epoch(self, name: str) -> int:
        """Return the epoch from which exchanges count for a name."""
        entry = self._names.get(name)
        return 0 if entry is None else entry.epoch


def _validator(by: Exchange | Coverage) -> str:
    if isinstance(by, Coverage):
        return by.validator
    return by.subject.validator if by.subject else ""


def _is_older(exchange: Exchange, validator: str, counted: Exchange | Coverage) -> bool:
    """Tell whether an answer is of an earlier version than what was counted: slow, it ended last."""
    return exchange.began < counted.began and _validator(counted) != validator


def _record(name: str, client: str, by: Exchange | Coverage) -> DownloadRecord:
    seconds = by.ended - by.began
    if isinstance(by, Exchange):
        return DownloadRecord(name, client, by.length, seconds, printable(by.head.user_agent), ())
    return DownloadRecord(name, client, by.total, seconds, printable(by.user_agent), tuple(by.ranges))


def _make_room(clients: dict[str, Any]) -> None:
    while len(clients) >= MOST_CLIENTS:
        del clients[next(iter(clients))]
