"""A path on an opendal operator as an end of a copy: how it is read, and how it is written.

Knows opendal. Knows nothing of the other end.
"""

from __future__ import annotations

import errno
import io
import threading
from typing import TYPE_CHECKING

import opendal
from opendal.layers import TimeoutLayer

from httpserve.base.log import logger
from httpserve.errors import CopyFailed, InvalidArgument
from httpserve.storage.copying.ends import temporary_beside
from httpserve.storage.copying.messages import changed, check_whole, redacted, unreadable, unwritable
from httpserve.storage.copying.opendal_errors import (
    OPENDAL_ERRORS,
    is_stall,
    kind_of,
    number_of,
    reason_of,
    source_error,
)
from httpserve.storage.copying.unchanged import Origin, origin_of_object, store_of, version_of_object

if TYPE_CHECKING:
    from opendal.file import File
    from opendal.types import Metadata

UPLOAD_PART_BYTES = 8 * 1024 * 1024  # for a store that takes parts; S3 takes at most 10,000 of them
UPLOADS_AT_ONCE = 4
AT_ONCE_BYTES = 4 * 1024 * 1024  # of an object that is read whole into memory: one request, and one copy of its bytes

_log = logger("httpserve.storage")


class OperatorSource:
    """A path on an opendal operator."""

    interruptible = False

    def __init__(self, path: str, operator: opendal.Operator, *, timeout: float) -> None:
        self.label = redacted(f"{path!r} on {operator!r}")
        self._path = operator_path(path, "src")
        self._timeout = timeout
        self._read = 0
        # Without the layer opendal waits for ever.
        self._operator = operator.layer(TimeoutLayer(timeout=timeout, io_timeout=timeout))
        self._before = self._stat()
        self.size = None if self._before is None else self._before.content_length
        self.origin = None
        if self._before is not None:
            said = self._before
            modified = 0.0 if said.last_modified is None else said.last_modified.timestamp()
            self.origin = origin_of_object(store_of(operator), self._path, said.etag, self.size, modified)
        self._reading = threading.Lock()  # guards _file: opendal refuses a close during a read
        self._closed = False
        try:
            self._file: File = self._operator.open(self._path, "rb")
        except OPENDAL_ERRORS as error:
            raise source_error(error, self.label, timeout) from None

    def readinto(self, buffer: memoryview) -> int:
        try:
            with self._reading:
                count = self._file.readinto(buffer)
        except OPENDAL_ERRORS as error:
            raise source_error(error, self.label, self._timeout) from None
        finally:
            if self._closed:
                self.close()
        self._read += count
        return count

    def finish(self) -> None:
        check_whole(self.label, self._read, self.size)
        if self._before is None:
            return
        try:
            now = self._operator.stat(self._path)
        except OPENDAL_ERRORS:
            # Every byte that it claimed to have is here; if it has gone since, that does not matter.
            _log.debug("%s was read, and cannot be asked whether it changed meanwhile", self.label)
            self.origin = None
            return
        if _tags(now) != _tags(self._before):
            raise changed(self.label)

    def close(self) -> None:
        self._closed = True
        # A reader that is inside opendal closes the file when it comes back.
        if self._reading.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._reading.release()

    def _stat(self) -> Metadata | None:
        """Ask what the source is; None if the service cannot say, such as an HTTP server that refuses HEAD."""
        try:
            metadata = self._operator.stat(self._path)
        except OPENDAL_ERRORS as error:
            if is_stall(error) or kind_of(error) not in ("Unexpected", "Unsupported"):
                raise source_error(error, self.label, self._timeout) from None
            _log.debug("%s does not say its size", self.label)
            return None
        if metadata.is_dir:
            raise unreadable(self.label, "it is a directory; its files can be copied one by one", errno.EISDIR)
        return metadata


class ObjectSource:
    """An object that a list has just shown: read without a further question, and only as that version.

    A store that cannot hold a read to a version, or gives none, needs an `OperatorSource`.
    """

    interruptible = False

    def __init__(self, path: str, operator: opendal.Operator, origin: Origin, *, timeout: float) -> None:
        """Read a small object at once, and open a large one. *operator* has a layer that ends a stall by *timeout*."""
        etag, size = version_of_object(origin)
        self.label = redacted(f"{path!r} on {operator!r}")
        self.size = size
        self.origin: Origin | None = origin
        self._timeout = timeout
        self._read = 0
        try:
            if size <= AT_ONCE_BYTES:
                self._file: File | io.BytesIO = io.BytesIO(operator.read(path, if_match=etag))
            else:
                self._file = operator.open(path, "rb", if_match=etag)
        except OPENDAL_ERRORS as error:
            raise self._error(error) from None

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._file.readinto(buffer)
        except OPENDAL_ERRORS as error:
            raise self._error(error) from None
        self._read += count
        return count

    def finish(self) -> None:
        check_whole(self.label, self._read, self.size)

    def close(self) -> None:
        self._file.close()

    def _error(self, error: Exception) -> CopyFailed:
        if kind_of(error) == "ConditionNotMatch":
            return changed(self.label)
        return source_error(error, self.label, self._timeout)


def _tags(metadata: Metadata) -> tuple[object, ...]:
    return metadata.content_length, metadata.etag, metadata.last_modified


class OperatorSink:
    """A path on an opendal operator, written beside it where the service can rename.

    Elsewhere it is written directly: such a store shows nothing of a writer that is dropped, or not yet closed.
    """

    def __init__(self, path: str, operator: opendal.Operator, *, timeout: float) -> None:
        self._label = redacted(f"{path!r} on {operator!r}")
        self._path = operator_path(path, "dst")
        self._operator = operator.layer(TimeoutLayer(timeout=timeout, io_timeout=timeout))
        capability = operator.capability()
        self._temporary = temporary_beside(path) if capability.rename else None
        self._takes_parts = capability.write_multi_min_size is not None
        self._file: File | None = None

    def write(self, data: memoryview) -> None:
        try:
            self._writer().write(bytes(data))  # it takes nothing else
        except OPENDAL_ERRORS as error:
            raise self._error(error) from None

    def restart(self) -> None:
        self._file = None

    def commit(self, sha256: str | None) -> None:
        try:
            self._writer().close()
            if self._temporary is not None:
                self._operator.rename(self._temporary, self._path)
        except OPENDAL_ERRORS as error:
            raise self._error(error) from None
        self._temporary = self._file = None

    def discard(self) -> None:
        # Closing the writer would publish what there is; dropping it does not.
        self._file = None
        if self._temporary is not None:
            temporary, self._temporary = self._temporary, None
            try:
                self._operator.delete(temporary)
            except OPENDAL_ERRORS as error:
                _log.warning("%s beside %s could not be removed: %s", temporary, self._label, reason_of(error))

    def _writer(self) -> File:
        if self._file is None:
            path = self._path if self._temporary is None else self._temporary
            if self._takes_parts:
                self._file = self._operator.open(path, "wb", chunk=UPLOAD_PART_BYTES, concurrent=UPLOADS_AT_ONCE)
            else:
                self._file = self._operator.open(path, "wb")
        return self._file

    def _error(self, error: Exception) -> CopyFailed:
        return unwritable(self._label, reason_of(error), self._path, number_of(error))


def operator_path(path: str, argument: str) -> str:
    """Return *path* for an operator. Raises InvalidArgument if opendal would use another path, or none."""
    if path != path.strip():
        raise InvalidArgument(f"{argument} {path!r} has blanks at an end, which opendal strips; remove them")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{argument} {path!r} holds a lone surrogate, which opendal cannot express") from None
    return path
