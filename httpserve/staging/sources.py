"""Where the bytes of a copy come from: what *src* and *operator* mean.

Knows local files and opendal operators, and which of them, or of an http(s) URL, is meant. Knows nothing of
where the bytes go, nor how HTTP is read (http_source.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import opendal
from opendal.layers import TimeoutLayer

from httpserve.base.arguments import checked_seconds
from httpserve.base.descriptors import Descriptor
from httpserve.base.log import logger
from httpserve.errors import CopyFailed, InvalidArgument, InvalidType
from httpserve.staging.messages import changed, check_whole, missing, redacted, redacted_url, unreadable
from httpserve.staging.opendal_errors import OPENDAL_ERRORS, is_stall, kind_of, source_error

if TYPE_CHECKING:
    from opendal.file import File
    from opendal.types import Metadata

_log = logger("httpserve.storage")
_HTTP_URL = re.compile(r"https?://", re.IGNORECASE)
_ONLY_HTTP = "of URLs only http:// and https:// are fetched; pass an opendal operator for other services"


class SourceChanged(Exception):
    """The source became another representation, and reads from its first byte again. Never leaves staging."""


class Source(Protocol):
    """Bytes to copy, read once from the first to the last."""

    @property
    def label(self) -> str:
        """What messages call it; userinfo and query of a URL are replaced by an ellipsis."""

    @property
    def size(self) -> int | None:
        """The bytes it said it has; None where it does not say."""

    @property
    def interruptible(self) -> bool:
        """Whether Ctrl-C ends a read that waits."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill *buffer* with what comes next, perhaps in part. Blocks for it; 0 is the end."""

    def finish(self) -> None:
        """Raise CopyFailed unless what was read is whole and of one version. May ask the source once more."""

    def close(self) -> None:
        """Let go of it. Does not block; calling twice is harmless."""


def open_source(src: str | os.PathLike[str], operator: opendal.Operator | None = None, *, timeout: float) -> Source:
    """Open what *src* and *operator* name. Blocks until the source has answered, at most about *timeout*.

    Args:
        src: A whole http(s) URL; else a path on *operator*; else a local path.
        operator: The opendal operator of any service, with any layers.
        timeout: Seconds that a remote source may send no byte.

    Returns:
        The source, to be closed by the caller.

    Raises:
        InvalidType: *src* or *operator* is of a type that no source is made from, such as an AsyncOperator.
        InvalidArgument: *src* or *timeout* is of a value that no source can have.
        SourceNotFound: There is nothing there.
        SourceStalled: It did not answer in time.
        CopyFailed: It cannot be read.
    """
    path = checked_path(src, "src")
    check_operator(operator)
    checked_seconds("timeout", timeout)
    if _HTTP_URL.match(path):
        _check_port(path)
        # Here, because requests takes 100 ms to import and most never need it.
        from httpserve.staging.http_source import HttpSource

        return HttpSource(path, timeout=timeout)
    if operator is not None:
        return OperatorSource(path, operator, timeout=timeout)
    return FileSource(local_path(path, "src"))


def _check_port(url: str) -> None:
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise InvalidArgument(f"the URL {redacted_url(url)} is malformed: a port is a number from 1 to 65535")


def checked_path(path: object, argument: str) -> str:
    """Return *path* as a str. Raises InvalidType for what is none, InvalidArgument for a NUL in it."""
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str):
        raise InvalidType(f"{argument} must be a str or a path, not {type(path).__name__}")
    if "\0" in path:
        raise InvalidArgument(f"{argument} {redacted_url(path)!r} contains a NUL character; no path can")
    return path


def check_operator(operator: object) -> None:
    """Raise InvalidType unless *operator* is None or a blocking opendal operator."""
    if isinstance(operator, opendal.AsyncOperator):
        raise InvalidType("operator is an AsyncOperator, but this call blocks; pass operator.to_operator()")
    if operator is not None and not isinstance(operator, opendal.Operator):
        raise InvalidType(f"operator must be an opendal.Operator or None, not {type(operator).__name__}")


def operator_path(path: str, argument: str) -> str:
    """Return *path* for an operator. Raises InvalidArgument where opendal would take another one, or none."""
    if path != path.strip():
        raise InvalidArgument(f"{argument} {path!r} has blanks at an end, which opendal strips; remove them")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{argument} {path!r} holds a lone surrogate, which opendal cannot express") from None
    return path


def local_path(path: str, argument: str) -> str:
    """Return *path* for this system. Raises InvalidArgument where no file here can have that name."""
    try:
        os.fsencode(path)  # which knows the surrogates that stand for bytes of a name that is not UTF-8
    except UnicodeEncodeError as error:
        shown = redacted_url(path)
        why = f"the system's names are {error.encoding}, and it does not fit"
        raise InvalidArgument(f"{argument} {shown!r} is no path here: {why}") from None
    return path


class FileSource:
    """A local file, read without opendal: no runtime to start, and names that opendal would change work."""

    interruptible = True

    def __init__(self, path: str) -> None:
        self.label = repr(redacted_url(path))
        self.size: int | None = None
        self._read = 0
        self._file = Descriptor()
        try:
            self._file.open(path)
            self._before = os.fstat(self._file.fileno())
        except OSError as error:
            self.close()
            # Theirs shows the path, which may be a URL with secrets.
            raise self._error(error) from (error if redacted_url(path) == path else None)
        # Files in /proc and devices say 0 and have more; a pipe has no size at all.
        if stat.S_ISREG(self._before.st_mode) and self._before.st_size:
            self.size = self._before.st_size

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._file.readinto(buffer) or 0
        except OSError as error:
            raise self._error(error) from error
        self._read += count
        return count

    def finish(self) -> None:
        check_whole(self.label, self._read, self.size)
        try:
            now = os.fstat(self._file.fileno())
        except OSError as error:
            raise self._error(error) from error
        if self.size is not None and _version(now) != _version(self._before):
            raise changed(self.label)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what was read is what was there
            self._file.close()

    def _error(self, error: OSError) -> CopyFailed:
        if error.errno == errno.ENOENT:
            return missing(self.label, _ONLY_HTTP if ":/" in self.label else "")
        return unreadable(self.label, error.strerror or str(error), error.errno)


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
        now = self._stat_again()
        if now is not None and _tags(now) != _tags(self._before):
            raise changed(self.label)

    def close(self) -> None:
        self._closed = True
        # A reader that is inside opendal closes it when it comes back.
        if self._reading.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._reading.release()

    def _stat(self) -> Metadata | None:
        """Ask what the source is; None where the service cannot say, as an HTTP server that refuses HEAD."""
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

    def _stat_again(self) -> Metadata | None:
        try:
            return self._operator.stat(self._path)
        except OPENDAL_ERRORS:
            # Every byte that it said it had is here; that it went away since does not matter.
            _log.debug("%s was read, and cannot be asked whether it changed meanwhile", self.label)
            return None


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _tags(metadata: Metadata) -> tuple[object, ...]:
    return metadata.content_length, metadata.etag, metadata.last_modified
