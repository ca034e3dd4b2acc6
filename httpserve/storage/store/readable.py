"""An object that a script has opened: one version, in which it can seek.

Knows reads of a version. Does not know how it was found.
"""

from __future__ import annotations

import io
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from httpserve.storage.served import AnyIdentity, VersionGone
from httpserve.storage.store.calls import interruptibly
from httpserve.storage.store.reading import Reader, Reads, fill
from httpserve.storage.store.versions import Found

if TYPE_CHECKING:
    from typing_extensions import Buffer

AHEAD_BYTES = 1024 * 1024  # read at a time, as each read in the main thread takes a thread


class StoreReadable:
    """Implements `Readable`."""

    def __init__(self, reads: Reads, found: Found) -> None:
        self.name: str = found.status.name
        self.identity: AnyIdentity = found.status.identity
        self.sha256: str | None = found.status.sha256
        self._reads = reads
        self._found = found
        self._raw = StoreRaw(reads, found)

    def raw(self) -> io.RawIOBase:
        """Return its bytes; nothing is asked before the first read."""
        return self._raw

    def unchanged(self) -> bool:
        """Tell whether what was read is of that version; the store is asked where reads cannot be held to one."""
        try:
            interruptibly(self._finish)
        except VersionGone:
            return False
        return True

    def _finish(self) -> None:
        with closing(self._reads.reader(self._found, 0, 0)) as reader:
            reader.finish()

    def close(self) -> None:
        """End the read that is under way. Harmless when repeated."""
        self._raw.drop()


class StoreRaw(io.RawIOBase):
    """The bytes of one version. One thread uses it."""

    def __init__(self, reads: Reads, found: Found) -> None:
        super().__init__()
        self._reads = reads
        self._found = found
        self._size = found.facts.size
        self._at = 0
        self._ahead = memoryview(b"")  # what is at `_at`, as far as it was read already
        self._reader: Reader | None = None
        self._reader_at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, which may lie beyond the end. Asks nothing."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
        if start is None or start + position < 0:
            raise ValueError("there is no such position")
        if start + position != self._at:
            self._at, self._ahead = start + position, memoryview(b"")
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        """Read some of what comes next. Blocks for the store; in the main thread, Ctrl-C ends the wait."""
        with memoryview(buffer).cast("B") as view:
            if not self._ahead and self._at < self._size and len(view):
                wanted = min(max(AHEAD_BYTES, len(view)), self._size - self._at)
                self._ahead = self._fetched(wanted)
            count = min(len(view), len(self._ahead))
            view[:count] = self._ahead[:count]
            self._ahead, self._at = self._ahead[count:], self._at + count
            return count

    def readall(self) -> bytes:
        """Read all that comes next."""
        rest = b"".join((self._ahead, self._fetched_after(len(self._ahead))))
        self._ahead, self._at = memoryview(b""), max(self._at, self._size)
        return rest

    def _fetched_after(self, count: int) -> memoryview:
        self._at += count
        return self._fetched(max(0, self._size - self._at))

    def _fetched(self, wanted: int) -> memoryview:
        """Return as many bytes from the position on. If that fails, or is interrupted, the next call begins anew."""
        if not wanted:
            return memoryview(b"")
        if self._reader is None or self._reader_at != self._at:
            self.drop()
        try:
            self._reader, data = interruptibly(partial(self._read, self._reader, self._at, wanted))
        except BaseException:  # a Ctrl-C too: a thread may be in that reader
            self.drop()
            raise
        self._reader_at = self._at + len(data)
        return data

    def _read(self, reader: Reader | None, at: int, wanted: int) -> tuple[Reader, memoryview]:
        if reader is None:
            reader = self._reads.reader(self._found, at, self._size - at)
        data = memoryview(bytearray(wanted))
        return reader, data[: fill(reader, data)].toreadonly()

    def drop(self) -> None:
        """End the read that is under way."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
