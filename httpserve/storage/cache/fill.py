"""A run in a thread of its own: it checks blocks that others have written, and reads those that are missing.

One read of the store goes on over as many blocks as are wanted and missing. Blocks are claimed a little ahead, so that
another process neither reads them too nor waits for more than these. Knows entries and readers. Does not know who sends
the bytes.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import zlib
from collections.abc import Callable
from logging import WARNING
from time import monotonic

from httpserve.base.log import logger, say
from httpserve.base.threads import block_signals
from httpserve.storage.cache.block_files import BLOCK_BYTES, Unusable
from httpserve.storage.cache.entry import Entry, Run, Task
from httpserve.storage.cache.room import Room
from httpserve.storage.cache.source import Reader, ended_early

log = logger("httpserve.storage")

THREAD_NAME = "httpserve:fill"
CLAIM_BLOCKS = 4  # claimed at a time
AHEAD_BLOCKS = 2  # the next are claimed while so many are left: who looks in between finds no gap
LOOK_SECONDS = 0.01  # how often a block is looked for that another process reads
STUCK_SECONDS = 20.0  # longer than any read of a store takes: a process that was stopped keeps nobody waiting


class Fill:
    """The thread of one run. *warn* is called with what keeps blocks from being kept."""

    def __init__(self, entry: Entry, run: Run, room: Room, warn: Callable[[OSError], object]) -> None:
        self._entry = entry
        self._run = run
        self._room = room
        self._warn = warn
        self._buffer = memoryview(bytearray(BLOCK_BYTES))
        self._reader: Reader | None = None
        self._reads = Task(0, 0)  # the block that the reader gives next, and up to which one it was asked
        self._unsure: list[tuple[int, int]] = []  # blocks that are not yet confirmed, and their CRC
        self._reserved = 0  # bytes that are taken from the room
        self._waits_since: float | None = None  # for another process

    def start(self) -> threading.Thread | None:
        """Begin, in a thread that ends by itself; None where the system has none for it."""
        thread = threading.Thread(target=self._main, name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter ends
            self._entry.fail(self._run, OSError(errno.EAGAIN, str(error)), [])
            self._entry.ended(self._run)
            return None
        return thread

    def _main(self) -> None:
        block_signals()
        try:
            self._fill()
        except Exception as error:  # noqa: BLE001 - whoever waits for these bytes gets it
            self._entry.fail(self._run, error, [block for block, _ in self._unsure])
        finally:
            self._close_reader()
            self._room.give_back(self._reserved)
            self._entry.ended(self._run)

    def _fill(self) -> None:
        try:
            task = self._entry.next(self._run)
            while task is not None:
                if self._is_ours(task):
                    self._read(task)
                following = self._entry.next(self._run)
                if self._unsure and self._must_confirm(task, following):
                    self._confirm()
                task = following
        except Unusable as error:
            self._entry.pass_by()
            self._warn(error.cause)
            self._confirm()

    def _is_ours(self, task: Task) -> bool:
        """Tell whether a block is to be read here: not where it is there, nor while another process reads it."""
        run, files = self._run, self._entry.files
        if task.block == run.claimed:
            crc = files.marks(task.block, task.block + 1)[0]
            if crc is not None and files.crc(task.block, self._buffer) == crc:
                self._leave_reader()
                self._waits_since = None
                self._entry.came(run, is_sure=True)
                return False
            if not self._claim_first(task.block, crc):
                return False
        if run.claimed - task.block <= AHEAD_BLOCKS:
            self._claim_more(task.stop)
        return True

    def _claim_first(self, block: int, crc: int | None) -> bool:
        """Claim the block that is next, whose mark has a CRC that is wrong, or none."""
        entry, run = self._entry, self._run
        if entry.claim(run, block + 1) > block:
            self._waits_since = None
        elif not self._may_take_over():
            self._leave_reader()
            entry.wait(LOOK_SECONDS)
            return False
        if entry.files.marks(block, block + 1)[0] != crc:  # another process was quicker
            entry.keep_claim(run, block)
            return False
        if crc is not None:
            say(log, WARNING, "block %s of %s was damaged in the cache: it is read again", block, entry.key.name)
            entry.files.unmark(block)
        if not self._reserve(1):
            raise Unusable(OSError(errno.ENOSPC, "what is in use takes all that it may take, or its disk is full"))
        run.claimed = block + 1
        return True

    def _may_take_over(self) -> bool:
        """Tell whether another process has kept a block for too long. What both write is the same."""
        now = monotonic()
        if self._waits_since is None:
            self._waits_since = now
        return self._entry.is_pinned and now - self._waits_since > STUCK_SECONDS

    def _claim_more(self, stop: int) -> None:
        """Claim blocks behind those that are claimed, up to one that is marked, or for which there is no room."""
        entry, run, claimed = self._entry, self._run, self._run.claimed
        end = entry.claim(run, min(stop, claimed + CLAIM_BLOCKS))
        if end > claimed:
            free = _unmarked(entry.files.marks(claimed, end))
            entry.keep_claim(run, claimed + free * self._reserve(free))

    def _reserve(self, blocks: int) -> bool:
        if not self._room.take(blocks * BLOCK_BYTES):
            return False
        self._reserved += blocks * BLOCK_BYTES
        return True

    def _read(self, task: Task) -> None:
        """Read a block, and mark it once it is written."""
        entry, block = self._entry, task.block
        if self._reads.block != block or self._reads.stop <= block:
            self._leave_reader()
        if self._reader is None:
            stop = block + 1 + _unmarked(entry.files.marks(block + 1, task.stop))
            offset = block * BLOCK_BYTES
            self._reader = self._run.fetch(offset, min(stop * BLOCK_BYTES, entry.key.size) - offset)
            self._reads = Task(block, stop)
        crc = self._copied(self._reader, block)
        self._reads = self._reads._replace(block=block + 1)
        self._reserved -= BLOCK_BYTES
        self._room.written(BLOCK_BYTES)
        if entry.is_pinned:
            entry.files.mark(block, crc)
        else:
            self._unsure.append((block, crc))
        entry.came(self._run, is_sure=entry.is_pinned)

    def _copied(self, reader: Reader, block: int) -> int:
        """Write a block as it comes, and return its CRC."""
        entry, start, length = self._entry, block * BLOCK_BYTES, self._entry.files.length_of(block)
        written = crc = 0
        while written < length:
            count = reader.readinto(self._buffer[: length - written])
            if not count:
                raise ended_early(entry.key.name, start + written)
            piece = self._buffer[:count]
            self._write(piece, start + written)
            crc = zlib.crc32(piece, crc) if entry.files.is_shared else 0
            written += count
            if not entry.wrote(self._run, written):
                raise OSError(errno.ECANCELED, "the cache was closed")
        return crc

    def _write(self, piece: memoryview, offset: int) -> None:
        try:
            self._entry.files.write(piece, offset)
        except Unusable as error:
            if not error.is_full or not self._room.make(CLAIM_BLOCKS * BLOCK_BYTES):
                raise
            self._entry.files.write(piece, offset)

    def _must_confirm(self, task: Task, following: Task | None) -> bool:
        """Tell whether blocks must be sure before the run goes on: where somebody wants no more than these."""
        is_end = following is None or following.block != task.block + 1
        return is_end or self._entry.ends_within(self._unsure[0][0], task.block + 1)

    def _confirm(self) -> None:
        """Ask the store whether what was read is of the right version, and mark it then."""
        if self._unsure and self._reader is not None:
            self._reader.finish()
            with contextlib.suppress(Unusable):  # what is not marked is there for this process alone
                for block, crc in self._unsure:
                    self._entry.files.mark(block, crc)
            self._entry.confirm([block for block, _ in self._unsure])
            self._unsure.clear()

    def _leave_reader(self) -> None:
        self._confirm()
        self._close_reader()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(OSError):  # what was wanted of it is there
                reader.close()


def _unmarked(marks: list[int | None]) -> int:
    """Return how many marks there are before the first block that is there."""
    return next((at for at, crc in enumerate(marks) if crc is not None), len(marks))
