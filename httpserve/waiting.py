"""Waiting until clients have a file, or as much of it as is wanted, and until somebody asks for something.

Knows the ledger and deadlines. Knows no sockets, and of files no more than which version stands. What is said when a
wait was in vain is `verdict.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from httpserve.coverage import Coverage
from httpserve.downloads import record
from httpserve.errors import NotFound, ServerNotRunning, WaitTimeout
from httpserve.ledger import Ledger
from httpserve.records import DownloadRecord, RequestRecord
from httpserve.verdict import Case, happened, not_asked
from httpserve.wanted import Amount, Asked, Kind, Who
from httpserve.watching import Watch

SLICE_SECONDS = 0.5  # a file that others change makes no event, so look at it again after this
FIRST_POLL_SECONDS = 0.001  # an acknowledgment makes no event either; most come at once,
LAST_POLL_SECONDS = 0.02  # a delayed one after 40 ms
PROGRESS_POLL_SECONDS = 0.05
GRACE_SECONDS = 0.045  # past the deadline, for an answer that is in the kernel whole

Report = Callable[[int, int | None], object]  # bytes so far, and the total


class Version(NamedTuple):
    """The version of a file that stands: its validator and its size."""

    validator: str
    size: int


class Terms(NamedTuple):
    """What a wait is about.

    Attributes:
        name: The file's checked name.
        current: Returns the version that stands; what it raises ends the wait.
        is_running: Tells whether downloads can still come.
        nearest: Returns names that exist and are like one, for a message.
        who: Who must have it.
        amount: How much of it.
        timeout: Seconds; None waits for ever.
        report: Told of bytes received, and how many there are in all.
    """

    name: str
    current: Callable[[], Version]
    is_running: Callable[[], bool]
    nearest: Callable[[str], tuple[str, ...]]
    who: Who = Who()
    amount: Amount = Amount()
    timeout: float | None = None
    report: Report | None = None


class _Count(Protocol):
    """What counts for a wait."""

    def look(self, version: Version) -> list[DownloadRecord] | None:
        """Return what was waited for, once it has come."""

    def coverages(self, version: Version) -> dict[str, Coverage]:
        """Return what each client has so far."""

    def seconds_to_poll(self) -> float | None:
        """Return after how many seconds to look again although nothing happened; None: an event will come."""


class _Taking:
    """Counts every answer since the file was put there, or since the last wait: the ledger has done it already."""

    def __init__(self, ledger: Ledger, terms: Terms) -> None:
        self._ledger = ledger
        self._terms = terms
        self._mark = ledger.mark(terms.name)
        self._poll = FIRST_POLL_SECONDS
        self._seen = -1

    def look(self, version: Version) -> list[DownloadRecord] | None:
        return self._ledger.take(self._terms.name, version.validator, self._terms.who, self._mark)

    def coverages(self, version: Version) -> dict[str, Coverage]:
        return self._ledger.coverages(self._terms.name, version.validator, self._mark)

    def seconds_to_poll(self) -> float | None:
        if not self._ledger.is_due(self._terms.name):
            if self._terms.report is not None and self._ledger.is_underway(self._terms.name):
                return PROGRESS_POLL_SECONDS
            return None
        seen = self._ledger.version
        self._poll = FIRST_POLL_SECONDS if seen != self._seen else min(2 * self._poll, LAST_POLL_SECONDS)
        self._seen = seen
        return self._poll


class Watching:
    """Counts what a watch says that counts, answers under way included."""

    def __init__(self, ledger: Ledger, terms: Terms, watch: Watch) -> None:
        self._ledger = ledger
        self._terms = terms
        self._watch = watch
        self._moved: dict[str, tuple[int, float]] = {}  # by client: how much it had, and when that had last changed

    def look(self, version: Version) -> list[DownloadRecord] | None:
        who, amount = self._terms.who, self._terms.amount
        standings = self.coverages(version)
        wanted = amount.bytes_of(version.size)
        has = [client for client, coverage in standings.items() if self._is_enough(client, coverage, wanted)]
        chosen = who.choose(has)
        if chosen is None:
            return None
        self._ledger.used(self._watch, who, chosen, wanted, is_whole=amount.is_whole)
        name = self._terms.name
        return [
            record(name, client, standings[client], shared=self._ledger.shares(name, client)) for client in chosen
        ]

    def _is_enough(self, client: str, coverage: Coverage, wanted: int) -> bool:
        if coverage.received() < wanted:
            return False
        return self._terms.amount.kind is not Kind.IDLE or self._is_idle(client, coverage)

    def _is_idle(self, client: str, coverage: Coverage) -> bool:
        now, received = time.monotonic(), coverage.received()
        had, moved = self._moved.get(client, (-1, coverage.ended))
        if received != had or coverage.ended > moved:
            moved = max(moved, coverage.ended) if had < 0 or received == had else now
            self._moved[client] = (received, moved)
        return now - moved >= self._terms.amount.idle

    def coverages(self, version: Version) -> dict[str, Coverage]:
        predicate = self._watch.predicate
        if predicate is not None:
            unjudged = self._ledger.unjudged(self._watch)
            if unjudged:
                self._ledger.judge(self._watch, {number: bool(predicate(request)) for number, request in unjudged})
        return self._ledger.standings(self._watch, version.validator)

    def seconds_to_poll(self) -> float | None:
        if self._terms.amount.kind is Kind.IDLE or self._ledger.is_underway(self._terms.name):
            return LAST_POLL_SECONDS
        return None


def wait_for_download(
    ledger: Ledger, terms: Terms, watch: Watch | None = None, since: float | None = None
) -> list[DownloadRecord]:
    """Block until those who are waited for have as much of the version that stands as is wanted.

    Args:
        ledger: What arrived.
        terms: What is waited for.
        watch: What counts; None: everything since the file was put there, or since the last wait that succeeded.
        since: In place of that: since when, in seconds since the epoch.

    Raises:
        WaitTimeout: It did not happen in time; the message says what did.
        ServerNotRunning: It cannot happen any more.
    """
    if watch is not None:
        return _wait(ledger, terms, Watching(ledger, terms, watch))
    if terms.amount.kind is Kind.ALL and since is None and terms.who.predicate is None:
        return _wait(ledger, terms, _Taking(ledger, terms))
    version = terms.current()
    wanted = version.size + 1 if terms.amount.is_whole else terms.amount.bytes_of(version.size)
    begun = ledger.watch(terms.name, terms.who, version.validator, wanted, since)
    try:
        return _wait(ledger, terms, Watching(ledger, terms, begun))
    finally:
        ledger.unwatch(begun)


def _wait(ledger: Ledger, terms: Terms, count: _Count) -> list[DownloadRecord]:
    deadline = None if terms.timeout is None else time.monotonic() + terms.timeout
    reported = -1
    while True:
        seen = ledger.version
        version = _current(terms)
        records = count.look(version)
        if terms.report is not None:
            reported = _report(terms, version, records, count, reported)
        if records is not None:
            return records
        if not terms.is_running():
            raise _not_running(terms.name)
        left = SLICE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0 and ledger.is_due(terms.name):
            left += GRACE_SECONDS
        if left <= 0:
            raise _in_vain(ledger, terms, version, count.coverages(version))
        poll = count.seconds_to_poll()
        ledger.wait_for_change(seen, min(left, SLICE_SECONDS, SLICE_SECONDS if poll is None else poll))


def _current(terms: Terms) -> Version:
    try:
        return terms.current()
    except NotFound:
        if not terms.is_running():  # its directory is gone with it
            raise _not_running(terms.name) from None
        raise


def _report(
    terms: Terms, version: Version, records: list[DownloadRecord] | None, count: _Count, reported: int
) -> int:
    """Tell how far those are who have most, if that has changed; returns it."""
    assert terms.report is not None
    if records is not None:
        received = sum(record.bytes for record in records)
    else:
        coverages = count.coverages(version)
        most = sorted((one.received() for client, one in coverages.items() if terms.who.may_be(client)), reverse=True)
        received = sum(most[: terms.who.count])
    if received != reported:
        terms.report(received, version.size * terms.who.count)
    return received


def _not_running(name: str) -> ServerNotRunning:
    return ServerNotRunning(f"nobody can download {name!r}: the server does not run; start() it first")


def _in_vain(ledger: Ledger, terms: Terms, version: Version, coverages: dict[str, Coverage]) -> WaitTimeout:
    assert terms.timeout is not None
    case = Case(terms.name, version.validator, version.size, terms.who, terms.amount, coverages, terms.nearest)
    verdict = happened(ledger, case)
    return WaitTimeout(
        f"{case.what_was_wanted()} within {terms.timeout:g} s: {verdict.text}",
        terms.name,
        terms.timeout,
        happened=verdict.word,
        received=verdict.received,
        total=version.size,
        missing=verdict.missing,
    )


def wait_for_request(
    ledger: Ledger,
    asked: Asked,
    predicate: Callable[[RequestRecord], object] | None,
    is_running: Callable[[], bool],
    timeout: float | None,
    first: int | None = None,
    since: float | None = None,
) -> RequestRecord:
    """Block until a request has come that fits.

    Args:
        ledger: What arrived.
        asked: What is waited for.
        predicate: Tells of a request that fits whether it counts; None: it does.
        is_running: Tells whether requests can still come.
        timeout: Seconds; None waits for ever.
        first: The number of the first exchange that counts; None: after the last one that such a wait returned.
        since: In place of that: since when, in seconds since the epoch.

    Raises:
        WaitTimeout: It did not happen in time.
        ServerNotRunning: It cannot happen any more.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    began = first
    while True:
        seen = ledger.version
        found, next_first = ledger.find_request(asked, first, since)
        for number, request in found:
            if predicate is None or predicate(request):
                ledger.took_request(asked, number)
                return request
        first, since = next_first, None
        if not is_running():
            raise ServerNotRunning("nobody can ask for anything: the server does not run; start() it first")
        left = SLICE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            assert timeout is not None
            raise _no_such_request(ledger, asked, timeout, began)
        ledger.wait_for_change(seen, min(left, SLICE_SECONDS))


def _no_such_request(ledger: Ledger, asked: Asked, timeout: float, first: int | None) -> WaitTimeout:
    verdict = not_asked(ledger, asked, first)
    return WaitTimeout(
        f"no {asked} came within {timeout:g} s: {verdict.text}", asked.name or "", timeout, happened=verdict.word
    )
