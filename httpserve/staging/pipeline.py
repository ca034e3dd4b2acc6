"""Moves chunks from a source to a sink, with SHA-256 beside it, in the calling thread or in one of its own.

Knows threads and chunks. Knows nothing of what sources and sinks are made of.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from httpserve.staging.progress import Report
from httpserve.staging.sources import Source, SourceChanged

COPY_CHUNK_BYTES = 512 * 1024  # half as many hand-overs as with 256 KiB; Ctrl-C is felt within one chunk
RING_BUFFERS = 16  # with 8 the two threads wait for each other more: 0.95 s for a GiB instead of 0.78 s
# To hand a chunk over costs as much as to hash a few KiB, so short reads are gathered up to this.
LEAST_CHUNK_BYTES = 64 * 1024
# Seconds that a copy which was given up waits for its thread; longer is only one that sits in opendal.
GRACE = 0.2

T = TypeVar("T")


class Sink(Protocol):
    """Where a copy goes: nothing of it is seen before `commit`, nothing stays after `discard`."""

    def write(self, data: memoryview) -> None:
        """Append the whole of *data*. Fails once the sink was discarded."""

    def restart(self) -> None:
        """Forget what was written."""

    def commit(self, sha256: str | None) -> object:
        """Put what was written in place, in one step."""

    def discard(self) -> None:
        """Remove what was written. Harmless twice, after commit, and while another thread writes."""


def pump(source: Source, sink: Sink, report: Report) -> str:
    """Write all of *source* to *sink*, without committing. Returns its SHA-256. Blocks until done.

    The bytes so far are reported at each chunk, and at the end. Starts over when the source changes.
    """
    return _until_unchanged(_hashed, source, sink, report)


def pump_unhashed(source: Source, sink: Sink, report: Report) -> None:
    """Do as `pump`, without the digest."""
    _until_unchanged(_unhashed, source, sink, report)


def _until_unchanged(attempt: Callable[[Source, Sink, Report], T], source: Source, sink: Sink, report: Report) -> T:
    while True:
        try:
            return attempt(source, sink, report)
        except SourceChanged:
            sink.restart()


def _unhashed(source: Source, sink: Sink, report: Report) -> None:
    buffer = memoryview(bytearray(COPY_CHUNK_BYTES))
    copied = 0
    for chunk in _chunks(source, lambda: buffer):
        sink.write(chunk)
        copied += len(chunk)
        report(copied, source.size)
    source.finish()
    report(copied, copied)


def _hashed(source: Source, sink: Sink, report: Report) -> str:
    digest = _Digest()
    try:
        copied = 0
        reported: tuple[int, int | None] | None = None
        for chunk in _chunks(source, digest.free_buffer):
            digest.update(chunk)
            sink.write(chunk)
            copied += len(chunk)
            reported = copied, source.size
            report(*reported)
        source.finish()
        if reported != (copied, copied):
            report(copied, copied)
        return digest.hexdigest()
    finally:
        digest.close()


def _chunks(source: Source, free_buffer: Callable[[], memoryview]) -> Iterator[memoryview]:
    """Give all of *source* in chunks, each in a buffer that is asked for."""
    read = 1
    while read:
        buffer = free_buffer()
        count = 0
        while read and count < LEAST_CHUNK_BYTES:
            read = source.readinto(buffer[count:])
            count += read
        if count:
            yield buffer[:count]


class _Digest:
    """SHA-256 of chunks that lie in a ring of buffers, computed in a thread of its own from the second on.

    A thread costs more than to hash one chunk, and hashlib lets the interpreter go on while it works.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._first: memoryview | None = None
        self._thread: threading.Thread | None = None
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[memoryview | None] = SimpleQueue()
        self._buffers = 0

    def free_buffer(self) -> memoryview:
        """Return a buffer that holds nothing any more; wait for one where all are in the ring."""
        if self._buffers < RING_BUFFERS:
            self._buffers += 1
            return memoryview(bytearray(COPY_CHUNK_BYTES))
        return self._free.get()

    def update(self, chunk: memoryview) -> None:
        """Hash *chunk* next. Returns at once; its buffer may be read, and is free some time later."""
        if self._first is None:
            self._first = chunk
            return
        if self._thread is None:
            thread = threading.Thread(target=self._hash, name="httpserve:sha256", daemon=True)
            self._full.put(self._first)
            thread.start()
            self._thread = thread
        self._full.put(chunk)

    def hexdigest(self) -> str:
        """Return the digest of all chunks, after waiting for the last ones."""
        if self._thread is None and self._first is not None:
            self._sha256.update(self._first)
        self.close()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread, once it has hashed what is in the ring. Calling twice is harmless."""
        self._full.put(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _hash(self) -> None:
        while (chunk := self._full.get()) is not None:
            self._sha256.update(chunk)
            self._free.put(memoryview(chunk.obj))


# Where a read or a write may sit in opendal, which does not feel Ctrl-C


class _Abandoned(Exception):
    """Nobody waits for this copy any more."""


class _Outcome(Generic[T]):
    """What a job in another thread came to."""

    def __init__(self, value: T | None, error: BaseException | None) -> None:
        self.value = value
        self.error = error


def interruptibly(job: Callable[[Report], T], report: Report, abandon: Callable[[], object]) -> T:
    """Run *job* in a thread, and wait for it here so that Ctrl-C is felt. Blocks until it is done.

    Args:
        job: What to do; it is handed a function to report with, which ends it once nobody waits any more.
        report: Called in this thread with what the job reports.
        abandon: Called when the wait ends early, by Ctrl-C or by what *report* raised; the job may still be
            under way then, for as long as opendal does not return.

    Returns:
        What the job returns; what it raises is raised.
    """
    events: SimpleQueue[tuple[int, int | None] | _Outcome[T]] = SimpleQueue()
    abandoned = threading.Event()

    def relay(copied: int, total: int | None) -> None:
        if abandoned.is_set():
            raise _Abandoned
        events.put((copied, total))

    def work() -> None:
        try:
            events.put(_Outcome(job(relay), None))
        except BaseException as error:  # noqa: BLE001  # it is raised where the copy was asked for
            events.put(_Outcome(None, error))

    worker = threading.Thread(target=work, name="httpserve:copy", daemon=True)
    try:
        worker.start()  # it waits until the thread runs, so a Ctrl-C can arrive here as well
        while isinstance(event := events.get(), tuple):
            report(*event)
        worker.join()
    except BaseException:
        abandoned.set()
        abandon()
        if worker.is_alive():
            worker.join(GRACE)
        raise
    if event.error is not None:
        raise event.error
    return event.value  # type: ignore[return-value]  # there is one where there is no error
