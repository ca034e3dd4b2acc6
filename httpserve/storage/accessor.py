"""What `storage` asks of the place where files live, as a protocol: opendal calls it an accessor.

Knows what each method promises. Does not know how users write paths, nor any particular place: a directory has an
accessor (`directory_accessor.py`), and a store of objects is one. Names are checked ones; each method blocks for the
disk, or for the store.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

from httpserve.storage.metadata import Metadata, Names
from httpserve.storage.served import AnyIdentity, Fields

if TYPE_CHECKING:
    from opendal.capability import Capability
    from opendal.types import PresignedRequest
    from typing_extensions import Buffer

Presigned = Literal["stat", "read", "write"]


class Readable(Protocol):
    """A file that is open for reading: one version, whatever becomes of its name."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> AnyIdentity: ...

    @property
    def sha256(self) -> str | None: ...

    def raw(self) -> io.RawIOBase:
        """Return its bytes as a file that can seek, and closes nothing."""

    def unchanged(self) -> bool:
        """Tell whether what was read is of the version that was opened."""

    def close(self) -> None: ...


class Writable(Protocol):
    """A new version of a file on its way in: nobody sees it before `commit`, nothing stays after `discard`.

    One thread writes and commits; any other may discard meanwhile.
    """

    name: str
    fields: Fields
    may_replace: bool  # what is there; else `commit` raises AlreadyExists
    note: object  # kept with the record of the version, for `Accessor.note_of`
    start: int

    def write(self, data: Buffer) -> None:
        """Append the whole of *data*. Raises StorageError."""

    def restart(self, size: int = 0) -> None:
        """Drop all bytes after the first *size*."""

    def reader(self) -> int:
        """Return a descriptor for reading back what was written, which the caller closes."""

    def refused(self, error: OSError) -> Exception:
        """Return the error for a version whose bytes the disk does not take."""

    def commit(self, sha256: str | None) -> object:
        """Put it in place in one step, with its hexadecimal digest. Raises StorageError."""

    def discard(self) -> None:
        """Remove what came. Harmless when repeated, and after a commit."""


class Accessor(Protocol):
    """Files by their names."""

    is_local: bool  # whether a write waits for nothing but a disk of this host

    @property
    def label(self) -> str:
        """Where they live, for people. Raises StorageError where that is not settled yet."""

    def open(self) -> object:
        """Be ready for the other methods. Harmless when repeated. Raises RootUnusable."""

    def stat(self, operation: str, name: str, *, is_directory: bool) -> Metadata:
        """Tell what has that name, a directory if *is_directory*, for an operation that errors name.

        Raises:
            NotFound: Nothing has.
            NotADirectory: A file has, but a directory is meant.
        """

    def read(self, name: str) -> Readable:
        """Open a file. Raises NotFound, IsADirectory, NotPermitted."""

    def incoming(self, name: str) -> Writable:
        """Begin a new version of a file. Raises IsADirectory, NotADirectory, NotPermitted."""

    def row(self) -> AbstractContextManager[Callable[[str], Writable]]:
        """Give what does what `incoming` does, for one thread that puts one file after the other: it may be quicker.

        After a failure, begin another one.
        """

    def note_of(self, name: str) -> tuple[object, str | None]:
        """Return the note that the latest version of a file came in with, and its digest; None where there is none."""

    def renew(self, name: str, note: object) -> int | None:
        """Let a file count as put anew, if it still is the version that came in with that very *note*.

        Return its size in bytes; None where it is not, and nothing has changed.
        """

    def may_change(self, name: str) -> bool:
        """Tell whether a file lies here; one that is served in place lies elsewhere."""

    def list(self, operation: str, name: str, *, is_directory: bool, recursive: bool) -> Names:
        """Return a directory and its entries, or (not *is_directory*) what begins with *name* in its parent."""

    def copy(self, source: str, target: str) -> None:
        """Copy a file over whatever is at *target*, in one step."""

    def rename(self, source: str, target: str) -> None:
        """Move a file or a directory."""

    def create_dir(self, name: str) -> None:
        """Make a directory, and its parents."""

    def delete(self, name: str) -> None:
        """Remove a file or an empty directory. Harmless when there is none."""

    def remove_all(self, name: str) -> None:
        """Remove a file, or a directory with all in it. Harmless when there is none."""

    def created(self) -> set[str]:
        """Return the names of files and directories that were created, without `/` at either end."""

    def capability(self) -> Capability:
        """Return what these methods support, as opendal words it."""

    def presign(self, operation: Presigned, name: str, seconds: int) -> PresignedRequest:
        """Return a request that anybody may send for so many seconds. Raises Unsupported."""
