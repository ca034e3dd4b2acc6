"""What all connections of one server share: the app, the ledger, the clock, and common budgets.

Knows the time of day. Knows no sockets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from httpserve.base.slots import Slots
from httpserve.plan import IS_CUTTING, Met
from httpserve.records.exchange import Exchange
from httpserve.records.log import ExchangeLog
from httpserve.server.access_log import access, log_access
from httpserve.server.limits import MOST_BODY_BYTES, MOST_HEAD_BYTES, MOST_RECEIVING, MOST_SENDING, Budget, Limits
from httpserve.server.log_writer import LogWriter
from httpserve.server.repeats import Repeats

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MOST_WAITING = 4  # threads that wait for a moment until their client has taken more


class Shared:
    """What all connections of a server share.

    Args:
        app: The WSGI app. One with an attribute `plans` that is true answers `NEEDS_THREAD` rather than block. One with
            a method `refuse` says of a client whether its connection is refused.
        ledger: Where exchanges are recorded.
        environ: What the WSGI environ says of the server.
        local: Our address; None if it differs between connections.
        limits: How long things may take.
        log: Writes what is logged.
        clock: Returns the time by which everything here is timed, in seconds.
    """

    def __init__(
        self,
        app: WSGIApplication,
        ledger: ExchangeLog,
        environ: dict[str, Any],
        local: str | None,
        limits: Limits,
        log: LogWriter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.app_blocks = not getattr(app, "plans", False)
        self.refuse: Callable[[str], Met | None] = getattr(app, "refuse", _refuse_nobody)
        self.ledger = ledger
        self.local = local
        self.limits = limits
        self.look_seconds = limits.look
        self.log = log
        self.clock = clock
        self.bodies = Budget(MOST_BODY_BYTES)
        self.heads = Budget(MOST_HEAD_BYTES)
        self.disks = Slots(MOST_SENDING)
        # Seats. Each touch is one step of the interpreter: threads that wait for a lock would add up.
        self.intakes: deque[None] = deque([None] * MOST_RECEIVING)
        self.slots = threading.BoundedSemaphore(MOST_WAITING)
        self.stopping = False
        self.cutting = False  # whether what is under way is to end at once
        self.environ = {**environ, IS_CUTTING: lambda: self.cutting}
        self.small_at = float("-inf")  # when a small answer last left
        self.logs_access = False
        self.wall = 0.0  # the time of day at the leader's last look
        self.date = b""  # the Date field
        self.repeats = Repeats()
        self._second = -1  # of `date`

    def log_access(self, exchange: Exchange) -> None:
        """Have the log line about an exchange that is over written."""
        self.log.write(lambda: log_access(self.ledger.record(exchange)))

    def look_around(self, wall: float) -> None:
        """Bring up to date what changes with time: the Date field, and whether accesses are logged."""
        self.logs_access = access.isEnabledFor(logging.INFO)
        self.wall = wall
        second = int(wall)
        if second != self._second:
            if second < self._second:  # clock set back: no Last-Modified may be later than Date (RFC 9110 8.8.2.1)
                self.repeats.forget()
            else:
                self.repeats.forget_whole()
            self._second = second
            self.date = _date_field(second)

    def date_now(self) -> bytes:
        """Return the Date field as it is now.

        What the app says about a file may be of a later second than the leader's last look, and no Last-Modified may
        be later than Date (RFC 9110 8.8.2.1).
        """
        second = int(time.time())
        return _date_field(second) if second > self._second else self.date


def _date_field(second: int) -> bytes:
    return b"Date: " + formatdate(second, usegmt=True).encode("ascii") + b"\r\n"


def _refuse_nobody(client: str) -> None:
    """Stand in for the method of an app that has none."""
