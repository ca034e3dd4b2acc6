"""The file objects of `storage.open`: Python's binary files, with the methods of Jumpstarter's in addition.

Knows versions that are read, and versions on their way in. Does not know where in the root anything is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Iterator
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import opendal

from httpserve.base.arguments import quoted_value
from httpserve.errors import CopyFailed, HttpServeError, InvalidArgument, InvalidType, StorageError, Unsupported
from httpserve.storage.accessor import Readable, Writable
from httpserve.storage.directory.os_errors import translated, translating
from httpserve.storage.served import AnyIdentity

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _WrongDirection(Unsupported, io.UnsupportedOperation):
    """What Python's own files, and ours as well, raise when a reader is written to."""


class StorageFile(io.BufferedIOBase):
    """A file on the server, open for reading or for writing.

    Every method blocks only for the disk, except `write_from_path` and `read_into_path`, which also block for
    the other end: at most the storage's timeout without a byte.
    """

    mode: str

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__()
        self.name = name
        self._timeout = timeout

    def read_bytes(self) -> bytes:
        """Return all from the position to the end."""
        return self.read()

    def write_bytes(self, data: Buffer) -> None:
        """Append *data* at the position."""
        self.write(data)

    def read_into_path(self, path: str | os.PathLike[str], operator: opendal.Operator | None = None) -> None:
        """Copy all from the position to the end to a local path, or to a path on *operator*."""
        self._refuse("read")

    def write_from_path(self, path: str | os.PathLike[str], operator: opendal.Operator | None = None) -> None:
        """Append all of a local path, of an http(s) URL, or of a path on *operator*."""
        self._refuse("write")

    def read(self, size: int | None = -1, /) -> bytes:
        self._refuse("read")

    def read1(self, size: int = -1, /) -> bytes:
        self._refuse("read")

    def write(self, data: Buffer, /) -> int:
        self._refuse("write")

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        self._refuse("seek")

    def truncate(self, size: int | None = None, /) -> int:
        self._refuse("truncate")

    def flush(self) -> None:
        """Do nothing: what is written is seen at `close`, all at once."""
        self._check()

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.mode
        return f"<{type(self).__name__} {self.name!r} {state}>"

    def _check(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name!r} is closed")

    def _refuse(self, operation: str) -> NoReturn:
        self._check()
        raise _WrongDirection(f"{operation} {self.name!r}: it is open in mode {self.mode!r}", self.name)


class ReadFile(StorageFile):
    """One version of a file, whatever becomes of its name meanwhile."""

    mode = "rb"

    def __init__(self, file: Readable, timeout: float) -> None:
        super().__init__(file.name, timeout)
        self._file = file
        try:
            with translating("open", file.name):
                self._buffer = io.BufferedReader(file.raw())
        except BaseException:  # a Ctrl-C too: nobody else has the file
            file.close()
            raise

    @property
    def identity(self) -> AnyIdentity:
        """Which version of the file this is."""
        return self._file.identity

    @property
    def sha256(self) -> str | None:
        """The hexadecimal digest of this version, where it is known."""
        return self._file.sha256

    def is_unchanged(self) -> bool:
        """Say whether the bytes are still those that were opened."""
        with translating("read", self.name):
            return self._file.unchanged()

    def readable(self) -> bool:
        self._check()
        return True

    def seekable(self) -> bool:
        self._check()
        return True

    def fileno(self) -> int:
        self._check()
        return self._buffer.fileno()

    def read(self, size: int | None = -1, /) -> bytes:
        with self._reading("read"):
            return self._buffer.read(size)

    def read1(self, size: int = -1, /) -> bytes:
        with self._reading("read"):
            return self._buffer.read1(size)

    def readinto(self, buffer: Buffer, /) -> int:
        with self._reading("read"):
            return self._buffer.readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        with self._reading("read"):
            return self._buffer.readline(-1 if size is None else size)

    def peek(self, size: int = 0, /) -> bytes:
        """Return bytes from the position without moving it."""
        with self._reading("peek"):
            return self._buffer.peek(size)

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        with self._reading("seek in", f" to {quoted_value(position)} from {quoted_value(whence)}"):
            return self._buffer.seek(position, whence)

    def tell(self) -> int:
        with self._reading("tell"):
            return self._buffer.tell()

    @contextlib.contextmanager
    def _reading(self, operation: str, how: str = "") -> Iterator[None]:
        """Let only our own errors out of a call to Python's own file."""
        self._check()
        try:
            yield
        except HttpServeError:
            raise
        except TypeError as error:
            raise InvalidType(f"{operation} {self.name!r}{how}: {error}") from None
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOVERFLOW):  # no such position, such as one before the beginning
                raise translated(error, operation, self.name) from error
            raise InvalidArgument(f"{operation} {self.name!r}{how}: {error}") from error
        except (ValueError, OverflowError) as error:
            raise InvalidArgument(f"{operation} {self.name!r}{how}: {error}") from None

    def read_into_path(self, path: str | os.PathLike[str], operator: opendal.Operator | None = None) -> None:
        self._check()
        from httpserve.storage.copying.copy import copy_out  # on first use, as in facade.py

        copy_out(ReadAsSource(self), path, operator, timeout=self._timeout)

    def close(self) -> None:
        """Close the file. Harmless when called again."""
        self._buffer.close()
        self._file.close()
        super().close()  # last: after an interrupt before this, another call can still close


