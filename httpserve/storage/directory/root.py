"""The directory that is served: opened, read from, and cleaned up on close.

Knows when it is open, and how a file is opened for reading. Does not know how it is changed, or where bytes come from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NoReturn, Self

from httpserve.base.arguments import checked_directory
from httpserve.base.log import logger
from httpserve.base.paths import nearest_path
from httpserve.base.threads import Latch, renew_in_child, sigint_held
from httpserve.errors import (
    InvalidName,
    NotFound,
    NotPermitted,
    RootUnusable,
    StorageError,
)
from httpserve.storage.directory import journal, private_root
from httpserve.storage.directory.changes import Changes, Incoming
from httpserve.storage.directory.created import Version
from httpserve.storage.directory.inode import Inode
from httpserve.storage.directory.open_file import (
    Irregular,
    OpenFile,
    WouldBlock,
    close_read,
    open_regular,
    real_path,
    wait_for_lease,
)
from httpserve.storage.directory.os_errors import raise_translated, translating
from httpserve.storage.directory.places import Ground
from httpserve.storage.directory.recheck import Recheck
from httpserve.storage.directory.remove_created import remove_created, remove_empty
from httpserve.storage.directory.row import Row
from httpserve.storage.directory.similar import names_in
from httpserve.storage.directory.small import Small
from httpserve.storage.received import Received
from httpserve.storage.served import AnyIdentity, Entry, FileVersion, Identity, Listeners, Status

log = logger("httpserve.storage")

_Own = tuple[int, int, int, int, int]  # the values of an Identity, not yet made into one

VERIFIED_NAMES = 4096  # for how many files we remember that no symlink led out to them


class Root:
    """A directory to serve, which implements `Served`. Safe from any number of threads; blocks only for the disk."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        remove_created: bool = True,
        read_only: bool = False,
        listeners: Listeners | None = None,
    ) -> None:
        """Remember *path*; nothing on the disk is touched before `open`. Raises InvalidArgument or NotFound.

        Args:
            path: the directory, made if it is missing; None: a private temporary one, removed on close.
            remove_created: remove on close what was created, and nothing else.
            read_only: change nothing in the directory, which must exist but need not be writable.
            listeners: what is called at changes.
        """
        self._given = None if path is None else checked_directory("root_dir", path)
        self._remove_created = remove_created
        self._read_only = read_only
        self._listeners = Listeners() if listeners is None else listeners
        self._lock = threading.Lock()  # guards the fields below; held over opening and closing as a whole
        self._tree: Changes | None = None
        self._private: private_root.PrivateDirectory | None = None
        self._made: list[tuple[str, Inode]] = []  # directories that were made for the root, outermost first
        self._pid = 0
        self._verified: dict[str, tuple[Version, str]] = {}  # which lie in the root, with their key
        renew_in_child(self, Root.renew_locks)

    @property
    def path(self) -> str:
        """The absolute real path; of a private root only while it is open."""
        tree = self._tree
        if tree is not None:
            return tree.path
        if self._given is None:
            raise StorageError("the private directory is not open")
        return self._given

    @property
    def label(self) -> str:
        """Its path."""
        return self.path

    # From opening to closing

    def open(self) -> Self:
        """Make the directory if it is missing, and remove what killed processes left. Harmless when open.

        Return itself. Raises RootUnusable where the path is not a directory that can be written.
        """
        with self._lock:
            if self._tree is not None:
                if self._pid != os.getpid():
                    self._inherit(self._tree)
                return self
            self._made = []
            self._pid = os.getpid()
            self._tree = self._open_private() if self._given is None else self._open_given(self._given)
            return self

    def close(self) -> None:
        """Discard what is on its way in, and remove what was created. Harmless when closed."""
        with self._lock:
            tree, self._tree = self._tree, None
            own, self._private = self._private, None
            if tree is None:
                return
            self._verified.clear()
            if self._pid != os.getpid():  # after a fork all of it is still the parent's
                _release(tree, own)
                return
            lost = _unreachable(tree.path)
            try:
                tree.close()
            except OSError as error:  # of a temporary
                lost = lost or error
            if lost is None:
                self._clean(tree, own)
            else:  # removing would fail at each name, or hang
                _release(tree, own)
                log.warning("left what was put into %s: %s", tree.path, lost)

    def _clean(self, tree: Changes, own: private_root.PrivateDirectory | None) -> None:
        """Remove what was created since the root was opened, and nothing else."""
        if own is not None:
            own.remove()
        elif self._remove_created:
            remove_created(tree.created, tree.ground)
        tree.end_journal(remove=True)
        if self._remove_created:
            remove_empty(self._made)

    def renew_locks(self) -> None:
        """Make the locks anew in a forked child: a thread that does not exist there may hold them."""
        self._lock = threading.Lock()
        if self._tree is not None:
            self._tree.renew_locks()

    def _inherit(self, tree: Changes) -> None:
        """Go on in a forked child: the same files, and records of its own."""
        _release(tree, self._private)
        self._private = None
        self._made = []
        self._pid = os.getpid()
        self._tree = Changes(tree.path, None, self._listeners)
        self._tree.created.versions.update(tree.created.versions)

    def _open_private(self) -> Changes:
        parent = "the directory for temporary files"
        try:
            parent = tempfile.gettempdir()
            private_root.sweep(parent)
            with sigint_held():  # a signal would lose what was just made
                self._private = made = private_root.PrivateDirectory(parent)
        except OSError as error:
            reason = f"no temporary directory could be made in {parent} ({error.strerror}); pass a directory"
            raise RootUnusable(reason, parent) from error
        except BaseException:  # the Ctrl-C that was held
            if self._private is not None:
                self._private.remove()
                self._private = None
            raise
        return Changes(made.path, journal.Journal("", made.token), self._listeners)

    def _open_given(self, given: str) -> Changes:
        try:
            self._make(given)
        except OSError as error:
            remove_empty(self._made)
            raise RootUnusable(f"{given} cannot be served: {_why_unusable(given, error)}", given) from error
        if self._made:
            log.info("made the directory %s, which was not there; close() removes it again where it is empty", given)
        path = os.path.realpath(given)
        if self._read_only:
            return Changes(path, None, self._listeners)
        effective = os.access in os.supports_effective_ids
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=effective):
            raise RootUnusable(f"{given} is not writable by this user; change that or pass another", given)
        journal.sweep(path)
        return Changes(path, None, self._listeners)

    def _make(self, given: str) -> None:
        missing = []
        path = given
        while not os.path.isdir(path):
            if self._read_only:
                os.stat(path)
                raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a directory")
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                os.mkdir(path)
            except FileExistsError:
                if not os.path.isdir(path):  # else another process has just made it
                    os.stat(path)  # raises what keeps it from being a directory, such as a lost file system
                    raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a directory") from None
            else:
                self._made.append((path, Inode.at(path)))

    @property
    def ground(self) -> Ground:
        """Where its names lead, while it is open."""
        return self._current().ground

    @property
    def changes(self) -> Changes:
        """What changes it, while it is open. Raises NotPermitted where it is read-only."""
        tree = self._tree or self._current()
        if self._read_only:
            raise NotPermitted(f"{tree.path} is served read-only; pass read_only=False to change it")
        return tree

    def _current(self) -> Changes:
        tree = self._tree
        if tree is None:
            raise StorageError(f"{self._given or 'the private directory'} is not open")
        return tree

    # Reading

    def status(self, name: str) -> Status:
        """Do what `Served.status` says: one look at a regular file, unless its version is new."""
        tree = self._tree or self._served(name)
        try:
            found = os.stat(tree.prefix + name)
        except OSError as error:
            _raise_unopened(tree, name, error)
        own = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._known(tree, name, own)
        if known is None:  # it may be unreadable, or lie outside: opening it tells, once for each version
            with contextlib.closing(self.open_file(name)) as file:
                return Status(name, file.identity, file.sha256, file.shares_second, file.fields)
        return Status(name, known.identity, known.sha256, known.shares_second, known.fields)

    def open_file(self, name: str) -> OpenFile:
        """Open a regular file for reading by its checked name, and nothing else. Raises what `Served.status` does.

        Waits only until another program gives up a lease on the file, for as long as the kernel allows (45 seconds).
        """
        while True:
            file = None
            try:
                with sigint_held():  # a signal would lose the number of an open descriptor
                    file = self._open_file(name)
            except WouldBlock:
                pass
            except BaseException:  # the Ctrl-C that was held is raised at the end of the block
                if file is not None:
                    file.close()
                raise
            else:
                return file
            with translating("open", name):
                wait_for_lease(self.ground.prefix + name)

    def _open_file(self, name: str) -> OpenFile:
        tree = self._tree or self._served(name)
        path = tree.prefix + name
        try:
            fd = open_regular(path)
        except WouldBlock:
            raise
        except OSError as error:
            _raise_unopened(tree, name, error)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Irregular(found.st_mode)
            # An Identity compares as a tuple; making one takes as long as the rest of this.
            own = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            version = self._known(tree, name, own) or self._verified_version(tree, name, fd, own)
        except BaseException as error:  # whatever it is, only this function knows the number
            close_read(fd)
            if isinstance(error, OSError):
                raise_translated(error, "open", name)
            raise
        own, sha256, second, fields = version.identity, version.sha256, version.shares_second, version.fields
        return OpenFile(fd, name, own, sha256, path, found.st_nlink, shares_second=second, fields=fields)

    def open_to_serve(self, name: str, *, may_block: bool) -> OpenFile | None:
        """Do what `Served.open_to_serve` says: in a serving thread, where no Ctrl-C comes."""
        tree = self._tree or self._served(name)
        disks = tree.disks
        if not may_block:
            if not disks.just_answered(name):
                return None
            try:
                return self._open_file(name)
            except WouldBlock:
                return None
        with disks.waiting(name):
            file = self.open_file(name)
            disks.note(name, file.fd, file.identity.device)
        return file

    def again(self, file: FileVersion) -> Recheck | None:
        """Do what `Served.again` says; None when the root is closed."""
        tree = self._tree
        return None if tree is None else Recheck(tree.prefix + file.name, file, tree.disks)

    def entries(self, name: str, is_wanted: Callable[[str], bool]) -> list[Entry]:
        """Do what `Served.entries` says."""
        tree = self._current()
        with (
            tree.disks.waiting(name, for_list=True),
            translating("list", name or "/"),
            tree.ground.directory(name) as found,
        ):
            return found.entries(is_wanted)

    def path_of(self, name: str) -> str:
        """Return the path of a name, which need not exist."""
        return self.ground.path_of(name)

    def names(self, below: Sequence[str]) -> list[str]:
        """Do what `ServedRoot.names` says."""
        if not below:
            return names_in(self.path)
        paths = {top: self.path_of(top) for top in below}
        files = [top for top, path in paths.items() if os.path.isfile(path)]
        return files + [f"{top}/{name}" for top, path in paths.items() for name in names_in(path)]

    def entry(self, name: str) -> Entry:
        """Return what a name is as an entry of a list. Raises what `entries` raises, NotFound also for a device."""
        tree = self._current()
        with tree.disks.waiting(name, for_list=True), translating("list", name or "/"):
            found = tree.ground.status(name)
        is_dir = stat.S_ISDIR(found.st_mode)
        if not is_dir and not stat.S_ISREG(found.st_mode):
            raise NotFound(f"list {name!r}: it is neither a file nor a directory", name)
        return Entry(name.rpartition("/")[2], is_dir, found.st_size, found.st_mtime)

    def _served(self, name: str) -> Changes:
        tree = self._tree
        if tree is None:
            raise NotFound(f"open {name!r}: the root is closed", name)
        return tree

    def _known(self, tree: Changes, name: str, own: _Own) -> Version | None:
        """Return a version that was seen to lie in the root, with what is on record about it."""
        version = tree.created.versions.get(name)
        if version is not None and version.identity == own:
            return version
        known = self._verified.get(name)
        if known is None or known[0].identity != own:
            return None
        return tree.version(known[1], known[0].identity) or known[0]

    def _verified_version(self, tree: Changes, name: str, fd: int, own: _Own) -> Version:
        """Make sure that no symlink led outside to an open file, once for each of its versions."""
        real = real_path(fd, tree.prefix + name)
        if not tree.ground.holds(real):
            raise InvalidName(name, "a symlink leads out of the root")
        if len(self._verified) >= VERIFIED_NAMES:
            self._verified.clear()
        version, key = self._verified[name] = (Version(Identity(*own), None), tree.ground.key(real))
        return tree.version(key, version.identity) or version

    def came_in(self, name: str) -> bool:
        """Do what `Served.came_in` says."""
        tree = self._tree
        return tree is not None and tree.created.holds(name)

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None = None) -> str | None:
        """Do what `Served.digest` says. If *seconds* is None, this gives up once *stop* is open."""
        assert isinstance(identity, Identity)  # of a version of ours
        tree = self._tree or self._served(name)
        return tree.digests.of(name, identity, partial(self.open_file, name), seconds, stop)

    def rest(self) -> None:
        """Do nothing in the background until `go_on`. Blocks for a moment; harmless when closed."""
        tree = self._tree
        if tree is not None:
            tree.digests.rest()

    def go_on(self) -> None:
        """End what `rest` has begun. Harmless when repeated."""
        tree = self._tree
        if tree is not None:
            tree.digests.go_on()

    def digest_on_record(self, name: str, identity: AnyIdentity) -> str | None:
        """Return the hexadecimal SHA-256 of that version, if it came in through us with one."""
        tree = self._tree
        version = None if tree is None else tree.created.versions.get(name)
        return version.sha256 if version is not None and version.identity == identity else None

    def created(self) -> set[str]:
        """Return the names of files and directories that were created, without `/` at either end."""
        tree = self._tree
        return set() if tree is None else tree.created.names()

    # Changing

    def incoming(self, name: str) -> Incoming:
        """Begin a new version of a file in a temporary sibling. Its parents are made."""
        return self.changes.incoming(name)

    @contextlib.contextmanager
    def row(self) -> Iterator[Callable[[str], Small]]:
        """Give what begins new versions for one thread, one after the other: quicker where they share a directory."""
        changes = self.changes
        with Row() as row:
            yield lambda name: Small(name, changes, row)

    def note_of(self, name: str) -> tuple[object, str | None]:
        """Return the note that the latest version of *name* came in with, and its digest; None where there is none."""
        version = self.changes.created.versions.get(name)
        return (None, None) if version is None else (version.note, version.sha256)

    def renew(self, name: str, note: object) -> int | None:
        """Do what `Changes.renew` says."""
        return self.changes.renew(name, note)

    def receive(self, name: str) -> Received:
        """Do what `Served.receive` says."""
        changes = self.changes
        with changes.disks.waiting(name):
            return Received(changes.incoming(name))


