"""Waiting for the next events of a server.

Knows the log and deadlines. Does not know what events mean. Making events takes processor time, most of
which is for the boards: after a call that returned many events the next one rests.
"""

from __future__ import annotations

import time

from httpserve.base.tables import Records
from httpserve.records.events import DOWNLOADED, ENDED, PROGRESS, PROGRESS_SECONDS, Event, Nearest, events_of
from httpserve.records.log import ExchangeLog
from httpserve.records.waits.turns import MOST_REST_SECONDS, SHARE, Turns

GATHER_SECONDS = 0.01  # from a call's first event until it returns, so that a busy server's are not read one by one
FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.001, 0.02  # an acknowledgment makes no event
_OF_ANSWERS = {PROGRESS, ENDED, DOWNLOADED}


def next_events(
    log: ExchangeLog, since: int, timeout: float | None, kinds: frozenset[str], nearest: Nearest
) -> tuple[Event, ...]:
    """Block until there are events of these kinds after that one; return none if time is over or no more can come."""
    turns = Turns(log, log.await_event, timeout)
    rest = log.read_again_at - time.monotonic()
    if timeout != 0 and rest > 0:
        time.sleep(min(rest, turns.deadline - time.monotonic()))  # the boards' turn, whatever happens meanwhile
    spent = time.thread_time()
    looks_at_open = not kinds.isdisjoint(_OF_ANSWERS)
    poll = 0.0
    with turns:
        while True:
            is_due = looks_at_open and log.look_at_open(for_progress=PROGRESS in kinds)
            entries, is_open = log.events_after(since)
            if any(entry.kind in kinds for entry in entries):
                break
            since = entries[-1].number if entries else since  # so that no later look reads them again
            left = turns.deadline - time.monotonic()
            if not is_open or left <= 0:
                return Records()
            poll = min(2 * poll or FIRST_POLL_SECONDS, LAST_POLL_SECONDS) if is_due else PROGRESS_SECONDS
            if turns.wait(left, poll):
                poll = 0.0
                gather = min(GATHER_SECONDS, turns.deadline - time.monotonic())
                time.sleep(max(0.0, gather))  # events come in groups: read one whole
    found = events_of([entry for entry in entries if entry.kind in kinds], time.monotonic(), nearest)
    spent = time.thread_time() - spent
    log.read_again_at = time.monotonic() + min(MOST_REST_SECONDS, spent * SHARE)
    return Records(found)
