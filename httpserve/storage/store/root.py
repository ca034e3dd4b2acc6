"""A store of objects as the root: what is served, as the site asks for it.

Knows versions, reads, lists and the cache. Does not know how any of them asks the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from httpserve.base.names import is_name
from httpserve.base.slots import Slots
from httpserve.base.threads import Latch, renew_in_child
from httpserve.errors import NotADirectory, NotFound, Unsupported
from httpserve.plan import Data, Repeatable, Step
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
from httpserve.storage.store.calls import Calls, Patience, check_operator, interruptibly
from httpserve.storage.store.digests import StoreDigests
from httpserve.storage.store.lists import Lists
from httpserve.storage.store.reading import Reads
from httpserve.storage.store.versions import Found, Versions

if TYPE_CHECKING:
    import opendal

    from httpserve.storage.store.examining import StoreSeen

MOST_WAITING = 64  # requests that wait for the store; each takes a thread
SIGNED_SECONDS = 12 * 3600  # RAUC asks the same URL for each range, until the installation is over
MOST_NAMES = 1000  # to compare with one that is missing


class StoreRoot:
    """A store to serve, which implements `ServedRoot`. Safe from any number of threads; each call blocks for the store.

    In a forked child nothing works, as opendal does not; all says so.
    """

    def __init__(
        self,
        operator: opendal.Operator,
        *,
        fresh_for: float = 0.0,
        remove_created: bool = False,
        read_only: bool = False,
        patience: Patience | None = None,
        listeners: Listeners | None = None,
    ) -> None:
        """Remember the *operator*; the store is asked nothing before the first request.

        Args:
            operator: of any service but fs, with any layers.
            fresh_for: seconds for which the answer to a look at an object may be used again.
            remove_created: remove on close what was created here, as far as it is still the same version.
            read_only: change nothing.
            patience: how long the store may take.
            listeners: what is called at changes.

        Raises:
            InvalidArgument: It is the operator of a directory on this computer.
            Unsupported: The service cannot read, or not say what there is.
        """
        check_operator(operator)
        self._calls = Calls(operator, patience or Patience())
        self._versions = Versions(self._calls, fresh_for)
        self._reads = Reads(self._calls, self._versions)
        self._lists = Lists(self._calls)
        self._digests = StoreDigests(self._versions, self._reads)
        self._lock = threading.Lock()  # guards _is_open
        self._is_open = False
        self._waiting = Slots(MOST_WAITING)
        renew_in_child(self, StoreRoot.renew_locks)

    def renew_locks(self) -> None:
        """Make the locks anew in a forked child: a thread that does not exist there may hold them."""
        self._lock = threading.Lock()
        self._waiting = Slots(MOST_WAITING)
        self._versions.renew_locks()
        self._lists.renew_locks()
        self._digests.begin_anew()

    @property
    def label(self) -> str:
        """The operator, as opendal shows it, without secrets."""
        return self._calls.label

    # From opening to closing

    def open(self) -> Self:
        """Be ready to serve; the store is not asked. Harmless when open."""
        with self._lock:
            self._is_open = True
        return self

    def close(self) -> None:
        """Discard what is on its way in, and remove what is to be removed. Harmless when closed."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._digests.rest()
            self._lists.close()

    def rest(self) -> None:
        """Do nothing in the background until `go_on`. Blocks for a moment; harmless when closed."""
        self._digests.rest()

    def go_on(self) -> None:
        """End what `rest` has begun. Harmless when repeated."""
        self._digests.go_on()

    # What is served

    def status(self, name: str) -> Status:
        """Do what `Served.status` says, by one look at the object."""
        return self._look(name).status

    def open_to_serve(self, name: str, *, may_block: bool) -> RemoteFile | MemoryFile | None:
        """Do what `Served.open_to_serve` says. Nothing is open yet when it returns, and no byte was read."""
        if not may_block:
            return None
        return StoreFile(self, self._look(name))

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

    def part(self, found: Found, start: int, stop: int, *, wait: bool) -> Step:
        """Return the step that sends a part of a version."""
        name = found.status.name
        if start >= stop:
            return Data(b"")
        with self.waiting(name):
            return self._reads.stream(found, start, stop, wait=wait)

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None = None) -> str | None:
        """Do what `ServedRoot.digest` says."""
        self._check_open(name)
        return self._digests.of(name, identity, seconds, stop)

    def again(self, file: ServedFile | RemoteFile) -> Repeatable | None:
        """Return None: each request is for the version that the store has then."""
        return None

    def entries(self, name: str, is_wanted: Callable[[str], bool]) -> list[Entry]:
        """Do what `Served.entries` says. Of a service that cannot list, nothing is a directory."""
        self._check_open(name)
        try:
            with self.waiting(name):
                listed = self._lists.below(name)
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
        return False

    def created(self) -> set[str]:
        """Do what `Accessor.created` says."""
        return set()

    def seen(self) -> StoreSeen:
        """Try the store, for the doctor. Blocks for some looks and a list; longer where it does not answer."""
        from httpserve.storage.store.examining import Examination  # on first use: only the doctor asks

        try:
            return interruptibly(Examination(self._calls, self._lists, self._versions, self._reads, None).seen)
        finally:
            if not self._is_open:
                self._lists.close()

    def signed_url(self, name: str) -> str:
        """Return a URL at which anybody may read an object for half a day. Raises Unsupported."""
        return self._lists.signed("read", name, SIGNED_SECONDS).url

    def path_of(self, name: str) -> str:
        """Return nothing: what is in a store is not on this host."""
        return ""

    def names(self, below: Sequence[str]) -> list[str]:
        """Do what `ServedRoot.names` says."""
        found = []
        for name in below or ("",):
            listed = self._lists.below(name, recursive=True, most=MOST_NAMES)
            found += [name] if not listed else [one.path for one in listed if not one.is_dir]
        return found


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

    def part(self, start: int, stop: int, *, wait: bool) -> Step:
        """Do what `RemoteFile.part` says."""
        return self._root.part(self._found, start, stop, wait=wait)
