"""Where names lead: a walk from the root's own directory, one component at a time, that no symlink can lead outside.

Knows directories as open descriptors, so that what is swapped meanwhile is seen or does not matter. Does not know what
is done there, nor who did what.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from httpserve.base.descriptors import Descriptors
from httpserve.base.names import is_name
from httpserve.base.threads import sigint_held
from httpserve.errors import InvalidName
from httpserve.storage.directory.open_file import real_path
from httpserve.storage.served import Entry

PATH_BYTES = 4096  # PATH_MAX of Linux: a longer path could be written in steps, but never be opened at once
NOT_LINKED = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # by file systems that have no hard links
MOST_DETOURS = 40  # over symlinks, as many as the kernel takes; and over directories that somebody moves meanwhile
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PASS = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY  # needs no permission to read, as a path needs none
LIST = os.O_RDONLY | _DIRECTORY

OUTSIDE = "a symlink leads out of the root"


class Ground:
    """The directory that all names are in. Holds nothing open: it may be moved, or another mounted over it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.prefix = path if path.endswith(os.sep) else path + os.sep

    def holds(self, path: str) -> bool:
        """Say whether a real path lies in the root."""
        return path == self.path or path.startswith(self.prefix)

    def key(self, path: str) -> str:
        """Return the name without detours over symlinks, under which records are kept."""
        return path[len(self.prefix) :]

    def path_of(self, key: str) -> str:
        """Return the path of such a name."""
        return self.prefix + key if key else self.path

    def status(self, name: str) -> os.stat_result:
        """Return what is at a checked name, following symlinks as far as they stay in the root. Opens no file.

        Raises InvalidName where one leads out, FileNotFoundError or NotADirectoryError where nothing is.
        """
        with Place(self, name, follow=True) as place:
            if place.found is None:
                raise place.lack()
            return place.found

    @contextlib.contextmanager
    def directory(self, name: str) -> Iterator[Directory]:
        """Give what is in a directory, which stays open in the block. Raises what `status` raises."""
        with Place(self, name, follow=True) as place:
            yield Directory(place)

    def contains(self, fd: int) -> bool:
        """Say whether an open directory lies in the root by now."""
        try:
            return self.holds(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:  # not Linux, no /proc in this container, or a path longer than it tells
            return self._is_above(fd)

    def _is_above(self, fd: int) -> bool:
        top = os.stat(self.path)
        fds = Descriptors()
        try:
            fds.take(".", PASS, fd)
            while not os.path.samestat(found := os.fstat(fds[0]), top):
                fds.take("..", PASS, fds[0])
                fds.drop()
                if os.path.samestat(os.fstat(fds[0]), found):
                    return False
        finally:
            fds.close()
        return True


class Place:
    """One name, in an open directory of the root. Closes the directory when it is closed or forgotten.

    Attributes:
        fd: The directory that it lies in, or the nearest one above that is there; -1 once closed.
        directory: The name of that directory, without detours over symlinks; empty for the root.
        missing: The directories below it that do not exist, outermost first; in place of the first there may be a file.
        last: The last component; empty for the root itself.
        found: What was there, perhaps a symlink; None: nothing.
    """

    __slots__ = ("_fds", "_lack", "directory", "fd", "found", "ground", "last", "missing")

    def __init__(self, ground: Ground, name: str, *, follow: bool = False) -> None:
        """Walk to a checked name; *follow* it, too, if it is a symlink. Raises InvalidName where one leads out."""
        self._fds = Descriptors()  # owns fd
        self.fd = -1
        self.ground = ground
        self.directory = ""
        self.missing: tuple[str, ...] = ()
        self.found: os.stat_result | None = None
        self._walk(name, follow)

    @property
    def key(self) -> str:
        """The name without detours over symlinks, under which records are kept."""
        return self.beside(self.last) if self.last else self.directory

    def beside(self, last: str) -> str:
        """Return the name of what lies in the same directory."""
        if not self.missing:
            return f"{self.directory}/{last}" if self.directory else last
        return "/".join(part for part in (self.directory, *self.missing, last) if part)

    def neighbour(self, last: str) -> Place | None:
        """Return the place of another name in the same directory; None where it takes a walk: it is a symlink."""
        other = Place.__new__(Place)
        other._fds = Descriptors()
        other._fds.extend(map(os.dup, (self.fd,)))
        other.fd, other.ground, other.directory = other._fds[-1], self.ground, self.directory
        other.last, other.missing, other._lack = last, (), errno.ENOENT
        other.found = other.look()
        return None if other.found is not None and stat.S_ISLNK(other.found.st_mode) else other

    def again(self) -> None:
        """Walk there once more: a directory has come or gone meanwhile."""
        self._walk(self.key, follow=False)

    def look(self) -> os.stat_result | None:
        """Return what is there now, not following a symlink; None: nothing."""
        if self.missing:
            return None
        if not self.last:
            return os.fstat(self.fd)
        try:
            return os.stat(self.last, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def replace(self, temporary: str) -> os.stat_result | None:
        """Move a file from the same directory to this name in one step, and return what is there then."""
        self.check_stays()
        os.replace(temporary, self.last, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        return self.look()

    def take(self, temporary: str) -> os.stat_result | None:
        """Do what `replace` does if there is nothing of this name. Raises FileExistsError else."""
        self.check_stays()
        try:
            os.link(temporary, self.last, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NOT_LINKED:
                raise
            if self.look() is not None:  # of a file system without hard links nothing better is known
                raise FileExistsError(errno.EEXIST, "there is something of that name") from None
            return self.replace(temporary)
        os.unlink(temporary, dir_fd=self.fd)
        return self.look()

    def lack(self) -> OSError:
        """Return the system's error for a name at which there is nothing."""
        return OSError(self._lack, os.strerror(self._lack))

    def is_directory(self) -> bool:
        """Say whether a directory was there."""
        return self.found is not None and stat.S_ISDIR(self.found.st_mode)

    def enter(self, part: str, flags: int = PASS) -> None:
        """Go one directory further down; where *part* is empty, open the same directory anew."""
        self._fds.take(part or ".", flags, self.fd)
        self.fd = self._fds[-1]  # before the other is closed: its number may then be reused
        self._fds.drop()
        if part:
            self.directory = f"{self.directory}/{part}" if self.directory else part

    def check_stays(self) -> None:
        """Raise FileNotFoundError unless the directory lies where it lay: its descriptor could lead out of the root."""
        if not _lies_at(self.fd, self.ground.path_of(self.directory)):
            raise FileNotFoundError(errno.ENOENT, "its directory was moved or removed meanwhile")

    def close(self) -> None:
        """Close the directory. Harmless when called again."""
        self.fd = -1
        self._fds.close()

    def unlink_beside(self, last: str) -> None:
        """Remove what lies in the same directory, as far as the mount through which names lead there allows that."""
        try:
            now = Place(self.ground, self.beside(last))
        except (OSError, InvalidName):
            os.unlink(last, dir_fd=self.fd)
            return
        with now:
            same = os.path.samestat(os.fstat(now.fd), os.fstat(self.fd))
            os.unlink(last, dir_fd=now.fd if same else self.fd)

    def leave_to_owner(self) -> None:
        """Be closed only by `close`: the owner has a finalizer that needs the directory."""
        self._fds.leave_open()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    # The walk

    def _walk(self, name: str, follow: bool) -> None:
        if len(name) >= PATH_BYTES // 4 and len(os.fsencode(self.ground.path_of(name))) >= PATH_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        detour = name
        for _ in range(MOST_DETOURS):
            self._fds.take(self.ground.path, PASS)
            self.fd = self._fds[-1]
            while len(self._fds) > 1:  # where the walk before has led
                self._fds.drop()
            self.directory, self.found = "", None
            on = self._step(name, detour, follow)
            if on is None:
                return
            detour = on
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _step(self, asked: str, name: str, follow: bool) -> str | None:
        """Go to *name* until a symlink is met; then return the name to go on with."""
        *parts, self.last = name.split("/")
        self.missing = ()
        self._lack = errno.ENOENT
        for index, part in enumerate(parts):
            try:
                self.enter(part)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
                    raise
                if error.errno != errno.ENOENT and self._is_symlink(part):
                    target = self._target(asked, part)
                    return name if target is None else "/".join([target, *parts[index + 1 :], self.last]).lstrip("/")
                self._lack, self.missing = error.errno, tuple(parts[index:])
                break
        if self.directory:
            where = self._where()
            if where is None:  # somebody moves directories: perhaps another is there by now
                return name
            self.directory = where
        self.found = self.look()
        if self.found is None or not stat.S_ISLNK(self.found.st_mode):
            return None
        target = self._target(asked, self.last)
        return (name if target is None else target) if follow else None

    def _where(self) -> str | None:
        """Return the name that the open directory has by now; None when it is gone, or outside the root."""
        expected = self.ground.path_of(self.directory)
        real = real_path(self.fd, expected)
        if real == expected:
            return self.directory
        # Some file systems accept a name in either case, but report one of them.
        if self.ground.holds(real) and _lies_at(self.fd, real) and os.path.isdir(real):
            return self.ground.key(real)
        return None

    def _is_symlink(self, part: str) -> bool:
        try:
            return stat.S_ISLNK(os.stat(part, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def _target(self, asked: str, part: str) -> str | None:
        """Return where a symlink leads; None when it has gone meanwhile. Only a hint of where to walk next."""
        try:
            real = os.path.realpath(self.ground.path_of(f"{self.directory}/{part}" if self.directory else part))
        except OSError:  # from the second of the two looks that it takes at each symlink
            return None
        if not self.ground.holds(real):
            raise InvalidName(asked, OUTSIDE)
        return self.ground.key(real)


def _lies_at(fd: int, path: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == path
    except OSError:  # not Linux, or no /proc in this container
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(fd), os.lstat(path)) and os.path.realpath(path) == path
        return False


class Directory:
    """An open directory of the root: what is in it, whatever becomes of its name meanwhile."""

    def __init__(self, place: Place) -> None:
        """Open the directory that *place* was walked to. Closed with *place*. Raises NotADirectoryError."""
        self._place = place
        if place.found is None:
            raise place.lack()
        place.enter(place.last, LIST)
        place.last = ""
        place.check_stays()

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        with sigint_held(), os.scandir(self._place.fd) as entries:
            found = list(entries)  # an interrupt between two would leave the listing open
        yield from found

    def entries(self, is_wanted: Callable[[str], bool]) -> list[Entry]:
        """Do what `Served.entries` says."""
        found = []
        for one in self:
            if not is_name(one.name) or not is_wanted(one.name):
                continue
            try:
                info = self.status(one)
            except (OSError, InvalidName):
                continue
            is_dir = stat.S_ISDIR(info.st_mode)
            if is_dir or stat.S_ISREG(info.st_mode):
                found.append(Entry(one.name, is_dir, info.st_size, info.st_mtime))
        return found

    def status(self, entry: os.DirEntry[str]) -> os.stat_result:
        """Return what an entry is; of a symlink, what it leads to in the root, as `Ground.status` does."""
        if not entry.is_symlink():
            return entry.stat(follow_symlinks=False)
        return self._place.ground.status(self._place.beside(entry.name))
