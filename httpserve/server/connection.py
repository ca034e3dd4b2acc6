"""One connection: reads heads, has them answered, and decides what a deadline means.

Knows HTTP's framing. With `at_once` a call does nothing that may block.
"""

from __future__ import annotations

import logging
import socket
from functools import partial

from httpserve.base.log import logger
from httpserve.plan import ChangedWhileSent, HandOver, Plan, ReadFailed
from httpserve.records.exchange import End, Exchange
from httpserve.server import tcp
from httpserve.server.answer import Answer, Refusal
from httpserve.server.delivery import MOMENT_SECONDS, Delivery, Need, Stage, Whole, end_by
from httpserve.server.outgoing import MORE, NO_WAIT, in_memory
from httpserve.server.request_content import Content
from httpserve.server.request_head import Head, Refused, check_incomplete, describe, parse_again
from httpserve.server.shared import Repeat, Shared, opened_again

log = logger("httpserve.server")

RECEIVE_BYTES = 8192
FREE_HEAD_BYTES = 1024  # of a head that has begun; what is longer is taken from the service's budget
SETTLE_SECONDS = 0.02  # how often to look whether a client that asks on and on has acknowledged something
SMALL_BYTES = 128 * 1024  # an answer up to here leaves with its head, from memory
MOST_UNWANTED_BYTES = 1024 * 1024  # of a request's content that is read and thrown away
MOST_EMPTY_LINES = 8  # before a request line (RFC 9112 2.2 asks for one at least)

# A member of an Enum is looked up in a tenth of the time under a name of its own (before Python 3.12).
_INPUT, _READING = Need.INPUT, Stage.READING


