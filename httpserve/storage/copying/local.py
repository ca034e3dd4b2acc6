"""A local path as an end of a copy: how it is read, and how it is written.

Knows local files. Knows nothing of the other end, nor of opendal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time

from httpserve.base.descriptors import Descriptor
from httpserve.base.log import logger
from httpserve.base.paths import nearest_path
from httpserve.base.text import InPython, Message
from httpserve.base.threads import run_shielded, sigint_held
from httpserve.errors import CopyFailed, InvalidArgument
from httpserve.storage.copying.ends import temporary_beside
from httpserve.storage.copying.messages import changed, check_whole, missing, redacted_url, unreadable, unwritable
from httpserve.storage.copying.unchanged import Origin

# A change within a clock tick of the last one leaves the same times behind; git calls such a file racy.
RESTED_NS = 2_000_000_000
WHOLE_BYTES = 64 * 1024  # a file up to this is read in one call
_FILE = "file"

_log = logger("httpserve.storage")
_ONLY_HTTP = Message(
    "of URLs only http:// and https:// are fetched{}", InPython("; pass an opendal operator for other services")
)


def _where_missing(path: str) -> str:
    """Say where a source was looked for, and what similar path exists."""
    if path.startswith("~"):
        return "a ~ is not replaced; pass os.path.expanduser(src)"
    try:
        why = "" if os.path.isabs(path) else f"a relative path begins at the working directory, {os.getcwd()}"
    except FileNotFoundError:
        return "the working directory is gone"
    found = nearest_path(path)
    near = f"there is {found!r}" if found else ""
    return "; ".join(filter(None, (near, why)))


def origin_of_file(found: os.stat_result) -> Origin:
    """Return the origin for a local file that is not empty: some files of the system say 0 and have more."""
    return Origin(_FILE, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def whole_file(path: str, told: Origin | None) -> tuple[bytes, Origin | None] | None:
    """Return all of a small file, and the origin to note, if it still is the version that was *told*.

    None: it is no such file, or another version by now, or cannot be read. Then a `FileSource` tells. Blocks for the
    disk.
    """
    if told is None or told.source != _FILE:
        return None
    mark: tuple[int, ...] = told.mark  # type: ignore[assignment]  # as origin_of_file makes it
    if len(mark) < 5 or mark[2] > WHOLE_BYTES:
        return None
    has_rested = time.time_ns() - max(mark[3], mark[4]) >= RESTED_NS
    with sigint_held():  # a signal would lose the number of an open descriptor
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, UnicodeEncodeError):
            return None
        try:
            data, found = os.read(fd, mark[2] + 1), os.fstat(fd)
        except OSError:
            return None
        finally:
            os.close(fd)
    now = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return (data, told if has_rested else None) if now == mark and len(data) == mark[2] else None


class FileSource:
    """A local file, read without opendal: there is no runtime to start, and names that opendal would change work."""

    interruptible = True

    def __init__(self, path: str) -> None:
        self._path = path
        self.size: int | None = None
        self._read = 0
        self._file = Descriptor()
        try:
            self._file.open(path)
            found = os.fstat(self._file.fileno())
        except OSError as error:
            self.close()
            # Our error says as much as Python's, which shows the path, and that may be a URL with secrets.
            is_known = error.errno == errno.ENOENT or redacted_url(path) != path
            raise self._error(error) from (None if is_known else error)
        except UnicodeEncodeError as error:
            raise _no_path(path, "src", error) from None
        # Files in /proc and devices say 0 and have more; a pipe has no size at all.
        if stat.S_ISREG(found.st_mode) and found.st_size:
            self.size = found.st_size
        self._found = found
        self._has_rested = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) >= RESTED_NS
        self.origin = self._origin()

    @property
    def label(self) -> str:
        return repr(redacted_url(self._path))

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._file.readinto(buffer) or 0
        except OSError as error:
            raise self._error(error) from error
        self._read += count
        return count

    def finish(self) -> None:
        if self.size is None:
            if self._read:
                self.origin = None
            return
        if self._read != self.size:
            check_whole(self.label, self._read, self.size)
        try:
            now = os.fstat(self._file.fileno())
        except OSError as error:
            raise self._error(error) from error
        if (now.st_size, now.st_mtime_ns) != (self.size, self._found.st_mtime_ns):
            raise changed(self.label)
        if not self._has_rested or now.st_ctime_ns != self._found.st_ctime_ns:
            self.origin = None

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what was read is what was there
            self._file.close()

    def _origin(self) -> Origin | None:
        if not stat.S_ISREG(self._found.st_mode):
            return None
        if self._found.st_size:
            return origin_of_file(self._found)
        try:
            return None if os.pread(self._file.fileno(), 1, 0) else Origin(_FILE, "empty")
        except OSError:  # the copy will tell
            return None

    def _error(self, error: OSError) -> CopyFailed:
        if error.errno == errno.ENOENT:
            return missing(self.label, _ONLY_HTTP if ":/" in self.label else _where_missing(self._path))
        return unreadable(self.label, error.strerror or str(error), error.errno)


def _no_path(path: str, argument: str, error: UnicodeEncodeError) -> InvalidArgument:
    """Return the error for a path that no file here can have. Surrogates that mean bytes are fine."""
    why = f"the system's names are {error.encoding}, and it does not fit"
    return InvalidArgument(f"{argument} {redacted_url(path)!r} is not a path here: {why}")


class FileSink:
    """A local path, written as a temporary sibling; a device or a pipe is written itself."""

    def __init__(self, path: str) -> None:
        self.start = 0
        self._label = repr(path)
        try:
            # The file that a symlink leads to is replaced, and the symlink stays.
            self._path = os.path.realpath(path)
        except UnicodeEncodeError as error:
            raise _no_path(path, "dst", error) from None
        self._temporary: str | None = None
        self._may_be_placed = False  # an interrupt may come between the replacement and noting it
        self._lock = threading.Lock()  # guards _fd: a descriptor closed during a write may soon be another file's
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
                self._close()  # first: a disk may have taken the bytes, and refuse them only now
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
            self._temporary = temporary_beside(self._path)
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
    """A target that is finished. Its finalizer is in C: what a signal raises in a Python finalizer is lost."""

    __del__ = object.__init__

    def discard(self) -> None:
        """Do nothing: the file was removed, or is in its place."""
