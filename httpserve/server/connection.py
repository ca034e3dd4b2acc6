"""One connection: reads heads, has them answered, and decides what a deadline means.

Knows HTTP's framing. With `at_once` a call does nothing that may block.
"""

from __future__ import annotations

import logging
import socket
from functools import partial

from httpserve.base.log import logger
from httpserve.plan import SMALL_BYTES, ChangedWhileSent, HandOver, Met, ReadFailed, Receive
from httpserve.records.exchange import End, Exchange
from httpserve.server.answer import Answer, call_app, refusal
from httpserve.server.delivery import DISK_BUSY_SECONDS, Delivery, end_by
from httpserve.server.receiving import RECEIVE_BYTES as CONTENT_BYTES
from httpserve.server.receiving import EndedEarly, Receiving
from httpserve.server.repeats import Repeat, Whole
from httpserve.server.request_body import ContentFailed
from httpserve.server.request_content import Content
from httpserve.server.request_head import Head, Refused, check, describe, parse_again
from httpserve.server.sending import MORE, in_memory
from httpserve.server.shared import Shared
from httpserve.server.state import NEVER, Need, State

log = logger("httpserve.server")

RECEIVE_BYTES = 8192
FREE_HEAD_BYTES = 1024  # of a head that has begun; what exceeds this is taken from the budget of all heads
MOST_UNWANTED_BYTES = 1024 * 1024  # of a request's content that is read and thrown away
LEAST_RATE = 500.0  # bytes a second of content that an app reads, beyond the time that a head may take
MOST_EMPTY_LINES = 8  # before a request line (RFC 9112 2.2 asks for at least one)

# Looking up a member of an Enum takes a tenth of the time under its own name (before Python 3.12).
_INPUT, _IDLE, _READING, _LINGERING = Need.INPUT, State.IDLE, State.READING, State.LINGERING


