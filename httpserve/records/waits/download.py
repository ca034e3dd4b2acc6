"""Waiting until clients have a file, or as much of it as is wanted.

Knows the ledger and deadlines. Knows no sockets, and of files no more than which version stands. What is said when a
wait was in vain is `verdict.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from httpserve.errors import NotFound, ServerNotRunning, WaitTimeout
from httpserve.records.claims import Claims
from httpserve.records.coverage import Coverage
from httpserve.records.downloads import record
from httpserve.records.exchange import ALL_USED
from httpserve.records.model import DownloadRecord, RequestRecord
from httpserve.records.selection import Score, Selection
from httpserve.records.terms import Amount, Boards, UntilKind
from httpserve.records.waits.outcome import FailedWait, Nearest, happened
from httpserve.records.waits.turns import Turns

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


class DownloadTerms(NamedTuple):
    """What a wait is about.

    Attributes:
        name: The file's checked name.
        current: Returns the version that stands; what it raises ends the wait.
        can_come: Tells whether downloads can still come.
        nearest: Returns for names those that exist and are like them, for a message.
        who: Boards must have it.
        amount: How much of it.
        timeout: Seconds; None waits for ever.
        report: Told of bytes received, and how many there are in all.
    """

    name: str
    current: Callable[[], Version]
    can_come: Callable[[], bool]
    nearest: Nearest
    who: Boards = Boards()
    amount: Amount = Amount()
    timeout: float | None = None
    report: Report | None = None


class _Count(Protocol):
    """What counts for a wait."""

    def look(self, version: Version) -> list[DownloadRecord] | None:
        """Return what was waited for, once it has come."""

    def received(self, version: Version) -> dict[str, int]:
        """Return how many bytes each client has so far."""

    def coverages(self, version: Version) -> dict[str, Coverage]:
        """Return what each client has so far."""

    def requests(self) -> tuple[RequestRecord, ...]:
        """Return what was asked for, whatever it was, in the time that the wait is about."""

    def something_has_happened(self) -> None:
        """Be told that an event has come since the last look."""

    def seconds_to_poll(self) -> float | None:
        """Return after how many seconds to look again although nothing happened; None: an event will come."""


class _Pace:
    """How often to look whether what is in the kernel has arrived."""

    def __init__(self, ledger: Claims, terms: DownloadTerms) -> None:
        self._ledger = ledger
        self._name = terms.name
        self._follows = LAST_POLL_SECONDS if terms.amount.kind is not UntilKind.ALL else None
        if self._follows is None and terms.report is not None:
            self._follows = PROGRESS_POLL_SECONDS
        self._poll = 0.0

    def something_has_happened(self) -> None:
        """Begin anew: the acknowledgment of what was handed over just now comes soon."""
        self._poll = 0.0

    def seconds(self) -> float | None:
        """Return after how many seconds to look again; None: nothing comes without an event."""
        if not self._ledger.is_due(self._name):
            return self._follows if self._follows and self._ledger.is_underway(self._name) else None
        self._poll = min(2 * self._poll or FIRST_POLL_SECONDS, LAST_POLL_SECONDS)
        return self._poll


class _Taking:
    """Counts every answer since the file was put there, or since the last wait: the ledger has done it already."""

    def __init__(self, ledger: Claims, terms: DownloadTerms) -> None:
        self._ledger = ledger
        self._terms = terms
        self._mark = ledger.mark(terms.name)
        pace = _Pace(ledger, terms)
        self.seconds_to_poll = pace.seconds
        self.something_has_happened = pace.something_has_happened

    def look(self, version: Version) -> list[DownloadRecord] | None:
        return self._ledger.take(self._terms.name, version.validator, self._terms.who, self._mark)

    def received(self, version: Version) -> dict[str, int]:
        return {client: coverage.received() for client, coverage in self.coverages(version).items()}

    def coverages(self, version: Version) -> dict[str, Coverage]:
        return self._ledger.coverages(self._terms.name, version.validator, self._mark)

    def requests(self) -> tuple[RequestRecord, ...]:
        return self._ledger.requests_after(self._terms.name, self._mark)


class _Watching:
    """Counts what a watch says that counts, answers under way included."""

    def __init__(self, ledger: Claims, terms: DownloadTerms, watch: Selection) -> None:
        self._ledger = ledger
        self._terms = terms
        self._watch = watch
        self._pace = _Pace(ledger, terms)
        self.something_has_happened = self._pace.something_has_happened
        self._moved: dict[str, tuple[tuple[int, int], float]] = {}  # by client: what it had, and since when just that

    def look(self, version: Version) -> list[DownloadRecord] | None:
        who, amount = self._terms.who, self._terms.amount
        self._judge()
        wanted = amount.bytes_of(version.size)
        scores = self._ledger.scores(self._watch, version.validator)
        has = [client for client, score in scores.items() if score.received >= wanted]
        if amount.kind is UntilKind.IDLE:
            has = self._at_rest({client: scores[client] for client in has})
        chosen = who.choose(has)
        if chosen is None:
            return None
        standings = self._ledger.standings(self._watch, version.validator, chosen)
        if len(standings) < len(chosen):
            return None  # a new version came in between
        self._ledger.used(self._watch, who, chosen, wanted, is_end=amount.is_end)
        return [self._record(client, standings[client]) for client in chosen]

    def _record(self, client: str, coverage: Coverage) -> DownloadRecord:
        if client in self._moved:
            coverage.ended = self._moved[client][1]
        name = self._terms.name
        return record(name, client, coverage, shared=self._ledger.shares(name, client))

    def _at_rest(self, scores: dict[str, Score]) -> list[str]:
        """Return those to whom nothing has come for long enough."""
        now = time.monotonic()
        before, self._moved = self._moved, {}
        for client, score in scores.items():
            has = (score.answers, score.arrived)
            had, moved = before.get(client, (has, score.ended))
            self._moved[client] = (has, moved if has == had else now)
        return [client for client, (_, moved) in self._moved.items() if now - moved >= self._terms.amount.idle]

    def received(self, version: Version) -> dict[str, int]:
        scores = self._ledger.scores(self._watch, version.validator)
        return {client: score.received for client, score in scores.items()}

    def coverages(self, version: Version) -> dict[str, Coverage]:
        self._judge()
        return self._ledger.standings(self._watch, version.validator)

    def _judge(self) -> None:
        predicate = self._watch.predicate
        if predicate is not None:
            questions = self._ledger.unjudged(self._watch)
            if questions:
                verdicts = [(question, bool(predicate(question.request))) for question in questions]
                self._ledger.judge(self._watch, verdicts)

    def requests(self) -> tuple[RequestRecord, ...]:
        return self._ledger.requests_of(self._watch)

    def seconds_to_poll(self) -> float | None:
        poll = self._pace.seconds()
        if poll is None and self._moved:  # those who rest have rested long enough at a known time
            first = min(moved for _, moved in self._moved.values())
            return max(FIRST_POLL_SECONDS, first + self._terms.amount.idle - time.monotonic())
        return poll


def wait_for_download(
    ledger: Claims, terms: DownloadTerms, watch: Selection | None = None, since: float | None = None
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
        return _wait(ledger, terms, _Watching(ledger, terms, watch))
    if since is not None:
        begun = ledger.watch_since(terms.name, terms.who, since)
    elif terms.amount.kind is UntilKind.ALL and terms.who.predicate is None:
        return _wait(ledger, terms, _Taking(ledger, terms))
    else:
        version = terms.current()
        wanted = ALL_USED if terms.amount.is_end else terms.amount.bytes_of(version.size)
        begun = ledger.watch(terms.name, terms.who, version.validator, wanted)
    try:
        return _wait(ledger, terms, _Watching(ledger, terms, begun))
    finally:
        ledger.unwatch(begun)


def _wait(ledger: Claims, terms: DownloadTerms, count: _Count) -> list[DownloadRecord]:
    deadline = None if terms.timeout is None else time.monotonic() + terms.timeout
    reported = -1
    _current(terms, was_there=False)
    with Turns(ledger, partial(ledger.await_download, terms.name)) as turns:
        while True:
            turns.begin()
            can_come = terms.can_come()
            version = _current(terms, was_there=True)
            records = count.look(version)
            if terms.report is not None:
                reported = _report(terms, version, records, count, reported)
            if records is not None:
                return records
            if not can_come:
                raise _not_running(terms.name)
            left = SLICE_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0 and ledger.is_due(terms.name):
                left += GRACE_SECONDS
            if left <= 0:
                coverages = count.coverages(version)
                records = count.look(version)  # else what came in this moment would be told, and not returned
                if records is not None:
                    return records
                raise _in_vain(ledger, terms, version, count, coverages)
            poll = count.seconds_to_poll()
            if turns.wait(left, SLICE_SECONDS if poll is None else min(poll, SLICE_SECONDS)):
                count.something_has_happened()


def _current(terms: DownloadTerms, *, was_there: bool) -> Version:
    try:
        return terms.current()
    except NotFound as error:
        if not terms.can_come():  # its directory is gone with it
            raise _not_running(terms.name) from None
        if was_there:
            raise NotFound(f"{terms.name!r} was removed while a download of it was waited for", terms.name) from error
        raise


def _report(
    terms: DownloadTerms, version: Version, records: list[DownloadRecord] | None, count: _Count, reported: int
) -> int:
    """Tell how far those are who have most, if that has changed; returns it."""
    assert terms.report is not None
    if records is not None:
        received = sum(record.bytes for record in records)
    else:
        has = count.received(version)
        most = sorted((amount for client, amount in has.items() if terms.who.may_be(client)), reverse=True)
        received = sum(most[: terms.who.count])
    if received != reported:
        terms.report(received, version.size * terms.who.count)
    return received


def _not_running(name: str) -> ServerNotRunning:
    return ServerNotRunning(f"nobody can download {name!r}: the server does not run; start() it first")


def _in_vain(
    ledger: Claims, terms: DownloadTerms, version: Version, count: _Count, coverages: dict[str, Coverage]
) -> WaitTimeout:
    assert terms.timeout is not None
    case = FailedWait(
        name=terms.name,
        size=version.size,
        who=terms.who,
        amount=terms.amount,
        coverages=coverages,
        requests=count.requests(),
        was_returned=ledger.was_returned(terms.name, terms.who),
        connected=ledger.connections().keys(),
        silent=ledger.silent(),
        nearest=terms.nearest,
    )
    verdict = happened(case)
    return WaitTimeout(
        f"{case.what_was_wanted()} within {terms.timeout:g} s: {verdict.text}",
        terms.name,
        terms.timeout,
        happened=verdict.word,
        received=verdict.received,
        total=version.size,
        missing=verdict.missing,
    )
