"""What is in a root between one `open` and the next `close`: changes to it, and the record of them.

Knows places on the disk, versions on their way in, each a temporary sibling that is put in place in one step, and what
was created. Does not know when a root is opened or closed, nor who reads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from threading import RLock, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from httpserve.base.descriptors import Descriptor, Descriptors
from httpserve.base.names import is_reserved
from httpserve.base.threads import run_shielded, sigint_held
from httpserve.errors import HttpServeError, InvalidName, StorageError
from httpserve.storage.directory.created import Created, Mark, Origin, Sure, Version
from httpserve.storage.directory.digests import Digests
from httpserve.storage.directory.disks import Disks
from httpserve.storage.directory.emptying import Emptying
from httpserve.storage.directory.generations import Generation, generation_of, held
from httpserve.storage.directory.journal import Journal
from httpserve.storage.directory.os_errors import raise_translated, translated, translating
from httpserve.storage.directory.places import LIST, Ground, Place
from httpserve.storage.directory.row import Row
from httpserve.storage.served import Fields, Identity, Listeners

if TYPE_CHECKING:
    from typing_extensions import Buffer

SECOND_NS = 1_000_000_000
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_HOLD = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
LARGE_BYTES = 16 * 1024 * 1024  # from this size on the system takes a while to free what a file took
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


class New(Protocol):
    """What a publication asks of a new version."""

    name: str
    fields: Fields
    may_replace: bool
    note: object


class SmallNew(New, Protocol):
    """A new version that has no file yet."""

    is_over: bool  # whether nobody wants it any more


class Incoming:
    """A new version of *name* that nobody sees before `commit`. Leaving a `with` block without a commit discards.

    One thread writes and commits; any other may discard meanwhile.
    """

    def __init__(self, name: str, place: Place, temporary: str, journal: Journal | None, owner: Changes) -> None:
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
        place = incoming.place
        with _freed_later(place), self._lock, sigint_held():  # a signal would keep what is put in place off the record
            if self._closed:
                self._check_open()
            identity = self._move_in(incoming, place, incoming.temporary, place.look(), written, generation, sha256)
        self.settled(incoming, prune=False)
        return identity

    def publish_small(self, small: SmallNew, row: Row, data: bytes, sha256: str | None) -> Identity | None:
        """Write a whole file beside the one before it in a *row*, put it in its place, and record it. For `Small` only.

        Return None where that takes more, such as a walk: then nothing has changed. Raises OSError.
        """
        # Held over all of it: so nothing is on its way in that `close` would have to find. It is a few system calls.
        with self._lock, sigint_held():
            place = row.beside(small.name)
            if place is None or self._closed:
                return None
            temporary, is_left = row.temporary, True
            try:
                fd = os.open(temporary, _NEW, 0o666, dir_fd=place.fd)
            except OSError:  # the directory has gone, or the disk is full: the longer way tells
                return None
            try:
                written, generation = _written(fd, data)
                before = place.look()
                if before is not None and not (stat.S_ISREG(before.st_mode) and before.st_size < LARGE_BYTES):
                    return None
                if small.is_over:
                    return None
                identity = self._move_in(small, place, temporary, before, written, generation, sha256)
                is_left = False
                return identity
            finally:
                if is_left:
                    row.remove_temporary(place)

    def await_small(self) -> None:
        """Return once no small file of another thread is just being put in its place. For `Small` only."""
        with sigint_held(), self._lock:
            pass

    def _move_in(
        self,
        new: New,
        place: Place,
        temporary: str,
        before: os.stat_result | None,
        written: os.stat_result,
        generation: Generation,
        sha256: str | None,
    ) -> Identity:
        """Move a temporary over what was there *before*, and record it. The lock is held."""
        key = place.key
        is_ours = before is None or self.created.made(place, before)
        if before is not None and not new.may_replace:
            raise FileExistsError(errno.EEXIST, "there is something of that name")
        self._listeners.before_publish(new.name)
        move = place.replace if new.may_replace else place.take
        coming = self._coming[key] = _version(written, before, sha256, new)
        try:
            # The move changes ctime, and network file systems settle mtime only when a file is closed.
            found = move(temporary) or written
            same = (found.st_ino, found.st_size) == (written.st_ino, written.st_size)
            version = _version(found, before, sha256, new) if same else coming
            self.created.file(key, version, is_ours=is_ours, generation=generation)
        finally:
            self._coming.pop(key, None)
        self.disks.note(key, place.fd, version.identity.device)
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
                with suppress(OSError):  # otherwise it leads nowhere, or in a circle
                    is_directory = stat.S_ISDIR(self.ground.status(place.key).st_mode)
            if is_directory:
                with self._lock:
                    self.created.adopt(place.key)
            else:
                self.in_parents(place, lambda: self._mkdir(place, place.last, Origin.DIRECTORY))

    def delete(self, name: str) -> None:
        """Remove a file, an empty directory, or a symlink itself. Harmless when there is none."""
        gone = suppress(FileNotFoundError, NotADirectoryError)
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
                with suppress(FileNotFoundError):
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
        with self._lock, suppress(OSError, InvalidName):
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


def _written(fd: int, data: bytes) -> tuple[os.stat_result, Generation]:
    """Write a whole new file and close it; return what it is, and its generation."""
    try:
        sent = os.write(fd, data)
        while sent < len(data):
            sent += os.write(fd, data[sent:])
        written, generation = os.fstat(fd), generation_of(fd)
        return (_made_older(fd, written) if generation is None else written), generation
    finally:
        os.close(fd)


def _version(found: os.stat_result, before: os.stat_result | None, sha256: str | None, new: New) -> Version:
    shares_second = before is not None and before.st_mtime_ns // SECOND_NS == found.st_mtime_ns // SECOND_NS
    own = Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Version(own, sha256, shares_second, new.fields, new.note)


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
        with suppress(OSError):
            fds.take(place.last, _HOLD, place.fd)
        yield
    finally:
        fds.close()
