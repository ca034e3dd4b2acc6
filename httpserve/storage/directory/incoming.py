"""A new version of a file on its way in: a temporary sibling, then put in place in one step.

Knows one descriptor, and one temporary in an open directory. Its owner publishes it and keeps the record.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from threading import RLock, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from httpserve.base.descriptors import Descriptor
from httpserve.base.threads import run_shielded
from httpserve.errors import HttpServeError, StorageError
from httpserve.storage.directory.generations import Generation, generation_of
from httpserve.storage.directory.journal import Journal
from httpserve.storage.directory.os_errors import translated
from httpserve.storage.directory.places import Place
from httpserve.storage.served import Fields, Identity

if TYPE_CHECKING:
    from typing_extensions import Buffer


COPY_BYTES = 16 * 1024 * 1024  # of one copy_file_range: Ctrl-C is felt in between
WRITE_BYTES = 256 * 1024  # larger writes were slower on ext4
# Errors of file systems that cannot set times, or not for everybody.
NOT_DATED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL)
NOT_COPIED_INSIDE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


class State(Enum):
    """The life of an incoming version: open, then one of the other two for good."""

    OPEN = "open"
    COMMITTED = "committed"
    DISCARDED = "discarded"


class Owner(Protocol):
    """Who made an `Incoming`, and ends it."""

    def in_parents(self, place: Place, action: Callable[[], None]) -> None: ...

    def publish(
        self, incoming: Incoming, written: os.stat_result, generation: Generation, sha256: str | None
    ) -> Identity: ...

    def settled(self, incoming: Incoming, *, prune: bool) -> None: ...


class Incoming:
    """A new version of *name* that nobody sees before `commit`. Leaving a `with` block without a commit discards.

    One thread writes and commits; any other may discard meanwhile.
    """

    def __init__(self, name: str, place: Place, temporary: str, journal: Journal | None, owner: Owner) -> None:
        """Hold a file *temporary* beside *place*, which is closed at the end."""
        self.name = name
        self.place = place
        self.temporary = temporary
        self.start = 0  # where a copy into it begins
        self.fields: Fields = ()  # what answers with it are to say
        self.may_replace = True  # what is there
        self.note: object = None  # what is to be kept with the record of it
        self._journal = journal
        self._owner = owner
        self._pid = os.getpid()
        self._file = Descriptor()
        # Guards _state, _writer, _file; held over the replacement, which no discard may split. Reentrant, as
        # a finalizer may come in the middle of it.
        self._lock = RLock()
        self._state = State.OPEN
        self._writer = 0  # the thread that is in a write; 0: none
        self.is_litter = False  # the temporary could not be removed
        place.leave_to_owner()

    def create(self) -> None:
        """Make the temporary file, with the mode that the umask gives, and its directory if that is missing."""
        with self._lock:  # a discard closes the directory
            if self._state is not State.OPEN:  # close() of the root may have discarded it before it was there
                self._refuse()
            self._owner.in_parents(self.place, self._make)

    def _make(self) -> None:
        if self._journal is not None:
            self._journal.note_file(self.place.beside(self.temporary))
        self._file.open(self.temporary, "x+b", opener=partial(os.open, mode=0o666, dir_fd=self.place.fd))

    def reader(self) -> int:
        """Return another descriptor of the temporary, for reading it back in a thread that no signal interrupts.

        Its close may be the first, and then the only one, to report bytes that the disk has refused since they were
        written: `refused` turns that into an error.
        """
        with self._lock:
            if self._state is not State.OPEN:
                self._refuse()
            return os.dup(self._file.fileno())

    def refused(self, error: OSError) -> Exception:
        """Return the error for a version whose bytes the disk does not take."""
        return translated(error, "write", self.name, directory=self.place.ground.path)

    def write(self, data: Buffer) -> None:
        """Append the whole of *data*. Blocks while the disk does. Raises StorageError."""
        self._begin()
        try:
            with memoryview(data).cast("B") as view:
                sent, fd = 0, self._file.fileno()
                while sent < len(view):
                    sent += os.write(fd, view[sent:])
        except OSError as error:
            raise self.refused(error) from error
        finally:
            self._end()

    def copy_from(self, fd: int) -> None:
        """Append all that *fd* still has. Blocks while the disk does, if blocks cannot be shared."""
        self._begin()
        try:
            while os.copy_file_range(fd, self._file.fileno(), COPY_BYTES):
                pass
        except AttributeError:  # pragma: no cover - not Linux
            pass
        except OSError as error:
            if error.errno not in NOT_COPIED_INSIDE:
                raise self.refused(error) from error
        finally:
            self._end()
        # What the kernel did not copy: all of it where the file systems differ, else nothing.
        while data := os.read(fd, WRITE_BYTES):
            self.write(data)

    def restart(self, size: int = 0) -> None:
        """Drop all bytes after the first *size*: the source begins again."""
        self._begin()
        try:
            os.ftruncate(self._file.fileno(), size)
            os.lseek(self._file.fileno(), size, os.SEEK_SET)
        except OSError as error:
            raise self.refused(error) from error
        finally:
            self._end()

    def commit(self, sha256: str | None) -> Identity:
        """Put the version in its place in one step; until then the whole old one is there. Raises StorageError.

        *sha256*: the hexadecimal digest of all bytes, where one was computed.
        """
        try:
            with self._lock:
                if self._state is not State.OPEN or self._writer:
                    self._refuse()
                written, generation = os.fstat(self._file.fileno()), generation_of(self._file.fileno())
                if generation is None:
                    written = _made_older(self._file.fileno(), written)
                self._file.close()  # first: a disk may have taken the bytes, and refuse them only now
                identity = self._owner.publish(self, written, generation, sha256)
                self._state = State.COMMITTED
                self.place.close()
        except BaseException as error:  # a Ctrl-C too: half a version must not stay
            self.discard()
            if isinstance(error, OSError) and not isinstance(error, HttpServeError):
                raise self.refused(error) from error
            raise
        self.__class__ = _Settled
        return identity

    def discard(self) -> None:
        """Remove the temporary. Harmless when called again, and after a commit; no signal leaves it half done."""
        run_shielded(partial(self._discard, get_ident(), prune=True))

    def _discard(self, caller: int, *, prune: bool) -> None:
        with self._lock:
            is_published = self._state is State.COMMITTED
            if not is_published:
                self._state = State.DISCARDED
                # Else the writer closes it: a number that is in use must not be reused. The writer itself was
                # interrupted before or after the write.
                if self._writer in (0, caller):
                    with suppress(OSError):  # nobody wants the bytes any more
                        self._file.close()
                if self._pid == os.getpid():  # in a forked child the file is the parent's, which goes on writing it
                    try:
                        self.place.unlink_beside(self.temporary)
                    except (FileNotFoundError, NotADirectoryError):
                        pass
                    except OSError:
                        self.is_litter = True
        try:
            self._owner.settled(self, prune=prune and not is_published)
        finally:
            with self._lock:
                self.place.close()
        self.__class__ = _Settled

    def _begin(self) -> None:
        with self._lock:
            if self._state is not State.OPEN or self._writer:
                self._refuse()
            self._writer = get_ident()

    def _end(self) -> None:
        with self._lock:
            self._writer = 0
            if self._state is State.DISCARDED:
                with suppress(OSError):  # nobody wants the bytes any more
                    self._file.close()

    def _refuse(self) -> NoReturn:
        what = self._state.value if self._state is not State.OPEN else "being written by another thread"
        raise StorageError(f"write {self.name!r}: this new version is already {what}", self.name)

    def __del__(self) -> None:
        # An interrupt may come before the `with` block is entered. This attribute is the last that __init__ sets.
        if hasattr(self, "is_litter"):
            self._discard(get_ident(), prune=False)  # may be in the middle of anything: takes no lock of the root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


class _Settled(Incoming):
    """A version that is finished. Its finalizer is in C: what a signal raises in a Python finalizer is lost."""

    __del__ = object.__init__

    def discard(self) -> None:
        """Do nothing: the temporary was removed, or published."""

    def __exit__(self, *raised: object) -> None:
        """Do nothing."""


def _made_older(fd: int, written: os.stat_result) -> os.stat_result:
    """Set the time of change back by a nanosecond, if nothing else tells this file from a later one.

    A file that gets its number once it is gone is no older than the move that puts this one in its place. The clock of
    file systems ticks every few milliseconds: without this step, both might have the same times.
    """
    try:
        os.utime(fd, ns=(written.st_atime_ns, written.st_mtime_ns - 1))
    except OSError as error:
        if error.errno not in NOT_DATED:
            raise
    return os.fstat(fd)
