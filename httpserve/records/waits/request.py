"""Waiting until somebody asks for something, whether it is there or not.

Knows claims and deadlines. Knows no sockets and no files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from httpserve.errors import ServerNotRunning, WaitTimeout
from httpserve.records.claims import Claims
from httpserve.records.model import RequestRecord
from httpserve.records.terms import RequestFilter
from httpserve.records.waits.download import SLICE_SECONDS
from httpserve.records.waits.outcome import Nearest, not_asked
from httpserve.records.waits.turns import Turns


class RequestTerms(NamedTuple):
    """What a wait for a request is about."""

    asked: RequestFilter
    is_running: Callable[[], bool]  # tells whether requests can still come
    nearest: Nearest
    predicate: Callable[[RequestRecord], object] | None = None  # of a request that fits: whether it counts
    timeout: float | None = None  # in seconds; None: for ever


def wait_for_request(
    claims: Claims, terms: RequestTerms, first: int | None = None, since: float | None = None
) -> RequestRecord:
    """Block until a request has come that fits, and then until all of its answer is acknowledged, where that is due.

    What counts is what came from a number and a time on; without either what no such wait has claimed. Raises
    WaitTimeout, or ServerNotRunning when nothing can come.
    """
    asked, predicate, log = terms.asked, terms.predicate, claims.log
    looks_from: int | None = None
    with Turns(log, partial(log.await_request, asked.name), terms.timeout) as turns:
        while True:
            turns.begin()
            can_come = terms.is_running()
            if looks_from is not None:
                found, looks_from = claims.find_requests(asked, looks_from, None)
            elif first is None and since is None:
                found, looks_from = claims.find_unclaimed(asked)
            else:
                found, looks_from = claims.find_requests(asked, first or 0, since)
            for exchange in found:
                if predicate is None or predicate(log.record(exchange)):
                    claims.claim_request(asked, exchange, singly=predicate is not None)
                    log.await_acknowledged([exchange])
                    return log.record(exchange)
            if not can_come:
                raise ServerNotRunning("nobody can ask for anything: the server does not run; start() it first")
            left = turns.left()
            if left <= 0:
                raise _timeout(claims, terms, first, since)
            turns.wait(left, SLICE_SECONDS)


def _timeout(claims: Claims, terms: RequestTerms, first: int | None, since: float | None) -> WaitTimeout:
    assert terms.timeout is not None
    asked = terms.asked
    begin = claims.first(asked) if first is None and since is None else first or 0
    requests = claims.requests_since(asked, begin, since)
    outcome = not_asked(requests, claims.log.connections(), terms.nearest)
    text = f"no {asked} came within {terms.timeout:g} s: {outcome.text}"
    return WaitTimeout(text, asked.name or "", terms.timeout, happened=outcome.word)
