"""Copies a source into a sink whole or not at all, computing its SHA-256; and a source out to a path.

Knows what a copy promises (digest, progress, no litter), threads and chunks. Knows nothing of how an end is read or
written, nor of names on the server.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

import opendal

from httpserve.base.arguments import checked_seconds
from httpserve.base.progress import Report, reporter
from httpserve.base.threads import Aside
from httpserve.errors import DigestMismatch, InvalidArgument
from httpserve.storage.copying.ends import ReadableSink, Sink, Source, SourceChanged
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.messages import check_whole, is_url, redacted_url, unreadable
from httpserve.storage.copying.opening import check_operator, checked_path
from httpserve.storage.copying.operator import OperatorSink

COPY_CHUNK_BYTES = 256 * 1024  # stays in a processor's cache; Ctrl-C is felt within one chunk
# A call for each chunk costs as much as hashing a few KiB, so short reads are gathered up to this.
LEAST_CHUNK_BYTES = 64 * 1024
# Seconds that an abandoned copy waits for its thread; only one inside opendal takes longer.
GRACE = 0.2

T = TypeVar("T")

_SHA256 = re.compile(r"\s*(?:sha256:)?([0-9a-fA-F]{64})(?:\s.*)?", re.DOTALL)  # a line of `sha256sum` too


def copy_in(
    source: Source,
    sink: ReadableSink,
    *,
    sha256: str | None = None,
    progress: Callable[[int, int | None], object] | bool | None = None,
) -> str:
    """Copy all of *source* into *sink*, commit it, and return its SHA-256. Blocks until done; a Ctrl-C ends it at once.

    Whatever goes wrong, the sink is discarded. The source stays open. `HttpServerClient.put_file` says what *sha256*
    and *progress* are, and what is raised. What *progress* raises ends the copy.
    """
    try:
        expected = checked_digest(sha256)
        with (
            nullcontext(progress or _unreported) if callable(progress) or not progress else reporter(progress) as report
        ):
            # A Ctrl-C comes to the main thread only.
            if source.interruptible or threading.get_ident() != threading.main_thread().ident:
                digest = _hashed(source, sink, report)
            else:
                digest = _interruptibly(partial(_hashed, source, sink), report, sink.discard)
        if expected not in (None, digest):
            message = f"{source.label} has the SHA-256 {digest}, not {expected} as promised; nothing was published"
            raise DigestMismatch(message, source.label, "", str(expected), digest)
        sink.commit(digest)
    except BaseException:  # a Ctrl-C too: half a copy must not stay
        sink.discard()
        raise
    return digest


def checked_digest(sha256: object) -> str | None:
    """Return a digest as 64 lower-case hexadecimal digits, None for None. Raises InvalidArgument for what is none."""
    given = _SHA256.fullmatch(sha256) if isinstance(sha256, str) else None
    if sha256 is not None and given is None:
        raise InvalidArgument(f"sha256 must be 64 hexadecimal digits, not {sha256!r}")
    return None if given is None else given[1].lower()


def copy_out(
    read: Source, dst: str | os.PathLike[str], operator: opendal.Operator | None = None, *, timeout: float
) -> None:
    """Copy all of *read* to *dst* on *operator*, or locally. Blocks until done; a Ctrl-C ends it at once.

    What was there before stays whole until the new file is complete, on an operator as far as its service can do that.
    Missing directories are made. *read* stays open. A remote service may take no byte for *timeout* seconds.

    Raises:
        InvalidType, InvalidArgument: *dst* cannot be written to, such as a URL, or *operator* or *timeout* is invalid.
        CopyFailed: *read* cannot be read, or *dst* cannot be written.
    """
    path = checked_path(dst, "dst")
    check_operator(operator)
    checked_seconds("timeout", timeout)
    # A local file may have such a name: then write ./ before it. A key on an operator may have one, too.
    if is_url(path) and (operator is None or path.lower().startswith(("http://", "https://"))):
        raise InvalidArgument(
            f"dst {redacted_url(path)!r} is a URL, and nothing is uploaded to one; pass an opendal operator for its "
            "service, and the path on it"
        )
    sink = FileSink(path) if operator is None else OperatorSink(path, operator, timeout=timeout)

    def job(report: Report) -> None:
        try:
            _pump(read, sink, report)
            sink.commit(None)
        except BaseException:  # likewise
            sink.discard()
            raise

    if read.interruptible and isinstance(sink, FileSink):
        job(_unreported)
    else:
        # A discard on an operator may wait, like any other call there, so it is left to the job.
        _interruptibly(job, _unreported, sink.discard if isinstance(sink, FileSink) else lambda: None)


def _unreported(copied: int, total: int | None) -> None:
    """Report to nobody."""


def _hashed(source: Source, sink: ReadableSink, report: Report) -> str:
    """Write all of *source* to *sink*, without committing, and return its SHA-256."""
    while True:
        if source.size is not None and source.size < LEAST_CHUNK_BYTES:
            try:
                return _hashed_at_once(source, source.size, sink, report)
            except SourceChanged:
                continue  # nothing was written
        digest = _Digest(sink)
        try:
            _pump_once(source, sink, report, digest.follow)
            return digest.hexdigest()
        except SourceChanged:
            pass
        finally:
            digest.is_given_up = True
            digest.end()  # one C call, so no signal keeps it from the thread
            if digest.thread is not None:
                digest.thread.wait()
        sink.restart()


def _hashed_at_once(source: Source, size: int, sink: Sink, report: Report) -> str:
    """Do what `_hashed` does for a source of one chunk, in a third of the time."""
    buffer = memoryview(bytearray(size + 1))  # with one byte in which its end is seen
    count = read = source.readinto(buffer)
    while read and count <= size:
        read = source.readinto(buffer[count:])
        count += read
    if count != size:
        check_whole(source.label, count, size)
    source.finish()
    data = buffer[:size]
    sink.write(data)
    report(size, size)
    return hashlib.sha256(data).hexdigest()


def _pump(source: Source, sink: Sink, report: Report) -> None:
    while True:
        try:
            return _pump_once(source, sink, report, lambda chunk, copied: None)
        except SourceChanged:
            sink.restart()


def _pump_once(source: Source, sink: Sink, report: Report, follow: Callable[[memoryview, int], None]) -> None:
    """Write all of *source* to *sink*, and report the bytes so far at each chunk and at the end."""
    reported: tuple[int, int | None] | None = None
    whole = 0
    for chunk, whole in _chunks(source):
        sink.write(chunk)
        follow(chunk, whole)
        reported = whole, source.size
        report(*reported)
    source.finish()
    if reported != (whole, whole):
        report(whole, whole)


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
        self._written: SimpleQueue[int | None] = SimpleQueue()  # None: the end
        self.thread: Aside[None] | None = None  # from the second chunk on
        self._has_thread = False  # whether the system had one to give
        self.end = partial(self._written.put, None)  # lets the thread end; harmless when repeated
        self.is_given_up = False

    def follow(self, chunk: memoryview, written: int) -> None:
        """Hash *chunk*, which was written last and ends the first *written* bytes. Returns at once."""
        if self.thread is None and written > len(chunk):
            self.thread = Aside(self._hash, "httpserve:sha256")
            self._has_thread = self.thread.start()
        if self._has_thread:
            self._written.put(written)
        else:
            self._sha256.update(chunk)
            self._hashed = written

    def hexdigest(self) -> str:
        """Return the digest of all that was written, after waiting for the rest. Raises what went wrong with it."""
        self.end()
        if self.thread is not None:
            self.thread.wait()
            if self._has_thread:
                self.thread.result()
        return self._sha256.hexdigest()

    def _hash(self) -> None:
        # Opened and closed here, where no signal interrupts: a number closed by two threads may be another file's.
        fd = self._sink.reader()
        try:
            buffer = memoryview(bytearray(COPY_CHUNK_BYTES))
            while (end := self._written.get()) is not None:
                while self._hashed < end and not self.is_given_up:
                    count = _read_at(fd, buffer[: end - self._hashed], self._sink.start + self._hashed)
                    self._sha256.update(buffer[:count])
                    self._hashed += count
        except OSError as error:
            raise unreadable("what was written", f"it cannot be read back: {error.strerror}", error.errno) from error
        finally:
            try:
                os.close(fd)
            except OSError as error:
                # Perhaps the only report: a disk tells only the first to close that it could not keep the bytes.
                raise self._sink.refused(error) from error


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


class _Abandoned(Exception):
    """Nobody waits for this copy any more."""


def _interruptibly(job: Callable[[Report], T], report: Report, abandon: Callable[[], object]) -> T:
    """Run *job* in a thread, and wait for it here so that Ctrl-C works, which it does not inside opendal.

    The job is given a function to report with, which ends it once nobody waits any more. *abandon* is called when a
    signal or *report* has ended the wait; the job may then still be under way, until opendal returns.
    """
    events: SimpleQueue[tuple[int, int | None] | None] = SimpleQueue()  # None: the job has ended
    is_waited_for = True

    def relay(copied: int, total: int | None) -> None:
        if not is_waited_for:
            raise _Abandoned
        events.put((copied, total))

    def body() -> T:
        try:
            return job(relay)
        finally:
            events.put(None)

    work = Aside(body, "httpserve:copy")
    try:
        if not work.start():
            return job(report)
        while (event := events.get()) is not None:
            report(*event)
        work.wait()
    except BaseException:  # from a signal, or from what reports: the job ends by itself
        is_waited_for = False
        abandon()
        work.wait(GRACE)
        raise
    return work.result()
