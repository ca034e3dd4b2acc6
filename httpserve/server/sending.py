"""Carries out a plan on a socket: sendfile for regions, send for bytes; remembers where it stopped, and keeps its pace.

Knows sockets and plans. Knows no requests. Where the socket takes nothing for a moment the call ends, and the next one
goes on from there.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import sys
import time
from enum import Enum, auto
from functools import partial

from httpserve.plan import NO_WAIT, Abort, ChangedWhileSent, Data, Plan, ReadFailed, Region, Step, Stream, Wait, read_at
from httpserve.records.exchange import Exchange, State
from httpserve.server import tcp
from httpserve.server.shared import Shared

SENDFILE_BYTES = 1024 * 1024  # progress is seen, and a changed file noticed, once in this many bytes
PIECE_BYTES = 128 * 1024  # of what is copied
MORE = getattr(socket, "MSG_MORE", 0)
# While somebody asks for small files, a large one leaves no faster than this for a MiB, 250 MB/s: else clients
# that receive it on the same machine keep the processors busy, and each small answer waits for them.
GIVE_WAY_SECONDS = 0.004
ASKED_SECONDS = 0.02  # how long after a small answer others may follow
PACE_BYTES = 1024 * 1024
_NOTHING = memoryview(b"")
_LAST_CHUNK = memoryview(b"0\r\n\r\n")
STEP_BYTES = 200  # about what a step takes in memory
_AT_ONCE = getattr(os, "RWF_NOWAIT", 0)
_NOT_TOLD = (errno.EOPNOTSUPP, errno.EINVAL)  # from file systems that cannot say what is in memory
# Errors of the network; any other is the disk's. ENOTCONN may be either: a FUSE without its daemon gives it, too.
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


class _NotThereYet(Exception):
    """The next bytes of a file that is still coming have not come."""


class StreamFailed(Exception):
    """A stream did not give what was promised."""


class Pace:
    """How fast an answer leaves, from now on."""

    __slots__ = ("_began", "_bytes", "_is_quick", "_shared", "_sock", "now")

    def __init__(self, shared: Shared, sock: socket.socket) -> None:
        self._shared = shared
        self._sock = sock
        self._bytes = 0  # that have left since `_began`
        self._is_quick = False
        self.now = shared.clock
        self._began = shared.clock()

    def add(self, sent: int) -> None:
        """Count bytes that have left, and wait for a moment if they went fast and others ask for small files.

        Raises ConnectionAbortedError when the server ends what is under way.
        """
        self._bytes += sent
        if self._bytes < PACE_BYTES:
            return
        self._bytes = 0
        shared = self._shared
        if shared.cutting:
            raise ConnectionAbortedError("the server stops")
        now = self.now()
        took = now - self._began
        if took < GIVE_WAY_SECONDS:
            if not self._is_quick:
                self._is_quick = True
                tcp.queue_more(self._sock)
            if now - shared.small_at < ASKED_SECONDS:
                time.sleep(GIVE_WAY_SECONDS - took)  # gives small answers the processor; not a wait for an event
                now = self.now()
        self._began = now


class Outgoing:
    """One answer on its way out.

    sendfile gives the kernel references to the pages of the file, not copies: as long as the kernel has them, a change
    of the file in place changes them too. So the last bytes of an answer, as many as may be borrowed at a time, leave
    as copies, and the last piece only after a check whether the file has changed. By then what left by reference has
    been copied, or else the answer is cut: a mixture never completes.

    Args:
        head: The status line and the fields.
        plan: The content; closed by `close`.
        exchange: Its record, which counts what the kernel takes.
        sock: The socket, which does not block.
        shared: What the connections share.
        borrowed: How many of the last bytes that sendfile sends may still be pages of the file.
        sent: How many bytes have already left, of the head and of a single step.
        is_chunked: Whether streams leave in chunks (RFC 9112 7.1).

    Attributes:
        close: Closes the plan. Harmless when repeated.
        disk: The disk that the content comes from; None where it is in memory.
        exchange: The record.
        pause: What to wait for after `Sent.PAUSE`.
    """

    __slots__ = (
        "_at",
        "_before",
        "_by_reference",
        "_frame",
        "_framed",
        "_head",
        "_index",
        "_is_chunked",
        "_left",
        "_pace",
        "_piece",
        "_plan",
        "_sock",
        "close",
        "disk",
        "exchange",
        "pause",
    )

    def __init__(
        self,
        head: bytes,
        plan: Plan,
        exchange: Exchange,
        sock: socket.socket,
        shared: Shared,
        borrowed: int,
        sent: int = 0,
        *,
        is_chunked: bool = False,
    ) -> None:
        length = sys.maxsize if plan.length is None else plan.length
        self._head = memoryview(head)[sent:]
        self._plan = plan
        self._sock = sock
        self._pace = Pace(shared, sock)
        self._index = 0
        self._at = max(0, sent - len(head))  # in the step
        self._left = length - self._at
        self._is_chunked = is_chunked
        self._piece: memoryview | None = _NOTHING  # of a stream; None: it has ended
        self._frame = _NOTHING  # what of it is to leave next
        self._framed = (0, 0)  # how many bytes of the frame are not content, and how many are
        self._by_reference = self._left - borrowed if hasattr(os, "sendfile") else 0  # how much may leave so
        self._before = plan.before
        self.exchange = exchange
        self.pause = NO_WAIT
        self.disk = next((step.file.disk for step in plan.sources if type(step) is Region), None)
        self.close = plan.close

    @property
    def is_cut_on_purpose(self) -> bool:
        """Whether what comes next is an `Abort`."""
        steps = self._plan.steps
        return self._index < len(steps) and isinstance(steps[self._index], Abort)

    def held_bytes(self) -> int:
        """Return about how much memory this answer takes while it waits for the client."""
        steps = self._plan.sources
        held = len(self._head) + len(self._frame) + len(self._piece or b"")
        return held + sum(STEP_BYTES + (len(step.data) if type(step) is Data else 0) for step in steps)

    def send(self, patience: float = 0.0) -> Sent:
        """Continue sending until the end, or until the socket takes no more.

        Waits up to *patience* seconds at a time for bytes that are still coming, and pauses where none come.

        Raises:
            OSError: The connection is over.
            ReadFailed: The disk, or the store, does not deliver the file.
            StreamFailed: A stream ends too early, or raises.
        """
        steps = self._plan.steps
        if self._before is not None:
            self.pause, self._before = self._before, None
            return Sent.PAUSE
        try:
            while self._head:
                self._head = self._head[self._sock.send(self._head, self._more(0)) :]
            while self._index < len(steps):
                step = steps[self._index]
                if isinstance(step, Abort):
                    return Sent.RESET if step.reset else Sent.CUT
                self._send_step(step, patience)
                self._index += 1
                self._at = 0
                if isinstance(step, Wait):
                    self.pause = step
                    return Sent.PAUSE
        except BlockingIOError:
            return Sent.NO_ROOM
        except _NotThereYet:
            return Sent.PAUSE
        except ChangedWhileSent:
            return Sent.RESET  # U-Boot takes an early FIN for the end of the file, and a reset for a failure
        if self._plan.length is None:
            self.exchange.length = self.exchange.handed
        return Sent.ALL

    def _send_step(self, step: Step, patience: float) -> None:
        """Send what is left of a step that has content."""
        if isinstance(step, Region):
            if step.file.is_whole:
                self._send_region(step)
            else:
                self._send_as_it_comes(step, patience)
        elif isinstance(step, Data):
            self._send_data(step.data)
        elif isinstance(step, Stream):
            self._send_stream(step)

    def _more(self, index: int) -> int:
        """Return the flag that lets the kernel wait for the step at `index`, if it sends something at once."""
        step = self._plan.steps[index] if index < len(self._plan.steps) else None
        is_there = isinstance(step, Data) or (isinstance(step, Region) and step.file.is_whole)
        return MORE if is_there else 0

    def _took(self, sent: int) -> None:
        self._at += sent
        self._left -= sent
        self._by_reference -= sent
        self.exchange.handed += sent
        self._pace.add(sent)

    def _send_data(self, data: bytes) -> None:
        flags = self._more(self._index + 1)
        while self._at < len(data):
            self._copy(memoryview(data)[self._at : self._at + PIECE_BYTES], flags)

    def _copy(self, data: memoryview, flags: int = 0) -> int:
        exchange = self.exchange
        is_last = len(data) == self._left
        if is_last and exchange.state is State.UNDER_WAY:  # from now on the client may have everything
            exchange.ended = self._pace.now()
            exchange.state = State.LEAVING
        sent = 0
        try:
            sent = self._sock.send(data, flags)
        finally:
            if sent < len(data) and exchange.state is State.LEAVING:
                exchange.state = State.UNDER_WAY
                exchange.ended = 0.0
        self._took(sent)
        return sent

    def _send_stream(self, stream: Stream) -> None:
        exchange = self.exchange
        while True:
            while self._frame:
                self._frame = self._frame[self._sock.send(self._frame) :]
            framed, self._framed = self._framed, (0, 0)
            exchange.at += framed[0]  # what is not content counts as before it
            exchange.handed += framed[1]
            self._left -= framed[1]
            self._pace.add(framed[1])
            if not self._next_frame(stream):
                return

    def _next_frame(self, stream: Stream) -> bool:
        """Get something to send from a stream. False: it has ended."""
        piece = self._piece
        if piece is not None and not piece:
            piece = self._next_piece(stream)
        elif piece is None:  # the last chunk has left
            self._piece = _NOTHING
            return False
        if piece is None:
            self._piece = None if self._is_chunked else _NOTHING
            self._frame = _LAST_CHUNK if self._is_chunked else _NOTHING
            self._framed = (len(self._frame), 0)
            return self._is_chunked
        data, self._piece = piece[:PIECE_BYTES], piece[PIECE_BYTES:]
        if self._is_chunked:
            self._frame = memoryview(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))
        else:
            self._frame = data
        self._framed = (len(self._frame) - len(data), len(data))
        return True

    def _next_piece(self, stream: Stream) -> memoryview | None:
        """Return what comes next, but nothing beyond the length of the stream; None at its end."""
        left = None if stream.length is None else stream.length - self._at
        try:
            piece = memoryview(next(filter(None, stream.pieces), b""))
        except ReadFailed:
            raise
        except BaseException as error:  # sys.exit() too: the thread goes on
            raise StreamFailed from error
        if piece and left != 0:
            piece = piece[:left]
            self._at += len(piece)
            return piece
        if left:
            raise StreamFailed(f"{left} bytes of the content that was promised did not come")
        return None

    def _send_region(self, region: Region) -> None:
        socket_fd, unseen = self._sock.fileno(), 0
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
                data = data[self._copy(data) :]

    def _send_as_it_comes(self, region: Region, patience: float) -> None:
        """Send what has come of a file that is not whole. What is there never changes, so all of it may be lent."""
        file = region.file
        while self._at < region.length:
            offset, left = region.offset + self._at, region.length - self._at
            there = file.arrived(offset, left, patience)
            if not there:
                self.pause = Wait(math.inf, partial(_has_arrived, region, self._at))
                raise _NotThereYet
            by_reference = min(there, SENDFILE_BYTES, left - PIECE_BYTES) if hasattr(os, "sendfile") else 0
            if by_reference > 0:
                self._took(_send_file(self._sock.fileno(), region, offset, by_reference))
            else:
                data = memoryview(read_at(region, offset, min(there, PIECE_BYTES)))
                while data:
                    data = data[self._copy(data) :]


def _has_arrived(region: Region, at: int) -> bool:
    try:
        return region.file.arrived(region.offset + at, region.length - at, 0.0) > 0
    except ReadFailed:
        return True  # the next call to send says so


def _send_file(socket_fd: int, region: Region, offset: int, count: int) -> int:
    """Do what os.sendfile does. Raises `ReadFailed` for an error of the disk, and the socket's own as they are."""
    try:
        return os.sendfile(socket_fd, region.file.fd, offset, count)
    except BlockingIOError:
        raise
    except OSError as error:
        read_at(region, offset, min(count, PIECE_BYTES))  # this tells whose error it is
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
        ReadFailed: The disk does not deliver a file.
        BlockingIOError: This needs a wait for a disk, and may not block.
    """
    if plan.length is None or plan.length > most or plan.before is not None:
        return None
    parts = []
    for step in plan.steps:
        if isinstance(step, Region) and step.file.is_whole:
            parts.append(_read(step, may_block))
        elif isinstance(step, Data):
            parts.append(step.data)
        else:
            return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read(region: Region, may_block: bool) -> bytes:
    if may_block or not _AT_ONCE:
        return read_at(region, region.offset, region.length)
    buffer = bytearray(region.length)
    try:
        count = os.preadv(region.file.fd, [buffer], region.offset, _AT_ONCE)
    except OSError as error:
        if error.errno in _NOT_TOLD:  # the disk has just answered; nothing more is known
            return read_at(region, region.offset, region.length)
        raise BlockingIOError(errno.EAGAIN, "not in memory") from error  # a thread that may block gets the error
    if count < region.length:
        raise BlockingIOError(errno.EAGAIN, "not in memory")
    if not _is_unchanged(region):
        raise ChangedWhileSent("the file changed while it was sent")
    return bytes(buffer)
