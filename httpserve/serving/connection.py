"""One connection: reads heads, has them answered, sends, and tells when it is over.

Knows its socket, HTTP's framing and deadlines. Does not know which thread it
runs in: each call does what it can and says what it needs next. With `at_once`
a call does nothing that may block.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import time
from enum import Enum, auto

from httpserve.plan import ChangedWhileSent, Data, HandOver, Plan
from httpserve.records import End, Ends, Exchange, State
from httpserve.serving import tcp
from httpserve.serving.answer import Answer, Refusal
from httpserve.serving.content import Content
from httpserve.serving.head import Head, Refused, check_incomplete, parse_again
from httpserve.serving.sending import NO_WAIT, Outgoing, Sent, in_memory
from httpserve.serving.service import Repeat, Service, log_access, say
from httpserve.serving.tally import Tally

log = logging.getLogger("httpserve.serving")

RECEIVE_BYTES = 8192
PROVEN_BYTES = 8192  # an answer up to here is acknowledged by whoever asks on, read or not
HALF_CLOSED_SECONDS = 0.2
MOMENT_SECONDS = 0.05  # a thread waits for so long until a client has taken more
SMALL_BYTES = 128 * 1024  # an answer up to here leaves with its head, from memory
MOST_UNWANTED_BYTES = 1024 * 1024  # of a request's content that is read and thrown away
MOST_EMPTY_LINES = 8  # before a request line (RFC 9112 2.2 asks for one at least)
NEVER = float("inf")
_UNREACHABLE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)
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
    TIME = auto()  # until its deadline, whatever comes
    GONE = auto()


class Connection:
    """One client's connection. Owned by one thread at a time.

    Attributes:
        client: The client's address.
        client_port: The client's port.
        deadline: When `on_deadline` is due, by the monotonic clock.
        fd: The socket's descriptor.
        idle_since: When the last answer had been handed over.
        scheduled: The lead's: when it will look at the deadline next.
        sock: The socket.
        stage: What the connection does.
        watched: The lead's: what its poller watches the descriptor for.
    """

    __slots__ = (
        "_buffer",
        "_closing",
        "_content",
        "_ends",
        "_fin_sent",
        "_given_up",
        "_half_closed",
        "_head",
        "_head_has_begun",
        "_local",
        "_look_seconds",
        "_outgoing",
        "_outstanding",
        "_patience",
        "_progress_at",
        "_raw_head",
        "_refused",
        "_service",
        "_tally",
        "client",
        "client_port",
        "deadline",
        "fd",
        "idle_since",
        "scheduled",
        "sock",
        "stage",
        "watched",
    )

    def __init__(
        self, sock: socket.socket, client: str, client_port: int, service: Service, now: float
    ) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.client = client
        self.client_port = client_port
        self.stage = Stage.READING
        self.deadline = now + service.limits.idle
        self.scheduled = NEVER
        self.watched = 0
        self.idle_since = now
        self._look_seconds = service.limits.look
        self._service = service
        self._tally = Tally(service.ledger)
        self._local = service.local
        self._buffer = b""
        self._closing = False
        self._content: Content | None = None
        self._ends: Ends | None = None
        self._fin_sent = False
        self._given_up: End | None = None
        self._half_closed = False
        self._head: Head | None = None
        self._head_has_begun = False
        self._outgoing: Outgoing | None = None
        self._outstanding = 0
        self._patience = 0.0
        self._progress_at = now
        self._raw_head = b""
        self._refused: Refused | None = None

    # What others ask

    @property
    def local(self) -> str:
        """The address of ours that the client asked."""
        if self._local is None:
            try:
                self._local = plain_address(self.sock.getsockname()[0])
            except OSError:
                self._local = ""
        return self._local

    def ends(self) -> Ends:
        """Return what records keep of this connection."""
        if self._ends is None:
            self._ends = Ends(self.client, self.client_port, self.local)
        return self._ends

    def outstanding(self) -> int:
        """Return how many bytes handed to the kernel the client has not acknowledged.

        Where the system does not tell, everything counts until a next request or a close proves it.
        """
        queued = tcp.outstanding(self.fd)
        return queued - 1 if self._fin_sent and queued else queued  # a FIN counts as one

    def is_idle(self) -> bool:
        """Tell whether the connection waits for a request of which nothing has come."""
        return self.stage is Stage.READING and not self._buffer

    def is_quiet(self) -> bool:
        """Tell whether no answer is on its way into the kernel."""
        return self.stage is not Stage.SENDING and self.stage is not Stage.PAUSED

    # Requests

    def on_input(self, now: float, wall: float, at_once: bool) -> Need:
        """Take what the client sent and go on from there."""
        try:
            received = self.sock.recv(RECEIVE_BYTES, NO_WAIT)
        except BlockingIOError:
            return Need.INPUT
        except OSError as error:
            return self.close(now, end_by(error))
        if not received:
            return self._on_end_of_input(now)
        if self._tally.latest is not None:
            self._asked_on(now)
        if self.stage is Stage.READING:
            if self._buffer:
                self._buffer += received
            else:
                repeat = self._service.repeats.get(received)
                if repeat is not None and not self._service.logs_access:
                    need = self._answer_again(repeat, received, now, wall)
                    if need is not None:
                        return need
                self._buffer = received
            return self.serve(now, wall, at_once)
        if self.stage is Stage.LINGERING:
            return Need.INPUT
        need = self._drain(received, now, wall, at_once)
        return self.serve(now, wall, at_once) if need is None else need

    def _asked_on(self, now: float) -> None:
        """Take a new request for a proof that the answer before has arrived, unless the client may pipeline."""
        latest = self._tally.latest
        assert latest is not None
        is_small = latest.length <= PROVEN_BYTES and not self._tally.is_pipelined
        if is_small or self.outstanding() == 0:
            self._tally.arrived(now)

    def _on_end_of_input(self, now: float) -> Need:
        if self._tally.latest is None or self.outstanding() == 0 or not tcp.TELLS_OUTSTANDING:
            return self.close(now)
        # The client has sent its last, and still takes what it asked for. The end of input would be reported
        # for ever, so look at what it has acknowledged by the clock.
        self._half_closed = True
        if self._end_of_answers(now) is Need.GONE:
            return Need.GONE
        self.deadline = now + HALF_CLOSED_SECONDS
        return Need.TIME

    def serve(self, now: float, wall: float, at_once: bool) -> Need:
        """Answer every request whose head has come, then say what is needed next."""
        while True:
            head = self._head
            if head is None:
                try:
                    head = self._take_head()
                except Refused as refused:
                    return self._refuse(refused, now, wall, at_once)
                if head is None:
                    if self._buffer and not self._head_has_begun:
                        self._head_has_begun = True
                        self.deadline = now + self._service.limits.head
                    return Need.INPUT
                self._head_has_begun = False
                if head.content_length:
                    self._content = Content(head.content_length)
            need = self._answer(head, now, wall, at_once)
            if need is not None:
                return need

    def _take_head(self) -> Head | None:
        buffer = self._buffer
        for _ in range(MOST_EMPTY_LINES):
            if not buffer.startswith(b"\r\n"):
                break
            buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n") + 4
        if end == 3:
            self._buffer = buffer
            check_incomplete(buffer)
            return None
        self._raw_head, self._buffer = buffer[:end], buffer[end:]
        return parse_again(self._raw_head)

    # One answer

    def _answer(self, head: Head, now: float, wall: float, at_once: bool) -> Need | None:
        service = self._service
        if at_once and (service.app_blocks or service.logs_access):  # a log handler may block
            self._head = head
            return Need.THREAD
        answer = Answer(service, head, self.client, self.client_port, at_once)
        plan = answer.plan
        if isinstance(plan, HandOver):
            self._head = head
            return Need.THREAD
        self._head = None
        if not head.keep_alive or service.stopping or self._cannot_drain(head):
            self._closing = True
        exchange = Exchange(self, head, int(answer.status[:3]), plan.length, plan.subject, wall, now)
        start = answer.start(service, plan, head, close=self._closing)
        try:
            content = in_memory(plan, SMALL_BYTES)
        except ChangedWhileSent:
            plan.close()
            return self.abandon(now)
        if content is None:
            self._tally.begin(exchange)
            self._outgoing = Outgoing(start, plan)
            self._patience = MOMENT_SECONDS
            self.stage = Stage.SENDING
            os.set_blocking(self.fd, False)
            return Need.THREAD if at_once else self._send_on(now)
        plan.close()
        if plan.again is not None and plan.raw_fields is not None:
            service.remember(self._raw_head, Repeat(plan.again, head, answer.status, plan.raw_fields, plan.subject))
        return self._send_small(start, content, exchange, now)

    def _answer_again(self, repeat: Repeat, raw_head: bytes, now: float, wall: float) -> Need | None:
        """Answer what was answered before. None when the app has to be asked."""
        service = self._service
        content = repeat.again()
        if content is None or service.stopping:
            service.repeats.pop(raw_head, None)
            return None
        head = repeat.head
        if not head.keep_alive:
            self._closing = True
        exchange = Exchange(self, head, 200, len(content), repeat.subject, wall, now)
        return self._send_small(repeat.line + service.date + repeat.end, content, exchange, now)

    def _cannot_drain(self, head: Head) -> bool:
        return head.expects_continue or head.content_length > MOST_UNWANTED_BYTES

    def _send_small(self, start: bytes, content: bytes, exchange: Exchange, now: float) -> Need | None:
        exchange.state = State.LEAVING
        exchange.ended = now
        self._tally.begin(exchange)
        if self._service.logs_access:  # before the bytes leave, so that who has the answer finds the line
            log_access(self._service.ledger.record(exchange))
        try:
            sent = self.sock.send(start + content, NO_WAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            exchange.state = State.UNDER_WAY
            return self.close(now, end_by(error))
        if sent == len(start) + len(content):
            exchange.handed = exchange.length
            exchange.ended = time.monotonic()
            exchange.state = State.HANDED_OVER
            return self._finish(now)
        exchange.state = State.UNDER_WAY
        exchange.handed = max(0, sent - len(start))
        left = content[exchange.handed :]
        self._outgoing = Outgoing(start[sent:], Plan((Data(left),), len(left)))
        os.set_blocking(self.fd, False)
        return self._wait_for_room(now)

    def proceed(self, now: float, wall: float) -> Need:
        """Go on with whatever the last call left, and block where that is needed."""
        if self._refused is not None:
            return self._refuse(self._refused, now, wall, False)
        if self._given_up is not None:
            return self.abandon(now, self._given_up)
        if self._outgoing is not None:
            # Who took long to make room is slow, and does not get a thread to wait for the next time.
            self._patience = MOMENT_SECONDS if now - self._progress_at < MOMENT_SECONDS else 0.0
            need = self._send_on(now)
            if need is not None:
                return need
        return self.serve(now, wall, False)

    def _send_on(self, now: float) -> Need | None:
        """Send what is left of the answer. None when it has all been sent and the connection can read on."""
        outgoing, exchange = self._outgoing, self._tally.latest
        assert outgoing is not None
        assert exchange is not None
        room = None
        count = _Count(exchange, self._service)
        try:
            while True:
                ended = outgoing.send(self.sock, count)
                if ended is not Sent.NO_ROOM:
                    break
                if room is None:
                    room = tcp.Room(self.fd)
                if not room.comes_within(self._patience):
                    return self._wait_for_room(time.monotonic())
        except OSError as error:
            return self.close(time.monotonic(), end_by(error))
        now = time.monotonic()  # it may have taken minutes
        if ended is Sent.PAUSE:
            self.stage = Stage.PAUSED
            self.deadline = now + outgoing.pause
            return Need.TIME
        self._outgoing = None
        outgoing.close()
        if ended is Sent.ALL:
            self._service.ledger.handed_over(exchange, now)
            return self._finish(now)
        return self.abandon(now) if ended is Sent.RESET else self.close(now, End.CUT)

    def _wait_for_room(self, now: float) -> Need:
        """Give the thread back until the client has taken more."""
        self.stage = Stage.SENDING
        self._outstanding, self._progress_at = self.outstanding(), now
        self.deadline = now + self._look_seconds
        return Need.ROOM

    def _finish(self, now: float) -> Need | None:
        exchange = self._tally.latest
        assert exchange is not None
        if self._closing:
            return self._end_of_answers(now)
        self.stage = Stage.READING
        self.idle_since = now
        self.deadline = now + self._look_seconds
        if self._content is not None:
            received, self._buffer = self._buffer, b""
            return self._drain(received, now, exchange.wall, True)
        return None if self._buffer else Need.INPUT

    def _drain(self, received: bytes, now: float, wall: float, at_once: bool) -> Need | None:
        """Throw content away that nobody wants. None when it has ended and the next request has begun."""
        content = self._content
        assert content is not None
        try:
            content.feed(received)
        except Refused as refused:
            return self._refuse(refused, now, wall, at_once)
        if not content.done:
            if content.taken > MOST_UNWANTED_BYTES:
                return self._refuse(Refused(413, "nobody wants that much content"), now, wall, at_once)
            self.stage = Stage.DRAINING
            return Need.INPUT
        self._content = None
        self._buffer = content.rest
        self.stage = Stage.READING
        return None if self._buffer else Need.INPUT

    # Ends

    def _refuse(self, refused: Refused, now: float, wall: float, at_once: bool) -> Need:
        if log.isEnabledFor(logging.INFO):
            if at_once:  # a log handler may block
                self._refused = refused
                return Need.THREAD
            say(log, logging.INFO, "%s port %d: %d: %s", self.client, self.client_port, refused.status, refused.reason)
        self._refused = None
        self._closing = True
        answer = Refusal(refused)
        plan = answer.plan
        assert isinstance(plan, Plan)
        exchange = Exchange(self, _NO_HEAD, refused.status, plan.length, None, wall, now)
        start = answer.start(self._service, plan, _NO_HEAD, close=True)
        return self._send_small(start, b"".join(plan), exchange, now) or Need.GONE

    def _end_of_answers(self, now: float) -> Need:
        self._fin_sent = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return self.close(now)
        self._outstanding = self.outstanding()
        if self._outstanding == 0 and self._content is None and not self._buffer:
            return self.close(now)
        # A close while input is unread would reset the connection before the client has read our answer.
        self._buffer = b""
        self.stage = Stage.LINGERING
        self.deadline = now + self._service.limits.linger
        self._progress_at = now
        return Need.INPUT

    def on_deadline(self, now: float, wall: float, at_once: bool) -> Need:
        """Decide what becomes of a connection whose deadline has come."""
        if self.stage is Stage.PAUSED:
            self.stage = Stage.SENDING
            return Need.THREAD
        if self._tally.latest is not None:
            if self.stage is Stage.SENDING or self.outstanding():
                return self._look_at_sending(now, at_once)
            self._tally.arrived(now)
        idle_until = self.idle_since + self._service.limits.idle
        if self.is_idle() and now < idle_until:
            self.deadline = idle_until
            return Need.INPUT
        if self._buffer and self.stage is Stage.READING:
            return self._refuse(Refused(408, "the head took too long"), now, wall, at_once)
        return self.close(now)

    def _look_at_sending(self, now: float, at_once: bool) -> Need:
        """Give up a client that is gone, or takes nothing more; one that takes anything at all may go on."""
        if tcp.is_lost(self.sock, self._service.limits.lost):
            return self._give_up(End.LOST, now, at_once)
        outstanding = self.outstanding()
        if outstanding != self._outstanding:
            self._outstanding, self._progress_at = outstanding, now
        elif now - self._progress_at >= self._service.limits.timeout:
            return self._give_up(End.CUT, now, at_once)
        if self._half_closed:
            self.deadline = now + HALF_CLOSED_SECONDS
            return Need.TIME
        self.deadline = now + self._look_seconds
        return Need.ROOM if self.stage is Stage.SENDING else Need.INPUT

    def wind_up(self, now: float) -> Need:
        """End a quiet connection of a server that stops, once the client has what the kernel still sends for us."""
        if self._tally.latest is None or not tcp.TELLS_OUTSTANDING:
            return self.close(now)
        if self.stage is not Stage.LINGERING:
            return self._end_of_answers(now)
        return self.close(now) if self.outstanding() == 0 else Need.TIME

    def _give_up(self, end: End, now: float, at_once: bool) -> Need:
        if at_once and self._service.logs_access:  # a log handler may block
            self._given_up = end
            return Need.THREAD
        return self.abandon(now, end)

    def abandon(self, now: float, end: End = End.CUT) -> Need:
        """End the connection with a reset, whatever it is doing: U-Boot takes an early FIN for a success."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass  # the client was first
        return self.close(now, end)

    def close(self, now: float, end: End = End.CLOSED) -> Need:
        """Settle the records, where `end` is for what was under way. The socket goes with `release`."""
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None
        latest = self._tally.latest
        if latest is not None:
            was_under_way = latest.state is State.UNDER_WAY
            self._tally.ended(self.outstanding(), now, end)
            if was_under_way and self._service.logs_access:
                log_access(self._service.ledger.record(latest))
        return Need.GONE

    def release(self) -> None:
        """Close the socket of a connection that is gone."""
        self.sock.close()

    # For the threads

    def hurry(self) -> None:
        """Do without waiting in the next call: the only thread there is makes it."""
        self._progress_at = float("-inf")

    def interrupt(self) -> None:
        """Let a send that another thread is in fail. The only call that any thread may make."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is over already


class _Count:
    """Counts what the kernel takes of an answer, and says before the last send that it is as good as complete."""

    __slots__ = ("_exchange", "_service")

    def __init__(self, exchange: Exchange, service: Service) -> None:
        self._exchange = exchange
        self._service = service

    @property
    def handed(self) -> int:
        return self._exchange.handed

    @handed.setter
    def handed(self, count: int) -> None:
        self._exchange.handed = count

    def before_last(self) -> None:
        """Complete the record, and log, before the last bytes leave: who has the answer finds both."""
        exchange, service = self._exchange, self._service
        if exchange.state is State.UNDER_WAY:
            exchange.state = State.LEAVING
            exchange.ended = time.monotonic()
            if service.logs_access:
                log_access(service.ledger.record(exchange))


def end_by(error: OSError) -> End:
    """Return how a connection ended that fails with this error."""
    return End.LOST if error.errno in _UNREACHABLE else End.RESET


def plain_address(address: str) -> str:
    """Return an address as records show it: an IPv4 client of an IPv6 socket by its IPv4 address."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


_NO_HEAD = Head(
    method="",
    target="",
    environ={},
    keep_alive=False,
    content_length=0,
    expects_continue=False,
    http_10=False,
    range="",
    user_agent="",
)
