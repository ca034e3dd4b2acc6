"""One version of an object in the cache: which blocks are there, who wants which, and who reads which.

Each answer has a want, each read a run. A want whose next block is missing needs a run, unless one comes by soon. A
run reads one block after another while they are wanted and missing, and ends where another is already. Where reads
cannot be bound to one version, blocks are unsure until the store was asked again, and the last block of a want is held
back until all of it is sure. Knows the files of the entry, and no threads but those who wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from httpserve.base.threads import Latch
from httpserve.storage.cache.block_files import BLOCK_BYTES, Files, Left, Unusable
from httpserve.storage.cache.source import Fetch, Key, read_failed
from httpserve.storage.served import VersionGone

MISSING, UNSURE, SURE = range(3)  # what is known of a block
NEAR_BLOCKS = 4  # a want whose next block is that much ahead of a run waits for it; one farther on gets its own


class Memory(NamedTuple):
    """What was known of an entry when it was closed: holds while its data is as it was left."""

    left: Left
    there: bytes


class Want:
    """What one answer wants next."""

    __slots__ = ("error", "given", "is_spoilt", "low", "offset", "stop")

    def __init__(self) -> None:
        self.low = self.offset = self.stop = 0  # low: where it began
        self.given = 0  # up to where it was told that bytes are there
        self.error: BaseException | None = None  # why the next will not come
        self.is_spoilt = False  # what it was given belongs to another version

    def move(self, offset: int, length: int) -> None:
        """Go on to other bytes: to part of what it wants already, which it still wants, or somewhere else."""
        if not self.offset <= offset <= offset + length <= self.stop:
            self.low = self.given = offset
            self.stop = offset + length
            self.error = self.error if self.is_spoilt else None
        self.offset = offset

    @property
    def last_block(self) -> int:
        return (self.stop - 1) // BLOCK_BYTES

    def covers(self, block: int) -> bool:
        """Tell whether some of a block is still wanted."""
        return self.offset // BLOCK_BYTES <= block <= self.last_block


class Run:
    """One read of consecutive blocks."""

    __slots__ = ("block", "claimed", "fetch", "written")

    def __init__(self, block: int, fetch: Fetch) -> None:
        self.block = block  # that it reads
        self.written = 0  # how much of that is there
        self.claimed = block  # up to which block others leave them to this process
        self.fetch = fetch


class Look(NamedTuple):
    """What a want got.

    Attributes:
        there: How many bytes are there.
        run: What is to be started for it.
        is_past: Whether the cache has no room for it.
    """

    there: int
    run: Run | None = None
    is_past: bool = False


class Task(NamedTuple):
    """What a run does next: a block, and up to which one it may read on."""

    block: int
    stop: int


class Entry:
    """One that is open. Safe from any thread; waits for nothing unless it says so.

    Args:
        key: Which version.
        files: Closed with the last answer and the last run.
        is_pinned: Whether reads are bound to the version.
        memory: What was known when it was last open.
        closed: Called with this entry once it is closed.

    Attributes:
        memory: What is to be known when it is opened again; None while it is open.
        is_gone: Whether the store has another version by now.
    """

    def __init__(
        self,
        key: Key,
        files: Files,
        *,
        is_pinned: bool,
        memory: Memory | None,
        closed: Callable[[Entry], object],
    ) -> None:
        self.key = key
        self.files = files
        self.is_pinned = is_pinned
        self._closed = closed
        files.note_use()
        self._lock = threading.Lock()  # guards what follows
        self._there = bytearray(files.blocks)
        self._missing = files.blocks
        self._settled: Left | None = None  # once it is whole
        if memory is not None and memory.left == files.left():
            self._there[:] = memory.there
            self._missing = memory.there.count(MISSING)
            self._settled = memory.left if self.is_whole else None
        self._wants: list[Want] = []
        self._runs: list[Run] = []
        self._waiting: list[Latch] = []
        self._is_over = False  # the cache is closed
        self._is_past = False  # there is no room
        self._is_closed = False
        self.memory: Memory | None = None
        self.is_gone = False

    @property
    def is_whole(self) -> bool:
        """Whether every block is there."""
        return not self._missing and (self.is_pinned or UNSURE not in self._there)

    # What answers call

    def join(self) -> Want | None:
        """Return a new want; None where the entry was closed meanwhile, or is of no use."""
        with self._lock:
            if self._is_closed or self._is_over or self.is_gone:
                return None
            if not self.unchanged():
                self._distrust()
            self._is_past &= bool(self._runs)  # there may be room again
            want = Want()
            self._wants.append(want)
            return want

    def leave(self, want: Want | None) -> None:
        """Forget a want. The last one closes the files, if no run does."""
        with self._lock:
            if want is not None and want in self._wants:
                self._wants.remove(want)
            is_closed = self._close_if_unused()
        if is_closed:
            self._closed(self)

    def look(self, want: Want, offset: int, length: int, fetch: Fetch, latch: Latch | None) -> Look:
        """Say how much of what is wanted is there. If nothing is, a latch is opened when that may have changed.

        Raises ReadFailed where it will not come.
        """
        with self._lock:
            want.move(offset, length)
            there = min(self._there_for(want), length)
            if want.error is not None and (want.is_spoilt or not there):
                raise read_failed(self.key.name, want.error)
            if there:
                want.given = max(want.given, offset + there)
                return Look(there)
            if self._is_over:
                raise read_failed(self.key.name, OSError(errno.ECANCELED, "the cache was closed"))
            if self._is_past:
                return Look(0, is_past=True)
            if latch is not None:
                self._waiting.append(latch)
            return Look(0, self._needed(want, fetch))

    def forget(self, latch: Latch) -> None:
        """Open a latch no more."""
        with self._lock:
            if latch in self._waiting:
                self._waiting.remove(latch)

    def unchanged(self) -> bool:
        """Tell whether nobody else has written to a whole one. Raises OSError."""
        settled = self._settled  # before the look: else the last block may come in between
        found = os.fstat(self.files.data)
        return found.st_size == self.key.size and (settled is None or found.st_mtime_ns == settled.mtime_ns)

    def _distrust(self) -> None:
        """Take nothing for granted any more: others have written to the data."""
        self._there[:] = bytes(len(self._there))
        self._missing = len(self._there)
        self._settled = None
        for want in self._wants:
            want.is_spoilt = True
            want.error = OSError(errno.EIO, "it was damaged in the cache")

    def _there_for(self, want: Want) -> int:
        """Return how many bytes are there from where a want is on."""
        first, last = want.offset // BLOCK_BYTES, want.last_block
        gap = self._there.find(MISSING, first, last + 1)
        end = want.stop
        if gap >= 0:
            written = [run.written for run in self._runs if run.block == gap]
            end = min(end, gap * BLOCK_BYTES + max(written, default=0))
        if not self.is_pinned and (gap >= 0 or self._there.find(UNSURE, want.low // BLOCK_BYTES, last + 1) >= 0):
            end = min(end, last * BLOCK_BYTES)
        return max(0, end - want.offset)

    def _needed(self, want: Want, fetch: Fetch) -> Run | None:
        """Return a new run, if a want needs one."""
        block = self._there.find(MISSING, want.offset // BLOCK_BYTES, want.last_block + 1)
        if block < 0 or any(run.block <= block <= run.block + NEAR_BLOCKS for run in self._runs):
            return None
        for run in self._runs:
            if run.block < block < run.claimed:
                self.files.give_back(block, run.claimed)
                run.claimed = block
        run = Run(block, fetch)
        self._runs.append(run)
        return run

    # What runs call

    def next(self, run: Run) -> Task | None:
        """Return what a run does next, None if it ends."""
        with self._lock:
            block, stop = run.block, self._wanted_until(run.block)
            missing = self._there.find(MISSING, block, stop) if stop > block else -1
            if missing < 0 or self._is_over or self._is_past or self.is_gone:
                return None
            others = [other.block for other in self._runs if other is not run]
            if missing in others:
                return None
            if missing != block:
                self._give_back(run)
                run.block = run.claimed = missing
            there = [at for state in (UNSURE, SURE) if (at := self._there.find(state, missing, stop)) >= 0]
            return Task(missing, min(stop, *there, *(other for other in others if other > missing), stop))

    def _wanted_until(self, block: int) -> int:
        """Return the end of the wanted blocks that begin with one; *block* if it is not wanted."""
        stop = block
        while True:
            more = max((want.last_block + 1 for want in self._wants if want.covers(stop)), default=stop)
            if more <= stop:
                return stop
            stop = more

    def claim(self, run: Run, stop: int) -> int:
        """Claim the blocks behind those that a run has, up to one; return where they end. Raises Unusable."""
        with self._lock:
            ahead = [other.block for other in self._runs if other is not run and other.block > run.block]
            stop = min(stop, *ahead, stop)
            if stop > run.claimed:
                run.claimed = self.files.claim(run.claimed, stop)
            return run.claimed

    def keep_claim(self, run: Run, stop: int) -> None:
        """Give back the blocks that a run has claimed from one on."""
        with self._lock:
            if stop < run.claimed:
                self.files.give_back(stop, run.claimed)
                run.claimed = stop

    def wrote(self, run: Run, written: int) -> bool:
        """Note how much of its block a run has written. False: it is to end at once."""
        with self._lock:
            run.written = written
            self._wake()
            return not self._is_over

    def came(self, run: Run, *, is_sure: bool) -> None:
        """Note that the block of a run is there; the run goes on to the next one."""
        with self._lock:
            block = run.block
            self._missing -= self._there[block] == MISSING
            self._there[block] = SURE if is_sure else UNSURE
            run.block, run.written = block + 1, 0
            if is_sure:  # others read what is not marked and not claimed
                self.files.give_back(block, block + 1)
            run.claimed = max(run.claimed, block + 1)
            self._settle()

    def confirm(self, blocks: list[int]) -> None:
        """Note that blocks which were unsure are of this version."""
        with self._lock:
            for block in blocks:
                self._there[block] = SURE
                self.files.give_back(block, block + 1)
            self._settle()

    def ends_within(self, block: int, stop: int) -> bool:
        """Tell whether a want ends in these blocks, so that they are to be sure."""
        with self._lock:
            return any(block <= want.last_block < stop for want in self._wants)

    def fail(self, run: Run, error: BaseException, unsure: list[int]) -> None:
        """Let those know who wait for a run that it does not go on, and that these blocks are of no use."""
        with self._lock:
            self.is_gone |= isinstance(error, VersionGone)
            for block in unsure:
                self._missing += self._there[block] != MISSING
                self._there[block] = MISSING
                self.files.give_back(block, block + 1)
            low = min([run.block, *unsure])
            for want in self._wants:
                want.is_spoilt |= any(
                    want.low < (one + 1) * BLOCK_BYTES and want.given > one * BLOCK_BYTES for one in unsure
                )
                missing = self._there.find(MISSING, want.offset // BLOCK_BYTES, want.last_block + 1)
                if want.is_spoilt or (missing >= 0 and (self.is_gone or low <= missing <= run.block + NEAR_BLOCKS)):
                    want.error = error

    def pass_by(self) -> None:
        """Send wants past the cache: there is no room."""
        with self._lock:
            self._is_past = True

    def ended(self, run: Run) -> None:
        """Forget a run. The last one closes the files, if no answer has them."""
        with self._lock:
            self._runs.remove(run)
            self._give_back(run)
            self._wake()
            is_closed = self._close_if_unused()
        if is_closed:
            self._closed(self)

    def wait(self, seconds: float) -> None:
        """Block until something has changed here, at most so long."""
        latch = Latch()
        with self._lock:
            self._waiting.append(latch)
        latch.wait(seconds)
        self.forget(latch)

    # What the cache calls

    def end(self) -> None:
        """Let all runs end, and who waits for them know."""
        with self._lock:
            self._is_over = True
            self._wake()

    def abandon(self) -> None:
        """Give all up in a forked child, whose parent goes on."""
        self._lock = threading.Lock()
        self._runs.clear()
        self._waiting.clear()
        self._is_over = self._is_closed = True
        self.files.close()

    def _give_back(self, run: Run) -> None:
        self.files.give_back(run.block, run.claimed)
        run.claimed = run.block

    def _settle(self) -> None:
        if self.is_whole:
            self._settled = self.files.left()
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for latch in waiting:
            latch.open()

    def _close_if_unused(self) -> bool:
        """Close the files if nobody has a want or a run. Return whether that was done."""
        if self._wants or self._runs or self._is_closed:
            return False
        self._is_closed = True
        with contextlib.suppress(Unusable):
            self.memory = Memory(self.files.left(), bytes(self._there).replace(bytes([UNSURE]), bytes([MISSING])))
        self.files.note_use()
        self.files.close()
        return True
