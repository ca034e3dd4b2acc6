"""Reads of one version of an object: each is held to that version, and goes on where it broke off.

Knows looks at objects, and opendal. Does not know where the bytes go.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from httpserve.base.threads import Latch
from httpserve.errors import HttpServeError, NotFound, StorageError
from httpserve.plan import ReadFailed, Stream
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS
from httpserve.storage.served import VersionGone
from httpserve.storage.store.calls import Calls, is_final, is_gone
from httpserve.storage.store.versions import Facts, Found, Versions

if TYPE_CHECKING:
    from opendal.file import File
    from opendal.options import OpenKwargs

BLOCK_BYTES = 256 * 1024  # of one read; the last one is held back where nothing else tells that the version stays
MOST_PAUSE_SECONDS = 1.0
NO_ETAG = '"httpserve-asks-whether-this-is-looked-at"'


class Reads:
    """Reads from one store. Safe from any number of threads; what it gives is for one."""

    def __init__(self, calls: Calls, versions: Versions) -> None:
        self._calls = calls
        self._versions = versions
        # Whether the server looks at ETags with quotes, and at those without, if it has such; missing: not asked yet.
        self._pins = {} if calls.capability.read_with_if_match else {True: False, False: False}

    def is_pinned(self, found: Found) -> bool:
        """Tell whether the server refuses to read another version in place of this one.

        Asks it once, with an ETag that no object has: some servers take the condition, and do not look at it. Others
        have ETags without quotes, which they do not know again.
        """
        facts = found.facts
        if facts.pin is None:
            return False
        has_quotes = facts.validator is not None
        if has_quotes not in self._pins and facts.size:
            knows = self._looks_at(found.status.name, NO_ETAG, VersionGone)
            if knows and not has_quotes:
                knows = self._looks_at(found.status.name, facts.pin, None)
            if knows is not None:
                self._pins[has_quotes] = knows
        return self._pins.get(has_quotes, False)

    def is_known(self, found: Found) -> bool:
        """Tell whether the ETag of a version is no other's, so that its bytes can be kept by it. Does not block."""
        facts = found.facts
        has_one = facts.validator is not None or (facts.pin is not None and self._pins.get(False, False))
        return has_one and found.is_lasting

    def _looks_at(self, name: str, etag: str, expected: type[VersionGone] | None) -> bool | None:
        """Tell whether a read that is held to an ETag ends as it must; None where the store does not say."""
        try:
            # Not by read(): of a server that looks at neither this nor ranges it would take all of the object.
            opened = partial(self._calls.reading.open, name, "rb", offset=0, size=1, if_match=etag)
            with self._calls.asking("read", name), closing(opened()) as file:
                file.read(1)
        except VersionGone:
            return expected is VersionGone
        except HttpServeError:  # asked again next time
            return None
        return expected is None

    def reader(self, found: Found, offset: int, length: int) -> Reader:
        """Return what reads a part of a version. Does not block; the store is first asked by its `readinto`."""
        pin = found.facts.pin if self.is_pinned(found) else None
        return Reader(self._calls, self._versions, found, offset, length, pin)

    def whole(self, found: Found) -> bytes:
        """Return all bytes of a small object, by one request. Blocks for the store, and raises as a `Reader` does."""
        if not found.facts.size:
            return b""
        reader = self.reader(found, 0, found.facts.size)
        data = bytearray(found.facts.size)
        fill(reader, memoryview(data))
        reader.finish()
        reader.close()
        return bytes(data)

    def stream(self, found: Found, start: int, stop: int, *, wait: bool) -> Stream:
        """Return a part of a version as pieces. Where it is to *wait*, the first one is there by then."""
        reader = self.reader(found, start, stop - start)
        pieces = _pieces(reader)
        if wait:
            try:
                first = next(pieces, b"")
            except BaseException:
                reader.close()
                raise
            pieces = _after(first, pieces)
        return Stream(_told(found.status.name, pieces), stop - start, reader.close)


