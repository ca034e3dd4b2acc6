"""Moves chunks from a source to a sink, with SHA-256 beside it, in the calling thread or in one of its own.

Knows threads and chunks. Knows nothing of what sources and sinks are made of.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from httpserve.base.progress import Report
from httpserve.base.threads import Aside
from httpserve.storage.copying.ends import ReadableSink, Sink, Source, SourceChanged
from httpserve.storage.copying.messages import unreadable

COPY_CHUNK_BYTES = 256 * 1024  # stays in a processor's cache; Ctrl-C is felt within one chunk
# A call for each chunk costs as much as to hash a few KiB, so short reads are gathered up to this.
LEAST_CHUNK_BYTES = 64 * 1024
# Seconds that a copy which was given up waits for its thread; longer is only one that sits in opendal.
GRACE = 0.2

T = TypeVar("T")
S = TypeVar("S", bound="Sink")


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
        digest.is_given_up = True
        digest.end()  # a call of C: whatever signals raise, the thread has been told
        digest.wait()


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
        self._written: SimpleQueue[int | None] = SimpleQueue()
        self._thread: Aside[None] | None = None  # from the second chunk on
        self._has_thread = False  # where the system has one for it
        self.end = partial(self._written.put, None)  # lets the thread end; harmless when repeated
        self.is_given_up = False

    def follow(self, chunk: memoryview, written: int) -> None:
        """Hash *chunk*, which was written last, the end of the first *written* bytes. Returns at once."""
        if self._thread is None and written > len(chunk):
            self._thread = Aside(self._hash, "httpserve:sha256")
            self._has_thread = self._thread.start()
        if self._has_thread:
            self._written.put(written)
        else:
            self._sha256.update(chunk)
            self._hashed = written

    def wait(self) -> None:
        """Block until the thread has ended."""
        if self._thread is not None:
            self._thread.wait()

    def hexdigest(self) -> str:
        """Return the digest of all that was written, after waiting for the rest. Raises what was wrong with it."""
        self.end()
        self.wait()
        if self._has_thread and self._thread is not None:
            self._thread.result()
        return self._sha256.hexdigest()

    def _hash(self) -> None:
        # Opened and closed here, where no signal interrupts: a number that two threads close is another file's.
        fd = self._sink.reader()
        try:
            self._follow_in(fd)
        except OSError as error:
            raise unreadable("what was written", f"it cannot be read back: {error.strerror}", error.errno) from error
        finally:
            try:
                os.close(fd)
            except OSError as error:
                # Perhaps the only word of it: a disk tells who closes first that it could not keep what was written.
                raise self._sink.refused(error) from error

    def _follow_in(self, fd: int) -> None:
        buffer = memoryview(bytearray(COPY_CHUNK_BYTES))
        while (end := self._written.get()) is not None:
            while self._hashed < end and not self.is_given_up:
                count = _read_at(fd, buffer[: end - self._hashed], self._sink.start + self._hashed)
                self._sha256.update(buffer[:count])
                self._hashed += count


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


def interruptibly(job: Callable[[Report], T], report: Report, abandon: Callable[[], object]) -> T:
    """Run *job* in a thread, and wait for it here so that Ctrl-C is felt. Blocks until it is done.

    Args:
        job: What to do; it is handed a function to report with, which ends it once nobody waits any more.
        report: Called in this thread with what the job reports.
        abandon: Called when the wait ends early, by what a signal or *report* raised; the job may still be under way
            then, for as long as opendal does not return.

    Returns:
        What the job returns; what it raises is raised.
    """
    relay = _Relay()
    work = Aside(partial(relay.until_the_end, job), "httpserve:copy")
    try:
        if not work.start():
            return job(report)
        while (event := relay.events.get()) is not None:
            report(*event)
        work.wait()
    except BaseException:
        relay.is_abandoned = True
        abandon()
        work.wait(GRACE)
        raise
    return work.result()


class _Relay:
    """What a job in another thread reports, on its way to the thread that waits for it."""

    def __init__(self) -> None:
        self.events: SimpleQueue[tuple[int, int | None] | None] = SimpleQueue()  # None: the job has ended
        self.is_abandoned = False

    def report(self, copied: int, total: int | None) -> None:
        if self.is_abandoned:
            raise _Abandoned
        self.events.put((copied, total))

    def until_the_end(self, job: Callable[[Report], T]) -> T:
        try:
            return job(self.report)
        finally:
            self.events.put(None)
