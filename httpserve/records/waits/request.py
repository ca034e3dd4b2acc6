"""Waiting until somebody asks for something, whether it exists or not.

Knows claims and deadlines. Knows no sockets and no files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from httpserve.errors import ServerNotRunning
from httpserve.records.claims import Claims
from httpserve.records.model import RequestRecord
from httpserve.records.terms import RequestFilter
from httpserve.records.waits.download import SLICE_SECONDS
from httpserve.records.waits.outcome import Nearest, Way, not_asked
from httpserve.records.waits.turns import Turns


class RequestTerms(NamedTuple):
    """What a wait for a request is about."""

    asked: RequestFilter
    is_running: Callable[[], bool]  # tells whether requests can still come
    nearest: Nearest
    predicate: Callable[[RequestRecord], object] | None = None  # of a request that fits: whether it counts
    timeout: float | None = None  # in seconds; None: for ever
    way: Callable[[], Way] = Way  # returns how boards are to reach this server


def wait_for_request(
    claims: Claims, terms: RequestTerms, first: int | None = None, since: float | None = None
) -> RequestRecord:
    """Block until a matching request has come, and then until all of its answer is acknowledged, where that is due.

    What counts is what came from a number and a time on; without either, what no such wait has claimed. Raises
    WaitTimeout, or ServerNotRunning when nothing can come.
    """
    asked, predicate, log = terms.asked, terms.predicate, claims.log
    looks_from: int | None = None
    rejected: RequestRecord | None = None
    with Turns(log, partial(log.await_request, asked.name), terms.timeout) as turns:
        while True:
            can_come = terms.is_running()
            if looks_from is not None:
                found, looks_from = claims.find_requests(asked, looks_from, None)
            elif first is None and since is None:
                found, looks_from = claims.find_unclaimed(asked)
            else:
                found, looks_from = claims.find_requests(asked, first or 0, since)
            for exchange in found:
                if predicate is None or predicate(rejected := log.record(exchange)):
                    claims.claim_request(asked, exchange, singly=predicate is not None)
                    log.await_acknowledged([exchange])
                    return log.record(exchange)
            left = turns.deadline - time.monotonic()
            if can_come and left > 0:
                turns.wait(left, SLICE_SECONDS)
                continue
            begin = claims.first(asked) if first is None and since is None else first or 0
            instead = claims.instead_of_request(asked, begin, since)
            outcome = not_asked(instead, log.connections(), terms.nearest, rejected)
            if not can_come:
                text = f"the server was stopped or closed while a {asked} was waited for: {outcome.text}"
                raise ServerNotRunning(text)
            assert terms.timeout is not None
            raise outcome.error(f"no {asked} came", asked.name or "", terms.timeout, terms.way())