class Connection(Delivery):
    """One client's connection."""

    __slots__ = ("_buffer", "_charged", "_closing", "_content", "_head", "_head_has_begun", "_raw_head")

    def __init__(self, sock: socket.socket, client: str, client_port: int, service: Shared, now: float) -> None:
        super().__init__(sock, client, client_port, service, now)
        self._buffer = b""
        self._charged = 0  # to the service's budget of heads
        self._closing = False
        self._content: Content | None = None
        self._head: Head | None = None
        self._head_has_begun = False
        self._raw_head = b""

    def is_idle(self) -> bool:
        """Tell whether the connection waits for a request of which nothing has come."""
        return self.stage is Stage.READING and not self._buffer

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
        is_reading = self.stage is _READING
        if is_reading and not self._buffer:
            repeat = self._service.repeats.get(received)
            if repeat is not None:
                need = self._answer_again(repeat, received, now, wall)
                if need is not None:
                    return need
        if self._has_arrived():
            self._tally.arrived(now)
        elif self._tally.latest is not None:
            self._tally.settle(self.acknowledged(), now)
        if is_reading:
            self._buffer += received
            return self.serve(now, wall, at_once)
        if self.stage is Stage.LINGERING:
            return Need.INPUT
        need = self._drain(received, now)
        return self.serve(now, wall, at_once) if need is None else need

    def _has_arrived(self) -> bool:
        """Tell whether the client has everything. What it sends proves nothing, where the kernel tells."""
        if self._tally.latest is None:
            return False
        return self.outstanding() == 0 or not tcp.TELLS_OUTSTANDING

    def serve(self, now: float, wall: float, at_once: bool) -> Need:
        """Answer every request whose head has come, then say what is needed next."""
        while True:
            head = self._head
            if head is None:
                try:
                    head = self._take_head()
                    self._charge(0 if head else len(self._buffer))
                except Refused as refused:
                    return self._refuse(refused, now, wall)
                if head is None:
                    if self._buffer and not self._head_has_begun:
                        self._head_has_begun = True
                        self.deadline = now + self._service.limits.head
                    return Need.INPUT
                self._head_has_begun = False
                if head.content_length:
                    self._content = Content(head.content_length)
            if self._tally.is_full:
                return self._wait_until_settled(head, now)
            need = self._answer(head, now, wall, at_once)
            if need is not None:
                return need

    def _charge(self, count: int) -> None:
        """Take what a head that has begun needs beyond a little from what all of them may take, or give it back."""
        wanted = count if count > FREE_HEAD_BYTES else 0
        if wanted == self._charged:
            return
        heads = self._service.heads
        heads.give_back(self._charged)
        self._charged = 0
        if wanted:
            if not heads.take(wanted):
                raise Refused(503, "too many clients send long heads")
            self._charged = wanted

    def _wait_until_settled(self, head: Head, now: float) -> Need:
        self._head = head
        self.stage = Stage.SETTLING
        self.deadline = now + SETTLE_SECONDS
        self._outstanding, self._progress_at = self.outstanding(), now
        return Need.TIME

    def _take_head(self) -> Head | None:
        buffer = self._buffer
        for _ in range(MOST_EMPTY_LINES):
            if not buffer.startswith(b"\r\n"):
                break
            buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n") + 4
        if end == 3:
            self._raw_head, self._buffer = b"", buffer
            check_incomplete(buffer)
            return None
        self._raw_head, self._buffer = buffer[:end], buffer[end:]
        return parse_again(self._raw_head)

    # One answer

    def _answer(self, head: Head, now: float, wall: float, at_once: bool) -> Need | None:
        service = self._service
        if at_once and service.app_blocks:
            self._head = head
            return Need.THREAD
        answer = Answer(service, head, self.client, self.client_port, at_once)
        plan = answer.plan
        if isinstance(plan, HandOver):
            self._head = head
            return Need.THREAD
        self._head = None
        if not head.keep_alive or service.stopping or self._cannot_drain(head):
            self._close_after(head)
        content: bytes | None
        exchange = Exchange(self, head.noted, int(answer.status[:3]), plan.length, plan.subject, wall, now)
        try:
            content = in_memory(plan, SMALL_BYTES, may_block=not at_once)
        except (BlockingIOError, ChangedWhileSent):  # read it again, but not for ever, and not while others wait
            plan.close()
            if not at_once:
                self._tally.begin(exchange, 0)  # who was asked and gave nothing is on record, too
                return self.abandon(now)
            self._head = head
            return Need.THREAD
        except ReadFailed as failed:
            plan.close()
            plan = self._cannot_answer(answer, failed, head)
            content = b"".join(plan)
            exchange = Exchange(self, head.noted, int(answer.status[:3]), plan.length, plan.subject, wall, now)
        start = answer.start(service, plan, head, close=self._closing)
        if content is None:
            self._begin_to_send(start, plan, exchange)
            return Need.THREAD if at_once else self._send_on(now)
        plan.close()  # before it leaves: whoever has the answer may unmount the disk
        has_content = head.content_length or head.expects_continue  # which must be drained
        if plan.again is not None and plan.raw_fields is not None and not has_content:
            repeat = Repeat(plan.again, head, answer.status, plan.raw_fields, plan.length, plan.subject)
            service.remember(self._raw_head, repeat)
        rest = partial(opened_again, plan)
        return self._send_small(start + content, len(start), exchange, now, self._tally.begin, rest)

    def _cannot_answer(self, answer: Answer, failed: ReadFailed, head: Head) -> Plan:
        """Answer with an error in place of a file that the disk does not give."""
        name, cause = failed.name, failed.cause.strerror or failed.cause
        message = "%s cannot be read (%s), which %s asked for"
        self._service.scribe.say(log, logging.WARNING, message, name, cause, self.client)
        return answer.refuse(Refused(500, "the file cannot be read"), body_wanted=head.method != "HEAD")

    def _answer_again(self, repeat: Repeat, raw_head: bytes, now: float, wall: float) -> Need | None:
        """Answer what was answered before. None when the app has to be asked."""
        service = self._service
        if service.stopping or self._tally.is_full:
            return None
        whole: Whole | None = repeat.whole
        if whole is None or not repeat.again.is_unchanged():
            whole = service.give_again(raw_head, repeat)
            if whole is None:
                return None
        head = repeat.head
        if not head.keep_alive:
            self._close_after(head)
        exchange = Exchange(self, head.noted, 200, repeat.length, repeat.subject, wall, now)
        tally = self._tally
        begin = tally.follow if tally.latest is None or self._has_arrived() else tally.begin
        return self._send_small(whole, repeat.size, exchange, now, begin, repeat.plan)

    def _close_after(self, head: Head) -> None:
        """Make the answer to this request the last one."""
        self._closing = True
        if not head.http_10:
            # The FIN goes with the data: a segment less. U-Boot's first wget, which speaks HTTP/1.0, overlooks such a
            # FIN until it is sent again (net/tcp.c: "cause standalone FIN").
            self._flags = NO_WAIT | MORE

    def _has_unread(self) -> bool:
        return self._content is not None or bool(self._buffer)

    def _cannot_drain(self, head: Head) -> bool:
        return head.expects_continue or head.content_length > MOST_UNWANTED_BYTES

    def proceed(self, now: float, wall: float) -> Need:
        """Go on with whatever the last call left, and block where that is needed."""
        if self._outgoing is not None:
            # Who took long to make room is slow, and does not get a thread to wait for the next time.
            self._patience = MOMENT_SECONDS if now - self._progress_at < MOMENT_SECONDS else 0.0
            need = self._send_on(now)
            if need is not None:
                return need
        return self.serve(now, wall, False)

    def _finish(self, now: float) -> Need | None:
        if self._closing:
            return self._end_of_answers(now)
        self.stage = _READING
        self.idle_since = now
        self.deadline = now + (self._next_look(now) if self._service.logs_access else self._look_seconds)
        if self._content is not None:
            received, self._buffer = self._buffer, b""
            self.deadline = now + self._service.limits.head  # for all of it, however it drips
            return self._drain(received, now)
        return None if self._buffer else _INPUT

    def _drain(self, received: bytes, now: float) -> Need | None:
        """Throw content away that nobody wants. None when it has ended and the next request has begun."""
        content = self._content
        assert content is not None
        try:
            content.feed(received)
        except Refused:
            return self._end_of_answers(now)  # the request has had its answer
        if not content.done:
            if content.taken > MOST_UNWANTED_BYTES:
                return self._end_of_answers(now)
            self.stage = Stage.DRAINING
            return Need.INPUT
        self._content = None
        self._buffer = content.rest
        self.stage = Stage.READING
        self.deadline = now + self._next_look(now)
        return None if self._buffer else Need.INPUT

    # Refusals and deadlines

    def _refuse(self, refused: Refused, now: float, wall: float) -> Need:
        service = self._service
        message = "%s port %d: %d: %s"
        service.scribe.say(log, logging.INFO, message, self.client, self.client_port, refused.status, refused.reason)
        self._closing = True
        answer = Refusal(refused)
        plan = answer.plan
        assert isinstance(plan, Plan)
        noted = describe(self._raw_head or self._buffer)
        exchange = Exchange(self, noted, refused.status, plan.length, None, wall, now)
        start = answer.start(service, plan, None, close=True)
        whole = start + b"".join(plan)
        return self._send_small(whole, len(start), exchange, now, self._tally.begin, lambda: plan) or Need.GONE

    def on_deadline(self, now: float, wall: float, at_once: bool) -> Need:
        """Decide what becomes of a connection whose deadline has come."""
        if self.stage is Stage.PAUSED:
            self.stage = Stage.SENDING
            return Need.THREAD
        if self._tally.latest is not None:
            if self.stage is not Stage.SENDING:
                self._tally.settle(self.acknowledged(), now)
            if self.stage is Stage.SETTLING:
                return self._look_at_settling(now, wall, at_once)
            if self._tally.latest is not None and (self.stage is not Stage.DRAINING or now < self.deadline):
                return self._look_at_sending(now)
        idle_until = self.idle_since + self._service.limits.idle
        if self.is_idle() and now < idle_until:
            self.deadline = idle_until
            return Need.INPUT
        if self._buffer and self.stage is Stage.READING:
            return self._refuse(Refused(408, "the head took too long"), now, wall)
        return self.close(now)

    def _look_at_settling(self, now: float, wall: float, at_once: bool) -> Need:
        """Go on with a client that has acknowledged some answers, or give it up when it does not for too long."""
        if not self._tally.is_full:
            self.stage = Stage.READING
            return self.serve(now, wall, at_once)
        if self._look_at_sending(now) is Need.GONE:
            return Need.GONE
        self.deadline = now + SETTLE_SECONDS
        return Need.TIME

    def close(self, now: float, end: End = End.CLOSED) -> Need:
        """Settle the records, and let go of whatever the client has sent."""
        self._charge(0)
        self._buffer = self._raw_head = b""
        self._content = self._head = None
        return super().close(now, end)
