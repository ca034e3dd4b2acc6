"""How answers get to one client: its socket, the answer on the way, the end, and what the records then say.

Knows sockets, plans on their way and what the kernel tells. Knows no requests. Does not know which thread it runs in:
each call does what it can and returns what it needs next.
"""

from __future__ import annotations

import errno
import logging
import os
import socket

from httpserve.base.log import logger, traceback_lines
from httpserve.plan import NO_WAIT, PAUSE_SECONDS, Data, Plan, ReadFailed, Region, Repeatable, Wait
from httpserve.records.exchange import ClosedLink, End, Exchange
from httpserve.records.exchange import State as Progress
from httpserve.records.model import ACKED, HANDED_OVER
from httpserve.server import tcp
from httpserve.server.receipts import Receipts
from httpserve.server.repeats import StoredAnswer, Whole
from httpserve.server.request_body import ContentFailed
from httpserve.server.sending import Outgoing, Sent, StreamFailed
from httpserve.server.shared import Shared
from httpserve.server.state import MOVES, NEVER, Need, State

log = logger("httpserve.server")

SETTLE_SECONDS = 0.02  # how often to look whether a client that keeps asking has acknowledged something
HALF_CLOSED_SECONDS = 0.2
GONE_SECONDS = 0.25  # how often to look in a pause whether the client has left
DISK_BUSY_SECONDS = 0.1  # look again whether fewer threads wait for a disk
ACKNOWLEDGED_SECONDS = 0.05  # when a log line waits for an acknowledgment, look this soon after an answer
MOMENT_SECONDS = 0.05  # how long a thread waits until a client has taken more
CONTENT_BYTES = 64 * 1024  # of a request's content, received at a time
GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNREACHABLE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)

# Looking up a member of an Enum takes a tenth of the time under its own name (before Python 3.12).
_HANDED_OVER, _LEAVING, _UNDER_WAY = Progress.HANDED_OVER, Progress.LEAVING, Progress.UNDER_WAY
_SECONDS_TO_LOOK = {State.SETTLING: SETTLE_SECONDS, State.HALF_CLOSED: HALF_CLOSED_SECONDS}
_FIN_SENT = (State.LINGERING, State.HALF_CLOSED)


