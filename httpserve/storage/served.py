"""What is served, as a protocol: the site relies on it, wherever the files live.

Knows which version a file is. Knows no disk: a directory implements it with descriptors (`directory/`), and another
place of files may implement it with a stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self

from httpserve.base.threads import Latch
from httpserve.errors import StorageError
from httpserve.plan import RegionFile, Repeatable, Step

# A change within a clock tick of the last one leaves the same times behind. On ext3 times are in whole seconds.
SETTLED_SECONDS = 2.0


Fields = tuple[tuple[str, str], ...]  # header fields, each a name and a value


class DiskBusy(StorageError):
    """So many requests already wait for a disk that another one would only take a thread."""


class DigestPending(StorageError):
    """The digest of a file is not known yet: it is being computed, or the file has just changed."""


class VersionGone(StorageError):
    """The version of an object that was asked for is no longer the one that the store has."""


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

    def of_digest(self, size: int) -> Self:
        """Return the identity of the digest of this version, which is no file's: none has a device below 0."""
        return self._replace(device=~self.device, size=size)


class ObjectIdentity(NamedTuple):
    """Identifies one version of an object in a store, by what the store says of it."""

    size: int
    mtime_ns: int
    etag: str

    def of_digest(self, size: int) -> Self:
        """Return the identity of the digest of this version, which is no object's."""
        return self._replace(size=size, etag=f"digest of {self.etag}")


AnyIdentity = Identity | ObjectIdentity


class FileVersion(Protocol):
    """One version of a file: its name on the server, which version, and the digest that it came in with, if any.

    It `shares_second` with the version before if their times of change differ by less than HTTP can say.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> AnyIdentity: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def etag(self) -> str | None:
        """The validator, with its quotes, that a store has given to a version without a digest; None elsewhere."""

    @property
    def shares_second(self) -> bool: ...

    @property
    def fields(self) -> Fields:
        """What its answers say besides what the server says by itself, or in place of that."""


class Status(NamedTuple):
    """What `Served.status` found."""

    name: str
    identity: AnyIdentity
    sha256: str | None
    shares_second: bool
    fields: Fields = ()
    etag: str | None = None


class MemoryFile:
    """A file that lies in memory: one version, as an open file is."""

    __slots__ = ("data", "etag", "fields", "identity", "name", "sha256", "shares_second")

    def __init__(self, version: FileVersion, data: bytes) -> None:
        self.name = version.name
        self.data = data
        self.identity = version.identity
        self.sha256 = version.sha256
        self.etag = version.etag
        self.shares_second = version.shares_second
        self.fields = version.fields

    def close(self) -> None:
        """Do nothing: no descriptor is held."""


class ServedFile(FileVersion, RegionFile, Protocol):
    """A file that is open for an answer: one version, whatever becomes of its name."""


class RemoteFile:
    """One version of an object that is read where it lies, as far as an answer wants it: a `FileVersion`."""

    name: str
    identity: ObjectIdentity
    sha256: str | None
    etag: str | None
    shares_second: bool
    fields: Fields

    def part(self, start: int, stop: int, *, wait: bool) -> Step:
        """Return the step that sends these bytes. Where it is to *wait*, the first of them is there by then.

        Blocks for the store. When it raises, nothing is left open.

        Raises:
            VersionGone: The store has another version by now.
            StorageError: The store does not give them.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End what is under way for it. Harmless when repeated."""


class Entry(NamedTuple):
    """One file or directory of a listing; `modified` in seconds since the epoch, 0.0 where that is not known."""

    name: str
    is_dir: bool
    size: int
    modified: float


class NewVersion(Protocol):
    """A new version of a file on its way in, which nobody sees before `commit`. One thread at a time writes to it."""

    may_replace: bool  # what is there; else `commit` raises AlreadyExists

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

    def open_to_serve(self, name: str, *, may_block: bool) -> ServedFile | RemoteFile | MemoryFile | None:
        """Open a file for an answer; None if that might take a wait, unless the caller *may_block*.

        Raises:
            DiskBusy: So many requests already wait for this disk that another one would only take a thread.
            StorageError: Whatever else `status` raises.
        """

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None) -> str | None:
        """Return the hexadecimal SHA-256 of a version of a file that came in without one.

        Computes it in the background, and blocks for at most *seconds*; a small file is read at once. Where *seconds*
        is None, it blocks as long as it takes to read the file.

        Returns:
            None where it is not known yet, or where the file is another version by now.

        Raises:
            StorageError: What `status` raises.
        """

    def again(self, file: ServedFile | RemoteFile) -> Repeatable | None:
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


class Listeners(NamedTuple):
    """What is called at changes."""

    before_publish: Callable[[str], object] = lambda name: None  # with a file's name, before a new version is in place
    after_removal: Callable[[], object] = lambda: None  # when something was removed or moved away


class ServedRoot(Served, Protocol):
    """What is served as a whole, from `open` to `close`."""

    @property
    def label(self) -> str:
        """What it is, for people: a path, or the URL of a store. Raises StorageError where that is not settled yet."""

    def open(self) -> Self:
        """Be ready to serve. Harmless when repeated. Raises RootUnusable."""

    def close(self) -> None:
        """Discard what is on its way in, and remove what is to be removed. Harmless when repeated."""

    def rest(self) -> None:
        """Do nothing in the background until `go_on`. Blocks for a moment; harmless when closed."""

    def go_on(self) -> None:
        """End what `rest` has begun. Harmless when repeated."""

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None = None) -> str | None:
        """Do what `Served.digest` says. If *seconds* is None, this gives up once *stop* is open."""

    def path_of(self, name: str) -> str:
        """Return the path of a file on this host; empty where it is not on this host."""

    def names(self, below: Sequence[str]) -> list[str]:
        """Return some names of files that can be asked for, only those or below those where any are given."""
