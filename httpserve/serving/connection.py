"""One connection: reads heads, asks the app, sends answers, settles the records.

Knows its socket, HTTP's framing and the app as WSGI knows it. Does not know
which thread it runs in: each call does what it can and says what it needs next.
With `at_once` set a call does nothing that may block.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from httpserve.plan import AT_ONCE, HAND_OVER, ChangedWhileSent, Data, Plan
from httpserve.records import Exchange, Ledger, RequestRecord, State, printable
from httpserve.serving.content import Content
from httpserve.serving.head import Head, Refused, check_incomplete, parse_again
from httpserve.serving.sending import NO_WAIT, Outgoing, Sent, in_memory

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

try:
    import fcntl
    import termios

    _OUTQ: int | None = termios.TIOCOUTQ if sys.platform == "linux" else None  # the same number as SIOCOUTQ
except ImportError:  # pragma: no cover - Windows
    _OUTQ = None

log = logging.getLogger("httpserve.serving")
access = logging.getLogger("httpserve.access")

RECEIVE_BYTES = 8192
SMALL_BYTES = 128 * 1024  # an answer up to here leaves with its head, from memory
MOST_UNWANTED_BYTES = 1024 * 1024  # of a request's content that is read and thrown away
MOST_EMPTY_LINES = 8  # before a request line (RFC 9112 2.2 asks for one at least)
NEVER = float("inf")
_RESET = struct.pack("ii", 1, 0)


class Stage(Enum):
    """What the connection does."""

    READING = auto()
    DRAINING = auto()
    SENDING = auto()
    PAUSED = auto()
    LINGERING = auto()


class Need(Enum):
    """What the connection needs before it can go on."""

    INPUT = auto()
    THREAD = auto()
    ROOM = auto()
    PAUSE = auto()
    GONE = auto()


class Service:
    """What all connections of a server share.

    Args:
        app: The WSGI app. One with an attribute `plans` that is true answers `HAND_OVER` rather than block.
        ledger: Where exchanges are recorded.
        environ: What the WSGI environ says of the server.
        local: Our address, None where it is another one for each connection.
        timeout: Seconds after which an answer that makes no progress is given up.
        head_seconds: Seconds that a head may take from its first byte.
        idle_seconds: Seconds that a connection may be idle.
        linger_seconds: Seconds that a closed connection waits for the client's own close.
    """

    def __init__(
        self,
        app: WSGIApplication,
        ledger: Ledger,
        environ: dict[str, Any],
        local: str | None,
        *,
        timeout: float,
        head_seconds: float = 20.0,
        idle_seconds: float = 75.0,
        linger_seconds: float = 2.0,
    ) -> None:
        self.app = app
        self.ledger = ledger
        self.environ = environ
        self.local = local
        self.timeout = timeout
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.linger_seconds = linger_seconds
        self.app_blocks = not getattr(app, "plans", False)
        self.stopping = False
        self.logs_access = False
        self.date = b""
        self._date_second = -1

    def look_around(self, wall: float) -> None:
        """Bring up to date what changes with time: the Date field, and whether accesses are logged."""
        self.logs_access = access.isEnabledFor(logging.INFO)
        second = int(wall)
        if second != self._date_second:
            self._date_second = second
            self.date = b"Date: " + formatdate(second, usegmt=True).encode("ascii") + b"\r\n"


class Connection:
    """One client's connection. Owned by one thread at a time."""

    __slots__ = (
        "_buffer",
        "_closing",
        "_content",
        "_earlier",
        "_exchange",
        "_fin_sent",
        "_head",
        "_headers",
        "_local",
        "_outgoing",
        "_outstanding",
        "_progress_at",
        "_service",
        "_status",
        "client",
        "client_port",
        "deadline",
        "fd",
        "scheduled",
        "sock",
        "stage",
    )

    def __init__(self, sock: socket.socket, client: str, client_port: int, service: Service, now: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.client = client
        self.client_port = client_port
        self.stage = Stage.READING
        self.deadline = now + service.idle_seconds
        self.scheduled = NEVER  # the lead's: when it will look at the deadline next
        self._service = service
        self._local = service.local
        self._buffer = b""
        self._closing = False
        self._content: Content | None = None
        self._earlier: list[Exchange] = []  # answers to pipelined requests, not yet known to have arrived
        self._exchange: Exchange | None = None
        self._fin_sent = False
        self._head: Head | None = None
        self._headers: list[tuple[str, str]] = []
        self._outgoing: Outgoing | None = None
        self._outstanding = 0
        self._progress_at = now
        self._status = ""

    # What records ask

    @property
    def local(self) -> str:
        """The address of ours that the client asked."""
        if self._local is None:
            try:
                self._local = plain_address(self.sock.getsockname()[0])
            except OSError:
                self._local = ""
        return self._local

    def outstanding(self) -> int:
        """Return how many bytes handed to the kernel the client has not acknowledged.

        Where the system does not tell, everything counts as outstanding until a next request or a close proves it.
        """
        if _OUTQ is None:
            return sys.maxsize
        try:
            queued = int.from_bytes(fcntl.ioctl(self.fd, _OUTQ, b"\0\0\0\0"), sys.byteorder)
        except OSError:
            return sys.maxsize
        return queued - 1 if self._fin_sent and queued else queued  # a FIN counts as one

    # What happens

    def on_input(self, now: float, wall: float, *, at_once: bool) -> Need:
        """Take what the client sent and go on from there."""
        try:
            received = self.sock.recv(RECEIVE_BYTES, NO_WAIT)
        except BlockingIOError:
            return Need.INPUT
        except OSError:
            return self.close(now)
        if self.stage is Stage.LINGERING:
            return Need.INPUT if received else self.close(now)
        if not received:
            return self.close(now)
        if self._exchange is not None:
            self._settle_by_input(now)
        if self.stage is Stage.DRAINING:
            need = self._drain(received, now, wall)
            return self.serve(now, wall, at_once=at_once) if need is None else need
        if self._buffer:
            self._buffer += received
        else:
            self._buffer = received
            self.deadline = now + self._service.head_seconds
        return self.serve(now, wall, at_once=at_once)

    def serve(self, now: float, wall: float, *, at_once: bool) -> Need:
        """Answer every request whose head has come, then say what is needed next."""
        while True:
            head = self._head
            if head is None:
                try:
                    head = self._take_head()
                except Refused as refused:
                    return self._refuse(refused, now, wall)
                if head is None:
                    return Need.INPUT
                if head.content_length:
                    self._content = Content(head.content_length)
            need = self._answer(head, now, wall, at_once=at_once)
            if need is not None:
                return need

    def _take_head(self) -> Head | None:
        buffer = self._buffer
        for _ in range(MOST_EMPTY_LINES):
            if not buffer.startswith(b"\r\n"):
                break
            buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n") + 4
        if end == len(buffer):
            self._buffer = b""
            return parse_again(buffer)
        if end == 3:
            self._buffer = buffer
            check_incomplete(buffer)
            return None
        self._buffer = buffer[end:]
        return parse_again(buffer[:end])

    # One answer

    def _answer(self, head: Head, now: float, wall: float, *, at_once: bool) -> Need | None:
        service = self._service
        if at_once and (service.app_blocks or service.logs_access):  # a log handler may block
            self._head = head
            return Need.THREAD
        body = self._call_app(head, at_once=at_once)
        if body is HAND_OVER:
            self._head = head
            return Need.THREAD
        self._head = None
        plan = body if type(body) is Plan else _collected(body)
        if not head.keep_alive or service.stopping or self._cannot_drain(head):
            self._closing = True
        start = self._start_of_answer(plan, head)
        exchange = Exchange(self, head, int(self._status[:3]), plan.length, plan.subject, wall, now)
        try:
            content = in_memory(plan, SMALL_BYTES)
        except ChangedWhileSent:
            plan.close()
            return self._cut(now, reset=True)
        if content is None:
            return self._begin_to_send(start, plan, exchange, now, at_once=at_once)
        if plan.steps:
            plan.close()
        return self._send_small(start, content, exchange, now)

    def _call_app(self, head: Head, *, at_once: bool) -> Any:
        environ = {
            **self._service.environ,
            **head.environ,
            "REMOTE_ADDR": self.client,
            "REMOTE_PORT": self.client_port,
            "wsgi.input": io.BytesIO(),
            AT_ONCE: at_once,
        }
        try:
            return self._service.app(environ, self._start_response)
        except Exception:  # an app's own error is its user's to see, and must not end the thread
            log.exception("the app failed on %s %s", head.method, printable(head.target))
            self._status, self._headers = "500 Internal Server Error", []
            return Plan((), 0)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        self._status = status
        self._headers = headers
        return _no_write

    def _cannot_drain(self, head: Head) -> bool:
        return head.expects_continue or head.content_length > MOST_UNWANTED_BYTES

    def _start_of_answer(self, plan: Plan, head: Head) -> bytes:
        fields = plan.raw_fields
        if fields is None:
            fields = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in self._headers)
        line = b"HTTP/1.1 " + self._status.encode("latin-1") + b"\r\n"
        if self._closing:
            connection = b"Connection: close\r\n\r\n"
        else:
            connection = b"Connection: keep-alive\r\n\r\n" if head.http_10 else b"\r\n"
        return line + self._service.date + fields + connection

    def _send_small(self, start: bytes, content: bytes, exchange: Exchange, now: float) -> Need | None:
        exchange.state = State.HANDED_OVER
        exchange.ended = now
        self._begin(exchange)  # before the bytes leave: who has the answer finds the record
        whole = start + content
        try:
            sent = self.sock.send(whole, NO_WAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._cut(now, reset=False)
        if sent == len(whole):
            exchange.handed = exchange.length
            exchange.ended = time.monotonic()
            return self._finish(now)
        exchange.state = State.UNDER_WAY
        exchange.handed = max(0, sent - len(start))
        left = content[exchange.handed :]
        self._outgoing = Outgoing(start[sent:], Plan((Data(left),), len(left)))
        return self._wait_for_room(now)

    def _begin(self, exchange: Exchange) -> None:
        if self._exchange is not None:
            self._earlier.append(self._exchange)
        self._exchange = exchange
        self._service.ledger.begin(exchange)

    def _begin_to_send(self, start: bytes, plan: Plan, exchange: Exchange, now: float, *, at_once: bool) -> Need | None:
        self._begin(exchange)
        self._outgoing = Outgoing(start, plan)
        self.stage = Stage.SENDING
        return Need.THREAD if at_once else self.send_on(now)

    def send_on(self, now: float) -> Need | None:
        """Send what is left of the answer. None when it has all been sent and the connection can read on."""
        outgoing, exchange = self._outgoing, self._exchange
        assert outgoing is not None and exchange is not None
        before = outgoing.content_sent
        try:
            ended = outgoing.send(self.sock)
        except OSError:
            ended = Sent.CUT
        exchange.handed += outgoing.content_sent - before
        if ended is Sent.NO_ROOM:
            if outgoing.content_sent > before:
                self._progress_at = now
            return self._wait_for_room(now)
        if ended is Sent.PAUSE:
            self.stage = Stage.PAUSED
            self.deadline = now + outgoing.pause
            return Need.PAUSE
        self._outgoing = None
        outgoing.close()
        if ended is not Sent.ALL:
            return self._cut(now, reset=ended is Sent.RESET)
        exchange.handed = exchange.length
        return self._finish(now)

    def proceed(self, now: float, wall: float) -> Need:
        """Go on with whatever the last call left, and block where that is needed."""
        if self._outgoing is not None:
            need = self.send_on(now)
            if need is not None:
                return need
        return self.serve(now, wall, at_once=False)

    def _wait_for_room(self, now: float) -> Need:
        self.stage = Stage.SENDING
        self.deadline = now + self._service.timeout
        return Need.ROOM

    def _finish(self, now: float) -> Need | None:
        service, exchange = self._service, self._exchange
        assert exchange is not None
        if exchange.state is not State.HANDED_OVER:
            service.ledger.handed_over(exchange, time.monotonic())
        if service.logs_access:
            access.info("%s", AccessLine(service.ledger.record(exchange)))
        if self._closing:
            return self._end_of_answers(now)
        self.stage = Stage.READING
        self.deadline = now + service.idle_seconds
        if self._content is not None:
            received, self._buffer = self._buffer, b""
            return self._drain(received, now, exchange.wall)
        return None if self._buffer else Need.INPUT

    # Content that nobody wants

    def _drain(self, received: bytes, now: float, wall: float) -> Need | None:
        content = self._content
        assert content is not None
        try:
            content.feed(received)
        except Refused as refused:
            return self._refuse(refused, now, wall)
        if not content.done:
            if content.taken > MOST_UNWANTED_BYTES:
                return self._refuse(Refused(413, "nobody wants that much content"), now, wall)
            self.stage = Stage.DRAINING
            return Need.INPUT
        self._content = None
        self._buffer = content.rest
        self.stage = Stage.READING
        return None if self._buffer else Need.INPUT

    # Ends

    def _refuse(self, refused: Refused, now: float, wall: float) -> Need | None:
        log.info("%s port %s: %s: %s", self.client, self.client_port, refused.status, refused.reason)
        text = f"{refused.status} {HTTPStatus(refused.status).phrase}: {refused.reason}\n".encode()
        self._status = f"{refused.status} {HTTPStatus(refused.status).phrase}"
        self._headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
        self._closing = True
        self._content = None
        plan = Plan((Data(text),), len(text))
        exchange = Exchange(self, _NO_HEAD, refused.status, len(text), None, wall, now)
        return self._send_small(self._start_of_answer(plan, _NO_HEAD), text, exchange, now)

    def _end_of_answers(self, now: float) -> Need:
        self._fin_sent = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return self.close(now)
        if self._content is None and self.outstanding() == 0:
            return self.close(now)
        self._buffer = b""
        self.stage = Stage.LINGERING
        self.deadline = now + self._service.linger_seconds
        self._outstanding = self.outstanding()
        self._progress_at = now
        return Need.INPUT

    def on_deadline(self, now: float, wall: float) -> Need:
        """Decide what becomes of a connection whose deadline has come."""
        service = self._service
        if self.stage is Stage.PAUSED:
            self.stage = Stage.SENDING
            return Need.THREAD
        if self.stage is Stage.SENDING:
            return self._cut(now, reset=True)
        outstanding = self.outstanding() if self._exchange is not None and _OUTQ is not None else 0
        if outstanding:  # the kernel still sends for us: wait as long as the client goes on taking it
            if outstanding != self._outstanding:
                self._outstanding, self._progress_at = outstanding, now
            if now - self._progress_at < service.timeout:
                self.deadline = now + service.linger_seconds
                return Need.INPUT
            return self._cut(now, reset=True)
        if self._buffer and self.stage is Stage.READING:
            return self._refuse(Refused(408, "the head took too long"), now, wall) or Need.GONE
        return self.close(now)

    def abandon(self, now: float) -> Need:
        """End the connection with a reset, whatever it is doing. From the thread that owns it."""
        return self._cut(now, reset=True)

    def interrupt(self) -> None:
        """Let a send that another thread is in fail. The only call that any thread may make."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is over already

    def never_block(self) -> None:
        """Let sends return at once when the socket takes no more, instead of after a moment."""
        os.set_blocking(self.fd, False)

    def is_idle(self) -> bool:
        """Tell whether the connection waits for a request of which nothing has come."""
        return self.stage is Stage.READING and not self._buffer

    def is_quiet(self) -> bool:
        """Tell whether no answer is on its way into the kernel."""
        return self.stage not in (Stage.SENDING, Stage.PAUSED)

    def _cut(self, now: float, *, reset: bool) -> Need:
        if reset:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # the client was first
        return self.close(now)

    def close(self, now: float) -> Need:
        """Settle the records and close the socket."""
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None
        self._settle_by_count(now)
        self.sock.close()
        return Need.GONE

    def _settle_by_input(self, now: float) -> None:
        """Count an answer as received since the client asks on, unless it may have asked before it had the answer."""
        exchange = self._exchange
        if exchange is None or exchange.state is not State.HANDED_OVER:
            return
        if self._earlier:
            if self.outstanding():
                return
            self._settle_by_count(now)
            return
        self._exchange = None
        self._service.ledger.settle(exchange, exchange.length, now)

    def _settle_by_count(self, now: float) -> None:
        """Count as received what the client has acknowledged; what it has not is of the latest answers."""
        if self._exchange is None:
            return
        outstanding = self.outstanding()
        for exchange in [self._exchange, *reversed(self._earlier)]:
            self._service.ledger.settle(exchange, max(0, exchange.handed - outstanding), now)
            outstanding = max(0, outstanding - exchange.handed)
        self._exchange = None
        self._earlier = []


class AccessLine:
    """One line of `httpserve.access`, formatted only when a handler asks."""

    def __init__(self, record: RequestRecord) -> None:
        self.record = record

    def __str__(self) -> str:
        """Return the line."""
        record = self.record
        return (
            f'{record.client} "{record.method} {record.target}" {record.status} {record.bytes} bytes '
            f'{record.seconds:.3f} s "{record.user_agent}"' + (f" range {record.range}" if record.range else "")
        )


def plain_address(address: str) -> str:
    """Return an address as records show it: an IPv4 client of an IPv6 socket by its IPv4 address."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def _no_write(data: bytes) -> object:
    raise NotImplementedError("the write callable of PEP 3333 is not offered; return the body")


def _collected(body: Iterable[bytes]) -> Plan:
    try:
        data = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return Plan((Data(data),), len(data))


_NO_HEAD = Head("", "", {}, keep_alive=False, content_length=0, expects_continue=False, http_10=False, range="", user_agent="")