class ReadAsSource:
    """What a `ReadFile` has from its position on, as the source of a copy."""

    interruptible = True

    def __init__(self, file: ReadFile) -> None:
        self.label = f"{file.name!r} on the server"
        self.size: int | None = max(0, file.identity.size - file.tell())
        self._file = file
        self._read = 0

    def readinto(self, buffer: memoryview) -> int:
        count = self._file.readinto(buffer)
        self._read += count
        return count

    def finish(self) -> None:
        if self._read != self.size or not self._file.is_unchanged():
            raise CopyFailed(f"{self.label} changed while it was read", self.label)

    def close(self) -> None:
        """Leave the file open: it belongs to its opener."""


class WriteFile(StorageFile):
    """A new version of a file: nobody sees it before `close`, and then all of it is seen.

    A write that fails, a `with` block that is left by an exception, and an object that is forgotten publish
    nothing.
    """

    mode = "wb"

    def __init__(self, incoming: Writable, timeout: float) -> None:
        super().__init__(incoming.name, timeout)
        self._incoming = incoming
        self._lock = RLock()  # guards _digest, _position, which must grow in the same order as the file
        self._digest = hashlib.sha256()
        self._position = 0
        self._has_failed = False

    def writable(self) -> bool:
        self._check()
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        self._check()
        return self._position

    def write(self, data: Buffer, /) -> int:
        """Append the whole of *data*; return its size in bytes.

        Raises:
            StorageError: the disk is full or fails; nothing will be published.
            InvalidType: *data* is not bytes; as with Python's own files nothing was written, and writing can go on.
        """
        try:
            view = memoryview(data).cast("B")
        except TypeError as error:
            raise InvalidType(f"write {self.name!r}: {error}") from None
        with self._lock, view:
            self._check()
            self._check_good("write")
            try:
                self._incoming.write(view)
            except BaseException:  # a Ctrl-C too: it is not known how much was written
                self._fail()
                raise
            self._digest.update(view)
            self._position += len(view)
            return len(view)

    def write_from_path(self, path: str | os.PathLike[str], operator: opendal.Operator | None = None) -> None:
        self._check()
        self._check_good("write")
        from httpserve.storage.copying.copy import copy_in  # on first use, as in facade.py
        from httpserve.storage.copying.opening import open_source

        try:
            source = open_source(path, operator, timeout=self._timeout)
            try:
                copy_in(source, WriteAsSink(self))
            finally:
                source.close()
        except BaseException:  # a Ctrl-C too: half a copy must not be published
            self._fail()
            raise

    def close(self) -> None:
        """Publish what was written, in one step. Harmless when called again.

        Raises:
            StorageError: nothing was published, as a write failed before, or as this one step did.
        """
        with self._lock:
            if self.closed:
                return
            try:
                self._check_good("close")
                self._incoming.commit(self._digest.hexdigest())
            finally:
                self._incoming.discard()
                super().close()

    def discard(self) -> None:
        """Close without publishing anything. Harmless when closed."""
        self._fail()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    # In place of IOBase's, which would close, that is publish: a forgotten version discards itself. This one does
    # nothing, and is in C: what a signal raises in a Python finalizer is lost.
    __del__ = object.__init__

    def _check_good(self, operation: str) -> None:
        if self._has_failed:
            raise StorageError(f"{operation} {self.name!r}: nothing is published, as a write failed before", self.name)

    def _fail(self) -> None:
        # Without the lock: giving up must not wait for a hanging write.
        self._has_failed = True
        self._incoming.discard()


class WriteAsSink:
    """The end of a `WriteFile`, as the sink of a copy: commits nothing, and restarts where it began."""

    def __init__(self, file: WriteFile) -> None:
        self._file = file
        self.start = file._position
        self._digest = file._digest.copy()

    def reader(self) -> int:
        return self._file._incoming.reader()

    def refused(self, error: OSError) -> Exception:
        return self._file._incoming.refused(error)

    def write(self, data: memoryview) -> None:
        self._file.write(data)

    def restart(self) -> None:
        self._file._incoming.restart(self.start)
        self._file._position = self.start
        self._file._digest = self._digest.copy()

    def commit(self, sha256: str | None) -> None:
        """Wait for the close of the file."""

    def discard(self) -> None:
        self._file._fail()
