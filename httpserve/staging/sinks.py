"""Where a file goes that is copied out: a local path, or a path on an opendal operator.

Knows local files and opendal operators. Knows nothing of where the bytes come from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from typing import TYPE_CHECKING

import opendal
from opendal.layers import TimeoutLayer

from httpserve.base.descriptors import Descriptor
from httpserve.base.log import logger
from httpserve.base.threads import run_shielded
from httpserve.errors import CopyFailed
from httpserve.staging.messages import redacted, unwritable
from httpserve.staging.opendal_errors import OPENDAL_ERRORS, number_of, reason_of
from httpserve.staging.sources import operator_path

if TYPE_CHECKING:
    from opendal.file import File

UPLOAD_PART_BYTES = 8 * 1024 * 1024  # of a store that takes parts; 10,000 of them are the limit of S3
UPLOADS_AT_ONCE = 4

_log = logger("httpserve.storage")


def _temporary_beside(path: str) -> str:
    directory, slash, _ = path.rpartition("/")
    return f"{directory}{slash}.httpserve-{secrets.token_hex(8)}.part"


class FileSink:
    """A local path, written as a temporary sibling; a device or a pipe is written itself."""

    def __init__(self, path: str) -> None:
        self.start = 0
        self._label = repr(path)
        # The file that a symlink leads to is replaced, and the symlink stays.
        self._path = os.path.realpath(path)
        self._temporary: str | None = None
        self._may_be_placed = False  # an interrupt may come between the replacing and the note of it
        self._lock = threading.Lock()  # guards _fd: a descriptor closed during a write may be another's by then
        self._fd = -1
        self._file = Descriptor()  # owns _fd
        try:
            self._open()
        except OSError as error:
            raise self.refused(error) from error

    def reader(self) -> int:
        try:
            with self._lock:
                return os.dup(self._fd)
        except OSError as error:
            raise self.refused(error) from error

    def write(self, data: memoryview) -> None:
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise self.refused(error) from error

    def restart(self) -> None:
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise self.refused(error) from error

    def commit(self, sha256: str | None) -> None:
        try:
            with self._lock:
                if self._file.closed:
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                self._close()  # before all else: a disk may have taken the bytes, and refuse them only now
            self._may_be_placed = True
            if self._temporary is not None:
                os.replace(self._temporary, self._path)
        except OSError as error:
            raise self.refused(error) from error
        self._temporary = None
        self.__class__ = _Settled

    def discard(self) -> None:
        run_shielded(self._discard)

    def refused(self, error: OSError) -> CopyFailed:
        return unwritable(self._label, error.strerror or str(error), self._path, error.errno)

    def __del__(self) -> None:
        # An interrupt may come before anybody holds it.
        if hasattr(self, "_file"):
            self._discard()

    def _open(self) -> None:
        if os.path.exists(self._path) and not stat.S_ISREG(os.stat(self._path).st_mode):
            self._file.open(self._path, "wb")  # a directory refuses this, with the reason
        else:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._temporary = _temporary_beside(self._path)
            self._file.open(self._temporary, "x+b")
        self._fd = self._file.fileno()

    def _discard(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # nobody wants the bytes any more
            self._close()
        if self._temporary is not None:
            try:
                os.unlink(self._temporary)
            except OSError as error:
                # What made the copy fail is the error to raise, not this one.
                if not (self._may_be_placed and error.errno == errno.ENOENT):
                    _log.warning("%s could not be removed: %s", self._temporary, error.strerror)
            self._temporary = None
        self.__class__ = _Settled

    def _close(self) -> None:
        self._fd = -1
        self._file.close()


class _Settled(FileSink):
    """A target with which all is done. Its finalizer is C: what a signal raises in one of Python's is lost."""

    __del__ = object.__init__

    def discard(self) -> None:
        """Do nothing: it was removed, or is in its place."""


class OperatorSink:
    """A path on an opendal operator, written beside it where the service can rename.

    Elsewhere it is written itself: such a store shows nothing before the writer is closed, and a writer that
    is dropped publishes nothing.
    """

    def __init__(self, path: str, operator: opendal.Operator, *, timeout: float) -> None:
        self._label = redacted(f"{path!r} on {operator!r}")
        self._path = operator_path(path, "dst")
        self._operator = operator.layer(TimeoutLayer(timeout=timeout, io_timeout=timeout))
        capability = operator.capability()
        self._temporary = _temporary_beside(path) if capability.rename else None
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
        # To close the writer would publish what there is; to drop it does not.
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