class Delivery:
    """The answers to one client. Owned by one thread at a time.

    Attributes:
        client: The client's address.
        client_port: The client's port.
        deadline: Until when the state may last, by the server's clock.
        fd: The socket's descriptor.
        flags: Those for an answer that leaves in one send.
        local: Our address that the client connected to.
        receipts: The answers that are not known to have arrived.
        sock: The socket, which does not block.
        state: What the connection is doing.
    """

    __slots__ = (
        "_closed_link",
        "_cut_at",
        "_held",
        "_outgoing",
        "_outstanding",
        "_pause",
        "_paused_until",
        "_progress_at",
        "_shared",
        "client",
        "client_port",
        "deadline",
        "fd",
        "flags",
        "local",
        "receipts",
        "sock",
        "state",
    )

    def __init__(self, sock: socket.socket, client: str, client_port: int, shared: Shared, now: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.client = client
        self.client_port = client_port
        self.local = _own_address(sock) if shared.local is None else shared.local
        self.state = State.IDLE
        self.deadline = now + shared.limits.idle
        self.flags = 0
        self.receipts = Receipts(shared)
        self._shared = shared
        self._closed_link: ClosedLink | None = None
        self._cut_at: int | None = None  # how many bytes had been acknowledged when another thread cut the connection
        self._held = 0  # bytes of the budget for answers that wait
        self._outgoing: Outgoing | None = None
        self._outstanding = 0
        self._pause = NO_WAIT
        self._paused_until = now
        self._progress_at = now

    def enter(self, state: State, deadline: float) -> None:
        """Move to a state that may last until a deadline. Raises RuntimeError if that move is not allowed."""
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a connection that is {self.state.name} does not become {state.name}")
        self.state = state
        self.deadline = deadline

    # What records ask

    @property
    def known(self) -> str:
        """How it is known what the client has received."""
        return ACKED if tcp.TELLS_OUTSTANDING else HANDED_OVER

    def ends(self) -> ClosedLink:
        """Return what records keep of this connection."""
        if self._closed_link is None:
            self._closed_link = ClosedLink(self.client, self.client_port, self.local, self.known)
        return self._closed_link

    def outstanding(self) -> int:
        """Return how many bytes handed to the kernel the client has not acknowledged.

        Where the system does not tell, everything counts until a next request or a close proves it.
        """
        fin_sent = self.state in _FIN_SENT  # asked first: another thread may send it meanwhile
        queued = tcp.outstanding(self.fd)
        return queued - 1 if fin_sent and queued else queued  # a FIN counts as one

    def acknowledged(self) -> int:
        """Return how many bytes of all that was handed to the kernel the client has acknowledged, heads included."""
        if self._cut_at is not None:
            return self._cut_at
        position = self.receipts.position()  # asked first: more may leave meanwhile, and no byte may count too early
        return position - self.outstanding()

    # What the owner asks

    def has_arrived(self) -> bool:
        """Tell whether answers wait for their receipt, and the client has everything.

        Where the kernel tells, what the client sends proves nothing.
        """
        if self.receipts.latest is None:
            return False
        queued = tcp.outstanding(self.fd)
        return queued == 0 or (queued == 1 and self.state in _FIN_SENT) or not tcp.TELLS_OUTSTANDING

    def is_quiet(self) -> bool:
        """Tell whether no answer is on its way into the kernel, and no content on its way in."""
        return self._outgoing is None and self.state is not State.RECEIVING

    def is_settled(self, now: float) -> bool:
        """Tell whether the client has acknowledged all that it asked for."""
        receipts = self.receipts
        if receipts.latest is not None:
            receipts.settle(self.acknowledged(), now)
        return receipts.latest is None

    # Receiving

    def receive(self, deadline: float) -> bytes:
        """Wait until something comes from the client, and return it; empty at its end.

        Raises:
            TimeoutError: Nothing came in time.
            OSError: The connection is over.
        """
        tcp.wait_for_input(self.fd, max(0.0, deadline - self._shared.clock()))
        try:
            return self.sock.recv(CONTENT_BYTES)
        except BlockingIOError:
            raise TimeoutError from None

    def send_go_ahead(self) -> None:
        """Say that the content of a request may come. Raises OSError if that cannot be sent."""
        self.receipts.skip(self.sock.send(GO_AHEAD))

    # Sending. None: the whole answer was handed over.

    def send_at_once(
        self,
        whole: Whole,
        start: int,
        exchange: Exchange,
        now: float,
        repeatable: Repeatable | None = None,
        all_arrived: bool = False,
    ) -> Need | None:
        """Send an answer that is in memory.

        Args:
            whole: The answer.
            start: Where its content begins.
            exchange: Its record.
            now: The time.
            repeatable: Where to get the content if the socket does not take all of it.
            all_arrived: Whether the client has all that left before.
        """
        shared = self._shared
        exchange.state = _LEAVING
        exchange.ended = shared.small_at = now
        self.receipts.begin(exchange, start, all_arrived)
        try:
            if isinstance(whole, StoredAnswer):
                sent = os.sendfile(self.fd, whole.fd, whole.offset, whole.length)
            else:
                sent = self.sock.send(whole, self.flags)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            exchange.state = _UNDER_WAY
            return self.close(now, end_by(error))
        if sent == start + exchange.length:
            exchange.handed = exchange.length
            exchange.ended = shared.clock()
            exchange.state = _HANDED_OVER
            return None
        exchange.state = _UNDER_WAY
        exchange.handed = max(0, sent - start)
        tcp.reset_on_close(self.sock, True)
        data = whole.read() if isinstance(whole, StoredAnswer) else bytes(whole)
        plan = _opened(repeatable) or Plan((Data(data[start:]),), exchange.length)
        self._outgoing = Outgoing(data[:start], plan, exchange, self.sock, shared, exchange.length, sent)
        return self._wait_for_room(now)

    def begin(self, start: bytes, plan: Plan, exchange: Exchange, *, is_chunked: bool) -> None:
        """Take an answer that `send_on` is to send. Until all of it is out, the end of the connection is a reset."""
        tcp.reset_on_close(self.sock, True)
        self.receipts.begin(exchange, len(start))
        is_short = exchange.length <= tcp.SEND_QUEUE_BYTES  # so no byte may be borrowed
        borrowed = exchange.length if is_short else tcp.borrowed_bytes(self.sock)
        self._outgoing = Outgoing(start, plan, exchange, self.sock, self._shared, borrowed, is_chunked=is_chunked)
        self._progress_at = exchange.began
        self.enter(State.SENDING, NEVER)

    def hurry(self) -> None:
        """Do not wait for the client in the next call: the only thread makes that call."""
        self._progress_at = -NEVER

    def send_on(self, now: float) -> Need | None:
        """Send what is left of the answer."""
        outgoing = self._outgoing
        assert outgoing is not None
        # For a client that took long to make room, no thread waits next time.
        patience = MOMENT_SECONDS if now - self._progress_at < MOMENT_SECONDS else 0.0
        if self.receipts.latest is None:  # written off: the server has ended meanwhile
            return self.abandon(now)
        clock, disk, slots = self._shared.clock, outgoing.disk, self._shared.disks
        if disk is not None and not slots.take(disk):
            return self._begin_pause(Wait(DISK_BUSY_SECONDS), now)
        try:
            ended = self._send_while_there_is_room(outgoing, patience)
        except ReadFailed as failed:
            return self._cannot_read(failed, outgoing.exchange)
        except StreamFailed as error:
            return self._cannot_stream(error)
        except OSError as error:
            return self.abandon(clock()) if self._shared.cutting else self.close(clock(), end_by(error))
        finally:
            if disk is not None:
                slots.give_back(disk)
        now = clock()  # sending may have taken minutes
        if ended is Sent.NO_ROOM:
            return self._wait_for_room(now)
        if ended is Sent.PAUSE:
            return self._begin_pause(outgoing.pause, now)
        if (
            ended is not Sent.ALL
            and outgoing.is_cut_on_purpose
            and self._shared.cutting is False
            and self.outstanding()
        ):
            return self._begin_pause(Wait(SETTLE_SECONDS), now)  # what left before must arrive: a reset drops it
        self._drop_outgoing()
        if ended is Sent.RESET:
            return self.abandon(now)
        tcp.reset_on_close(self.sock, False)
        if ended is Sent.CUT:
            return self.close(now, End.CUT)
        self._shared.ledger.handed_over(outgoing.exchange, now)
        return None

    def _send_while_there_is_room(self, outgoing: Outgoing, patience: float) -> Sent:
        room = None
        while True:
            ended = outgoing.send(patience)
            if ended is not Sent.NO_ROOM:
                return ended
            if room is None:
                room = tcp.Room(self.fd)
            if not self._comes_within(patience, room) or self._shared.cutting:
                return ended

    def _comes_within(self, patience: float, room: tcp.Room) -> bool:
        """Wait for a quick client, unless as many threads as allowed are already waiting."""
        slots = self._shared.slots
        if not patience or not slots.acquire(blocking=False):
            return room.comes_within(0.0)
        try:
            return room.comes_within(patience)
        finally:
            slots.release()

    def _wait_for_room(self, now: float) -> Need:
        """Give the thread back until the client has taken more."""
        if not self._held and not self._hold():
            return self.abandon(now)
        if self.state is not State.SENDING:
            self.enter(State.SENDING, NEVER)
        self._watch_progress(now)
        self.deadline = now + self._shared.look_seconds
        return Need.ROOM

    def _begin_pause(self, wait: Wait, now: float) -> Need:
        """Give the thread back until a wait in the middle of the answer is over."""
        self._pause, self._paused_until = wait, now + wait.seconds
        self.enter(State.PAUSED, self._next_rest(now))
        return Need.TIME

    def _next_rest(self, now: float) -> float:
        return min(self._paused_until, now + (GONE_SECONDS if self._pause.is_over is None else PAUSE_SECONDS))

    def rest(self, now: float) -> Need:
        """Go on after a pause that is over, else look whether the client is still there.

        A client that has said its last word meanwhile has left: nothing is on its way to it that would tell.
        """
        is_over = self._pause.is_over
        if now >= self._paused_until or (is_over is not None and is_over()):
            self.enter(State.SENDING, NEVER)
            return Need.THREAD
        if tcp.is_lost(self.sock, self._shared.limits.lost):
            return self.abandon(now, End.LOST)
        if tcp.has_left(self.sock):
            error = tcp.error_of(self.sock)
            return self.close(now, End.CLOSED if error is None else end_by(error))
        self.deadline = self._next_rest(now)
        return Need.TIME

    def _watch_progress(self, now: float) -> None:
        """Begin to check whether the client acknowledges anything."""
        self._outstanding, self._progress_at = self.outstanding(), now

    def wait_until_settled(self, now: float) -> Need:
        """Send no more answers until the client has acknowledged some."""
        self.enter(State.SETTLING, now + SETTLE_SECONDS)
        self._watch_progress(now)
        return Need.TIME

    def _hold(self) -> bool:
        """Take what the answer needs from the memory that all slow clients may use."""
        assert self._outgoing is not None
        held, shared = self._outgoing.held_bytes(), self._shared
        if not shared.bodies.take(held):
            shared.log.say(log, logging.WARNING, "clients take too little of what they ask for; one was reset")
            return False
        self._held = held
        return True

    def _cannot_read(self, failed: ReadFailed, exchange: Exchange) -> Need:
        """End an answer whose file does not come: the board must see that, and so must the user."""
        message = "%s cannot be read (%s); its download by %s was reset after %d bytes"
        cause = failed.cause.strerror or failed.cause
        self._shared.log.say(log, logging.WARNING, message, failed.name, cause, self.client, exchange.handed)
        exchange.note_error(str(failed))
        return self.abandon(self._shared.clock(), End.FAILED)

    def _cannot_stream(self, error: StreamFailed) -> Need:
        """End an answer whose app does not give what it promised; if the client is to blame, the client knows."""
        if not isinstance(error.__cause__, ContentFailed):
            message = "the app failed in the middle of an answer, which was reset:\n%s"
            self._shared.log.say(log, logging.ERROR, message, traceback_lines())
        return self.abandon(self._shared.clock(), End.FAILED)

    def _drop_outgoing(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            outgoing.close()
        if self._held:
            self._shared.bodies.give_back(self._held)
            self._held = 0

    # The end

    def send_fin(self, now: float, *, is_read: bool) -> Need:
        """Say that this was the last answer, and go on until the client has it.

        Args:
            now: The time.
            is_read: Whether everything that the client sends has been read.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            return self.close(now, end_by(error))
        if is_read and tcp.outstanding(self.fd) <= 1:  # a FIN counts as one
            self.receipts.arrived(now)
            return self.close(now)
        # Not before: the FIN would count as sent, and one byte too many as acknowledged.
        self.enter(State.LINGERING, now + self._shared.limits.linger)
        self._watch_progress(now)
        # Closing with unread input would reset the connection before the client has read our answer.
        return Need.INPUT

    def on_end_of_input(self, now: float, *, is_read: bool) -> Need:
        """Answer a client's FIN with ours, and go on while it still takes what it asked for."""
        if not tcp.TELLS_OUTSTANDING:
            self.receipts.arrived(now)  # an orderly close is the best proof there is
            return self.close(now)
        if self.receipts.latest is None or self.outstanding() == 0:
            return self.close(now)
        if self.state is not State.LINGERING and self.send_fin(now, is_read=is_read) is Need.GONE:
            return Need.GONE
        # The end of input would be reported for ever, so check at intervals what is acknowledged.
        self.enter(State.HALF_CLOSED, now + HALF_CLOSED_SECONDS)
        return Need.TIME

    def look(self, now: float) -> Need:
        """Give up on a client that is gone, or takes nothing more; one that takes anything at all may go on."""
        limits, state = self._shared.limits, self.state
        if tcp.is_lost(self.sock, limits.lost):
            return self.abandon(now, End.LOST)
        if state is State.HALF_CLOSED and tcp.is_over(self.sock):  # nothing polls for it
            return self.close(now, End.RESET)
        outstanding = self.outstanding()
        if outstanding != self._outstanding:
            self._outstanding, self._progress_at = outstanding, now
        elif now - self._progress_at >= limits.timeout:
            return self.abandon(now, End.CUT)
        if state in _SECONDS_TO_LOOK:
            self.deadline = now + _SECONDS_TO_LOOK[state]
            return Need.TIME
        if state is State.SENDING:
            self.deadline = now + self._shared.look_seconds
            return Need.ROOM
        self.deadline = now + self.next_look(now)
        return Need.INPUT

    def next_look(self, now: float) -> float:
        """Return in how many seconds to look again for the acknowledgment of what has left."""
        seconds, latest = self._shared.look_seconds, self.receipts.latest
        if latest is None or not self._shared.logs_access:
            return seconds
        return min(seconds, max(ACKNOWLEDGED_SECONDS, now - latest.ended))

    def wind_up(self, now: float, *, is_read: bool) -> Need:
        """End a quiet connection of a server that stops, once the client has what the kernel still sends for us."""
        if self.receipts.latest is None or not tcp.TELLS_OUTSTANDING:
            try:  # so that it also ends if a child between fork and exec has a copy of the socket
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is already over
            return self.close(now)
        if self.state not in _FIN_SENT:
            return self.send_fin(now, is_read=is_read)
        return self.close(now) if self.outstanding() == 0 else Need.TIME

    def abandon(self, now: float, end: End = End.CUT) -> Need:
        """End the connection with a reset, whatever it is doing: U-Boot takes an early FIN for a success."""
        tcp.reset_on_close(self.sock, True)
        return self.close(now, end)

    def close(self, now: float, end: End = End.CLOSED) -> Need:
        """Settle the records, where `end` is for what was under way. Harmless when repeated. Leaves the socket open."""
        self._drop_outgoing()
        if self.receipts.latest is not None:
            # What looks like the client's doing is ours if another thread has cut the connection.
            self.receipts.ended(self.acknowledged(), now, end if self._cut_at is None else End.CUT)
        if self.state is not State.GONE:
            self.enter(State.GONE, NEVER)
        return Need.GONE

    # The only calls that a thread other than the owner may make

    def interrupt(self) -> None:
        """Reset the connection under a thread that is in a send, or waits for a disk."""
        if self._cut_at is None:
            self._cut_at = self.acknowledged()  # a socket that was reset no longer tells anything
            tcp.reset_now(self.sock)

    def write_off(self, now: float) -> None:
        """Settle the records of an interrupted connection whose thread does not come back, as it waits for a disk."""
        self.receipts.ended(self.acknowledged(), now, End.CUT)


def _opened(repeatable: Repeatable | None) -> Plan | None:
    if repeatable is None:
        return None
    file, length = repeatable.open()
    return None if file is None else Plan((Region(file, 0, length),), length)


def end_by(error: OSError) -> End:
    """Return how a connection that fails with this error ended."""
    return End.LOST if error.errno in _UNREACHABLE else End.RESET


def _own_address(sock: socket.socket) -> str:
    try:
        return plain_address(sock.getsockname()[0])
    except OSError:
        return ""


def plain_address(address: str) -> str:
    """Return an address as records show it: an IPv4 client of an IPv6 socket by its IPv4 address."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address
