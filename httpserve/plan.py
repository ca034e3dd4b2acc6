"""What leaves for one request, step by step: data that the site decides on and the serving room carries out.

Knows bytes, open files and their order. Knows no WSGI, no sockets and no names
beyond what a record needs. A plan is also an iterable of bytes, so that any
WSGI server can send it; ours recognises it and hands the regions to the kernel.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

SMALL_BYTES = 128 * 1024  # an answer up to here leaves with its head, from memory, and may be given again
NOTED_CONTENT_BYTES = 16 * 1024  # of the content of a request, in its record
NUMBERS = 1 << 32  # how many values an item of array("I") can have
PAUSE_SECONDS = 0.02  # how often `Wait.is_over` is asked
READ_BYTES = 256 * 1024  # how much of a region an ordinary WSGI server gets at a time
ARRIVAL_SECONDS = 1.0  # how often a wait for the next bytes of a file begins anew


class ChangedWhileSent(OSError):
    """The file is not what it was when the plan was made: the answer must be cut short, so that the client sees it."""


class ReadFailed(Exception):
    """A file could not be read: the disk failed, not the connection. `cause` is the system's error, `name` the file's.

    Not an OSError, so that nobody takes it for an error of the socket.
    """

    def __init__(self, name: str, cause: OSError) -> None:
        # Our own errors say what was tried.
        super().__init__(f"read {name!r}: {cause.strerror}" if cause.strerror else str(cause))
        self.name = name
        self.cause = cause


class RegionFile(Protocol):
    """What a region needs of an open file."""

    @property
    def name(self) -> str: ...

    @property
    def fd(self) -> int: ...

    @property
    def disk(self) -> int:
        """A number that files on one disk share."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there. Of a file that is still coming a region waits for what has `arrived`."""

    def arrived(self, offset: int, length: int, seconds: float) -> int:
        """Return how many bytes from an offset on can be read, at most *length*; 0: none yet.

        Blocks for at most *seconds*, until the first of them is there. What is asked for here is what is wanted next
        of a file that is not whole. Raises ReadFailed where it will not come.
        """

    def unchanged(self) -> bool:
        """Tell whether the file still holds the version that was opened."""

    def close(self) -> None: ...


class Data(NamedTuple):
    """Bytes that are in memory."""

    data: bytes


class Region(NamedTuple):
    """A part of an open file, which leaves by sendfile where the system has it."""

    file: RegionFile
    offset: int
    length: int


class Stream(NamedTuple):
    """Bytes from an iterator, as they come. Each piece may take its time.

    Attributes:
        pieces: The iterator.
        length: How many bytes there are in all; None: until it ends.
        close: Called when no more of them are wanted.
    """

    pieces: Iterator[bytes]
    length: int | None = None
    close: Callable[[], object] | None = None


class Wait(NamedTuple):
    """A pause before the next step. It takes no thread.

    Attributes:
        seconds: How long; infinity for as long as the client stays.
        is_over: Asked now and then: whether it ends now, however many seconds are left.
    """

    seconds: float
    is_over: Callable[[], bool] | None = None


NO_WAIT = Wait(0.0)


class Abort(NamedTuple):
    """The end of the connection in the middle of the answer: an orderly close, or a reset.

    It comes once the client has acknowledged all that left before it.
    """

    reset: bool = False


Step = Data | Region | Stream | Wait | Abort


class Piece(NamedTuple):
    """Where in the body a part of the representation begins: `start` to `stop` (exclusive) are at `body_offset`."""

    body_offset: int
    start: int
    stop: int


