"""Waiting until clients have a file, or as much of it as is wanted.

Knows claims and deadlines. Knows no sockets, and of files only their current version. `outcome.py` words what happened
in place of what was waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from httpserve.base.ipython import fold
from httpserve.base.progress import Progress, Report, reporter
from httpserve.base.tables import RecordList
from httpserve.base.text import amounts
from httpserve.errors import HttpServeError, NotFound, ServerNotRunning
from httpserve.records.claims import Claims, Instead
from httpserve.records.coverage import Coverage
from httpserve.records.downloads import record
from httpserve.records.exchange import ALL_BYTES
from httpserve.records.log import ExchangeLog
from httpserve.records.model import DownloadRecord
from httpserve.records.selection import Selection
from httpserve.records.terms import Amount, Boards, UntilKind
from httpserve.records.waits.outcome import MOST_NAMED, FailedWait, Nearest, Way, happened
from httpserve.records.waits.turns import Turns

SLICE_SECONDS = 0.5  # a file that others change makes no event, so it is looked at again after this
FIRST_POLL_SECONDS = 0.001  # an acknowledgment makes no event either; most come at once,
LAST_POLL_SECONDS = 0.02  # a delayed one after 40 ms
PROGRESS_POLL_SECONDS = 0.05
GRACE_SECONDS = 0.045  # past the deadline, for an answer that the kernel has in full


class Version(NamedTuple):
    """The current version of a file: its validator and its size."""

    validator: str
    size: int


class DownloadTerms(NamedTuple):
    """What a wait is about."""

    name: str  # the file's checked name
    current: Callable[[], Version]  # returns the current version; what it raises ends the wait
    can_come: Callable[[], bool]  # tells whether downloads can still come
    nearest: Nearest
    boards: Boards = Boards()  # who must have it
    amount: Amount = Amount()  # how much of it
    timeout: float | None = None  # in seconds; None: for ever
    report: Report | None = None  # called with the bytes received, and how many are wanted in all
    way: Callable[[], Way] = Way  # returns how boards are to come here


class _Pace:
    """How often to look whether what is in the kernel has arrived."""

    def __init__(self, log: ExchangeLog, terms: DownloadTerms) -> None:
        self._log = log
        self._name = terms.name
        self._follows = LAST_POLL_SECONDS if terms.amount.kind is not UntilKind.ALL else None
        if self._follows is None and terms.report is not None:
            self._follows = PROGRESS_POLL_SECONDS
        self._poll = 0.0

    def begin_anew(self) -> None:
        """Note that something has happened: the acknowledgment of what was just handed over comes soon."""
        self._poll = 0.0

    def left(self, deadline: float) -> float:
        """Return for how many seconds to wait on."""
        left = deadline - time.monotonic()
        return left + GRACE_SECONDS if left <= 0 and self._log.is_due(self._name) else left

    def seconds(self) -> float | None:
        """Return after how many seconds to look again; None: nothing comes without an event."""
        if not self._log.is_due(self._name):
            return self._follows if self._follows and self._log.is_underway(self._name) else None
        self._poll = min(2 * self._poll or FIRST_POLL_SECONDS, LAST_POLL_SECONDS)
        return self._poll


class Counting:
    """What counts for a wait: what a selection says, or whole downloads that no wait has claimed."""

    def __init__(self, claims: Claims, terms: DownloadTerms, selection: Selection | None) -> None:
        self._claims = claims
        self._terms = terms
        self._selection = selection
        self._before = claims.order
        self._moved: dict[str, tuple[tuple[int, int], float]] = {}  # by client: what it had, and since when only that

    def look(self, version: Version) -> list[DownloadRecord] | None:
        """Return what was waited for, once it has come, and claim it."""
        claims, name, amount, boards = self._claims, self._terms.name, self._terms.amount, self._terms.boards
        if self._selection is None:
            return claims.take(name, version.validator, boards, self._before)
        wanted = amount.bytes_of(version.size)

        def choose(standings: Mapping[str, Coverage]) -> list[str] | None:
            has = {client: one for client, one in standings.items() if one.received() >= wanted}
            return boards.choose(self._at_rest(has) if amount.kind is UntilKind.IDLE else has)

        claims.decide(self._selection)
        found = claims.take_selected(self._selection, version.validator, choose, wanted, is_end=amount.is_end)
        if found is None:
            return None
        for client, coverage in found.items():
            coverage.ended = self._moved.get(client, (None, coverage.ended))[1]
        shares = claims.log.downloads.shares
        return [record(name, client, coverage, shared=shares(name, client)) for client, coverage in found.items()]

    def _at_rest(self, has: Mapping[str, Coverage]) -> list[str]:
        """Return those to whom nothing has come for long enough."""
        now = time.monotonic()
        before, self._moved = self._moved, {}
        for client, coverage in has.items():
            figures = (coverage.answers, coverage.arrived)
            had, moved = before.get(client, (figures, coverage.ended))
            self._moved[client] = (figures, moved if figures == had else now)
        return [client for client, (_, moved) in self._moved.items() if now - moved >= self._terms.amount.idle]

    def coverages(self, version: Version) -> dict[str, Coverage]:
        """Return what each client has so far."""
        if self._selection is None:
            return self._claims.coverages(self._terms.name, version.validator, self._before)
        self._claims.decide(self._selection)
        return self._claims.selected(self._selection, version.validator)

    def failed(self, version: Version) -> FailedWait:
        """Return what there is to say of the wait if it ends now without what it is for."""
        claims, terms = self._claims, self._terms
        connected = claims.log.connections().keys()
        coverages, instead = {}, Instead()
        if connected:  # else nothing can have come
            coverages = self.coverages(version)
            selection = self._selection or claims.select_whole(terms.name, self._before)
            instead = claims.instead(selection, terms.boards, version.validator)
        return FailedWait(
            terms.name, version.size, terms.boards, terms.amount, coverages, instead, connected, terms.nearest
        )

    def rests_for(self) -> float | None:
        """Return in how many seconds a resting client has rested long enough; None: no client rests."""
        if not self._moved:
            return None
        first = min(moved for _, moved in self._moved.values())
        return max(FIRST_POLL_SECONDS, first + self._terms.amount.idle - time.monotonic())


def wait_for_download(
    claims: Claims,
    terms: DownloadTerms,
    selection: Selection | None = None,
    since: float | None = None,
    progress: Progress = None,
) -> list[DownloadRecord]:
    """Block until those who are waited for have as much of the current version as is wanted.

    What counts is what the selection says; else what came since a time, in seconds since the epoch; else what came
    after the file was put and no wait has claimed. Raises WaitTimeout, or ServerNotRunning when nothing can come.
    """
    if progress is not None and progress is not False:
        with reporter(progress) as report:
            return wait_for_download(claims, terms._replace(report=report), selection, since)
    begun = None
    if selection is None:
        if since is not None:
            selection = begun = claims.select_since(terms.name, terms.boards, since)
        elif terms.amount.kind is not UntilKind.ALL or terms.boards.predicate is not None:
            version = terms.current()
            wanted = ALL_BYTES if terms.amount.is_end else terms.amount.bytes_of(version.size)
            selection = begun = claims.select(terms.name, terms.boards, version.validator, wanted)
    counts = Counting(claims, terms, selection)
    try:
        return RecordList(_wait(claims, terms, counts))
    except KeyboardInterrupt as error:
        fold(error, partial(_what_they_had, terms, counts))
        raise
    finally:
        if begun is not None:
            claims.end(begun)


def _wait(claims: Claims, terms: DownloadTerms, counts: Counting) -> list[DownloadRecord]:
    log = claims.log
    pace = _Pace(log, terms)
    reported = -1
    version: Version | None = None
    is_last = False
    with Turns(log, partial(log.await_download, terms.name), terms.timeout) as turns:
        while True:
            can_come = terms.can_come()
            version = _current(terms, counts, version)
            case = counts.failed(version) if is_last else None  # before the look, else it would say what came just now
            records = counts.look(version)
            if terms.report is not None:
                reported = _report(terms, version, records, counts, reported)
            if records is not None:
                return records
            if not can_come:
                raise _stopped(terms, counts, version)
            if case is not None:
                assert terms.timeout is not None
                raise case.error(terms.timeout, terms.way())
            left = pace.left(turns.deadline)
            if left > 0:
                poll = pace.seconds()
                if poll is None:
                    poll = counts.rests_for()
                if turns.wait(left, SLICE_SECONDS if poll is None else min(poll, SLICE_SECONDS)):
                    pace.begin_anew()
                left = pace.left(turns.deadline)
            is_last = left <= 0


def _what_they_had(terms: DownloadTerms, counts: Counting) -> str:
    """Return how much the awaited clients had; empty if only a user's function knows who they are."""
    if terms.boards.predicate is not None:
        return ""
    try:
        version = terms.current()
    except HttpServeError as error:
        return str(error)
    has = [(client, one.received()) for client, one in counts.coverages(version).items() if terms.boards.may_be(client)]
    most = sorted(has, key=itemgetter(1), reverse=True)[:MOST_NAMED]
    parts = [f"{client} had {amounts(received, version.size)}" for client, received in most]
    return ", ".join(parts) or f"nobody had a byte of {terms.name!r}"


