"""What all connections of one server share: the app, the ledger, the seconds that things may take.

Knows limits and the time of day. Knows no sockets.
"""

from __future__ import annotations

import logging
import threading
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from httpserve.base.seats import Seats
from httpserve.plan import Plan, Region, Repeatable, Subject
from httpserve.records.claims import Claims
from httpserve.records.exchange import Exchange
from httpserve.server.access_log import Scribe, _log_access, access
from httpserve.server.limits import MOST_BODY_BYTES, MOST_HEAD_BYTES, MOST_SENDING, Budget, Limits
from httpserve.server.repeats import AnswerStore, StoredAnswer
from httpserve.server.request_head import MOST_KEPT_BYTES as MOST_REPEATED_HEAD_BYTES
from httpserve.server.request_head import Head

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


MOST_WAITING = 4  # threads that wait for a moment until their client has taken more
MOST_REPEATS = 1024
MOST_REPEATED_BYTES = 132 * 1024
MOST_KEPT_BYTES = 8 * 1024 * 1024
KEPT_AT = 2  # an answer is kept when it is given again for this time in one second
DATE_BYTES = 64  # more than a Date field takes


class Repeat:
    """How to answer a request whose very bytes came before, without asking the app.

    Attributes:
        again: Where the content comes from.
        date: The Date field of the latest answer.
        given: How often the content was read for that Date field.
        head: What the bytes mean.
        line: The status line.
        end: The fields, up to the empty line.
        length: The length of the content.
        size: The length of all before the content.
        subject: What the record says of it.
        whole: The whole answer, for as long as the Date field is right and `again` stands. None: to be read.
    """

    __slots__ = ("again", "date", "end", "given", "head", "length", "line", "size", "subject", "whole")

    def __init__(
        self,
        again: Repeatable,
        head: Head,
        status: str,
        fields: bytes,
        length: int,
        subject: Subject | None,
    ) -> None:
        self.again = again
        self.head = head
        self.length = length
        self.subject = subject
        self.line = b"HTTP/1.1 " + status.encode("latin-1") + b"\r\n"
        self.end = fields + connection_field(head, close=not head.keep_alive) + b"\r\n"
        self.size = 0
        self.date = b""
        self.given = 0
        self.whole: bytes | StoredAnswer | None = None

    def plan(self) -> Plan | None:
        """Return the content as a plan, for a client that does not take it at once; None where it is no more."""
        return _of_file(self.again)


def opened_again(plan: Plan) -> Plan | None:
    """Return a closed plan with its file open, for who does not take it at once; None where it is no more."""
    return None if plan.again is None else _of_file(plan.again)


def _of_file(again: Repeatable) -> Plan | None:
    file, length = again.open()
    return None if file is None else Plan((Region(file, 0, length),), length)


def connection_field(head: Head | None, *, close: bool) -> bytes:
    """Return the Connection field of an answer, which only a close and HTTP/1.0 need."""
    if close:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if head is not None and head.http_10 else b""


class Shared:
    """What all connections of a server share.

    Args:
        app: The WSGI app. One with an attribute `plans` that is true answers `HAND_OVER` rather than block.
        ledger: Where exchanges are recorded.
        environ: What the WSGI environ says of the server.
        local: Our address, None where it is another one for each connection.
        limits: How long things may take.
        scribe: Writes what is logged.
    """

    def __init__(
        self,
        app: WSGIApplication,
        ledger: Claims,
        environ: dict[str, Any],
        local: str | None,
        limits: Limits,
        scribe: Scribe,
    ) -> None:
        self.app = app
        self.ledger = ledger
        self.environ = environ
        self.local = local
        self.limits = limits
        self.scribe = scribe
        self.bodies = Budget(MOST_BODY_BYTES)
        self.heads = Budget(MOST_HEAD_BYTES)
        self.disks = Seats(MOST_SENDING)
        self.app_blocks = not getattr(app, "plans", False)
        self.stopping = False
        self.cutting = False  # what is under way is to end at once
        self.small_at = 0.0  # when a small answer left last, by the monotonic clock
        self.logs_access = False
        self.date = b""
        self._date_second = -1
        self._wall = 0.0  # when the leader looked around last
        self.seats = threading.BoundedSemaphore(MOST_WAITING)
        self.repeats: dict[bytes, Repeat] = {}
        # The leader's:
        self._buffer = memoryview(bytearray(MOST_REPEATED_BYTES))
        self._kept = AnswerStore(MOST_KEPT_BYTES)
        self._keeping: list[Repeat] = []  # those that have the whole answer

    def remember(self, raw_head: bytes, repeat: Repeat) -> None:
        """Keep how to answer a request that comes with these bytes."""
        if len(raw_head) > MOST_REPEATED_HEAD_BYTES:
            return
        if len(repeat.line) + len(repeat.end) + repeat.length > MOST_REPEATED_BYTES - DATE_BYTES:
            return
        if len(self.repeats) >= MOST_REPEATS:
            self.repeats.clear()
        self.repeats[raw_head] = repeat

    def give_again(self, raw_head: bytes, repeat: Repeat) -> bytes | memoryview | StoredAnswer | None:
        """Return a whole answer with content that is read anew; None when the app has to be asked."""
        start = repeat.line + self.date + repeat.end
        repeat.size = len(start)
        whole = self._buffer[: repeat.size + repeat.length]
        if not repeat.again.read(whole[repeat.size :]):
            self.repeats.pop(raw_head, None)
            return None
        whole[: repeat.size] = start
        if repeat.date is not self.date:
            repeat.date, repeat.given = self.date, 0
        repeat.given += 1
        if repeat.given == KEPT_AT and repeat.again.change_would_show(self._wall):
            repeat.whole = self._kept.keep(whole)
            if repeat.whole is not None:
                self._keeping.append(repeat)
                return repeat.whole
        return whole

    def log_access(self, exchange: Exchange) -> None:
        """Have the line written about an exchange that is over."""
        self.scribe.write(lambda: _log_access(self.ledger.record(exchange)))

    def forget_kept(self) -> None:
        """Give up the answers that are kept. Harmless when repeated."""
        for repeat in self._keeping:
            repeat.whole = None
        self._keeping.clear()
        self._kept.forget()

    def forget_repeats(self) -> None:
        """Free the memory that answers given before take."""
        self.forget_kept()
        self.repeats.clear()

    def look_around(self, wall: float) -> None:
        """Bring up to date what changes with time: the Date field, and whether accesses are logged."""
        self.logs_access = access.isEnabledFor(logging.INFO)
        self._wall = wall
        second = int(wall)
        if second != self._date_second:
            if second < self._date_second:  # set back: no Last-Modified may be later than Date (RFC 9110 8.8.2.1)
                self.repeats.clear()
            self.forget_kept()
            self._date_second = second
            self.date = b"Date: " + formatdate(second, usegmt=True).encode("ascii") + b"\r\n"
