"""Waiting until somebody has sent a file.

Knows the log, what is on its way in, and deadlines. Knows no sockets and no files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from httpserve.base.text import Hint, Message, printable, size
from httpserve.base.threads import sigint_held
from httpserve.errors import ServerNotRunning
from httpserve.records.claims import Claims
from httpserve.records.exchange import Exchange
from httpserve.records.model import UNDER_WAY, RequestRecord, UploadRecord
from httpserve.records.terms import RequestFilter, asked_for
from httpserve.records.uploads import Kept, UploadFilter
from httpserve.records.waits.outcome import (
    MOST_CHARACTERS,
    MOST_NAMED,
    REJECTED,
    RETURNED,
    STEPS_BY_END,
    STOPPED,
    Nearest,
    Outcome,
    Way,
    not_asked,
)
from httpserve.records.waits.turns import Turns

SLICE_SECONDS = 0.5
REFUSED = "refused"
_METHODS = ("PUT", "POST")
_ENDS = {
    "closed": "the client closed the connection",
    "reset": "the client reset the connection",
    "lost": "the client did not answer any more",
    "cut": "the server cut it",
}


class UploadTerms(NamedTuple):
    """What a wait is about."""

    wanted: UploadFilter
    is_running: Callable[[], bool]  # tells whether uploads can still begin
    underway: Callable[[], Sequence[UploadRecord]]  # what is on its way in
    is_accepted: Callable[[], bool]  # whether what is waited for may be sent
    nearest: Nearest
    predicate: Callable[[UploadRecord], object] | None = None  # of one that fits: whether it counts
    timeout: float | None = None  # in seconds; None: for ever
    way: Callable[[], Way] = Way  # returns how boards are to reach this server


def wait_for_upload(
    claims: Claims, terms: UploadTerms, first: int | None = None, since: float | None = None
) -> UploadRecord:
    """Block until a file that is meant is in its place, and return the oldest that counts.

    What counts is what has ended from the number of an event, or came since a time; without either, what no wait has
    returned. Raises WaitTimeout, or ServerNotRunning when nothing can come.
    """
    log, wanted = claims.log, terms.wanted
    asked: set[int] = set()  # what the function has rejected
    with Turns(log, log.await_upload, terms.timeout) as turns:
        while True:
            can_come = terms.is_running() or any(map(wanted.fits, terms.underway()))
            with sigint_held(), log.lock:
                known = log.uploads.find(wanted.fits, first or 0, since)
            found = _counting(known, asked, terms, is_any=since is not None)
            if found is not None:
                with sigint_held(), log.lock:
                    is_mine = since is not None or not found.is_claimed
                    found.is_claimed = True
                if is_mine:
                    return found.record
                continue  # another wait was quicker
            left = turns.deadline - time.monotonic()
            if can_come and left > 0:
                turns.wait(left, SLICE_SECONDS)
                continue
            outcome = _happened(claims, terms, known, first or 0, since)
            if not can_come:
                text = f"the server was stopped or closed while an upload of {wanted} was waited for: {outcome.text}"
                raise ServerNotRunning(text)
            assert terms.timeout is not None
            raise outcome.error(f"nobody has uploaded {wanted}", wanted.name, terms.timeout, terms.way())


def _counting(known: Sequence[Kept], rejected: set[int], terms: UploadTerms, *, is_any: bool) -> Kept | None:
    """Return the oldest upload that counts; add to `rejected` what the user's function does not want."""
    for one in known:
        if one.record.completed and (is_any or not one.is_claimed) and one.number not in rejected:
            if terms.predicate is None or terms.predicate(one.record):
                return one
            rejected.add(one.number)
    return None


def _happened(claims: Claims, terms: UploadTerms, known: Sequence[Kept], first: int, since: float | None) -> Outcome:
    """Return what happened in place of an upload, and what was asked for to happen."""
    met: dict[tuple[str, str], None] = {}
    for one in claims.find_requests(RequestFilter(), first, since)[0]:
        is_meant = not one.status or terms.wanted.means(asked_for(one))
        if one.fault and is_meant and terms.wanted.client in (None, one.link.client):
            met[one.link.client, one.fault] = None
    return _instead(claims, terms, known, first, since).on_purpose(list(met))


def _instead(claims: Claims, terms: UploadTerms, known: Sequence[Kept], first: int, since: float | None) -> Outcome:
    underway = [one for one in terms.underway() if terms.wanted.fits(one)]
    if underway:
        most = max(underway, key=lambda one: one.bytes)
        return Outcome(UNDER_WAY, f"{_amount(most)} so far", most.bytes, next_step=STEPS_BY_END[UNDER_WAY])
    unclaimed = [one.record for one in known if not one.is_claimed or since is not None]
    failed = [one for one in unclaimed if not one.completed]
    if failed:
        last = failed[-1]
        if last.outcome == REFUSED:
            return Outcome(REFUSED, f"{_amount(last)}, and was refused ({last.status})", last.bytes)
        how = _ENDS.get(last.outcome, last.outcome)
        return Outcome(STOPPED, f"{_amount(last)}: {how}", last.bytes, next_step=STEPS_BY_END.get(last.outcome, ""))
    if unclaimed:
        last = unclaimed[-1]
        return Outcome(REJECTED, f"the client= function rejected that of {last.client}", next_step=_TRY)
    return _refused(claims, terms, first, since) or _nothing_sent(claims, terms, known, first, since)


def _amount(record: UploadRecord) -> str:
    return f"{record.client} has sent {size(record.bytes, 'bytes')} of {printable(record.name, MOST_CHARACTERS)}"


def _refused(claims: Claims, terms: UploadTerms, first: int, since: float | None) -> Outcome | None:
    """Return that it was sent, and was refused before its content came, if so."""
    wanted = terms.wanted

    def is_meant(exchange: Exchange) -> bool:
        is_refused = exchange.head.method in _METHODS and exchange.status >= 400
        is_by = wanted.client in (None, exchange.link.client)
        return is_refused and is_by and wanted.means(asked_for(exchange))

    found = [one for one in claims.find_requests(RequestFilter(), first, since)[0] if is_meant(one)]
    if not found:
        return None
    last: RequestRecord = claims.log.record(found[-1])
    step = _accept(wanted) if last.status == 405 and not terms.is_accepted() else ""
    return Outcome(REFUSED, f"{last.client} tried to ({last.method}), and was refused ({last.status})", next_step=step)


def _nothing_sent(
    claims: Claims, terms: UploadTerms, known: Sequence[Kept], first: int, since: float | None
) -> Outcome:
    instead = claims.instead_of_request(RequestFilter(method="PUT"), first, since)
    outcome = not_asked(instead._replace(met=()), claims.log.connections(), terms.nearest)
    returned = list(dict.fromkeys(one.record.client for one in known if one.is_claimed))
    if returned:
        text = f"an earlier wait has returned what {', '.join(returned[:MOST_NAMED])} sent; {outcome.text}"
        return Outcome(RETURNED, text, next_step="let the board send it again, or pass since= to count what it sent")
    return outcome if terms.is_accepted() else outcome._replace(next_step=_accept(terms.wanted))


def _accept(wanted: UploadFilter) -> Message:
    return Message("nothing accepts it: use {} first", Hint("uploads", wanted.text))


_TRY = "try the function on the records of http.uploads"