def _current(terms: DownloadTerms, counts: Counting, last: Version | None) -> Version:
    """Return the current version; `last` is the one that the previous look found."""
    try:
        return terms.current()
    except NotFound:
        if not terms.can_come():  # the directory is gone with its server
            if last is None:
                raise _stopped(terms, counts, last) from None
            return last  # a board may have got all of it just before
        if last is None:
            raise
    raise NotFound(f"{terms.name!r} was removed while a download of it was waited for", terms.name)


def _stopped(terms: DownloadTerms, counts: Counting, last: Version | None) -> ServerNotRunning:
    text = f"the server was stopped or closed while a download of {terms.name!r} was waited for"
    return ServerNotRunning(text if last is None else f"{text}: {happened(counts.failed(last)).text}")


def _report(
    terms: DownloadTerms,
    version: Version,
    records: list[DownloadRecord] | None,
    counts: Counting,
    reported: int,
) -> int:
    """Report how far the clients with the most are, if that has changed; returns it."""
    assert terms.report is not None
    is_known = terms.amount.kind is not UntilKind.IDLE  # how much is wanted in all
    wanted = terms.amount.bytes_of(version.size) if is_known else version.size
    if records is not None:
        has = [record.bytes for record in records]
    else:
        coverages = counts.coverages(version)
        most = sorted((one.received() for who, one in coverages.items() if terms.boards.may_be(who)), reverse=True)
        has = most[: terms.boards.count]
    received = sum(min(wanted, one) for one in has)
    is_end = records is not None and not is_known
    if received != reported or is_end:
        terms.report(received, received if is_end else wanted * terms.boards.count)
    return received
