"""Carries a plan out on a socket: sendfile for regions, send for bytes, and where it stopped.

Knows sockets and plans. Knows no requests. A socket that takes nothing for a
moment ends the call, not the answer: it goes on from the same step and offset.
"""

from __future__ import annotations

import errno
import os
import socket
from enum import Enum, auto
from typing import Protocol

from httpserve.plan import Abort, ChangedWhileSent, Data, Plan, ReadFailed, Region, Step, Wait, read_at
from httpserve.server.tcp import QUEUE_BYTES

SENDFILE_BYTES = 1024 * 1024  # progress is seen, and a changed file noticed, once in so many bytes
PIECE_BYTES = 128 * 1024  # of what is copied
PACE_BYTES = 1024 * 1024
MORE = getattr(socket, "MSG_MORE", 0)
NO_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
HAS_SENDFILE = hasattr(os, "sendfile")
STEP_BYTES = 200  # about what a step takes in memory
_AT_ONCE = getattr(os, "RWF_NOWAIT", 0)
_NOT_TOLD = (errno.EOPNOTSUPP, errno.EINVAL)  # by file systems that cannot say what is in memory
# What the network says; anything else is the disk's. ENOTCONN may be either: a FUSE without its daemon says so, too.
_OF_SOCKETS = (
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.EBADF,
    errno.ENOBUFS,
    errno.EPERM,
    errno.EACCES,
)


class Sent(Enum):
    """How a call to `Outgoing.send` ended."""

    ALL = auto()
    NO_ROOM = auto()
    PAUSE = auto()
    CUT = auto()
    RESET = auto()


class Progress(Protocol):
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
        plan: The content.
    """

    __slots__ = ("_at", "_by_reference", "_count", "_head", "_index", "_left", "_unpaced", "pause", "plan")

    def __init__(
        self, head: bytes, plan: Plan, *, sendfile: bool = HAS_SENDFILE, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._head = memoryview(head)
        self._index = 0
        self._at = 0
        self.plan = plan
        self._left = plan.length
        self._by_reference = plan.length - queue_bytes if sendfile else 0  # how much of what is left may go so
        self._count: Progress | None = None
        self._unpaced = 0
        self.pause = 0.0

    def close(self) -> None:
        """Close the plan's files. Harmless when repeated."""
        self.plan.close()

    def disk(self) -> int | None:
        """Return the disk that the content comes from; None where it is in memory."""
        for step in self.plan.steps:
            if type(step) is Region:
                return step.file.disk
        return None

    def held_bytes(self) -> int:
        """Return about how much memory this answer takes while it waits for the client."""
        steps = self.plan.steps
        return len(self._head) + sum(STEP_BYTES + (len(step.data) if type(step) is Data else 0) for step in steps)

    def skip(self, sent: int) -> None:
        """Begin behind the first bytes, which have left already; only for plans of data and regions."""
        of_head = min(sent, len(self._head))
        self._head = self._head[of_head:]
        left = sent - of_head
        self._left -= left
        self._by_reference -= left
        for step in self.plan.steps:
            length = len(step.data) if isinstance(step, Data) else step.length if isinstance(step, Region) else 0
            if left < length:
                break
            left -= length
            self._index += 1
        self._at = left

    def send(self, sock: socket.socket, count: Progress) -> Sent:
        """Send on until the end, or until the socket, which does not block, takes no more.

        Args:
            sock: The socket.
            count: Told of every byte of content as the kernel takes it.

        Raises:
            OSError: The connection is over.
            ReadFailed: The disk does not give the file.
        """
        self._count = count
        steps = self.plan.steps
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
        steps = self.plan.steps
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
        socket_fd, unseen = sock.fileno(), 0
        while self._by_reference > 0 and self._at < region.length:
            count = min(SENDFILE_BYTES, self._by_reference, region.length - self._at)
            sent = _send_file(socket_fd, region, region.offset + self._at, count)
            self._took(sent)
            unseen += sent
            if sent == 0 or unseen >= SENDFILE_BYTES:
                unseen = 0
                if sent == 0 or not _is_unchanged(region):
                    raise ChangedWhileSent("the file changed while it was sent")
        while self._at < region.length:
            length = min(PIECE_BYTES, region.length - self._at)
            data = memoryview(read_at(region, region.offset + self._at, length))
            while data:
                data = data[self._copy(sock, data) :]
        self._next_step()


def _send_file(socket_fd: int, region: Region, offset: int, count: int) -> int:
    """Do as os.sendfile. Raises `ReadFailed` for an error that is the disk's, and the socket's own as it is."""
    try:
        return os.sendfile(socket_fd, region.file.fd, offset, count)
    except BlockingIOError:
        raise
    except OSError as error:
        read_at(region, offset, min(count, PIECE_BYTES))  # which tells whose error it is
        if error.errno not in _OF_SOCKETS:
            raise ReadFailed(region.file.name, error) from error
        raise


def _is_unchanged(region: Region) -> bool:
    try:
        return region.file.unchanged()
    except OSError as error:
        raise ReadFailed(region.file.name, error) from error


def in_memory(plan: Plan, most: int, *, may_block: bool = True) -> bytes | None:
    """Return the whole content of a plan that has at most `most` bytes and nothing to wait for, else None.

    Raises:
        ChangedWhileSent: A file is another version by now.
        ReadFailed: The disk does not give a file.
        BlockingIOError: It takes a wait for a disk, and may not block.
    """
    if plan.length > most:
        return None
    steps = plan.steps
    if len(steps) == 1:
        step = steps[0]
        if type(step) is Region:
            return _read(step, may_block)
    if any(isinstance(step, Wait | Abort) for step in steps):
        return None
    return b"".join(_read(step, may_block) if isinstance(step, Region) else step.data for step in steps)  # type: ignore[union-attr]


def _read(region: Region, may_block: bool) -> bytes:
    if may_block or not _AT_ONCE:
        return read_at(region, region.offset, region.length)
    buffer = bytearray(region.length)
    try:
        count = os.preadv(region.file.fd, [buffer], region.offset, _AT_ONCE)
    except OSError as error:
        if error.errno in _NOT_TOLD:  # it has just answered; that is all that is known
            return read_at(region, region.offset, region.length)
        raise BlockingIOError(errno.EAGAIN, "not in memory") from error  # a thread that may block meets the error
    if count < region.length:
        raise BlockingIOError(errno.EAGAIN, "not in memory")
    if not _is_unchanged(region):
        raise ChangedWhileSent("the file changed while it was sent")
    return bytes(buffer)
