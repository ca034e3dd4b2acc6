"""Which client has which whole files, or how much of them: what waits look at.

Knows exchanges that have ended, and what was claimed of them. Not safe from
several threads: the log's lock guards it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from httpserve.base.text import escaped
from httpserve.plan import Subject
from httpserve.records.coverage import Coverage
from httpserve.records.exchange import ALL_BYTES, Exchange, State, claimed_bytes
from httpserve.records.model import DownloadRecord
from httpserve.records.terms import Boards

MOST_NAMES = 10_000  # names whose downloads are kept; the oldest goes first
MOST_CLIENTS = 1000  # per name; here too the oldest goes first
MOST_REPEATED_PIECES = 64  # of a download that the client has repeated since
MOST_PIECES = 1 << 18  # intervals and ranges that are remembered in all, of 16 bytes each


@dataclass(slots=True, eq=False)
class _Name:
    first: int  # the number of the first exchange that counts
    partial: dict[str, Coverage] = field(default_factory=dict)
    done: dict[str, Exchange | Coverage] = field(default_factory=dict)  # how all of it came: one answer, or ranges
    shared: set[str] = field(default_factory=set)  # addresses to which two whole answers went at the same time


_NOTHING = _Name(0)  # for a name about which nothing is known; stays empty


class Downloads:
    """Downloads by name and client."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}
        self._unseen_pieces = 0  # pieces that may have come since all were counted

    def start_over(self, name: str, first: int) -> None:
        """Forget everything about a name: a new version is put in place, and exchanges count from this number on."""
        self._names.pop(name, None)
        self._new(name, first)

    def _new(self, name: str, first: int) -> _Name:
        while len(self._names) >= MOST_NAMES:
            del self._names[next(iter(self._names))]
        entry = self._names[name] = _Name(first)
        return entry

    def add(self, exchange: Exchange, subject: Subject, received: int, whole: bool) -> Exchange | Coverage | None:
        """Count what has arrived of an answer. If its client now has the whole file, return how it came."""
        if not subject.pieces or (exchange.claims and claimed_bytes(exchange) == ALL_BYTES):
            return None
        entry = self._names.get(subject.name) or self._new(subject.name, 0)
        if exchange.number < entry.first:
            return None
        client = exchange.link.client
        done = entry.done.get(client)
        if done is not None and exchange.began < done.began and is_older(exchange, subject.validator, done):
            return None
        coverage = entry.partial.get(client) if entry.partial else None
        if coverage is not None and is_older(exchange, subject.validator, coverage):
            return None
        if whole and exchange.status == 200 and exchange.met is None:  # else its pieces say what counts
            if done is not None and exchange.began < done.ended:
                entry.shared.add(client)
            if coverage is None and isinstance(done, Exchange):  # nearly always so when a board asks again
                entry.done[client] = exchange
            else:
                self._finish(entry, client, done, exchange)
            return exchange
        coverage = add(entry.partial, exchange, received, exchange.ended)
        if coverage is None:
            return None
        if coverage.whole:
            self._finish(entry, client, done, coverage)
        self._unseen_pieces += len(subject.pieces)
        if self._unseen_pieces >= MOST_PIECES // 4:  # counting takes time in proportion to the downloads
            self._unseen_pieces = 0
            self._forget_pieces()
        return coverage if coverage.whole else None

    def _forget_pieces(self) -> None:
        """If too many pieces are remembered, forget those of the downloads that have rested longest."""
        entries = self._names.values()
        partial = [(has, entry.partial, client) for entry in entries for client, has in entry.partial.items()]
        whole = [by for entry in entries for by in entry.done.values() if isinstance(by, Coverage)]
        left = sum(has.pieces() for has in [*whole, *(has for has, _, _ in partial)])
        for has in whole:  # and stays whole
            if left <= MOST_PIECES:
                return
            left -= has.pieces()
            has.simplify()
        partial.sort(key=lambda one: one[0].ended)
        for has, coverages, client in partial:
            if left <= MOST_PIECES:
                return
            left -= has.pieces()
            del coverages[client]

    def _finish(self, entry: _Name, client: str, before: Exchange | Coverage | None, by: Exchange | Coverage) -> None:
        if entry.partial:
            entry.partial.pop(client, None)
        if before is None:
            make_room(entry.done)
        elif isinstance(before, Coverage) and before.pieces() > MOST_REPEATED_PIECES:
            before.simplify()  # an event may still have it
        entry.done[client] = by

    # What waits return

    def has_any(self, name: str) -> bool:
        """Tell whether a client has a whole file. Takes no lock."""
        return bool(self._names.get(name, _NOTHING).done)

    def whole(self, name: str, validator: str, boards: Boards, before: int) -> list[DownloadRecord] | None:
        """Return whole downloads of this version by the boards not claimed before that; None: some are missing."""
        entry = self._names.get(name, _NOTHING)
        done = entry.done
        if boards.addresses:  # there may be a thousand others
            done = {client: done[client] for client in boards.addresses if client in done}
        has = {client: by for client, by in done.items() if _is_free(by, validator, before)}
        chosen = boards.choose(has)
        if chosen is None:
            return None
        return [record(name, client, as_coverage(has[client]), shared=client in entry.shared) for client in chosen]

    def take_up(self, name: str, client: str) -> Exchange | Coverage | None:
        """Forget the parts that a client has, and return how the whole file came to it, if it did."""
        entry = self._names.get(name, _NOTHING)
        entry.partial.pop(client, None)
        return entry.done.get(client)

    # What there is

    def coverages(self, name: str, validator: str, before: int) -> dict[str, Coverage]:
        """Return copies of what clients have of this version, without what was claimed before that."""
        entry = self._names.get(name, _NOTHING)
        found = {client: as_coverage(by).copy() for client, by in entry.done.items() if _is_free(by, validator, before)}
        for client, coverage in entry.partial.items():
            if coverage.validator == validator and client not in found:
                found[client] = coverage.copy()
        return found

    def shares(self, name: str, client: str) -> bool:
        """Tell whether two whole answers about a name went to this address at the same time."""
        return client in self._names.get(name, _NOTHING).shared

    def first(self, name: str) -> int:
        """Return the number from which exchanges count for a name."""
        return self._names.get(name, _NOTHING).first


