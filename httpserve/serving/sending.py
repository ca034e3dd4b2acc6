"""Carries a plan out on a socket: sendfile for regions, send for bytes, and where it stopped.

Knows sockets and plans. Knows no requests. A socket that takes nothing for a
moment ends the call, not the answer: it goes on from the same step and offset.
"""

from __future__ import annotations

import os
import socket
from enum import Enum, auto
from typing import Protocol

from httpserve.plan import Abort, ChangedWhileSent, Data, Plan, Region, Step, Wait, read_at
from httpserve.serving.tcp import QUEUE_BYTES

SENDFILE_BYTES = 1024 * 1024  # progress is seen, and a changed file noticed, once in so many bytes
PIECE_BYTES = 128 * 1024  # of what is copied
PACE_BYTES = 1024 * 1024
MORE = getattr(socket, "MSG_MORE", 0)
NO_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
HAS_SENDFILE = hasattr(os, "sendfile")


class Sent(Enum):
    """How a call to `Outgoing.send` ended."""

    ALL = auto()
    NO_ROOM = auto()
    PAUSE = auto()
    CUT = auto()
    RESET = auto()


class Count(Protocol):
    """Who counts the bytes of content that the kernel has taken."""

    handed: int

    def before_last(self) -> None:
        """Be told that the next send holds all that is left: from then on the client may have everything."""

    def not_last(self) -> None:
        """Be told that it was not all taken."""

    def give_way(self) -> None:
        """Be told that another `PACE_BYTES` have left: the time to let others go first."""


class Outgoing:
    """One answer on its way out.

    sendfile gives the kernel references to the pages of the file, not copies: while they are queued, here or (on the
    loopback) with the receiver, a change of the file in its place changes them too. So the last bytes of an answer, as
    many as the queues can hold, leave as copies, and the last piece only after a look whether the file has changed.
    Then what left by reference has arrived, or the answer is cut: a mixture never completes.

    Args:
        head: The status line and the fields.
        plan: The content; closed by `close`.
        sendfile: Whether to use sendfile.
        queue_bytes: What the queues can hold.

    Attributes:
        pause: How many seconds to wait after `Sent.PAUSE`.
    """

    __slots__ = ("_at", "_by_reference", "_count", "_head", "_index", "_left", "_plan", "_unpaced", "pause")

    def __init__(
        self, head: bytes, plan: Plan, *, sendfile: bool = HAS_SENDFILE, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._head = memoryview(head)
        self._index = 0
        self._at = 0
        self._plan = plan
        self._left = plan.length
        self._by_reference = plan.length - queue_bytes if sendfile else 0  # how much of what is left may go so
        self._count: Count | None = None
        self._unpaced = 0
        self.pause = 0.0

    def close(self) -> None:
        """Close the plan's files. Harmless when repeated."""
        self._plan.close()

    def send(self, sock: socket.socket, count: Count) -> Sent:
        """Send on until the end, or until the socket, which does not block, takes no more.

        Args:
            sock: The socket.
            count: Told of every byte of content as the kernel takes it.

        Raises:
            OSError: The connection is over.
        """
        self._count = count
        steps = self._plan.steps
        try:
            while self._head:
                self._head = self._head[sock.send(self._head, self._more(0)) :]
            while self._index < len(steps):
                ended = self._take(sock, steps[self._index])
                if ended is not None:
                    return ended
        except BlockingIOError:
            return Sent.NO_ROOM
        except ChangedWhileSent:
            return Sent.RESET  # U-Boot takes an early FIN for the end of the file, and a reset for a failure
        return Sent.ALL

    def _take(self, sock: socket.socket, step: Step) -> Sent | None:
        if isinstance(step, Data):
            self._send_data(sock, step.data)
        elif isinstance(step, Region):
            self._send_region(sock, step)
        elif isinstance(step, Wait):
            self._next_step()
            self.pause = step.seconds
            return Sent.PAUSE
        else:
            return Sent.RESET if step.reset else Sent.CUT
        return None

    def _next_step(self) -> None:
        self._index += 1
        self._at = 0

    def _took(self, sent: int) -> None:
        assert self._count is not None
        self._at += sent
        self._left -= sent
        self._by_reference -= sent
        self._count.handed += sent
        self._unpaced += sent
        if self._unpaced >= PACE_BYTES:
            self._unpaced = 0
            self._count.give_way()

    def _send_data(self, sock: socket.socket, data: bytes) -> None:
        flags = self._more(self._index + 1)
        while self._at < len(data):
            self._copy(sock, memoryview(data)[self._at : self._at + PIECE_BYTES], flags)
        self._next_step()

    def _more(self, index: int) -> int:
        """Return the flag that lets the kernel wait for the step at `index`, if it sends something at once."""
        steps = self._plan.steps
        return MORE if index < len(steps) and isinstance(steps[index], Data | Region) else 0

    def _copy(self, sock: socket.socket, data: memoryview, flags: int = 0) -> int:
        assert self._count is not None
        is_last = len(data) == self._left
        if is_last:
            self._count.before_last()
        sent = 0
        try:
            sent = sock.send(data, flags)
        finally:
            if is_last and sent < len(data):
                self._count.not_last()
        self._took(sent)
        return sent

    def _send_region(self, sock: socket.socket, region: Region) -> None:
        socket_fd, file_fd, unseen = sock.fileno(), region.file.fd, 0
        while self._by_reference > 0 and self._at < region.length:
            count = min(SENDFILE_BYTES, self._by_reference, region.length - self._at)
            sent = os.sendfile(socket_fd, file_fd, region.offset + self._at, count)
            self._took(sent)
            unseen += sent
            if sent == 0 or unseen >= SENDFILE_BYTES:
                unseen = 0
                if sent == 0 or not region.file.unchanged():
                    raise ChangedWhileSent("the file changed while it was sent")
        while self._at < region.length:
            length = min(PIECE_BYTES, region.length - self._at)
            data = memoryview(read_at(region, region.offset + self._at, length))
            while data:
                data = data[self._copy(sock, data) :]
        self._next_step()


def in_memory(plan: Plan, most: int) -> bytes | None:
    """Return the whole content of a plan that has at most `most` bytes and nothing to wait for, else None.

    Raises `ChangedWhileSent`.
    """
    if plan.length > most:
        return None
    steps = plan.steps
    if len(steps) == 1:
        step = steps[0]
        if type(step) is Region:
            return read_at(step, step.offset, step.length)
    if any(isinstance(step, Wait | Abort) for step in steps):
        return None
    return b"".join(plan)