class Reader:
    """A part of one version, in order. Implements `storage.cache`'s `Reader`: one thread reads, any may close."""

    def __init__(
        self, calls: Calls, versions: Versions, found: Found, offset: int, length: int, pin: str | None
    ) -> None:
        self._calls = calls
        self._versions = versions
        self._found = found
        self._name = found.status.name
        self._at = offset
        self._stop = offset + length
        self._pin = pin
        self._file: File | None = None
        self._is_closed = Latch()

    def readinto(self, buffer: memoryview) -> int:
        """Fill *buffer*, perhaps partly, with what comes next; 0 at the end.

        Blocks until something comes. Where that takes too long, or the connection breaks, it begins anew at this byte.

        Raises:
            VersionGone: The store has another version by now.
            StoreUnavailable: For as long as `Patience` says, nothing came.
        """
        wanted = min(len(buffer), self._stop - self._at)
        if not wanted:
            return 0
        patience = self._calls.patience
        until, pause = time.monotonic() + patience.read * patience.reads, 0.1
        with self._calls.asking("read", self._name):
            while True:
                try:
                    count = self._opened().readinto(buffer[:wanted])
                    if count:
                        self._at += count
                        return count
                    failure: Exception = OSError("Unexpected (temporary) => the end came too early")
                except OPENDAL_ERRORS as error:
                    failure = error
                self._file = None
                if is_gone(failure):
                    self._raise_gone()
                if is_final(failure) or self._is_closed.is_open or time.monotonic() + pause >= until:
                    raise failure
                self._is_closed.wait(pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)

    def _opened(self) -> File:
        if self._is_closed.is_open:
            raise StorageError(f"read {self._name!r}: this read is over", self._name)
        if self._file is None:
            begin = 0 if self._at and self._gets_all() else self._at
            file = self._open(begin, self._stop - begin)
            try:
                self._skip(file, self._at - begin)
            except BaseException:
                file.close()
                raise
            self._file = file
        return self._file

    def _open(self, offset: int, size: int) -> File:
        part: OpenKwargs = {"offset": offset, "size": size}
        if self._pin is not None:
            part["if_match"] = self._pin
        return self._calls.reading.open(self._name, "rb", **part)

    def _gets_all(self) -> bool:
        """Tell whether the server gives all of an object to who asks for a part: opendal takes that for the part.

        Stores of objects, which sign what is written, give the part.
        """
        if self._calls.capability.presign_write:
            return False
        with closing(self._open(self._found.facts.size - 1, 1)) as file:
            return len(file.read(2)) > 1

    def _skip(self, file: File, count: int) -> None:
        buffer = memoryview(bytearray(min(count, BLOCK_BYTES)))
        while count:
            got = file.readinto(buffer[:count])
            if not got:
                raise OSError("Unexpected (temporary) => the end came too early")
            if self._is_closed.is_open:
                raise StorageError(f"read {self._name!r}: this read is over", self._name)
            count -= got

    def finish(self) -> None:
        """Raise VersionGone if nothing else has told that what was read is of that version, and it is not."""
        if self._pin is not None:
            return
        try:
            with self._calls.asking("stat", self._name):
                now = Facts.of(self._calls.looking.stat(self._name))
        except NotFound:
            now = None
        if now != self._found.facts:
            self._raise_gone()

    def _raise_gone(self) -> NoReturn:
        self._versions.outdated(self._found)
        raise VersionGone(f"read {self._name!r}: {self._calls.label} has another version by now", self._name)

    def close(self) -> None:
        """End the read. Harmless when repeated. A thread that reads ends when the store answers, or in time."""
        self._is_closed.open()
        file, self._file = self._file, None
        if file is not None:
            with suppress(*OPENDAL_ERRORS):  # among them that a thread is in it: it drops the file
                file.close()

    @property
    def is_pinned(self) -> bool:
        """Whether the server holds it to one version."""
        return self._pin is not None


def fill(reader: Reader, buffer: memoryview) -> int:
    """Read until *buffer* is full, or the reader at its end. Return how many bytes there are."""
    at = 0
    while at < len(buffer) and (count := reader.readinto(buffer[at:])):
        at += count
    return at


def _pieces(reader: Reader) -> Iterator[bytes]:
    """Give all that a reader reads, the last piece once it is known to be of that version."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    held = b""
    while count := reader.readinto(buffer):
        if held:
            yield held
            held = b""
        piece = bytes(buffer[:count])
        if reader.is_pinned:
            yield piece
        else:
            held = piece
    reader.finish()
    if held:
        yield held


def _after(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def _told(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Word what goes wrong under way as the server knows it."""
    try:
        yield from pieces
    except (StorageError, OSError) as error:
        raise ReadFailed(name, error) from error
