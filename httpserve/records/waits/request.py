"""Waiting until somebody asks for something, whether it is there or not.

Knows the ledger and deadlines. Knows no sockets and no files.
"""

from __future__ import annotations

import time
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
    """What a wait for a request is about.

    Attributes:
        asked: What is waited for.
        is_running: Tells whether requests can still come.
        nearest: Returns for names those that exist and are like them, for a message.
        predicate: Tells of a request that fits whether it counts; None: it does.
        timeout: Seconds; None waits for ever.
    """

    asked: RequestFilter
    is_running: Callable[[], bool]
    nearest: Nearest
    predicate: Callable[[RequestRecord], object] | None = None
    timeout: float | None = None


def wait_for_request(
    ledger: Claims, terms: RequestTerms, first: int | None = None, since: float | None = None
) -> RequestRecord:
    """Block until a request has come that fits, and then until all of its answer is acknowledged, where that is due.

    Args:
        ledger: What arrived.
        terms: What is waited for.
        first: The number of the first exchange that counts; None: after the last one that such a wait returned.
        since: In place of that: since when, in seconds since the epoch.

    Raises:
        WaitTimeout: It did not happen in time.
        ServerNotRunning: It cannot happen any more.
    """
    asked, predicate, timeout = terms.asked, terms.predicate, terms.timeout
    deadline = None if timeout is None else time.monotonic() + timeout
    began = ledger.first_asked(asked) if first is None and since is None else first or 0
    looks_from, looks_since = first, since
    with Turns(ledger, partial(ledger.await_request, asked.name)) as turns:
        while True:
            turns.begin()
            can_come = terms.is_running()
            found, next_first = ledger.find_requests(asked, looks_from, looks_since)
            for exchange in found:
                if predicate is None or predicate(ledger.record(exchange)):
                    ledger.took_request(asked, exchange.number, singly=predicate is not None)
                    ledger.await_acknowledged([exchange])
                    return ledger.record(exchange)
            looks_from, looks_since = next_first, None
            if not can_come:
                raise ServerNotRunning("nobody can ask for anything: the server does not run; start() it first")
            left = SLICE_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                assert timeout is not None
                verdict = not_asked(ledger.requests_since(began, since), ledger.connections(), terms.nearest)
                text = f"no {asked} came within {timeout:g} s: {verdict.text}"
                raise WaitTimeout(text, asked.name or "", timeout, happened=verdict.word)
            turns.wait(left, SLICE_SECONDS)
