"""Copies a source into a sink, computing SHA-256 beside the copying.

Knows sources, sinks and threads. Knows nothing of what they are made of, nor of names on the server.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from httpserve.errors import DigestMismatch, InvalidArgument
from httpserve.staging.progress import Report, reporter
from httpserve.staging.sources import Source, SourceChanged

COPY_CHUNK_BYTES = 256 * 1024  # larger writes were slower on ext4; Ctrl-C is felt within one chunk
RING_BUFFERS = 4
# To hand a chunk over costs as much as to hash a few KiB, so short reads are gathered up to this.
LEAST_CHUNK_BYTES = 64 * 1024
# Seconds that a copy which was given up waits for its thread; longer only where that sits in opendal.
GRACE = 0.2

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Sink(Protocol):
    """Where a copy goes: nothing of it is seen before `commit`, nothing stays after `discard`."""

    def write(self, data: memoryview) -> None:
        """Append the whole of *data*."""

    def restart(self) -> None:
        """Forget what was written."""

    def commit(self, sha256: str | None) -> object:
        """Put what was written in place, in one step."""

    def discard(self) -> None:
        """Remove what was written. Harmless twice, after commit, and while another thread writes."""


def copy_in(
    source: Source,
    sink: Sink,
    *,
    sha256: str | None = None,
    progress: Callable[[int, int | None], object] | bool | None = None,
) -> str:
    """Copy all of *source* into *sink*, and commit it. Blocks until done; a Ctrl-C ends it at once.

    Whatever goes wrong, the sink is discarded. The source stays open, and is the caller's to close.

    Args:
        source: Where the bytes come from.
        sink: Where they go.
        sha256: The digest that they must have, as 64 hexadecimal digits of either case.
        progress: Called in the calling thread with the bytes so far and the total (None where the source does
            not say) at each chunk and at the end; what it raises ends the copy. True shows a bar.

    Returns:
        The SHA-256 of the bytes, in lower-case hexadecimal.

    Raises:
        InvalidArgument: *sha256* is no digest.
        MissingExtra: *progress* is True, and tqdm is not installed.
        DigestMismatch: The bytes are not those that *sha256* promised.
        CopyFailed: The source failed; SourceStalled and SourceNotFound say how. What the sink raises, too.
    """
    try:
        expected = _checked_digest(sha256)
        with reporter(progress) as report:
            pump = _pump if source.interruptible else _pump_in_worker
            digest = pump(source, sink, report)
        if expected is not None and digest != expected:
            raise _mismatch(source.label, expected, digest)
        sink.commit(digest)
    except BaseException:
        sink.discard()
        raise
    return digest


def _checked_digest(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise InvalidArgument(f"sha256 must be 64 hexadecimal digits, not {sha256!r}")
    return sha256.lower()


def _mismatch(label: str, expected: str, actual: str) -> DigestMismatch:
    message = f"{label} has the SHA-256 {actual}, not {expected} as promised; nothing was published"
    return DigestMismatch(message, label, "", expected, actual)


# Copying, in whichever thread


def _pump(source: Source, sink: Sink, report: Report) -> str:
    while True:
        try:
            return _attempt(source, sink, report)
        except SourceChanged:
            sink.restart()


def _attempt(source: Source, sink: Sink, report: Report) -> str:
    digest = _Digest()
    try:
        copied = 0
        reported: tuple[int, int | None] | None = None
        while chunk := _filled(source, digest.free_buffer()):
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


def _filled(source: Source, buffer: memoryview) -> memoryview:
    """Read a chunk into *buffer*. Returns the part that was filled, which is empty at the end."""
    count = 0
    while count < LEAST_CHUNK_BYTES:
        read = source.readinto(buffer[count:])
        if not read:
            break
        count += read
    return buffer[:count]


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


# Copying where a read does not feel Ctrl-C


class _Abandoned(Exception):
    """Nobody waits for this copy any more."""


def _pump_in_worker(source: Source, sink: Sink, report: Report) -> str:
    """Copy in another thread, and wait for it so that Ctrl-C is felt, whatever the source does meanwhile."""
    events: SimpleQueue[tuple[int, int | None] | str | BaseException] = SimpleQueue()
    abandoned = threading.Event()

    def relay(copied: int, total: int | None) -> None:
        if abandoned.is_set():
            raise _Abandoned
        events.put((copied, total))

    def work() -> None:
        try:
            events.put(_pump(source, sink, relay))
        except BaseException as error:  # noqa: BLE001  # it is raised where the copy was asked for
            events.put(error)

    worker = threading.Thread(target=work, name="httpserve:copy", daemon=True)
    worker.start()
    try:
        while isinstance(event := events.get(), tuple):
            report(*event)
        worker.join()
    except BaseException:
        abandoned.set()
        sink.discard()
        worker.join(GRACE)
        raise
    if isinstance(event, BaseException):
        raise event
    return event
