"""Answers that are given again, keyed by the exact bytes of their requests, without calling the app.

Knows bytes and descriptors, and how a plan's content is read again. Knows no sockets. Only for the leader, except
`remember`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from httpserve.plan import Repeatable, Subject
from httpserve.server.request_head import MOST_KEPT_BYTES as MOST_REPEATED_HEAD_BYTES
from httpserve.server.request_head import Head

MOST_REPEATS = 1024
MOST_REPEATED_BYTES = 132 * 1024
MOST_STORED_BYTES = 8 * 1024 * 1024
STORED_AT = 2  # an answer is stored when it is given again this many times in one second
DATE_BYTES = 64  # more than a Date field needs
LENT_FROM_BYTES = 16 * 1024  # copying less takes no longer than lending it


class StoredAnswer:
    """A whole answer in the store's file.

    Attributes:
        fd: The file.
        length: How many bytes it has.
        offset: Where it begins.
    """

    __slots__ = ("fd", "length", "offset")

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.fd = fd
        self.offset = offset
        self.length = length

    def read(self) -> bytes:
        """Return the answer. Raises OSError if not all of it can be read."""
        data = os.pread(self.fd, self.length, self.offset)
        if len(data) < self.length:
            raise OSError("a stored answer is incomplete")
        return data


Whole = bytes | memoryview | StoredAnswer  # an answer that leaves in one send, if the socket takes it


class AnswerStore:
    """Whole answers that are stored for a moment: small ones as bytes, others in a file without a name.

    What leaves a file by sendfile is not copied: the socket borrows its pages. So no byte of this file is written
    twice, and it is not truncated, which would affect a forked process: it is closed, and another one begun. Pages
    that are under way live on.

    Args:
        most: How many bytes it holds.
    """

    def __init__(self, most: int = MOST_STORED_BYTES) -> None:
        self._most = most
        self._can_lend = hasattr(os, "memfd_create") and hasattr(os, "sendfile")
        self._stored = 0
        self._fd = -1
        self._written = 0  # into the file

    def keep(self, whole: memoryview) -> bytes | StoredAnswer | None:
        """Store a copy of an answer. None: there is no room."""
        if self._stored + len(whole) > self._most:
            return None
        self._stored += len(whole)
        if len(whole) >= LENT_FROM_BYTES and self._can_lend:
            try:
                return self._lend(whole)
            except OSError:  # out of descriptors or of memory
                pass
        return bytes(whole)

    def _lend(self, whole: memoryview) -> bytes | StoredAnswer:
        if self._fd < 0:
            self._fd = os.memfd_create("httpserve")
        offset = self._written
        written = os.pwrite(self._fd, whole, offset)
        self._written += written
        return StoredAnswer(self._fd, offset, written) if written == len(whole) else bytes(whole)

    def forget(self) -> None:
        """Give up all that is stored: nothing that `keep` returned may be used afterwards. Harmless when repeated."""
        fd, self._fd = self._fd, -1
        self._stored = self._written = 0
        if fd >= 0:
            os.close(fd)


class Repeat:
    """How to answer a request whose exact bytes came before.

    Args:
        repeatable: Where the content comes from.
        head: What the bytes mean.
        line: The status line.
        end: The fields after the Date field, up to the empty line.
        length: The length of the content.
        subject: What the record says about it.

    Attributes:
        start: Where the content of `whole` begins.
        whole: The whole answer, for as long as the Date field and `repeatable` are right. None: to be read.
    """

    __slots__ = ("_date", "_end", "_given", "_line", "head", "length", "repeatable", "start", "subject", "whole")

    def __init__(
        self, repeatable: Repeatable, head: Head, line: bytes, end: bytes, length: int, subject: Subject | None
    ) -> None:
        self.repeatable = repeatable
        self.head = head
        self.length = length
        self.subject = subject
        self.start = 0
        self.whole: bytes | StoredAnswer | None = None
        self._line = line
        self._end = end
        self._date = b""  # of the latest answer
        self._given = 0  # how often the content was read for that date

    @property
    def fits(self) -> bool:
        """Whether the answer is of a size that is given again."""
        return len(self._line) + DATE_BYTES + len(self._end) + self.length <= MOST_REPEATED_BYTES

    def read(self, into: memoryview, date: bytes) -> memoryview | None:
        """Return the answer with freshly read content; None if it is another one by now."""
        start = self._line + date + self._end
        self.start = len(start)
        whole = into[: self.start + self.length]
        if not self.repeatable.read(whole[self.start :]):
            return None
        whole[: self.start] = start
        if self._date is not date:
            self._date, self._given = date, 0
        self._given += 1
        return whole

    def is_stored_now(self, wall: float) -> bool:
        """Tell whether what `read` has just returned is asked for often, and would show any change since *wall*."""
        return self._given == STORED_AT and self.repeatable.change_would_show(wall)


def _found_nothing(raw_head: bytes) -> None:
    return None


class Repeats:
    """The answers that one server gives again.

    Attributes:
        find: Returns how to answer a request that comes with these bytes, None where the app is to be asked.
    """

    def __init__(self) -> None:
        self._by_head: dict[bytes, Repeat] = {}
        self.find: Callable[[bytes], Repeat | None] = self._by_head.get
        self._buffer = memoryview(b"")  # for what is read; made for the first answer
        self._store = AnswerStore()
        self._stored: list[Repeat] = []

    def pause(self, is_paused: bool) -> None:
        """Find nothing as long as this is so. Safe from any thread."""
        self.find = _found_nothing if is_paused else self._by_head.get

    def remember(self, raw_head: bytes, repeat: Repeat) -> None:
        """Keep how to answer a request that comes with these bytes."""
        if len(raw_head) <= MOST_REPEATED_HEAD_BYTES and repeat.fits:
            if len(self._by_head) >= MOST_REPEATS:
                self._by_head.clear()
            if not self._buffer:
                self._buffer = memoryview(bytearray(MOST_REPEATED_BYTES))
            self._by_head[raw_head] = repeat

    def read(self, raw_head: bytes, repeat: Repeat, date: bytes, wall: float) -> Whole | None:
        """Return a whole answer with freshly read content; None if the app has to be asked."""
        whole = repeat.read(self._buffer, date)
        if whole is None:
            self._by_head.pop(raw_head, None)
            return None
        if repeat.is_stored_now(wall):
            repeat.whole = self._store.keep(whole)
            if repeat.whole is not None:
                self._stored.append(repeat)
                return repeat.whole
        return whole

    def forget_whole(self) -> None:
        """Give up the whole answers, and read each again. Harmless when repeated."""
        for repeat in self._stored:
            repeat.whole = None
        self._stored.clear()
        self._store.forget()

    def forget(self) -> None:
        """Give up everything, and the memory that it takes."""
        self.forget_whole()
        self._by_head.clear()
