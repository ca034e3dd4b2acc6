"""One answer past the cache, where that has no room: its bytes go through memory, a few at a time.

They lie in files without a name that have holes in place of all other bytes, so that an offset in them is one in the
object, and they leave as from any file. Each is used once, as the kernel may still send from it. Knows readers. Knows
no entry and no disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from time import monotonic

from httpserve.base.threads import Latch, block_signals, renew_in_child
from httpserve.plan import ReadFailed
from httpserve.storage.cache.source import Fetch, Key, Reader, ended_early, read_failed

THREAD_NAME = "httpserve:fill"
PART_BYTES = 1024 * 1024
MOST_PARTS = 2  # one that is being sent, one that is being read
HELD_BACK_BYTES = 64 * 1024  # until the store was asked whether it still has this version
READ_BYTES = 256 * 1024


class _Closed(Exception):
    """Nobody wants the rest."""


class Past:
    """The bytes from an offset on, up to another, read by a thread of its own as they are asked for."""

    def __init__(self, key: Key, fetch: Fetch, offset: int, stop: int, *, is_pinned: bool) -> None:
        self._key = key
        self._fetch = fetch
        self._is_pinned = is_pinned
        self._offset = offset
        self._stop = stop
        self._lock = threading.Lock()  # guards what follows
        self._parts: list[tuple[int, int, int]] = []  # where each begins and ends, and its descriptor
        self._at = offset  # up to where it is read
        self._error: BaseException | None = None
        self._is_sure = is_pinned
        self._is_closed = False
        self._waiting: list[Latch] = []
        self.fd = -1  # of what is sent next
        renew_in_child(self, Past._abandon)

    def start(self) -> None:
        """Begin to read."""
        try:
            threading.Thread(target=self._main, name=THREAD_NAME, daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter ends
            self._error = OSError(errno.EAGAIN, str(error))

    def covers(self, offset: int, length: int) -> bool:
        """Tell whether bytes are among those that are still there, or come soon."""
        with self._lock:
            first = self._parts[0][0] if self._parts else self._at
            return first <= offset <= self._at + MOST_PARTS * PART_BYTES and offset + length <= self._stop

    def arrived(self, offset: int, length: int, seconds: float) -> int:
        """Do what `RegionFile.arrived` does, for what it `covers`."""
        deadline = monotonic() + seconds
        while True:
            latch = Latch()
            with self._lock:
                there = self._there(offset)
                if there > 0:
                    return min(there, length)
                if self._error is not None:
                    raise self._failed(self._error)
                self._waiting.append(latch)
            left = deadline - monotonic()
            if left <= 0 or not latch.wait(left):
                with self._lock:
                    self._waiting = [one for one in self._waiting if one is not latch]
                    return max(0, min(self._there(offset), length))

    def close(self) -> None:
        """End the read, and close what is open. Harmless when repeated."""
        with self._lock:
            self._is_closed = True
            self._drop_parts(self._stop)
            self._wake()

    def _abandon(self) -> None:
        """Give it up in a forked child, which has no thread for it."""
        self._lock = threading.Lock()
        self._error = OSError(errno.ECANCELED, "this process was forked meanwhile")
        self._drop_parts(self._stop)

    def _failed(self, error: BaseException) -> ReadFailed:
        return read_failed(self._key.name, error)

    def _there(self, offset: int) -> int:
        """Return how many bytes are there from an offset on, in one file, and let go of those before."""
        self._drop_parts(offset)
        if not self._parts:
            return 0
        _, end, self.fd = self._parts[0]
        sure = self._stop if self._is_sure else max(self._offset, self._stop - HELD_BACK_BYTES)
        return min(end, self._at, sure) - offset

    def _drop_parts(self, offset: int) -> None:
        while self._parts and self._parts[0][1] <= offset:
            os.close(self._parts.pop(0)[2])
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for latch in waiting:
            latch.open()

    def _main(self) -> None:
        block_signals()
        reader = None
        try:
            reader = self._fetch(self._offset, self._stop - self._offset)
            self._read(reader)
            if not self._is_pinned:
                reader.finish()
            with self._lock:
                self._is_sure = True
                self._wake()
        except _Closed:
            pass
        except Exception as error:  # noqa: BLE001 - whoever waits for these bytes gets it
            with self._lock:
                self._error = error
                self._wake()
        finally:
            if reader is not None:
                with contextlib.suppress(OSError):  # what was wanted of it is there
                    reader.close()

    def _read(self, reader: Reader) -> None:
        buffer = memoryview(bytearray(READ_BYTES))
        end = 0
        while self._at < self._stop:
            if end <= self._at:
                end = min(self._stop, self._at + PART_BYTES)
                self._add_part(end)
            count = reader.readinto(buffer[: end - self._at])
            if not count:
                raise ended_early(self._key.name, self._at)
            with self._lock:  # no part is closed meanwhile
                self._check()
                for _, _, fd in self._parts[-1:]:  # none: what is wanted lies behind it
                    _write(fd, buffer[:count], self._at)
                self._at += count
                self._wake()

    def _add_part(self, end: int) -> None:
        """Make a file for the next bytes, once the one before the last is sent."""
        while True:
            latch = Latch()
            with self._lock:
                self._check()
                if len(self._parts) < MOST_PARTS:
                    self._parts.append((self._at, end, _file()))
                    return
                self._waiting.append(latch)
            latch.wait()

    def _check(self) -> None:
        if self._is_closed:
            raise _Closed


def _write(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def _file() -> int:
    """Return an empty file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(THREAD_NAME, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