class Pieces(Sequence[Piece]):
    """The pieces of an answer of many ranges. Records keep them, so they take no more memory than their numbers."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("I")  # three for each piece

    def add(self, body_offset: int, start: int, stop: int) -> None:
        """Put another one at the end."""
        piece = (body_offset, start, stop)
        if self._numbers.typecode == "I" and max(piece) >= NUMBERS:
            self._numbers = array("Q", self._numbers)
        self._numbers.extend(piece)

    def __len__(self) -> int:
        return len(self._numbers) // 3

    @overload
    def __getitem__(self, index: int) -> Piece: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Piece, ...]: ...

    def __getitem__(self, index: int | slice) -> Piece | tuple[Piece, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        at = 3 * range(len(self))[index]
        return Piece(*self._numbers[at : at + 3])

    def __iter__(self) -> Iterator[Piece]:
        numbers = iter(self._numbers)
        return map(Piece, numbers, numbers, numbers)


class Subject(NamedTuple):
    """Which bytes of which representation an answer carries, for the record."""

    name: str
    validator: str
    total: int
    pieces: Sequence[Piece]


# Answers that leave no record: one to ourselves, whose connection is not a board's either, and one that nobody misses.
PROBE, ASIDE = Subject("", "", 0, ()), Subject("", "", 0, ())


class Own:
    """What a record tells of a request whose content somebody has asked for, or that went wrong here.

    Args:
        content: What came with the request, as far as it is known to whoever answers it.
        error: What went wrong.

    Attributes:
        content: The beginning of it, as much as records keep.
        error: What went wrong in a user's code that makes the answer, or in the store, as text; empty if nothing has.
            It may come while the answer is sent.
    """

    __slots__ = ("content", "error")

    def __init__(self, content: bytes, error: str = "") -> None:
        self.content = content[:NOTED_CONTENT_BYTES]
        self.error = error


class Met(NamedTuple):
    """What was asked for to happen to an answer, for the record.

    Attributes:
        fault: The faults that it met, as text; empty if none.
        rules: By which rules of the user it is as it is.
        own: What there is to tell of the content of the request, and of what answered it; None: nobody asked for it.
    """

    fault: str
    rules: tuple[object, ...]
    own: Own | None = None


class Repeatable(Protocol):
    """How to give the very same answer once more."""

    def read(self, into: memoryview) -> bool:
        """Write the content into a buffer of its length; False when the answer is another one by now."""

    def open(self) -> tuple[RegionFile | None, int]:
        """Open the file that the content comes from, and say how long it is; None when it is another one by now."""

    def is_unchanged(self) -> bool:
        """Tell whether `read` would give the same bytes again."""

    def change_would_show(self, since: float) -> bool:
        """Tell whether `is_unchanged` notices any change since a time, so that what was read then may be kept."""


class Plan:
    """The body of one answer.

    Args:
        steps: What to do, in order.
        length: The number of bytes that the steps send in all, an `Abort` not considered; None where only the end of a
            stream tells.
        subject: What the record is to say of it, None for bodies that are not a file.
        raw_fields: The header fields as bytes, ready to send, where they were made already.
        repeatable: How to answer the very same request again, from any client: a server may ask this instead of the
            app. None where it depends on the client, where requests are counted, and for more than `SMALL_BYTES`.

    Attributes:
        before: How long to wait before the head leaves; None: not at all.
        is_last: Whether the connection ends with this answer, as nothing else tells where the content ends.
        met: What was asked for to happen to this answer; None: nothing.
        sources: The steps that hold what `close` closes, and what takes memory. Steps may be many more, and made as
            they are wanted.
    """

    __slots__ = ("before", "is_last", "length", "met", "raw_fields", "repeatable", "sources", "steps", "subject")

    def __init__(
        self,
        steps: Sequence[Step],
        length: int | None,
        subject: Subject | None = None,
        raw_fields: bytes | None = None,
        repeatable: Repeatable | None = None,
    ) -> None:
        self.steps = self.sources = steps
        self.length = length
        self.subject = subject
        self.raw_fields = raw_fields
        self.repeatable = repeatable
        self.before: Wait | None = None
        self.is_last = False
        self.met: Met | None = None

    def close(self) -> None:
        """Close the files of all regions, and all streams. Harmless when repeated."""
        for step in self.sources:
            if type(step) is Region:
                step.file.close()
            elif type(step) is Stream and step.close is not None:
                step.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body as bytes. Raises what `read_at` raises."""
        if self.before is not None:
            _pause(self.before)
        for step in self.steps:
            if isinstance(step, Data):
                yield step.data
            elif isinstance(step, Region):
                yield from _pieces_of(step)
            elif isinstance(step, Stream):
                yield from step.pieces
            elif isinstance(step, Wait):
                _pause(step)
            else:
                raise ChangedWhileSent("this answer is cut on purpose")


class Response(NamedTuple):
    """One answer: its status, its header fields, and its content as a plan."""

    status: int
    fields: Sequence[tuple[str, str]]
    plan: Plan


def _pause(wait: Wait) -> None:
    """Block until a wait is over: a server that does not know plans has given this answer a thread of its own."""
    until = time.monotonic() + wait.seconds
    while time.monotonic() < until and not (wait.is_over is not None and wait.is_over()):
        time.sleep(max(0.0, min(PAUSE_SECONDS, until - time.monotonic())))


def _pieces_of(region: Region) -> Iterator[bytes]:
    offset, stop = region.offset, region.offset + region.length
    while offset < stop:
        data = read_at(region, offset, min(READ_BYTES, stop - offset))
        offset += len(data)
        yield data


def read_at(region: Region, offset: int, length: int) -> bytes:
    """Return `length` bytes at `offset` of the file, which was still the version that was opened after they were read.

    Blocks for the disk, and until the bytes have come where the file is not whole.

    Raises:
        ChangedWhileSent: A look after the read shows another version.
        ReadFailed: The disk does not give them, or they do not come.
    """
    file = region.file
    try:
        at = offset
        while not file.is_whole and at < offset + length:
            at += file.arrived(at, offset + length - at, ARRIVAL_SECONDS)
        data = os.pread(file.fd, length, offset)
        while 0 < len(data) < length:
            more = os.pread(file.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        is_right = len(data) == length and file.unchanged()
    except OSError as error:
        raise ReadFailed(file.name, error) from error
    if not is_right:
        raise ChangedWhileSent("the file changed while it was sent")
    return data


class HandOver:
    """The answer of an app that may not block now: call it again from a thread that may.

    A server that sets `MAY_NOT_BLOCK` in the environ of a request gets this one
    object instead of a body when the answer takes more than a moment.
    """


class Intake(Protocol):
    """What takes the content of a request as it comes. Each call may block, and none waits for the client.

    `answer` or `cut` is the last call.
    """

    def write(self, data: bytes) -> bool:
        """Take the next bytes; False: no more are wanted, and `answer` says why."""

    def answer(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request, as an app does."""

    def cut(self, how: str, status: int = 0) -> None:
        """Give up, as no more comes: how that happened, in a word, and with which status it was answered, if at all."""


class Receive(HandOver):
    """The answer of an app that wants the content of a request first, and no thread while the client is silent.

    An app that sees no `MAY_NOT_BLOCK` in the environ reads `wsgi.input` instead.
    """

    def __init__(self, intake: Intake) -> None:
        self.intake = intake


NEEDS_THREAD = HandOver()
# In the environ of a request: whether the app may not block, and what tells whether the server ends all answers.
MAY_NOT_BLOCK = "httpserve.at_once"
IS_CUTTING = "httpserve.is_cutting"