def add(coverages: dict[str, Coverage], exchange: Exchange, received: int, ended: float) -> Coverage | None:
    """Count what a client has received of an answer that has pieces of a file, and return all that it now has."""
    subject = exchange.subject
    if subject is None or not subject.pieces:
        return None
    spans = exchange.spans(received)
    if not spans and (subject.total or exchange.state not in (State.HANDED_OVER, State.RECEIVED)):
        return None
    coverage = coverages.get(exchange.link.client)
    if coverage is not None and is_older(exchange, subject.validator, coverage):
        return None
    if coverage is None or coverage.validator != subject.validator or _is_wrong_whole(exchange, subject):
        make_room(coverages)
        coverage = coverages[exchange.link.client] = Coverage(subject.validator, subject.total)
    cover(coverage, exchange, spans, ended)
    return coverage


def _is_wrong_whole(exchange: Exchange, subject: Subject) -> bool:
    """Tell whether an answer to a request for all is wrong on purpose: its bytes take the place of what came before."""
    if exchange.status != 200 or exchange.met is None:
        return False
    return sum(piece.stop - piece.start for piece in subject.pieces) < subject.total


def cover(coverage: Coverage, exchange: Exchange, spans: list[tuple[int, int]], ended: float) -> None:
    """Count what a client has received of an answer, the last of it at the time `ended`."""
    coverage.add(spans, exchange.began, ended, exchange.head.user_agent, asked=exchange.status == 206)
    coverage.local = exchange.link.local
    coverage.known = exchange.link.known


def as_coverage(by: Exchange | Coverage) -> Coverage:
    """Return as a coverage the answer or the ranges by which a whole download came."""
    if isinstance(by, Coverage):
        return by
    subject = by.subject
    assert subject is not None
    coverage = Coverage(subject.validator, subject.total)
    cover(coverage, by, by.spans(by.length), by.ended)
    return coverage


def record(name: str, client: str, coverage: Coverage, *, shared: bool) -> DownloadRecord:
    """Return what a client has as a record."""
    return DownloadRecord(
        name=name,
        client=client,
        bytes=coverage.received(),
        seconds=max(0.0, coverage.ended - coverage.began),
        user_agent=escaped(coverage.user_agent),
        ranges=tuple(coverage.ranges),
        total=coverage.total,
        known=coverage.known,
        shared=shared or client == coverage.local,
    )


def _is_free(by: Exchange | Coverage, validator: str, before: int) -> bool:
    return _validator(by) == validator and (not by.claims or claimed_bytes(by, before) < ALL_BYTES)


def _validator(by: Exchange | Coverage) -> str:
    if isinstance(by, Coverage):
        return by.validator
    return by.subject.validator if by.subject else ""


def is_older(exchange: Exchange, validator: str, counted: Exchange | Coverage) -> bool:
    """Tell whether an answer is of an earlier version than what was counted: it was slow, and ended later."""
    return exchange.began < counted.began and _validator(counted) != validator


def make_room(clients: dict[str, Any]) -> None:
    """Forget the oldest where there are too many clients for one more."""
    while len(clients) >= MOST_CLIENTS:
        del clients[next(iter(clients))]
