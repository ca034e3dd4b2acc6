"""A connection as far as sending goes: its socket, its answer on the way, its end, and what the records then say.

Knows sockets, plans on their way and what the kernel tells. Knows no requests. Does not know which thread it runs in:
each call does what it can and says what it needs next.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto

from httpserve.base.log import logger
from httpserve.plan import Data, Plan, ReadFailed
from httpserve.records.exchange import ClosedLink, End, Exchange, State
from httpserve.records.model import ACKED, HANDED_OVER
from httpserve.server import tcp
from httpserve.server.outgoing import NO_WAIT, Outgoing, Sent
from httpserve.server.pacing import Pace
from httpserve.server.receipts import Receipts
from httpserve.server.repeats import StoredAnswer
from httpserve.server.shared import Shared

log = logger("httpserve.server")

HALF_CLOSED_SECONDS = 0.2
DISK_BUSY_SECONDS = 0.1  # look again whether fewer threads wait for a disk
ACKNOWLEDGED_SECONDS = 0.05  # when a line waits for it, look for an acknowledgment so soon after an answer
MOMENT_SECONDS = 0.05  # a thread waits for so long until a client has taken more
NEVER = float("inf")
_UNREACHABLE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)


class Stage(Enum):
    """What the connection does."""

    READING = auto()
    DRAINING = auto()
    SENDING = auto()
    PAUSED = auto()
    SETTLING = auto()  # the client has asked on so often that it must acknowledge some answers first
    LINGERING = auto()


class Need(Enum):
    """What the connection needs before it can go on."""

    INPUT = auto()
    THREAD = auto()
    ROOM = auto()
    TIME = auto()  # until its deadline, whatever comes
    GONE = auto()


# A member of an Enum is looked up in a tenth of the time under a name of its own (before Python 3.12).
_HANDED_OVER, _LEAVING, _UNDER_WAY = State.HANDED_OVER, State.LEAVING, State.UNDER_WAY
_READING, _GONE, _CLOSED = Stage.READING, Need.GONE, End.CLOSED


Whole = bytes | memoryview | StoredAnswer  # an answer that leaves in one send, if the socket takes it


class Delivery(ABC):
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
        "_acknowledged",
        "_blocks",
        "_ends",
        "_fin_sent",
        "_flags",
        "_half_closed",
        "_held",
        "_local",
        "_look_seconds",
        "_outgoing",
        "_outstanding",
        "_patience",
        "_progress_at",
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

    def __init__(self, sock: socket.socket, client: str, client_port: int, service: Shared, now: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.client = client
        self.client_port = client_port
        self.stage = _READING
        self.deadline = now + service.limits.idle
        self.idle_since = now
        self.scheduled = NEVER
        self.watched = 0
        self._service = service
        self._look_seconds = service.limits.look
        self._tally = Receipts(service)
        self._local = service.local
        self._acknowledged: int | None = None  # of all bytes, where the connection was cut from outside
        self._blocks = True
        self._ends: ClosedLink | None = None
        self._fin_sent = False
        self._flags = NO_WAIT  # of what is copied and sent at once
        self._half_closed = False
        self._held = 0  # bytes of the service's budget
        self._outgoing: Outgoing | None = None
        self._outstanding = 0
        self._patience = 0.0
        self._progress_at = now

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

    @property
    def known(self) -> str:
        """How it is known what the client has received."""
        return ACKED if tcp.TELLS_OUTSTANDING else HANDED_OVER

    def ends(self) -> ClosedLink:
        """Return what records keep of this connection."""
        if self._ends is None:
            self._ends = ClosedLink(self.client, self.client_port, self.local, self.known)
        return self._ends

    def outstanding(self) -> int:
        """Return how many bytes handed to the kernel the client has not acknowledged.

        Where the system does not tell, everything counts until a next request or a close proves it.
        """
        fin_sent = self._fin_sent  # asked first: others send it meanwhile
        queued = tcp.outstanding(self.fd)
        return queued - 1 if fin_sent and queued else queued  # a FIN counts as one

    def acknowledged(self) -> int:
        """Return how many bytes of all that was handed to the kernel the client has acknowledged, heads included."""
        if self._acknowledged is not None:
            return self._acknowledged
        position = self._tally.position()  # asked first: more leaves meanwhile, and no byte may count too early
        return position - self.outstanding()

    def is_quiet(self) -> bool:
        """Tell whether no answer is on its way into the kernel."""
        return self.stage is not Stage.SENDING and self.stage is not Stage.PAUSED

    # Sending

    @abstractmethod
    def _finish(self, now: float) -> Need | None:
        """Go on after the whole answer was handed over. None when more can be done at once."""

    def _send_small(
        self,
        whole: Whole,
        start: int,
        exchange: Exchange,
        now: float,
        begin: Callable[[Exchange, int], None],
        rest: Callable[[], Plan | None],
    ) -> Need | None:
        """Send an answer at once.

        Args:
            whole: The answer.
            start: Where its content begins.
            exchange: Its exchange.
            now: The time.
            begin: The tally's, or its `follow`.
            rest: Returns the content as a plan, where the socket does not take all of it.
        """
        exchange.state = _LEAVING
        exchange.ended = self._service.small_at = now
        begin(exchange, start)
        try:
            sent = self._lend(whole) if isinstance(whole, StoredAnswer) else self.sock.send(whole, self._flags)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            exchange.state = _UNDER_WAY
            return self.close(now, end_by(error))
        if sent == start + exchange.length:
            exchange.handed = exchange.length
            exchange.ended = time.monotonic()
            exchange.state = _HANDED_OVER
            return self._finish(now)
        exchange.state = _UNDER_WAY
        exchange.handed = max(0, sent - start)
        tcp.reset_on_close(self.sock, True)
        data = whole.read() if isinstance(whole, StoredAnswer) else bytes(whole)
        plan = rest() or Plan((Data(data[start:]),), exchange.length)
        self._outgoing = Outgoing(data[:start], plan)
        self._outgoing.skip(sent)
        self._do_not_block()
        return self._wait_for_room(now)

    def _lend(self, whole: StoredAnswer) -> int:
        if self._blocks:
            self._do_not_block()
        return os.sendfile(self.fd, whole.fd, whole.offset, whole.length)

    def _do_not_block(self) -> None:
        os.set_blocking(self.fd, False)
        self._blocks = False

    def _begin_to_send(self, start: bytes, plan: Plan, exchange: Exchange) -> None:
        """Take an answer that `_send_on` is to send. Until it is out whole, the end of the connection is a reset."""
        tcp.reset_on_close(self.sock, True)
        self._tally.begin(exchange, len(start))
        self._outgoing = Outgoing(start, plan)
        self._patience = MOMENT_SECONDS
        self.stage = Stage.SENDING
        self._do_not_block()

    def _send_on(self, now: float) -> Need | None:
        """Send what is left of the answer. None when it has all been sent and the connection can read on."""
        outgoing, exchange = self._outgoing, self._tally.latest
        assert outgoing is not None
        if exchange is None:  # written off: the server has ended meanwhile
            return self.abandon(now)
        disk, seats = outgoing.disk(), self._service.disks
        if disk is not None and not seats.take(disk):
            self.stage = Stage.PAUSED
            self.deadline = now + DISK_BUSY_SECONDS
            return Need.TIME
        try:
            ended = self._send_while_there_is_room(outgoing, exchange)
        except ReadFailed as failed:
            return self._cannot_read(failed)
        except OSError as error:
            if self._service.cutting:
                return self.abandon(time.monotonic())
            return self.close(time.monotonic(), end_by(error))
        finally:
            if disk is not None:
                seats.give_back(disk)
        now = time.monotonic()  # it may have taken minutes
        if ended is Sent.NO_ROOM:
            return self._wait_for_room(now)
        if ended is Sent.PAUSE:
            self.stage = Stage.PAUSED
            self.deadline = now + outgoing.pause
            return Need.TIME
        self._drop_outgoing()
        if ended is Sent.RESET:
            return self.abandon(now)
        tcp.reset_on_close(self.sock, False)
        if ended is Sent.ALL:
            self._service.ledger.handed_over(exchange, now)
            return self._finish(now)
        return self.close(now, End.CUT)

    def _send_while_there_is_room(self, outgoing: Outgoing, exchange: Exchange) -> Sent:
        room = None
        count = Pace(exchange, self._service, self.sock)
        while True:
            ended = outgoing.send(self.sock, count)
            if ended is not Sent.NO_ROOM:
                return ended
            if room is None:
                room = tcp.Room(self.fd)
            if not self._comes_within_a_moment(room) or self._service.cutting:
                return ended

    def _cannot_read(self, failed: ReadFailed) -> Need:
        """End an answer whose file the disk does not give: the board must see that, and so must the user."""
        message = "%s cannot be read (%s); its download by %s was reset after %d bytes"
        handed = self._tally.latest.handed if self._tally.latest is not None else 0
        name, cause = failed.name, failed.cause.strerror or failed.cause
        self._service.scribe.say(log, logging.WARNING, message, name, cause, self.client, handed)
        return self.abandon(time.monotonic(), End.FAILED)

    def _drop_outgoing(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            outgoing.close()
        if self._held:
            self._service.bodies.give_back(self._held)
            self._held = 0

    def _comes_within_a_moment(self, room: tcp.Room) -> bool:
        """Wait for a quick client, unless as many threads wait already as may."""
        seats = self._service.seats
        if not self._patience or not seats.acquire(blocking=False):
            return room.comes_within(0.0)
        try:
            return room.comes_within(self._patience)
        finally:
            seats.release()

    def _wait_for_room(self, now: float) -> Need:
        """Give the thread back until the client has taken more."""
        if not self._held and not self._hold():
            return self.abandon(now)
        self.stage = Stage.SENDING
        self._outstanding, self._progress_at = self.outstanding(), now
        self.deadline = now + self._look_seconds
        return Need.ROOM

    def _hold(self) -> bool:
        """Take what the answer needs of the memory that slow clients may take together."""
        assert self._outgoing is not None
        held = self._outgoing.held_bytes()
        service = self._service
        if not service.bodies.take(held):
            service.scribe.say(log, logging.WARNING, "clients take too little of what they ask for; one was reset")
            return False
        self._held = held
        return True

    # ClosedLink

    @abstractmethod
    def _has_unread(self) -> bool:
        """Tell whether the client has sent, or is sending, what nobody reads."""

    def _end_of_answers(self, now: float) -> Need:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            return self.close(now, end_by(error))
        self._fin_sent = True  # not before: it would be taken for sent, and one byte too many for acknowledged
        self._outstanding = self.outstanding()
        if self._outstanding == 0 and not self._has_unread():
            self._tally.arrived(now)
            return self.close(now)
        # A close while input is unread would reset the connection before the client has read our answer.
        self.stage = Stage.LINGERING
        self.deadline = now + self._service.limits.linger
        self._progress_at = now
        return Need.INPUT

    def _on_end_of_input(self, now: float) -> Need:
        if not tcp.TELLS_OUTSTANDING:
            self._tally.arrived(now)  # an orderly close is the best proof there is
            return self.close(now)
        if self._tally.latest is None or self.outstanding() == 0:
            return self.close(now)
        # The client has sent its last, and still takes what it asked for. The end of input would be reported
        # for ever, so look at what it has acknowledged by the clock.
        self._half_closed = True
        if self._end_of_answers(now) is Need.GONE:
            return Need.GONE
        self.deadline = now + HALF_CLOSED_SECONDS
        return Need.TIME

    def _look_at_sending(self, now: float) -> Need:
        """Give up a client that is gone, or takes nothing more; one that takes anything at all may go on."""
        if tcp.is_lost(self.sock, self._service.limits.lost):
            return self.abandon(now, End.LOST)
        if self._half_closed and tcp.is_over(self.sock):  # nothing polls for it
            return self.close(now, End.RESET)
        outstanding = self.outstanding()
        if outstanding != self._outstanding:
            self._outstanding, self._progress_at = outstanding, now
        elif now - self._progress_at >= self._service.limits.timeout:
            return self.abandon(now, End.CUT)
        if self._half_closed:
            self.deadline = now + HALF_CLOSED_SECONDS
            return Need.TIME
        if self.stage is Stage.SENDING:
            self.deadline = now + self._look_seconds
            return Need.ROOM
        self.deadline = now + self._next_look(now)
        return Need.INPUT

    def _next_look(self, now: float) -> float:
        """Return in how many seconds to look again for the acknowledgment of what has left."""
        latest = self._tally.latest
        if latest is None or not self._service.logs_access:
            return self._look_seconds
        return min(self._look_seconds, max(ACKNOWLEDGED_SECONDS, now - latest.ended))

    def wind_up(self, now: float) -> Need:
        """End a quiet connection of a server that stops, once the client has what the kernel still sends for us."""
        if self._tally.latest is None or not tcp.TELLS_OUTSTANDING:
            self._hang_up()
            return self.close(now)
        if self.stage is not Stage.LINGERING:
            return self._end_of_answers(now)
        return self.close(now) if self.outstanding() == 0 else Need.TIME

    def _hang_up(self) -> None:
        """End the connection in good order also where a child between fork and exec has a copy, which keeps it open."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is over already

    def is_settled(self, now: float) -> bool:
        """Tell whether the client has acknowledged all that it asked for."""
        self._tally.settle(self.acknowledged(), now)
        return self._tally.latest is None

    def abandon(self, now: float, end: End = End.CUT) -> Need:
        """End the connection with a reset, whatever it is doing: U-Boot takes an early FIN for a success."""
        tcp.reset_on_close(self.sock, True)
        return self.close(now, end)

    def close(self, now: float, end: End = _CLOSED) -> Need:
        """Settle the records, where `end` is for what was under way. The socket goes with `release`."""
        if self._acknowledged is not None:  # what looks like the client's doing is ours
            end = End.CUT
        self._drop_outgoing()
        if self._tally.latest is not None:
            self._tally.ended(self.acknowledged(), now, end)
        return _GONE

    def release(self) -> None:
        """Close the socket of a connection that is gone."""
        self.sock.close()

    # For the threads

    def hurry(self) -> None:
        """Do without waiting in the next call: the only thread there is makes it."""
        self._progress_at = float("-inf")

    def interrupt(self) -> None:
        """Reset the connection under a thread that is in a send, or waits for a disk.

        This and `write_off` are the only calls that another thread than the owner may make.
        """
        if self._acknowledged is None:
            self._acknowledged = self.acknowledged()  # a socket that was reset tells nothing any more
            tcp.reset_now(self.sock)

    def write_off(self, now: float) -> None:
        """Settle the records of an interrupted connection whose thread does not come back: it waits for a disk."""
        self._tally.ended(self.acknowledged(), now, End.CUT)


def end_by(error: OSError) -> End:
    """Return how a connection ended that fails with this error."""
    return End.LOST if error.errno in _UNREACHABLE else End.RESET


def plain_address(address: str) -> str:
    """Return an address as records show it: an IPv4 client of an IPv6 socket by its IPv4 address."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address
