"""What is in a root between one `open` and the next `close`: changes to it, and the record of them.

Knows places on the disk, symlinks, versions, and what was created. Does not
know when a root is opened or closed, nor who reads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from threading import RLock
from typing import NamedTuple

from httpserve import cleanup
from httpserve.created import Created, Identity, Kind, Version
from httpserve.disk_errors import speaking
from httpserve.disks import Disks
from httpserve.errors import InvalidName, StorageError
from httpserve.incoming import Incoming
from httpserve.journal import Journal
from httpserve.uninterrupted import sigint_held

SECOND_NS = 1_000_000_000


class Told(NamedTuple):
    """Who is told of changes.

    Attributes:
        before_publish: Called with a file's name just before a new version of it is put in place.
        after_removal: Called when something was removed or moved away.
    """

    before_publish: Callable[[str], object] = lambda name: None
    after_removal: Callable[[], object] = lambda: None


class Tree:
    """The files under one directory. Safe from any number of threads; names are checked ones."""

    def __init__(self, path: str, log_book: Journal | None, told: Told) -> None:
        self.path = path
        self.prefix = path if path.endswith(os.sep) else path + os.sep
        self.created = Created()
        self.disks = Disks(path)
        # Guards created, _underway, _journal, _closed. Held over the one system call that each record is
        # of, so that several threads with the same name are recorded in the order the disk saw them.
        self._lock = RLock()
        self._journal = log_book
        self._told = told
        self._underway: dict[str, weakref.ref[Incoming]] = {}  # by temporary; one that is forgotten discards itself
        self._closed = False

    # Places

    def holds(self, path: str) -> bool:
        """Say whether a real path lies in the root."""
        return path == self.path or path.startswith(self.prefix)

    def key(self, place: str) -> str:
        """Return the name without detours over symlinks, under which records are kept."""
        return place[len(self.prefix) :]

    def place_of(self, name: str) -> str:
        """Return the path of a name, with no symlink in its directories.

        Raises:
            InvalidName: a symlink leads out of the root.
        """
        parent, _, last = name.rpartition("/")
        where = os.path.realpath(self.prefix + parent) if parent else self.path
        place = os.path.join(where, last) if last else where
        if not self.holds(where) or (os.path.islink(place) and not self.holds(os.path.realpath(place))):
            raise InvalidName(name, "a symlink leads out of the root")
        return place

    def version(self, key: str) -> Version | None:
        """Return what is on record under a name; of a file that is put in place right now, the new version."""
        with self._lock:
            return self.created.versions.get(key)

    # Files on their way in

    def incoming(self, name: str) -> Incoming:
        """Begin a new version of *name* in a temporary sibling."""
        with speaking("write", name):
            place = self.place_of(name)
            if stat.S_ISDIR(_mode(place)):
                raise IsADirectoryError(errno.EISDIR, "there is a directory of that name")
            journal = self._entered()
            incoming = Incoming(name, place, os.path.join(os.path.dirname(place), journal.temporary()), self)
            self._underway[incoming.temporary] = weakref.ref(incoming)
            try:
                self._check_open()  # after that: either close() finds it there, or we find it closed
                journal.note_file(self.key(incoming.temporary))
                self._in_parents(place, incoming.create)
            except BaseException:  # a Ctrl-C too: nobody else knows the temporary yet
                incoming.discard()
                raise
            return incoming

    def publish(
        self, incoming: Incoming, written: os.stat_result, generation: int | None, sha256: str | None
    ) -> Identity:
        """Put a finished version in its place, and record it. For `Incoming` only."""
        place = incoming.place
        with self._lock:
            self._check_open()
            before = _lstat(place)
            self._told.before_publish(incoming.name)
            os.replace(incoming.temporary, place)
            # The move changes ctime, and network file systems settle mtime only when a file is closed.
            found = _lstat(place) or written
            same = (found.st_ino, found.st_size) == (written.st_ino, written.st_size)
            identity = Identity.of(found if same else written)
            shares_second = before is not None and before.st_mtime_ns // SECOND_NS == identity.mtime_ns // SECOND_NS
            version = Version(identity, sha256, shares_second)
            self.created.file(self.key(place), version, before, generation)
        self.disks.note_put(self.key(place), place, identity.device)
        return identity

    def settled(self, incoming: Incoming, *, prune: bool) -> None:
        """Forget what is no longer on its way in, with the parents made for it. For `Incoming` only."""
        if self._underway.pop(incoming.temporary, None) is None:  # settled meanwhile, by a finalizer or by close
            return
        if prune:
            self._prune(os.path.dirname(incoming.place))
        if self._journal is not None:  # pragma: no branch - incoming() began it
            self._journal.leave(littered=incoming.is_litter)

    def close(self) -> None:
        """Discard what is on its way in. What comes later is refused. Raises OSError once all are discarded."""
        failed: OSError | None = None
        with self._lock:
            self._closed = True
        for reference in list(self._underway.values()):
            incoming = reference()
            if incoming is not None:
                try:
                    incoming.discard()
                except OSError as error:  # of a file system that is gone; the others are to be discarded too
                    failed = error
        if failed is not None:
            raise failed

    def end_journal(self, *, remove: bool) -> None:
        """Give up the journal, if one was begun."""
        if self._journal is not None:
            self._journal.close(remove=remove)

    def renew_locks(self) -> None:
        """Make the locks anew in a forked child."""
        self._lock = RLock()
        if self._journal is not None:
            self._journal.renew_lock()

    # Other changes

    def forget_missing(self, name: str) -> None:
        """Forget the version of a file that other hands removed."""
        if name in self.created.versions:
            with self._lock:
                if not os.path.lexists(self.prefix + name):
                    self.created.versions.pop(name, None)

    def create_dir(self, name: str) -> None:
        """Make a directory and its parents. Harmless when it exists."""
        with self._changing("create_dir", name) as place:
            if not os.path.isdir(place):
                self._in_parents(place, lambda: self._mkdir(place, Kind.DIRECTORY))
            else:
                with self._lock:
                    self.created.adopt(self.key(place))

    def delete(self, name: str) -> None:
        """Remove a file, an empty directory, or a symlink itself. Harmless when there is none."""
        with self._changing("delete", name) as place:
            remove = os.rmdir if stat.S_ISDIR(_mode(place)) else os.unlink
            with self._lock, contextlib.suppress(FileNotFoundError, NotADirectoryError):
                remove(place)
                self.created.forget(self.key(place))
        self._told.after_removal()

    def remove_all(self, name: str) -> None:
        """Remove a file, or a directory and all in it, whoever made it; of the root only what is in it."""
        with self._changing("remove_all", name or "/") as place:
            mode = _mode(place)
            if stat.S_ISDIR(mode):
                cleanup.remove_tree(place, keep=place == self.path)
            elif mode:
                os.unlink(place)
            with self._lock:
                # What is on its way in stays, and so do the directories that hold it.
                self.created.forget(self.key(place), unless=lambda key: os.path.lexists(self.prefix + key))
        self._told.after_removal()

    def rename(self, source: str, target: str) -> None:
        """Move a file or directory in one step over what is under *target*."""
        with self._changing("rename", source, target) as old:
            new = self.place_of(target)
            os.lstat(old)
            try:
                self._in_parents(new, lambda: self._move(old, new, target))
            except BaseException:  # a Ctrl-C too: the parents made for it would stay
                self._prune(os.path.dirname(new))
                raise
        self._told.after_removal()

    # Steps of the above

    @contextlib.contextmanager
    def _changing(self, operation: str, name: str, target: str | None = None) -> Iterator[str]:
        """Give the place of *name*; parents that are made meanwhile are on the journal."""
        with speaking(operation, name, target):
            place = self.place_of(name)
            journal = self._entered()
            try:
                yield place
            finally:
                journal.leave()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self.path} was closed meanwhile")

    def _entered(self) -> Journal:
        with self._lock:
            self._check_open()
            if self._journal is None:
                with sigint_held():  # which would lose what was just made
                    self._journal = Journal(self.path)
            self._journal.enter()
            return self._journal

    def _in_parents(self, place: str, action: Callable[[], None]) -> None:
        """Do something in the directory of *place*, made first where it is missing."""
        try:
            action()
        except FileNotFoundError:
            with self._lock:  # else another thread may find the new directories empty, and remove them
                self._make_parents(os.path.dirname(place))
                action()

    def _make_parents(self, where: str) -> None:
        missing = []
        while where != self.path and not os.path.isdir(where):
            missing.append(where)
            where = os.path.dirname(where)
        for place in reversed(missing):
            with contextlib.suppress(FileExistsError):
                self._mkdir(place, Kind.PARENT)

    def _mkdir(self, place: str, kind: Kind) -> None:
        with self._lock:
            self._check_open()  # what came into being after the end would not be removed
            if kind is Kind.PARENT and self._journal is not None:
                self._journal.make_directory(self.key(place), place)
            else:
                os.mkdir(place)
            self.created.directory(self.key(place), kind, os.lstat(place))

    def _move(self, old: str, new: str, target: str) -> None:
        with self._lock:
            self._check_open()
            before = _lstat(new)
            self._told.before_publish(target)
            os.replace(old, new)
            self.created.move(self.key(old), self.key(new), before)
            self.created.moved(self.key(new), os.lstat(new))

    def _prune(self, where: str) -> None:
        """Remove the directories from *where* upwards that were made for files, as far as they are empty."""
        with self._lock:
            while self.holds(where) and where != self.path:
                mark = self.created.marks.get(self.key(where))
                if mark is None or mark.kind is not Kind.PARENT or not cleanup.removed_empty(where):
                    return
                self.created.forget(self.key(where))
                where = os.path.dirname(where)


def _lstat(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except FileNotFoundError:
        return None


def _mode(place: str) -> int:
    """Return the mode of what is there, not following a symlink; 0 when nothing is."""
    try:
        return os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
