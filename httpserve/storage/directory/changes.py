"""What is in a root between one `open` and the next `close`: changes to it, and the record of them.

Knows places on the disk, versions, and what was created. Does not know when a
root is opened or closed, nor who reads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from threading import RLock

from httpserve.base.descriptors import Descriptors
from httpserve.base.names import is_reserved
from httpserve.base.threads import sigint_held
from httpserve.errors import InvalidName, StorageError
from httpserve.storage.directory.created import Created, Mark, Origin, Sure, Version
from httpserve.storage.directory.digests import Digests
from httpserve.storage.directory.disks import Disks
from httpserve.storage.directory.emptying import Emptying
from httpserve.storage.directory.generations import Generation, generation_of, held
from httpserve.storage.directory.incoming import Incoming
from httpserve.storage.directory.journal import Journal
from httpserve.storage.directory.os_errors import raise_translated, translating
from httpserve.storage.directory.places import LIST, Ground, Place
from httpserve.storage.directory.row import Row
from httpserve.storage.served import Identity, Listeners

SECOND_NS = 1_000_000_000
_HOLD = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
LARGE_BYTES = 16 * 1024 * 1024  # from this size on the system takes a while to free what a file took


class Changes:
    """The files under one directory. Safe from any number of threads; names are checked ones.

    Methods that read (`version`, `forget_missing`, `created`) wait for no change that is under way.
    """

    def __init__(self, path: str, journal: Journal | None, listeners: Listeners) -> None:
        self.path = path
        self.ground = Ground(path)
        self.prefix = self.ground.prefix
        self.created = Created()
        self.disks = Disks(path)
        self.digests = Digests()
        # Guards _underway, _journal, _closed, and changes to created, which is read without it. Held over the one
        # system call that each record describes, so that threads with the same name are recorded in the order that
        # the disk saw them; a disk may take seconds for this, so serving threads must not wait for this lock.
        self._lock = RLock()
        # What is being put under a name right now, except for the time that the move gives it.
        self._coming: dict[str, Version] = {}
        self._journal = journal
        self._listeners = listeners
        self._underway: dict[str, weakref.ref[Incoming]] = {}  # by temporary; a forgotten one discards itself
        self._closed = False

    def version(self, key: str, identity: Identity) -> Version | None:
        """Return what is on record about that version, even of a file that is being put in place right now."""
        for _ in range(2):  # while we looked at one, it may have been noted in the other
            version = self.created.versions.get(key)
            if version is not None and version.identity == identity:
                return version
            coming = self._coming.get(key)
            if coming is not None and coming.identity[:-1] == identity[:-1]:
                return coming._replace(identity=identity)
        return None

    def forget_missing(self, name: str) -> None:
        """Forget the version of a file that others removed; do it another time, if a change is under way."""
        if name in self.created.versions and self._lock.acquire(blocking=False):
            try:
                if not os.path.lexists(self.prefix + name):
                    self.created.versions.pop(name, None)
            finally:
                self._lock.release()

    def note_of(self, name: str) -> tuple[object, str | None]:
        """Return the note that the latest version of *name* came in with, and its digest; None where there is none."""
        version = self.created.versions.get(name)
        return (None, None) if version is None else (version.note, version.sha256)

    def renew(self, name: str, note: object) -> int | None:
        """Let what is at *name* count as put anew, if it is the version that came in with that very *note*.

        Return its size in bytes; None where it is not, and nothing has changed.
        """
        with self._lock:
            version = self.created.versions.get(name)
            if self._closed or version is None or version.note is not note:
                return None
            try:
                found = os.lstat(self.prefix + name)
            except OSError:
                return None
            own = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if version.identity != own:
                return None
            self._listeners.before_publish(name)
            return version.identity.size

    def incoming(self, name: str, row: Row | None = None) -> Incoming:
        """Begin a new version of *name* in a temporary sibling, perhaps as the next of a *row*."""
        try:
            if self._closed:
                self._check_open()
            place = Place(self.ground, name) if row is None else row.place(self.ground, name)
            if place.is_directory():
                place.close()
                raise IsADirectoryError(errno.EISDIR, "there is a directory of that name")
            journal = self._journal or self._began_journal()
            temporary = journal.enter()
            noted = None if journal.file is None else journal
            if row is not None:
                if row.temporary:
                    temporary, noted = row.temporary, None
                else:
                    row.begin(place, temporary, journal)
            incoming = Incoming(name, place, temporary, noted, self)
            self._underway[incoming.temporary] = weakref.ref(incoming)
            try:
                if self._closed:  # after registering: either close() finds it there, or we find it closed
                    self._check_open()
                incoming.create()
            except BaseException:  # a Ctrl-C too: nobody else knows the temporary yet
                incoming.discard()
                raise
        except OSError as error:
            raise_translated(error, "write", name)
        return incoming

    def publish(
        self, incoming: Incoming, written: os.stat_result, generation: Generation, sha256: str | None
    ) -> Identity:
        """Put a finished version in its place, and record it. For `Incoming` only."""
        place, key = incoming.place, incoming.place.key
        with _freed_later(place), self._lock, sigint_held():  # a signal would keep what is put in place off the record
            if self._closed:
                self._check_open()
            before = place.look()
            is_ours = before is None or self.created.made(place, before)
            if before is not None and not incoming.may_replace:
                raise FileExistsError(errno.EEXIST, "there is something of that name")
            self._listeners.before_publish(incoming.name)
            move = place.replace if incoming.may_replace else place.take
            coming = self._coming[key] = _version(written, before, sha256, incoming)
            try:
                # The move changes ctime, and network file systems settle mtime only when a file is closed.
                found = move(incoming.temporary) or written
                same = (found.st_ino, found.st_size) == (written.st_ino, written.st_size)
                version = _version(found, before, sha256, incoming) if same else coming
                self.created.file(key, version, is_ours=is_ours, generation=generation)
            finally:
                self._coming.pop(key, None)
            self.disks.note(key, place.fd, version.identity.device)
        self.settled(incoming, prune=False)
        return version.identity

    def settled(self, incoming: Incoming, *, prune: bool) -> None:
        """Forget what is no longer on its way in; *prune* the parents made for it. For `Incoming` only."""
        reference = self._underway.get(incoming.temporary)
        known = incoming if reference is None else reference()
        if known not in (incoming, None) or self._underway.pop(incoming.temporary, None) is None:
            return  # settled meanwhile, by a finalizer or by close; perhaps the next of its row is under way
        if prune:
            self._prune(incoming.place.directory)
        if self._journal is not None:  # pragma: no branch - incoming() began it
            self._journal.leave(littered=incoming.is_litter)

    def close(self) -> None:
        """Discard what is on its way in. What comes later is refused. Raises an OSError only after discarding all."""
        failed: OSError | None = None
        with self._lock:
            self._closed = True
        self.digests.rest()
        for reference in list(self._underway.values()):
            incoming = reference()
            if incoming is not None:
                try:
                    incoming.discard()
                except OSError as error:  # the file system is gone; the others must be discarded too
                    failed = error
        if failed is not None:
            raise failed

    def end_journal(self, *, remove: bool) -> None:
        """Give up the journal, if one was begun."""
        if self._journal is not None:
            self._journal.close(remove=remove)

    def renew_locks(self) -> None:
        """Do what `Root.renew_locks` says."""
        self._lock = RLock()
        self.digests.begin_anew()
        if self._journal is not None:
            self._journal.renew_lock()

    def create_dir(self, name: str) -> None:
        """Make a directory and its parents. Harmless when it exists."""
        with self._changing("create_dir", name) as place:
            is_directory = place.is_directory()
            if place.found is not None and stat.S_ISLNK(place.found.st_mode):
                with contextlib.suppress(OSError):  # otherwise it leads nowhere, or in a circle
                    is_directory = stat.S_ISDIR(self.ground.status(place.key).st_mode)
            if is_directory:
                with self._lock:
                    self.created.adopt(place.key)
            else:
                self.in_parents(place, lambda: self._mkdir(place, place.last, Origin.DIRECTORY))

    def delete(self, name: str) -> None:
        """Remove a file, an empty directory, or a symlink itself. Harmless when there is none."""
        gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with self._changing("delete", name) as place, _freed_later(place), self._lock, gone:
            if not place.missing:
                _remove(place)
                self.created.forget(place.key)
        self._listeners.after_removal()

    def remove_all(self, name: str) -> None:
        """Remove a file, or a directory and all in it, no matter who made it; for the root, only what is in it."""
        with self._changing("remove_all", name) as place:
            if place.is_directory():
                emptying = _EmptyingInRoot(self.ground)
                emptying.run(place.last or ".", place.fd)
                if place.last:
                    emptying.remove(os.rmdir, place.last, place.fd)
            elif place.found is not None:
                with contextlib.suppress(FileNotFoundError):
                    _remove(place)
            with self._lock:
                # What is on its way in stays, and so do the directories that hold it.
                self.created.forget(place.key, unless=lambda key: os.path.lexists(self.prefix + key))
        self._listeners.after_removal()

    def rename(self, source: str, target: str) -> None:
        """Move a file or directory in one step over whatever is at *target*."""
        with self._changing("rename", source, target) as old, Place(self.ground, target) as new:
            if old.found is None:
                raise old.lack()
            try:
                self.in_parents(new, lambda: self._move(old, new, target))
            except BaseException:  # a Ctrl-C too: the parents made for it would stay
                self._prune(new.directory)
                raise
        self._listeners.after_removal()

    @contextlib.contextmanager
    def _changing(self, operation: str, name: str, target: str | None = None) -> Iterator[Place]:
        """Give the place of *name*; parents that are made meanwhile are on the journal."""
        with translating(operation, name or "/", target):
            self._check_open()
            with Place(self.ground, name) as place:
                journal = self._journal or self._began_journal()
                journal.enter()
                try:
                    yield place
                finally:
                    journal.leave()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self.path} was closed meanwhile")

    def _began_journal(self) -> Journal:
        with self._lock:
            self._check_open()
            if self._journal is None:
                with sigint_held():  # a signal would lose what was just made
                    self._journal = Journal(self.path)
            return self._journal

    def in_parents(self, place: Place, action: Callable[[], None]) -> None:
        """Do something in the directory of *place*, made first where it is missing."""
        if not place.missing:
            try:
                action()
            except FileNotFoundError:
                pass  # the directory has gone since, as those made for a file do
            else:
                return
        with self._lock:  # else another thread may find the new directories empty, and remove them
            place.again()
            while place.missing:
                part, *missing = place.missing
                try:
                    self._mkdir(place, part, Origin.PARENT)
                except FileExistsError:
                    place.enter(part)
                place.missing = tuple(missing)
            action()

    def _mkdir(self, place: Place, part: str, kind: Origin) -> None:
        key = f"{place.directory}/{part}" if place.directory else part
        with self._lock, sigint_held():  # a signal would keep it off the record
            self._check_open()  # what is made after the end would not be removed
            place.check_stays()
            if kind is Origin.PARENT and self._journal is not None:
                self._journal.make_directory(key, part, place.fd)
            else:
                os.mkdir(part, dir_fd=place.fd)
            try:
                place.enter(part, LIST)
            except PermissionError:  # by the umask
                place.enter(part)
            found, generation = os.fstat(place.fd), generation_of(place.fd)
            number = held(place.fd) if generation is None else None
            self.created.marks[key] = Mark(kind, found.st_dev, found.st_ino, generation, number)

    def _move(self, old: Place, new: Place, target: str) -> None:
        with _freed_later(new), self._lock, sigint_held():  # a signal would keep it off the record
            self._check_open()
            before = new.look()
            is_ours = before is None or self.created.made(new, before)
            coming = self.created.below(old.key, new.key)
            self._listeners.before_publish(target)
            self._coming.update(coming)
            try:
                old.check_stays()
                new.check_stays()
                os.replace(old.last, new.last, src_dir_fd=old.fd, dst_dir_fd=new.fd)
                self.created.move(old.key, new.key, is_ours=is_ours)
                found = new.look()
                if found is not None:
                    self.created.moved(new.key, found)
            finally:
                for key in coming:
                    self._coming.pop(key, None)

    def _prune(self, key: str) -> None:
        """Remove the directories from *key* upwards that were made for files, as far as they are empty."""
        with self._lock, contextlib.suppress(OSError, InvalidName):
            while key:
                mark = self.created.marks.get(key)
                if mark is None or mark.kind is not Origin.PARENT:
                    return
                with Place(self.ground, key) as place:
                    if place.found is not None:
                        if mark.is_of(place, place.found, None) is not Sure.OURS:
                            return
                        place.check_stays()
                        os.rmdir(place.last, dir_fd=place.fd)
                self.created.forget(key)
                key = key.rpartition("/")[0]


class _EmptyingInRoot(Emptying):
    """Leaves what is on its way in, and the directories that hold it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def kept(self, fd: int, names: list[str]) -> list[str]:
        return list(filter(is_reserved, names))

    def check(self, fd: int) -> None:
        if not self._ground.contains(fd):
            raise FileNotFoundError(errno.ENOENT, "its directory was moved meanwhile")


def _version(found: os.stat_result, before: os.stat_result | None, sha256: str | None, incoming: Incoming) -> Version:
    shares_second = before is not None and before.st_mtime_ns // SECOND_NS == found.st_mtime_ns // SECOND_NS
    own = Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Version(own, sha256, shares_second, incoming.fields, incoming.note)


def _remove(place: Place) -> None:
    """Remove a file, an empty directory, or a symlink itself."""
    place.check_stays()
    if place.is_directory():
        os.rmdir(place.last, dir_fd=place.fd)
    else:
        os.unlink(place.last, dir_fd=place.fd)


def _freed_later(place: Place) -> contextlib.AbstractContextManager[None]:
    """Have the system free what a large file takes at the end of a block, not when it loses its name in it."""
    found = place.found
    is_large = found is not None and stat.S_ISREG(found.st_mode) and found.st_size >= LARGE_BYTES
    return _held_open(place) if is_large else contextlib.nullcontext()


@contextlib.contextmanager
def _held_open(place: Place) -> Iterator[None]:
    fds = Descriptors()
    try:
        with contextlib.suppress(OSError):
            fds.take(place.last, _HOLD, place.fd)
        yield
    finally:
        fds.close()
