"""What all connections of one server share: the app, the ledger, the seconds that things may take.

Knows limits and the time of day. Knows no sockets.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from httpserve.base.log import logger, say
from httpserve.base.seats import Seats
from httpserve.plan import Again, Plan, Region, Subject
from httpserve.records.claims import Claims
from httpserve.records.exchange import Exchange
from httpserve.records.model import RequestRecord
from httpserve.serving.head import MOST_KEPT_BYTES as MOST_REPEATED_HEAD_BYTES
from httpserve.serving.head import Head
from httpserve.serving.kept import Kept, Lent
from httpserve.serving.scribe import Scribe

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

access = logger("httpserve.access")

MOST_SENDING = 64  # threads in a send from one disk
MOST_WAITING = 4  # threads that wait for a moment until their client has taken more
MOST_REPEATS = 1024
MOST_REPEATED_BYTES = 132 * 1024
MOST_KEPT_BYTES = 8 * 1024 * 1024
KEPT_AT = 2  # an answer is kept when it is given again for this time in one second
DATE_BYTES = 64  # more than a Date field takes
DESCRIPTORS_KEPT = 64  # for the user's script
FEWEST_CONNECTIONS = 16
MOST_CONNECTIONS = 16_384  # by default: each may take a KiB or two of memory
MOST_BODY_BYTES = 32 * 1024 * 1024  # of content in memory that waits for clients to take it
MOST_HEAD_BYTES = 16 * 1024 * 1024  # of heads that have begun and not ended
MANY_DESCRIPTORS = 1024  # with more, not every connection will want a file at the same time


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds, and how many there may be.

    Attributes:
        timeout: An answer that makes no progress is given up after this.
        lost: A client that acknowledges nothing any more is given up after this.
        head: A head must be complete so long after its first byte, however it drips.
        idle: A connection without a request is closed after this.
        short_idle: When connections are short, an idle one is kept for this at least: iPXE comes back after 10 s.
        linger: After our close, for the client's own.
        connections: The most connections at a time; more wait in the backlog.
    """

    timeout: float = 600.0
    lost: float = 30.0
    head: float = 20.0
    idle: float = 75.0
    short_idle: float = 15.0
    linger: float = 2.0
    connections: int = 1024

    @property
    def look(self) -> float:
        """How often to look whether a client goes on taking what was sent."""
        return min(self.lost / 12, self.timeout / 4, self.idle)


def most_connections() -> int:
    """Return how many connections fit the limit of descriptors: a busy one needs another for its file."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return 1024
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    left = soft - DESCRIPTORS_KEPT
    fitting = left * 2 // 3 if soft > MANY_DESCRIPTORS else left // 2
    return min(MOST_CONNECTIONS, max(FEWEST_CONNECTIONS, fitting))


class Budget:
    """Bytes that all connections together may hold for some purpose. Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._taken = 0

    def take(self, count: int) -> bool:
        """Take some, whoever is the only one any number; False, and nothing taken, where not so many are left."""
        with self._lock:
            if self._taken and self._taken + count > self._most:
                return False
            self._taken += count
            return True

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._taken -= count


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
        again: Again,
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
        self.whole: bytes | Lent | None = None

    def plan(self) -> Plan | None:
        """Return the content as a plan, for a client that does not take it at once; None where it is no more."""
        return _of_file(self.again)


def opened_again(plan: Plan) -> Plan | None:
    """Return a closed plan with its file open, for who does not take it at once; None where it is no more."""
    return None if plan.again is None else _of_file(plan.again)


def _of_file(again: Again) -> Plan | None:
    file, length = again.open()
    return None if file is None else Plan((Region(file, 0, length),), length)


def connection_field(head: Head | None, *, close: bool) -> bytes:
    """Return the Connection field of an answer, which only a close and HTTP/1.0 need."""
    if close:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if head is not None and head.http_10 else b""


class Service:
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
        self._kept = Kept(MOST_KEPT_BYTES)
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

    def give_again(self, raw_head: bytes, repeat: Repeat) -> bytes | memoryview | Lent | None:
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
        if repeat.given == KEPT_AT and repeat.again.shows_changes(self._wall):
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


def _log_access(record: RequestRecord) -> None:
    """Write one line to `httpserve.access`."""
    say(
        access,
        logging.INFO,
        '%s "%s" %d %d bytes %.3f s "%s"%s%s',
        record.client,
        _in_quotes(f"{record.method} {record.target}" if record.method else record.target),
        record.status,
        record.bytes,
        record.seconds,
        _in_quotes(record.user_agent),
        f" range {record.range}" if record.range else "",
        "" if record.completed else f" {record.outcome}",
    )


def _in_quotes(text: str) -> str:
    """Return a text that ends where its quotes do, as nginx writes it: else a board could say the rest of the line."""
    return text.replace('"', "\\x22")
