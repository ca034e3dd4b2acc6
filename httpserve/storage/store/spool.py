"""A new version of an object on its way in: all of it lies on the local disk before the store gets a byte.

So its digest is in what the store keeps of it from the first byte on, and a put that fails leaves nothing there. The
file has no name where the system can do that, so not even a killed process leaves it. Knows one file. Does not know how
it gets into the store.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from threading import RLock
from typing import TYPE_CHECKING, NoReturn, Protocol

from httpserve.base.descriptors import Descriptor
from httpserve.base.threads import sigint_held
from httpserve.errors import StorageError
from httpserve.storage.served import Fields

if TYPE_CHECKING:
    from typing_extensions import Buffer

HASH_BYTES = 256 * 1024
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class State(Enum):
    """The life of an incoming version: open, then one of the other two for good."""

    OPEN = "open"
    COMMITTED = "committed"
    DISCARDED = "discarded"


class Owner(Protocol):
    """Who made a `Spool`."""

    def publish(self, spool: Spool, sha256: str) -> None:
        """Put what it holds into the store, in one step."""

    def settled(self, spool: Spool) -> None:
        """Take note that it is over."""

    def made_room(self, count: int) -> bool:
        """Remove from the disk what can be had again, and tell whether so many bytes are gone."""


class Spool:
    """Implements `Writable`. One thread writes and commits; any other may discard meanwhile."""

    def __init__(self, name: str, directory: str, owner: Owner) -> None:
        """Make the file in *directory*. Raises StorageError."""
        self.name = name
        self.fields: Fields = ()  # what answers with it are to say
        self.note: object = None  # what is to be kept with the record of it
        self.start = 0  # where a copy into it begins
        self.may_replace = True  # what is there
        self._owner = owner
        self._file = Descriptor()
        self._lock = RLock()  # guards _state, _users, _file
        self._state = State.OPEN
        self._users = 0  # threads that use the file
        try:
            with sigint_held():
                _open_without_name(self._file, directory)
        except OSError as error:
            raise self.refused(error) from error

    @property
    def is_given_up(self) -> bool:
        """Whether nobody wants it any more."""
        return self._state is State.DISCARDED

    def write(self, data: Buffer) -> None:
        """Append the whole of *data*. Blocks while the disk does. Raises StorageError."""
        with self._using(), memoryview(data).cast("B") as view:
            sent, fd = 0, self._file.fileno()
            while sent < len(view):
                try:
                    sent += os.write(fd, view[sent:])
                except OSError as error:
                    if error.errno not in NO_ROOM or not self._owner.made_room(len(view) - sent):
                        raise

    def restart(self, size: int = 0) -> None:
        """Drop all bytes after the first *size*: the source begins again."""
        with self._using():
            os.ftruncate(self._file.fileno(), size)
            os.lseek(self._file.fileno(), size, os.SEEK_SET)

    def reader(self) -> int:
        """Return another descriptor of the file, for reading back what was written."""
        with self._lock:
            if self._state is not State.OPEN:
                self._refuse()
            return os.dup(self._file.fileno())

    def refused(self, error: OSError) -> Exception:
        """Return the error for a version whose bytes the disk does not take."""
        way = "make room, or pass another cache_dir" if error.errno in NO_ROOM else "see what is wrong with it"
        text = f"write {self.name!r}: the local disk, which has it on its way to the store: {error.strerror}; {way}"
        return StorageError(text, self.name)

    def commit(self, sha256: str | None) -> None:
        """Put it into the store in one step. Blocks until it is there. Raises StorageError.

        *sha256*: the hexadecimal digest of all bytes, where it is known.
        """
        try:
            with self._using():
                self._owner.publish(self, sha256 or self._digest())
            with self._lock:
                if self._state is State.OPEN:
                    self._state = State.COMMITTED
        finally:
            self.discard()

    def _digest(self) -> str:
        digest = hashlib.sha256()
        with closing_number(self.reader()) as fd:
            for piece in pieces(fd, HASH_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def discard(self) -> None:
        """Drop it. Harmless when called again, and after a commit."""
        with self._lock:
            if self._state is State.OPEN:
                self._state = State.DISCARDED
            self._close_unused()
        self._owner.settled(self)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Keep the file open: a number that is in use must not become another file's."""
        with self._lock:
            if self._state is not State.OPEN or self._users:
                self._refuse()
            self._users += 1
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise self.refused(error) from error
        finally:
            with self._lock:
                self._users -= 1
                self._close_unused()

    def _close_unused(self) -> None:
        if self._state is not State.OPEN and not self._users:
            with suppress(OSError):
                self._file.close()

    def _refuse(self) -> NoReturn:
        what = self._state.value if self._state is not State.OPEN else "being written by another thread"
        raise StorageError(f"write {self.name!r}: this new version is already {what}", self.name)


@contextmanager
def closing_number(fd: int) -> Iterator[int]:
    """Close a descriptor at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def pieces(fd: int, size: int) -> Iterator[bytes]:
    """Give all of a file, from the beginning, in pieces of that size."""
    at = 0
    while data := os.pread(fd, size, at):
        at += len(data)
        yield data


def _open_without_name(file: Descriptor, directory: str) -> None:
    """Open a file that goes with its last descriptor."""
    flag = getattr(os, "O_TMPFILE", 0)
    if flag:
        opener: Callable[[str, int], int] = lambda path, flags: os.open(path, os.O_RDWR | os.O_CLOEXEC | flag, 0o600)  # noqa: E731 - FileIO asks for one
        with suppress(OSError):  # a file system that cannot, or none at all, which the next step tells
            file.open(directory, "r+b", opener=opener)
            return
    path = os.path.join(directory, f"httpserve-{secrets.token_hex(8)}.spool")
    file.open(path, "x+b")
    os.unlink(path)
