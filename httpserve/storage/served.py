"""What is served, as a protocol: the site relies on it, wherever the files live.

Knows which version a file is. Knows no disk: a directory implements it with descriptors (`directory/`), and another
place of files may implement it with a stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

from httpserve.errors import StorageError
from httpserve.plan import RegionFile, Repeatable

# A change within a clock tick of the last one leaves the same times behind. On ext3 times are in whole seconds.
SETTLED_SECONDS = 2.0


Fields = tuple[tuple[str, str], ...]  # header fields, each a name and a value


class DiskBusy(StorageError):
    """So many requests already wait for a disk that another one would only take a thread."""


class DigestPending(StorageError):
    """The digest of a file is not known yet: it is being computed, or the file has just changed."""


class Identity(NamedTuple):
    """Identifies one version of a file: it changes as soon as the bytes may have changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class FileVersion(Protocol):
    """One version of a file: its name on the server, which version, and the digest that it came in with, if any.

    It `shares_second` with the version before if their times of change differ by less than HTTP can say.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def shares_second(self) -> bool: ...

    @property
    def fields(self) -> Fields:
        """What its answers say besides what the server says by itself, or in place of that."""


class Status(NamedTuple):
    """What `Served.status` found."""

    name: str
    identity: Identity
    sha256: str | None
    shares_second: bool
    fields: Fields = ()


class ServedFile(FileVersion, RegionFile, Protocol):
    """A file that is open for an answer: one version, whatever becomes of its name."""


class Entry(NamedTuple):
    """One file or directory of a listing; `modified` in seconds since the epoch."""

    name: str
    is_dir: bool
    size: int
    modified: float


class NewVersion(Protocol):
    """A new version of a file on its way in, which nobody sees before `commit`. One thread at a time writes to it."""

    def write(self, data: bytes) -> None:
        """Append bytes. Blocks while the disk does. Raises StorageError."""

    def sha256(self) -> str:
        """Return the hexadecimal digest of all that was written, and wait for it. Raises StorageError."""

    def commit(self) -> None:
        """Put it in its place in one step. Raises StorageError."""

    def discard(self) -> None:
        """Remove what came. Harmless when repeated, and after a commit."""


class Served(Protocol):
    """Where files live. Names are checked ones; every method may block for the disk."""

    def status(self, name: str) -> Status:
        """Return which version a file is, at the cost of one look at it.

        Raises:
            NotFound: There is none.
            IsADirectory: The name is that of a directory.
            NotPermitted: It cannot be read, or is a device, a fifo or the like.
            InvalidName: A symlink leads out of what is served.
            StorageError: The disk fails.
        """

    def open_to_serve(self, name: str, *, may_block: bool) -> ServedFile | None:
        """Open a file for an answer; None if that might take a wait, unless the caller *may_block*.

        Raises:
            DiskBusy: So many requests already wait for this disk that another one would only take a thread.
            StorageError: Whatever else `status` raises.
        """

    def digest(self, name: str, identity: Identity, seconds: float | None) -> str | None:
        """Return the hexadecimal SHA-256 of a version of a file that came in without one.

        Computes it in the background, and blocks for at most *seconds*; a small file is read at once. Where *seconds*
        is None, it blocks as long as it takes to read the file.

        Returns:
            None where it is not known yet, or where the file is another version by now.

        Raises:
            StorageError: What `status` raises.
        """

    def again(self, file: ServedFile) -> Repeatable | None:
        """Return how to get the same version as *file* once more; None if that cannot be said."""

    def entries(self, name: str, is_wanted: Callable[[str], bool]) -> list[Entry]:
        """Return what is in a directory and can be asked for, as far as its last component *is_wanted*.

        What goes away meanwhile, or cannot be read, or is neither file nor directory, is left out.

        Raises:
            NotFound: There is none.
            NotADirectory: It is not a directory.
            StorageError: Whatever else `open_to_serve` raises.
        """

    def came_in(self, name: str) -> bool:
        """Tell whether what has that name, a file or a directory, came in through us."""

    def receive(self, name: str) -> NewVersion:
        """Begin a new version of a file that a client sends; directories on the way to it are made.

        Raises:
            NotPermitted: Nothing may be written there.
            IsADirectory: The name is that of a directory.
            NotADirectory: A part of it is a file.
            InvalidName: A symlink leads out of what is served.
            DiskBusy: So many requests already wait for this disk that another one would only take a thread.
            StorageError: The disk fails.
        """