class Connection:
    """One client's connection. Owned by one thread at a time.

    Attributes:
        delivery: What sends its answers.
        idle_since: When the last answer had been handed over.
        scheduled: The leader's: when it will next look at the deadline.
        watched: The leader's: what its poller watches the descriptor for.
    """

    __slots__ = (
        "_buffer",
        "_charged",
        "_content",
        "_head",
        "_is_last",
        "_raw_head",
        "_receiving",
        "_shared",
        "delivery",
        "idle_since",
        "scheduled",
        "watched",
    )

    def __init__(self, sock: socket.socket, client: str, client_port: int, shared: Shared, now: float) -> None:
        self.delivery = Delivery(sock, client, client_port, shared, now)
        self.idle_since = now
        self.scheduled = NEVER
        self.watched = 0
        self._shared = shared
        self._buffer = b""  # what has come and has not been parsed
        self._charged = 0  # to the budget of all heads, in bytes
        self._content: Content | None = None  # of the latest request, as long as more of it may come
        self._head: Head | None = None  # one that waits for its answer
        self._is_last = False  # whether the answer to it is the last one
        self._raw_head = b""
        self._receiving: Receiving | None = None  # content that an app wants

    def is_idle(self) -> bool:
        """Tell whether the connection waits for a request, and no byte of one has come."""
        return self.delivery.state is _IDLE

    # Requests

    def on_input(self, now: float, wall: float, at_once: bool) -> Need:
        """Take what the client sent and go on from there."""
        delivery = self.delivery
        try:
            received = delivery.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return _INPUT
        except OSError as error:
            return delivery.close(now, end_by(error))
        if not received:
            return delivery.on_end_of_input(now, is_read=self._is_read())
        state = delivery.state
        all_arrived = delivery.has_arrived()
        if state is _IDLE:
            repeat = self._shared.repeats.find(received)
            if repeat is not None:
                need = self._answer_again(repeat, received, now, wall, all_arrived)
                if need is not None:
                    return need
        receipts = delivery.receipts
        if all_arrived:
            receipts.arrived(now)
        elif receipts.latest is not None:
            receipts.settle(delivery.acknowledged(), now)
        if state is _LINGERING:
            return _INPUT
        if state is State.DRAINING:
            return self._drain(received, now) or self.serve(now, wall, at_once)
        self._buffer += received
        return self.serve(now, wall, at_once)

    def _is_read(self) -> bool:
        return self._content is None and not self._buffer

    def serve(self, now: float, wall: float, at_once: bool) -> Need:
        """Answer every request whose head has come, then say what is needed next."""
        delivery = self.delivery
        while True:
            head = self._head
            if head is None:
                try:
                    head = self._take_head()
                    wanted = 0 if head is not None or len(self._buffer) <= FREE_HEAD_BYTES else len(self._buffer)
                    if wanted != self._charged:
                        self._charge(wanted)
                except Refused as refused:
                    return self._refuse(refused, now, wall)
                if head is None:
                    if self._buffer and delivery.state is _IDLE:
                        delivery.enter(_READING, now + self._shared.limits.head)
                    elif not self._buffer and delivery.state is _READING:  # all that came were empty lines
                        delivery.enter(_IDLE, delivery.deadline)
                    return _INPUT
                if head.content_length:
                    self._content = Content(head.content_length, is_held=head.expects_continue)
            if delivery.receipts.is_full:
                self._head = head
                return delivery.wait_until_settled(now)
            need = self._answer(head, now, wall, at_once)
            if need is not None:
                return need

    def _charge(self, wanted: int) -> None:
        """Take what a head that has begun needs from the budget of all heads, and give back what it had taken."""
        heads = self._shared.heads
        heads.give_back(self._charged)
        self._charged = 0
        if wanted and not heads.take(wanted):
            raise Refused(503, "too many clients send long heads")
        self._charged = wanted

    def _take_head(self) -> Head | None:
        buffer = self._buffer
        for _ in range(MOST_EMPTY_LINES):
            if not buffer.startswith(b"\r\n"):
                break
            buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n") + 4
        if end == 3:
            self._raw_head, self._buffer = b"", buffer
            check(buffer)
            return None
        self._raw_head, self._buffer = buffer[:end], buffer[end:]
        return parse_again(self._raw_head)

    # One answer

    def _needs_thread(self, head: Head) -> Need:
        self._head = head
        if self.delivery.state is not State.ANSWERING:
            self.delivery.enter(State.ANSWERING, NEVER)
        return Need.THREAD

    def _answer(self, head: Head, now: float, wall: float, at_once: bool) -> Need | None:
        shared, delivery = self._shared, self.delivery
        if at_once and shared.app_blocks:
            return self._needs_thread(head)
        content = self._content
        read = partial(self._read_content, content, at_once) if content is not None else None
        answer = call_app(shared, head, delivery.client, delivery.client_port, read, at_once)
        if isinstance(answer, HandOver):
            if not isinstance(answer, Receive):
                return self._needs_thread(head)
            content = self._content = content or Content(0)
            self._receiving = Receiving(head, content, answer.intake, delivery, shared, wall)
            delivery.enter(State.RECEIVING, NEVER)
            return Need.THREAD if at_once else self._receive_on(self._receiving)
        return self._give(answer, head, now, now, wall, at_once)

    def _give(self, answer: Answer, head: Head, began: float, now: float, wall: float, at_once: bool) -> Need | None:
        """Send an answer to the request that came with a head, at those times."""
        shared, delivery, content = self._shared, self.delivery, self._content
        self._head = None
        plan = answer.plan
        is_framed = plan.length is not None or answer.is_chunked
        if plan.is_last or not (head.keep_alive and is_framed) or shared.stopping or self._cannot_drain(head):
            self._end_with(head)
        if content is not None:
            content.is_held = False  # a go-ahead would appear in the middle of the answer
        exchange = _exchange(delivery, head, answer, wall, began)
        try:
            small = in_memory(plan, SMALL_BYTES, may_block=not at_once)
        except (BlockingIOError, ChangedWhileSent):  # read it again, but not for ever, nor while others wait
            plan.close()
            if at_once:
                return self._needs_thread(head)
            delivery.receipts.begin(exchange, 0)  # on record too, although nothing is sent
            return delivery.abandon(now)
        except ReadFailed as failed:
            plan.close()
            answer = self._cannot_read(failed, head)
            plan = answer.plan
            small = b"".join(plan)
            exchange = _exchange(delivery, head, answer, wall, began)
        end = answer.end(head, close=self._is_last)
        start = answer.line + shared.date_now() + end
        if small is None:
            delivery.begin(start, plan, exchange, is_chunked=answer.is_chunked)
            return Need.THREAD if at_once else delivery.send_on(now) or self._finish(now)
        plan.close()  # before the answer leaves: once the board has it, the user may unmount the disk
        repeatable = plan.repeatable
        has_content = head.content_length or head.expects_continue  # it must be read, or the connection closed
        if repeatable is not None and answer.status == 200 and not has_content and not shared.stopping:
            repeat = Repeat(repeatable, head, answer.line, end, exchange.length, plan.subject)
            shared.repeats.remember(self._raw_head, repeat)
        return delivery.send_at_once(start + small, len(start), exchange, now, repeatable) or self._finish(now)

    def _cannot_read(self, failed: ReadFailed, head: Head) -> Answer:
        """Answer with an error in place of a file that the disk does not deliver."""
        name, cause = failed.name, failed.cause.strerror or failed.cause
        message = "%s cannot be read (%s), which %s asked for"
        self._shared.log.say(log, logging.WARNING, message, name, cause, self.delivery.client)
        return refusal(Refused(500, "the file cannot be read"), body_wanted=head.method != "HEAD")

    def _answer_again(self, repeat: Repeat, raw_head: bytes, now: float, wall: float, all_arrived: bool) -> Need | None:
        """Give the same answer as before. None when the app has to be asked."""
        shared, delivery = self._shared, self.delivery
        if shared.stopping or (not all_arrived and delivery.receipts.is_full):
            return None
        repeatable = repeat.repeatable
        whole: Whole | None = repeat.whole
        if whole is None or not repeatable.is_unchanged():
            whole = shared.repeats.read(raw_head, repeat, shared.date, shared.wall)
            if whole is None:
                return None
        head = repeat.head
        if not head.keep_alive:
            self._end_with(head)
        exchange = Exchange(delivery, head.noted, 200, repeat.length, repeat.subject, wall, now)
        need = delivery.send_at_once(whole, repeat.start, exchange, now, repeatable, all_arrived)
        return need or self._finish(now)

    def _end_with(self, head: Head) -> None:
        """Make the answer to this request the last one."""
        self._is_last = True
        if not head.http_10:
            # The FIN goes with the data: one segment less. U-Boot's first wget, which speaks HTTP/1.0, overlooks such a
            # FIN until it is sent again (net/tcp.c: "cause standalone FIN").
            self.delivery.flags = MORE

    def _read_content(self, content: Content, at_once: bool) -> bytes:
        """Return more of the request's content that the app waits for; empty at its end. Raises ContentFailed."""
        if at_once:
            raise RuntimeError("content is read by a thread of its own: answer NEEDS_THREAD first")
        try:
            while not content.done:
                data = content.feed(self._receive(content))
                if data:
                    return data
        except TimeoutError:
            refused = Refused(408, "the content took too long")
        except OSError as error:
            refused = Refused(400, f"the content did not come: {error.strerror or error}")
        except Refused as error:
            refused = error
        else:
            return b""
        self._is_last = True
        raise ContentFailed(refused)

    def _receive(self, content: Content) -> bytes:
        received, self._buffer = self._buffer, b""
        if received:
            return received
        if content.is_held:
            content.is_held = False
            self.delivery.send_go_ahead()
        clock = self._shared.clock
        began = clock()
        # Only what the client takes counts, not what the app does in between.
        received = self.delivery.receive(began + self._shared.limits.head + content.taken / LEAST_RATE - content.waited)
        content.waited += clock() - began
        if not received:
            raise Refused(400, "the content ended before its end")
        return received

    def _cannot_drain(self, head: Head) -> bool:
        """Tell whether a request's content is too long to read and throw away, or may never come."""
        content = self._content
        if content is None or content.done:
            return head.expects_continue and content is None
        return content.is_held or content.left > MOST_UNWANTED_BYTES

    # Content that an app wants

    def _receive_on(self, receiving: Receiving) -> Need | None:
        """Take what has come of the content, and give the answer if that is all. None once the answer has left."""
        shared, delivery = self._shared, self.delivery
        try:
            shared.intakes.pop()
        except IndexError:
            delivery.deadline = shared.clock() + DISK_BUSY_SECONDS
            return Need.TIME
        try:
            answer = self._answer_to_content(receiving)
        except OSError as error:
            self._receiving = None
            end = End.CUT if shared.cutting else end_by(error)
            receiving.cut(end)
            return delivery.abandon(shared.clock()) if shared.cutting else delivery.close(shared.clock(), end)
        finally:
            shared.intakes.append(None)
        if answer is None:
            return Need.CONTENT
        if not receiving.content.done:
            self._end_with(receiving.head)
        return self._give(answer, receiving.head, receiving.began, shared.clock(), receiving.wall, False)

    def _answer_to_content(self, receiving: Receiving) -> Answer | None:
        """Take what has come, and return the answer if that is all. Raises OSError where the connection is over."""
        received, self._buffer = self._buffer, b""
        try:
            if not receiving.take(received):
                return None
            self._receiving = None
            return receiving.answer()
        except Refused as refused:
            self._receiving = None
            receiving.cut(End.CLOSED if isinstance(refused, EndedEarly) else End.CUT, refused.status)
            return refusal(refused)

    def proceed(self, now: float, wall: float) -> Need:
        """Go on with whatever the last call left, and block if necessary."""
        if self._receiving is not None:
            need = self._receive_on(self._receiving)
            if need is not None:
                return need
        elif self.delivery.state is _LINGERING:
            return self._linger(now)
        if self.delivery.state is State.SENDING:
            need = self.delivery.send_on(now) or self._finish(self._shared.clock())
            if need is not None:
                return need
        return self.serve(now, wall, False)

    def _finish(self, now: float) -> Need | None:
        """Go on after the whole answer was handed over. None if more can be done at once."""
        content, shared, delivery = self._content, self._shared, self.delivery
        if content is not None and content.done:  # the app has read it
            self._buffer = content.rest
            content = self._content = None
        if self._is_last:
            return self._end(now)
        self.idle_since = now
        delivery.deadline = now + (delivery.next_look(now) if shared.logs_access else shared.look_seconds)
        if delivery.state is not _IDLE:
            delivery.enter(_IDLE, delivery.deadline)
        if content is None:
            return None if self._buffer else _INPUT
        received, self._buffer = self._buffer, b""
        content.taken = 0
        delivery.enter(State.DRAINING, now + shared.limits.head)  # for all of it, however slowly it drips
        return self._drain(received, now)

    def _end(self, now: float) -> Need:
        """Say that this was the last answer. What of its request still comes is thrown away, for a while: a reset could
        take the answer from the client.
        """
        self.idle_since = now
        need = self.delivery.send_fin(now, is_read=self._is_read())
        return Need.CONTENT if need is _INPUT and self._content is not None else need

    def _linger(self, now: float) -> Need:
        """Throw away what the client still sends after our end."""
        delivery, shared = self.delivery, self._shared
        until = self.idle_since + shared.limits.head
        try:
            while delivery.sock.recv(CONTENT_BYTES):
                now = shared.clock()
                if now >= until:
                    return delivery.close(now)
                delivery.deadline = min(until, now + shared.limits.linger)
        except BlockingIOError:
            return Need.CONTENT
        except OSError as error:
            return delivery.close(now, end_by(error))
        return delivery.on_end_of_input(now, is_read=True)

    def _drain(self, received: bytes, now: float) -> Need | None:
        """Throw away content that nobody wants. None when it has ended and the next request has begun."""
        content = self._content
        assert content is not None
        try:
            content.feed(received)
            is_too_much = content.taken > MOST_UNWANTED_BYTES
        except Refused:  # the request has already had its answer
            is_too_much = True
        if is_too_much and not content.done:
            return self._end(now)
        if not content.done:
            return _INPUT
        self._content = None
        self._buffer = content.rest
        self.delivery.enter(_IDLE, now + self.delivery.next_look(now))
        return None if self._buffer else _INPUT

    # Refusals and deadlines

    def _refuse(self, refused: Refused, now: float, wall: float) -> Need:
        shared, delivery = self._shared, self.delivery
        message = "%s port %d: %d: %s"
        shared.log.say(
            log, logging.INFO, message, delivery.client, delivery.client_port, refused.status, refused.reason
        )
        self._is_last = True
        answer = refusal(refused)
        noted = describe(self._raw_head or self._buffer)
        exchange = Exchange(delivery, noted, refused.status, answer.plan.length or 0, None, wall, now)
        start = answer.line + shared.date + answer.end(None, close=True)
        whole = start + b"".join(answer.plan)
        return delivery.send_at_once(whole, len(start), exchange, now) or self._finish(now) or Need.GONE

    def refuse(self, met: Met, now: float, wall: float, at_once: bool) -> Need:
        """Reset the connection before anything is read. It is on record, with the status 0."""
        delivery = self.delivery
        delivery.receipts.begin(Exchange(delivery, describe(b""), 0, 0, None, wall, now, met=met), 0)
        return delivery.abandon(now)

    def on_deadline(self, now: float, wall: float, at_once: bool) -> Need:
        """Decide what happens to a connection whose deadline has come."""
        delivery = self.delivery
        state, receipts = delivery.state, delivery.receipts
        if state is State.RECEIVING:
            return Need.THREAD
        if state is State.PAUSED:
            return delivery.rest(now)
        if state is State.SENDING:
            return delivery.look(now)
        is_settled = delivery.is_settled(now)
        if state is State.SETTLING:
            if not receipts.is_full:
                delivery.enter(State.ANSWERING, NEVER)
                return self.serve(now, wall, at_once)
            return delivery.look(now)
        if not is_settled and state is not State.DRAINING:
            return delivery.look(now)
        idle_until = self.idle_since + self._shared.limits.idle
        if state is _IDLE and now < idle_until:
            delivery.deadline = idle_until
            return _INPUT
        if state is _READING:
            return self._refuse(Refused(408, "the head took too long"), now, wall)
        return delivery.close(now)

    # The end

    def wind_up(self, now: float) -> Need:
        """End a quiet connection of a server that stops, once the client has what the kernel still sends for us."""
        return self.delivery.wind_up(now, is_read=self._is_read())

    def release(self) -> None:
        """Close the socket of a connection that is gone, and let go of whatever its client has sent.

        A deadline that is still on a list keeps the connection itself alive for a while.
        """
        if self._charged:
            self._charge(0)
        if self._receiving is not None:
            self._receiving.cut(End.CUT)
            self._receiving = None
        self._buffer = self._raw_head = b""
        self._content = self._head = None
        self.delivery.sock.close()


def _exchange(delivery: Delivery, head: Head, answer: Answer, wall: float, now: float) -> Exchange:
    plan = answer.plan
    exchange = Exchange(delivery, head.noted, answer.status, plan.length or 0, plan.subject, wall, now)
    exchange.met = plan.met
    return exchange
