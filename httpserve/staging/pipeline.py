"""Moves chunks from a source to a sink, with SHA-256 beside it, in the calling thread or in one of its own.

Knows threads and chunks. Knows nothing of what sources and sinks are made of.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from httpserve.staging.messages import unreadable
from httpserve.staging.progress import Report
from httpserve.staging.sources import Source, SourceChanged
from httpserve.uninterrupted import sigint_held

COPY_CHUNK_BYTES = 256 * 1024  # stays in a processor's cache; Ctrl-C is felt within one chunk
# A call for each chunk costs as much as to hash a few KiB, so short reads are gathered up to this.
LEAST_CHUNK_BYTES = 64 * 1024
# Seconds that a copy which was given up waits for its thread; longer is only one that sits in opendal.
GRACE = 0.2

T = TypeVar("T")
S = TypeVar("S", bound="Sink")


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


class ReadableSink(Sink, Protocol):
    """A sink that can be read back while it is written."""

    @property
    def start(self) -> int:
        """Where the copy begins in it."""

    def reader(self) -> int:
        """Return a descriptor to read it back by, the caller's to close. Fails once the sink was discarded."""


def pump(source: Source, sink: ReadableSink, report: Report) -> str:
    """Write all of *source* to *sink*, without committing. Returns its SHA-256. Blocks until done.

    The bytes so far are reported at each chunk, and at the end. Starts over when the source changes.
    """
    return _until_unchanged(_hashed, source, sink, report)


def pump_unhashed(source: Source, sink: Sink, report: Report) -> None:
    """Do as `pump`, without the digest."""
    _until_unchanged(_copied, source, sink, report)


def _until_unchanged(attempt: Callable[[Source, S, Report], T], source: Source, sink: S, report: Report) -> T:
    while True:
        try:
            return attempt(source, sink, report)
        except SourceChanged:
            sink.restart()


def _copied(source: Source, sink: Sink, report: Report) -> None:
    whole = 0
    for chunk, whole in _chunks(source):
        sink.write(chunk)
        report(whole, source.size)
    source.finish()
    report(whole, whole)


def _hashed(source: Source, sink: ReadableSink, report: Report) -> str:
    digest = _Digest(sink)
    try:
        reported: tuple[int, int | None] | None = None
        for chunk, copied in _chunks(source):
            sink.write(chunk)
            digest.follow(chunk, copied)
            reported = copied, source.size
            report(*reported)
        source.finish()
        whole = 0 if reported is None else reported[0]
        if reported != (whole, whole):
            report(whole, whole)
        return digest.hexdigest()
    finally:
        digest.close()


def _chunks(source: Source) -> Iterator[tuple[memoryview, int]]:
    """Give all of *source* in chunks, each in the same buffer, with the number of bytes up to its end."""
    buffer = memoryview(bytearray(COPY_CHUNK_BYTES))
    copied, read = 0, 1
    while read:
        count = 0
        while read and count < LEAST_CHUNK_BYTES:
            read = source.readinto(buffer[count:])
            count += read
        if count:
            copied += count
            yield buffer[:count], copied


class _Digest:
    """SHA-256 of what a sink has been given, computed from the second chunk on in a thread that reads it back.

    Reading back costs less than handing buffers over: each thread has one that stays in its processor's cache, and
    neither waits for the other. What is hashed is what boards will get.
    """

    def __init__(self, sink: ReadableSink) -> None:
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self._hashed = 0
        self._thread: threading.Thread | None = None
        self._written: SimpleQueue[int | None] = SimpleQueue()
        self._is_given_up = False
        self._error: OSError | None = None

    def follow(self, chunk: memoryview, written: int) -> None:
        """Hash *chunk*, which was written last, the end of the first *written* bytes. Returns at once."""
        if written == len(chunk):
            self._sha256.update(chunk)
            self._hashed = written
            return
        if self._thread is None:
            with sigint_held():  # which would lose the number of the copy
                fd = self._sink.reader()
                thread = threading.Thread(target=self._hash, args=(fd,), name="httpserve:sha256", daemon=True)
                try:
                    thread.start()
                except BaseException:
                    os.close(fd)
                    raise
                self._thread = thread
        self._written.put(written)

    def hexdigest(self) -> str:
        """Return the digest of all that was written, after waiting for the rest."""
        self._written.put(None)
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise unreadable("what was written", f"it cannot be read back: {self._error.strerror}", self._error.errno)
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread. Calling twice is harmless."""
        self._is_given_up = True
        self._written.put(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _hash(self, fd: int) -> None:
        buffer = memoryview(bytearray(COPY_CHUNK_BYTES))
        try:
            while (end := self._written.get()) is not None:
                while self._hashed < end and not self._is_given_up:
                    count = _read_at(fd, buffer[: end - self._hashed], self._sink.start + self._hashed)
                    self._sha256.update(buffer[:count])
                    self._hashed += count
        except OSError as error:
            self._error = error
        finally:
            os.close(fd)


def _read_at(fd: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        count = os.preadv(fd, [buffer], offset)
    else:  # pragma: no cover - not Linux, nor a BSD
        data = os.pread(fd, len(buffer), offset)
        count = len(data)
        buffer[:count] = data
    if not count:
        raise OSError(errno.EIO, "it has become shorter")
    return count


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
