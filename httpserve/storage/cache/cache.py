"""Objects of a store on local disk: what was read once is there for all, and is served while it comes.

A cache is for what many ask for. It never waits for a store: its threads do. Knows entries, the folder and its bound.
Knows no store and no HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from logging import WARNING
from time import monotonic

from httpserve.base.log import logger, say
from httpserve.base.text import size
from httpserve.base.threads import renew_in_child
from httpserve.errors import RootUnusable
from httpserve.storage.cache import block_files, room
from httpserve.storage.cache.block_files import Left, Unusable
from httpserve.storage.cache.cached_file import CachedFile
from httpserve.storage.cache.entry import SURE, Entry, Memory, Run, Want
from httpserve.storage.cache.fill import Fill
from httpserve.storage.cache.folder import Folder, host_name
from httpserve.storage.cache.room import Room, Usage
from httpserve.storage.cache.source import Fetch, Key

log = logger("httpserve.storage")

CACHE_BYTES = 8 * 1024**3
END_SECONDS = 0.25  # for reads at the close: those that wait for the store end by themselves, later
MOST_KNOWN = 65536  # entries that were open once: what is known of them need not be checked again
_NO_ROOM = "the cache in %s does not keep all that is read (%s), and sends it past the disk; it may take %s"


def kept_in(path: str, most: int | None = None) -> Usage:
    """Return what the processes of this host keep in the directory of a shared cache. Blocks for the disk.

    Args:
        path: The directory. Where this host has nothing there, nothing is made.
        most: Remove first what nobody uses until no more than so many bytes are left; None: remove nothing.

    Raises:
        RootUnusable: It is no directory, or others may write there.
    """
    if os.path.isdir(path) and not os.path.isdir(os.path.join(path, host_name())):
        return Usage(path, None, 0, ())
    if not os.path.isdir(path):
        raise RootUnusable(f"look into the cache in {path!r}: there is no such directory; give the cache_dir", path)
    cache = Cache(path)
    cache.open()
    try:
        return cache.usage() if most is None else cache.prune(most)
    finally:
        cache.close()


class Cache:
    """A folder of entries. Safe from any thread.

    Args:
        path: The directory of a shared cache, which stays; None: a private one, which goes when it is closed.
        limit: How many bytes its entries may take on the disk.
    """

    def __init__(self, path: str | None = None, limit: int = CACHE_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()  # guards what follows
        self._folder: Folder | None = None  # None: closed
        self._room: Room | None = None
        self._entries: dict[str, Entry] = {}  # that are open
        self._known: dict[str, Memory] = {}
        self._threads: set[threading.Thread] = set()
        self._has_warned = False
        renew_in_child(self, Cache._abandon)

    def open(self) -> None:
        """Open the folder; a directory that is missing is made. Blocks for the disk. Harmless when repeated.

        Raises RootUnusable: the directory cannot be made or read, or others may write there.
        """
        with self._lock:
            if self._folder is None:
                folder = Folder(self._path)
                self._room = Room(
                    folder.fd, self._limit, is_shared=folder.is_shared, is_open=self._entries.__contains__
                )
                self._folder, self._has_warned = folder, False

    @property
    def path(self) -> str | None:
        """The directory of a shared cache; None: it is private, and lies where temporary files do."""
        return self._path

    @property
    def _is_shared(self) -> bool:
        folder = self._folder
        return folder is not None and folder.is_shared

    def close(self) -> None:
        """End all reads, and remove a private cache. Harmless when repeated.

        Blocks for the disk, and at most a moment for reads that wait for the store: those end by their own timeouts.
        """
        with self._lock:
            folder, self._folder = self._folder, None
            entries, threads = list(self._entries.values()), list(self._threads)
            self._known.clear()
        if folder is None or self._room is None:
            return
        for entry in entries:
            entry.end()
        deadline = monotonic() + END_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        self._room.close()
        folder.close()

    def file(self, key: Key, fetch: Fetch, *, is_pinned: bool) -> CachedFile | None:
        """Open a version of an object for one answer; nothing is read before that says what it wants.

        Blocks for the disk.

        Args:
            key: Which version.
            fetch: Reads some of it.
            is_pinned: Whether its reads never give bytes of another version. Else the last block of what is wanted is
                held back until `Reader.finish` has agreed.

        Returns:
            None where the cache has no room for it, or is closed.
        """
        if key.size > self._limit:
            self._warn(OSError(errno.EFBIG, f"{key.name} has {size(key.size)}"))
            return None
        try:
            joined = self._joined(key, is_pinned)
        except Unusable as error:
            self._warn(error.cause)
            return None
        except OSError as error:
            self._warn(error)
            return None
        return None if joined is None else CachedFile(*joined, fetch, self._start)

    def adopt(self, key: Key, path: str) -> None:
        """Make a complete local file the entry of a version, if it has none. The file at *path* may be gone afterwards.

        Blocks for the disk. Never raises: what cannot be adopted is read from the store.
        """
        left = None
        try:
            with self._where() as where:
                if where is not None and self._room is not None:
                    left = self._adopted(where, self._room, key, path)
        except (Unusable, OSError) as error:
            log.info("did not take %s into the cache: %s", key.name, error)
        if left is not None:
            with self._lock:
                self._remember(key.file_name, Memory(left, bytes([SURE]) * block_files.blocks_of(key.size)))

    def made_room(self, count: int) -> bool:
        """Remove what nobody uses, as the disk is full; tell whether so many bytes are gone. Blocks for the disk."""
        room = self._room
        return room is not None and room.make(count)

    def usage(self) -> Usage:
        """Return what is in it. Blocks for the disk."""
        with self._where() as where:
            if where is None or self._folder is None:
                return Usage(self._path or "", self._limit, 0, ())
            return room.usage_of(where, self._folder.path, self._limit)

    def prune(self, limit: int = 0) -> Usage:
        """Remove what nobody uses, what was not used for longest first, until no more than *limit* bytes are left.

        Blocks for the disk. Returns what is left.
        """
        with self._where() as where:
            if where is not None:
                room.prune(where, limit)
        return self.usage()

    # Inside

    @contextlib.contextmanager
    def _where(self) -> Iterator[int | None]:
        """Give a descriptor of the folder which stays open for a block; None if the cache is closed."""
        with self._lock:
            fd = None if self._folder is None else os.dup(self._folder.fd)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def _adopted(self, where: int, room: Room, key: Key, path: str) -> Left | None:
        """Make a file the entry of a version, if there is room for it. Raises Unusable, or OSError."""
        left = None
        if room.take(key.size):
            try:
                left = block_files.adopted(where, key, path, is_shared=self._is_shared)
            finally:
                settle = room.give_back if left is None else room.written
                settle(key.size)
        return left

    def _joined(self, key: Key, is_pinned: bool) -> tuple[Entry, Want] | None:
        """Return the entry of a version and a new want of it. None: there is no room. Raises Unusable, or OSError."""
        name = key.file_name
        with self._lock:
            entry, memory = self._entries.get(name), self._known.get(name)
        want = None if entry is None else entry.join()
        if entry is not None and want is not None:
            return entry, want
        if entry is not None:
            memory = entry.memory or memory  # it is just being closed
        with self._where() as where:
            if where is None:
                return None
            opened = block_files.opened(where, key, is_shared=self._is_shared)
            try:
                entry = Entry(key, opened, is_pinned=is_pinned, memory=memory, closed=self._closed)
                want = entry.join()
            except BaseException:  # a Ctrl-C too: the descriptors would stay open
                opened.close()
                raise
        if want is None or not self._has_room(entry):
            entry.leave(want)
            return None
        with self._lock:
            other = self._entries.get(name)
            others = None if other is None else other.join()
            if other is None or others is None:
                self._entries[name] = entry
                return entry, want
        entry.leave(want)
        return other, others

    def _has_room(self, entry: Entry) -> bool:
        """Tell whether an entry is whole, or may become so, as far as is known now."""
        if entry.is_whole or (self._room is not None and self._room.is_there(block_files.BLOCK_BYTES)):
            return True
        if None not in entry.files.marks(0, entry.files.blocks):
            return True
        self._warn(OSError(errno.ENOSPC, "what is in use takes all that it may take, or its disk is full"))
        return False

    def _start(self, entry: Entry, run: Run) -> None:
        """Start the thread of a run."""
        room = self._room
        assert room is not None  # made before there are entries
        thread = Fill(entry, run, room, self._warn).start()
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive()} | ({thread} if thread else set())

    def _closed(self, entry: Entry) -> None:
        """Note what is known of an entry that was closed, and remove one whose version is gone."""
        name = entry.key.file_name
        with self._lock:
            if self._entries.get(name) is entry:
                del self._entries[name]
                if entry.memory is not None and not entry.is_gone:
                    self._remember(name, entry.memory)
        if entry.is_gone:
            with self._where() as where, contextlib.suppress(OSError):
                if where is not None:
                    block_files.evicted(where, name)

    def _remember(self, name: str, memory: Memory) -> None:
        """Note what is known of an entry. The caller has the lock."""
        self._known.pop(name, None)
        if self._folder is not None:
            self._known[name] = memory
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _warn(self, error: OSError) -> None:
        """Say once that the cache does not keep what is read."""
        with self._lock:
            has_warned, self._has_warned = self._has_warned, True
        if not has_warned:
            path = "the temporary directory" if self._path is None else self._path
            say(log, WARNING, _NO_ROOM, path, error.strerror or error, size(self._limit))

    def _abandon(self) -> None:
        """Close it in a forked child, whose parent goes on with it."""
        self._lock = threading.Lock()
        folder, self._folder, self._room = self._folder, None, None
        for entry in self._entries.values():
            entry.abandon()
        self._entries.clear()
        self._known.clear()
        self._threads.clear()
        if folder is not None:
            folder.release()
