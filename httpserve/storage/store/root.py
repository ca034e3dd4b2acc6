"""A store of objects as the root: what is served, as the site asks for it.

Knows versions, reads, lists and the cache. Does not know how any of them asks the store.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Self

from opendal.layers import CapabilityOverrideLayer
from opendal.types import EntryMode

from httpserve.base.names import is_name
from httpserve.base.outcome import StoreSeen
from httpserve.base.slots import Slots
from httpserve.base.tables import Listing
from httpserve.base.threads import Latch, renew_in_child
from httpserve.errors import IsADirectory, NotADirectory, NotFound, NotPermitted, StorageError, Unsupported
from httpserve.plan import ARRIVAL_SECONDS, Data, ReadFailed, Region, Repeatable, Step
from httpserve.storage.accessor import Presigned
from httpserve.storage.cache.cache import Cache
from httpserve.storage.cache.cached_file import CachedFile
from httpserve.storage.cache.memory import MemoryCache
from httpserve.storage.cache.source import Key
from httpserve.storage.metadata import Metadata, Names
from httpserve.storage.received import Received
from httpserve.storage.served import (
    AnyIdentity,
    DiskBusy,
    Entry,
    Listeners,
    MemoryFile,
    RemoteFile,
    ServedFile,
    Status,
)
from httpserve.storage.store.calls import Calls, Patience, check_operator, interruptible
from httpserve.storage.store.changes import StoreChanges
from httpserve.storage.store.digests import StoreDigests
from httpserve.storage.store.readable import StoreReadable
from httpserve.storage.store.reading import BLOCK_BYTES, Reads
from httpserve.storage.store.spool import Spool
from httpserve.storage.store.versions import Found, Versions

if TYPE_CHECKING:
    import opendal
    from opendal.capability import Capability
    from opendal.types import PresignedRequest


Entries = list[Entry]  # for the class with a method named `list`
# What the service may be able to do, but these methods do not offer.
_NOT_OFFERED = "write_can_append=false,write_with_if_not_exists=false,write_with_user_metadata=false"
MOST_WAITING = 256  # requests that wait for the store, each in a thread: boards that start together ask at once
SIGNED_SECONDS = 12 * 3600  # RAUC asks the same URL for each range, until the installation is over
MOST_NAMES = 1000  # to compare with one that is missing


class StoreRoot:
    """A store to serve: a `ServedRoot` and an `Accessor`. Safe from any number of threads; calls block for the store.

    In a forked child nothing works, as opendal does not; all says so.
    """

    is_local = False

    def __init__(
        self,
        operator: opendal.Operator,
        *,
        cache: Cache | None = None,
        fresh_for: float = 0.0,
        remove_created: bool = False,
        read_only: bool = False,
        patience: Patience | None = None,
        listeners: Listeners | None = None,
    ) -> None:
        """Remember the *operator*; the store is asked nothing before the first request.

        Args:
            operator: of any service but fs, with any layers.
            cache: where to keep what is read, opened and closed with this; None: nowhere.
            fresh_for: seconds for which the answer to a look at an object may be used again.
            remove_created: remove on close what was created here, as far as it is still the same version.
            read_only: change nothing.
            patience: how long the store may take.
            listeners: what is called at changes.

        Raises:
            InvalidArgument: It is the operator of a directory on this computer.
            Unsupported: The service cannot read, or not say what there is.
            StorageError: This process was forked from one that had an operator; opendal does nothing in it.
        """
        check_operator(operator)
        self._calls = Calls(operator, patience or Patience())
        self._versions = Versions(self._calls, fresh_for)
        self._reads = Reads(self._calls, self._versions)
        self._digests = StoreDigests(self._versions, self._reads)
        self._remove_created = remove_created
        self._read_only = read_only
        self._cache = cache
        self._memory = MemoryCache()
        self._changes = StoreChanges(
            self._calls,
            self._versions,
            self._reads,
            listeners or Listeners(),
            self._spool_directory,
            self._adopt,
            self._made_room,
        )
        self._lock = threading.Lock()  # guards _is_open
        self._is_open = False
        self._waiting = Slots(MOST_WAITING)
        renew_in_child(self, StoreRoot.renew_locks)

    def renew_locks(self) -> None:
        """Make the locks anew in a forked child: a thread that does not exist there may hold them."""
        self._lock = threading.Lock()
        self._waiting = Slots(MOST_WAITING)
        self._versions.renew_locks()
        self._digests.begin_anew()
        self._changes.renew_locks()

    @property
    def label(self) -> str:
        """The operator, as opendal shows it, without secrets."""
        return self._calls.label

    # From opening to closing

    def open(self) -> Self:
        """Be ready to serve; the store is not asked. Harmless when open. Raises RootUnusable for that of the cache."""
        if not self._is_open:
            with self._lock:
                if self._cache is not None:
                    self._cache.open()
                self._is_open = True
        return self

    def close(self) -> None:
        """Discard what is on its way in, and remove what is to be removed. Harmless when closed."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._digests.rest()
            self._changes.close(remove_created=self._remove_created)
            if self._cache is not None:
                self._cache.close()

    def rest(self) -> None:
        """Do nothing in the background until `go_on`. Blocks for a moment; harmless when closed."""
        self._digests.rest()

    def go_on(self) -> None:
        """End what `rest` has begun. Harmless when repeated."""
        self._digests.go_on()

    # What is served

    @interruptible
    def status(self, name: str) -> Status:
        """Do what `Served.status` says, by one look at the object."""
        return self._look(name).status

    def open_to_serve(self, name: str, *, may_block: bool) -> RemoteFile | MemoryFile | None:
        """Do what `Served.open_to_serve` says. Nothing is open yet when it returns, and no byte was read."""
        if may_block:
            return StoreFile(self, self._look(name))
        self._check_open(name)
        found = self._versions.fresh(name)
        data = None if found is None else self._in_memory(found)
        return None if found is None or data is None else MemoryFile(found.status, data)

    def _look(self, name: str) -> Found:
        self._check_open(name)
        with self.waiting(name):
            return self._versions.look(name)

    def _check_open(self, name: str) -> None:
        if not self._is_open:
            raise NotFound(f"open {name!r}: the store is closed", name)

    @contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Take one of the threads that may wait for the store. Raises DiskBusy."""
        if not self._waiting.take(None):
            raise DiskBusy(f"open {name!r}: {MOST_WAITING} requests wait for {self.label} already", name)
        try:
            yield
        finally:
            self._waiting.give_back(None)

    # Bytes

    def small(self, found: Found) -> bytes | None:
        """Return all of a small object; None for a larger one. Blocks for the store where it is not in memory."""
        if found.facts.size > BLOCK_BYTES:
            return None
        data = self._in_memory(found)
        if data is None:
            with self.waiting(found.status.name):
                data = self._reads.whole(found)
            if self._reads.is_known(found):
                self._memory.put(self._key(found), data)
        return data

    def _in_memory(self, found: Found) -> bytes | None:
        return self._memory.get(self._key(found)) if self._reads.is_known(found) else None

    def cached(self, found: Found) -> CachedFile | None:
        """Open a version in the cache; None where that has no room, or nothing tells it from another version."""
        is_pinned = self._reads.is_pinned(found)
        if self._cache is None or not self._reads.is_known(found):
            return None
        return self._cache.file(self._key(found), partial(self._reads.reader, found), is_pinned=is_pinned)

    def stream(self, found: Found, start: int, stop: int, *, wait: bool) -> Step:
        """Return a part of a version as it comes from the store, past all caches."""
        with self.waiting(found.status.name):
            return self._reads.stream(found, start, stop, wait=wait)

    def _key(self, found: Found) -> Key:
        return Key(self._calls.identity, found.status.name, found.facts.etag or "", found.facts.size)

    def _spool_directory(self) -> str:
        """Return where new versions lie until they are in the store: where the cache can take them over."""
        path = None if self._cache is None else self._cache.path
        return tempfile.gettempdir() if path is None else path

    def _made_room(self, count: int) -> bool:
        return self._cache is not None and self._cache.made_room(count)

    def _adopt(self, found: Found, fd: int) -> None:
        """Keep what was just put."""
        if not self._reads.is_known(found):
            return
        if found.facts.size <= BLOCK_BYTES:
            self._memory.put(self._key(found), os.pread(fd, BLOCK_BYTES, 0))
        elif self._cache is not None:
            self._cache.adopt(self._key(found), f"/proc/self/fd/{fd}")

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None = None) -> str | None:
        """Do what `ServedRoot.digest` says."""
        self._check_open(name)
        return self._digests.of(name, identity, seconds, stop)

    def again(self, file: ServedFile | RemoteFile) -> Repeatable | None:
        """Return None: each request is for the version that the store has then."""
        return None

    def entries(self, name: str, is_wanted: Callable[[str], bool]) -> Entries:
        """Do what `Served.entries` says. Of a service that cannot list, nothing is a directory."""
        self._check_open(name)
        try:
            with self.waiting(name):
                listed = self._calls.below(name)
        except Unsupported:
            raise NotFound(f"list {name or '/'!r}: {self.label} cannot be listed", name) from None
        if not listed and not self._versions.is_directory(name):
            self._versions.look(name)
            raise NotADirectory(f"list {name!r}: it is a file", name)
        found = []
        for one in listed:
            last = one.path.rstrip("/").rpartition("/")[2]
            if is_name(one.path.rstrip("/")) and is_wanted(last):
                found.append(Entry(last, one.is_dir, one.size, one.modified))
        return found

    def came_in(self, name: str) -> bool:
        """Do what `Served.came_in` says."""
        return self._changes.came_in(name)

    def receive(self, name: str) -> Received:
        """Do what `Served.receive` says: all of it is on the local disk before the store gets a byte."""
        with self.waiting(name):
            return Received(self.incoming(name))

    # What `Accessor` says

    @interruptible
    def stat(self, operation: str, name: str, *, is_directory: bool) -> Metadata:
        try:
            if is_directory and self._versions.is_directory(name):  # beside an object of that name, perhaps
                raise IsADirectory(f"{operation} {name or '/'!r}: it is a directory", name)
            found = self._versions.look(name)
        except IsADirectory:
            return Metadata(mode=EntryMode.Dir, content_length=0, last_modified=datetime.fromtimestamp(0, UTC))
        except NotFound as error:
            raise NotFound(f"{operation} {name!r}: no such object on {self.label}", name) from error
        if is_directory:
            raise NotADirectory(f"{operation} {name!r}: it is a file", name)
        said, sha256 = found.metadata, found.status.sha256
        return Metadata(
            mode=EntryMode.File,
            content_length=said.content_length,
            last_modified=said.last_modified or datetime.fromtimestamp(0, UTC),
            etag=found.facts.etag if sha256 is None else f'"{sha256}"',
            content_type=said.content_type,
            content_md5=said.content_md5,
            content_encoding=said.content_encoding,
            content_disposition=said.content_disposition,
            version=said.version,
            user_metadata=said.user_metadata,
        )

    @interruptible
    def read(self, name: str) -> StoreReadable:
        return StoreReadable(self._reads, self._versions.look(name))

    def incoming(self, name: str) -> Spool:
        return self._changing("write", name).incoming(name)

    def row(self) -> AbstractContextManager[Callable[[str], Spool]]:
        return nullcontext(self.incoming)

    def note_of(self, name: str) -> tuple[object, str | None]:
        return self._changes.note_of(name)

    def renew(self, name: str, note: object) -> int | None:
        return self._changes.renew(name, note)

    def may_change(self, name: str) -> bool:
        return True

    @interruptible
    def list(self, operation: str, name: str, *, is_directory: bool, recursive: bool) -> Names:
        within = name if is_directory else name.rpartition("/")[0]
        listed = self._calls.below(within, recursive=recursive)
        found = {one.path for one in listed if is_name(one.path.rstrip("/"))}
        if recursive:  # then not every store lists the directories
            found |= {above for path in found for above in _directories(path, within)}
        if not is_directory:
            return Listing(sorted(path for path in found if path.startswith(name)))
        is_there = found or self._versions.is_directory(name)
        return Listing([f"{name}/", *sorted(found)] if is_there else [])

    def copy(self, source: str, target: str) -> None:
        self._changing("copy", source).copy(source, target)

    def rename(self, source: str, target: str) -> None:
        self._changing("rename", source).rename(source, target)

    def create_dir(self, name: str) -> None:
        self._changing("create_dir", name).create_dir(name)

    def delete(self, name: str) -> None:
        self._changing("delete", name).delete(name)

    def remove_all(self, name: str) -> None:
        self._changing("remove_all", name).remove_all(name)

    def created(self) -> set[str]:
        return self._changes.created()

    def capability(self) -> Capability:
        return self._calls.operator.layer(CapabilityOverrideLayer(_NOT_OFFERED)).capability()

    @interruptible
    def presign(self, operation: Presigned, name: str, seconds: int) -> PresignedRequest:
        return self._calls.signed(operation, name, seconds)

    def _changing(self, operation: str, name: str) -> StoreChanges:
        if self._read_only:
            text = f"{operation} {name or '/'!r}: {self.label} is served read-only; pass read_only=False to change it"
            raise NotPermitted(text, name)
        return self._changes

    @interruptible
    def seen(self) -> StoreSeen:
        """Try the store, for the doctor. Blocks for some looks and a list; longer where it does not answer."""
        from httpserve.storage.store.examining import Examination  # on first use: only the doctor asks

        return Examination(self._calls, self._versions, self._reads, self._cache).seen()

    def signed_url(self, name: str) -> str:
        """Return a URL at which anybody may read an object for half a day. Raises Unsupported."""
        return self._calls.signed("read", name, SIGNED_SECONDS).url

    def path_of(self, name: str) -> str:
        """Return nothing: what is in a store is not on this host."""
        return ""

    @interruptible
    def names(self, below: Sequence[str]) -> Names:
        """Do what `ServedRoot.names` says."""
        self._check_open("")
        found = []
        for name in below or ("",):
            listed = self._calls.below(name, recursive=True, most=MOST_NAMES)
            found += [name] if not listed else [one.path for one in listed if not one.is_dir]
        return found


def _directories(path: str, within: str) -> Iterator[str]:
    """Give the directories that lead to an entry of a list, with their slashes."""
    above = path.rstrip("/").rpartition("/")[0]
    while len(above) > len(within):
        yield f"{above}/"
        above = above.rpartition("/")[0]


class StoreFile(RemoteFile):
    """One version of an object, which an answer reads as far as it wants."""

    def __init__(self, root: StoreRoot, found: Found) -> None:
        status = found.status
        self.name = status.name
        self.identity = status.identity  # type: ignore[assignment]  # of an object
        self.sha256 = status.sha256
        self.etag = status.etag
        self.shares_second = status.shares_second
        self.fields = status.fields
        self._root = root
        self._found = found
        self._cached: CachedFile | None = None

    def part(self, start: int, stop: int, *, wait: bool) -> Step:
        """Do what `RemoteFile.part` says: from memory, from the cache on disk, or as it comes from the store."""
        if start >= stop:
            return Data(b"")
        data = self._root.small(self._found)
        if data is not None:
            return Data(data[start:stop])
        try:
            if self._cached is None:
                self._cached = self._root.cached(self._found)
            if self._cached is None:
                return self._root.stream(self._found, start, stop, wait=wait)
            region = Region(self._cached, start, stop - start)
            if wait and not self._cached.is_whole:
                self._wait(region)
            return region
        except BaseException as error:
            self.close()
            if isinstance(error, ReadFailed) and isinstance(error.cause, StorageError):
                raise error.cause from None
            raise

    def _wait(self, region: Region) -> None:
        """Wait for the first byte."""
        with self._root.waiting(self.name):
            while not region.file.arrived(region.offset, region.length, ARRIVAL_SECONDS):
                pass

    def close(self) -> None:
        """Close it in the cache. Harmless when repeated."""
        cached, self._cached = self._cached, None
        if cached is not None:
            cached.close()