def _why_unusable(given: str, error: OSError) -> str:
    """Say what keeps a directory from being served, and what to do."""
    if os.path.isfile(given):
        return f"it is a file; pass the directory it is in, and only={os.path.basename(given)!r} to serve it alone"
    reason = error.strerror or str(error)
    near = nearest_path(given) if error.errno == errno.ENOENT else None
    return f"{reason[:1].lower()}{reason[1:]}; {f'there is {near}' if near else 'pass another directory'}"


def _raise_unopened(tree: Changes, name: str, error: OSError) -> NoReturn:
    """Raise our error for a file that the system does not open."""
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        raise_translated(error, "open", name)
    tree.forget_missing(name)
    raise NotFound(f"open {name!r}: no such file", name) from None


def _release(tree: Changes, own: private_root.PrivateDirectory | None) -> None:
    tree.end_journal(remove=False)
    if own is not None:
        own.release()


def _unreachable(path: str) -> OSError | None:
    """Return why nothing can be removed in a directory; None if there is no reason, or no directory."""
    ask = getattr(os, "statvfs", os.stat)  # the kernel may answer a stat from its cache
    try:
        ask(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # ENOTCONN of FUSE, ESTALE of NFS, EIO of a disk
        return None if error.errno == errno.ENOSYS else error
    return None
