"""Which files may be asked for without a thread of one's own, and how many requests wait for one disk.

Knows names, devices, mounts and the clock. Opens no file of the root.

A disk may sleep, a network file system may hang, a program behind FUSE may do as it likes. What is local to this
kernel and has answered about this very name just now answers at once; anything else is asked in a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from time import monotonic

from httpserve.base.seats import Seats
from httpserve.errors import StorageError
from httpserve.storage.directory.open_file import OpenFile, open_regular
from httpserve.storage.directory.recheck import LOCAL, Recheck, file_system
from httpserve.storage.directory.version import Identity

RECENT_SECONDS = 2.0
MOST_NAMES = 4096
MOUNTS_SECONDS = 1.0  # for so long the list of mounts is right
MOST_PARTS = 1000  # of a path with its symlinks; longer ones, as those in a circle, lead nowhere
MOST_WAITING = 64  # requests for files of one file system that may wait for it; each takes a thread


class DiskBusy(StorageError):
    """So many requests wait for a disk already that another one would only take a thread."""


class Disks:
    """What is known of the file systems below one root. Safe from any thread.

    Args:
        path: The root's real path.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seats = Seats(MOST_WAITING)  # by mount point, and whether it is for a list
        # Replaced or touched in one step of the interpreter:
        self._answered: dict[str, float] = {}  # when a thread last had an answer about a name that is local
        self._local: dict[int, tuple[float, bool]] = {}  # by device, which is given anew after an unmount
        self._mounts: tuple[float, frozenset[str]] = (0.0, frozenset())

    def just_answered(self, name: str) -> bool:
        """Tell whether a file lies on a local file system that has answered about it within RECENT_SECONDS."""
        at = self._answered.get(name)
        return at is not None and monotonic() - at < RECENT_SECONDS

    def note(self, name: str, fd: int, device: int) -> None:
        """Note that a file was opened, in a thread that might wait."""
        now = monotonic()
        known = self._local.get(device)
        if known is None or now - known[0] > RECENT_SECONDS:
            known = self._local[device] = (now, file_system(fd) in LOCAL)
        if known[1]:
            if len(self._answered) >= MOST_NAMES:
                self._answered.clear()
            self._answered[name] = now

    @contextlib.contextmanager
    def waiting(self, name: str, *, for_list: bool = False) -> Iterator[None]:
        """Count a request that may wait for the disk of a file.

        Args:
            name: The file's name, or a directory's.
            for_list: Whether it asks for all that is in a directory, so also for what is mounted there. Such requests
                are counted apart: they must not take the places of those for files.

        Raises:
            DiskBusy: Too many wait already.
        """
        with self._place(name, ("", False)):  # to find out which disk it is takes the root's own
            mount = self._mount_of(name)
        with self._place(name, (mount, for_list)):
            yield

    @contextlib.contextmanager
    def _place(self, name: str, key: tuple[str, bool]) -> Iterator[None]:
        if not self._seats.take(key):
            raise DiskBusy(f"open {name!r}: {MOST_WAITING} requests wait for its disk already", name)
        try:
            yield
        finally:
            self._seats.give_back(key)

    def _mount_of(self, name: str) -> str:
        """Return the first mount point on the way to what a name leads to, symlinks followed; empty: the root's disk.

        Looks at nothing behind a mount point: that disk may hang. What is mounted above the root is the root's own way.
        """
        mounts = self._mount_points()
        path, ahead = self._path, name.split("/")
        for _ in range(MOST_PARTS):
            if not ahead:
                break
            part = ahead.pop(0)
            if part in ("", "."):
                continue
            path = os.path.dirname(path) if part == ".." else f"{path.rstrip('/')}/{part}"
            if path in mounts and not f"{self._path}/".startswith(f"{path.rstrip('/')}/"):
                return path
            try:
                target = os.readlink(path)
            except OSError:  # no symlink, or nothing at all
                continue
            path = "/" if target.startswith("/") else os.path.dirname(path)
            ahead = target.split("/") + ahead
        return ""

    def _mount_points(self) -> frozenset[str]:
        at, mounts = self._mounts
        now = monotonic()
        if now - at > MOUNTS_SECONDS:
            mounts = _all_mounts()
            self._mounts = (now, mounts)
        return mounts


class RecentFile:
    """A file that was opened before, to be had again at once: not where that may take a wait.

    Args:
        name: Its name.
        path: Where it lies.
        file: As it was opened.
        disks: Those of its root.
    """

    __slots__ = ("_disks", "_identity", "_just_answered", "_name", "_path", "_sha256", "_standing", "_stands")

    def __init__(self, path: str, file: OpenFile, disks: Disks) -> None:
        self._name = file.name
        self._path = path
        self._identity = file.identity
        self._sha256 = file.sha256
        self._disks = disks
        self._standing = Recheck(path, file.identity)
        self._just_answered, self._stands = disks.just_answered, self._standing.stands

    def read(self, into: memoryview) -> bool:
        """Read all its bytes into a buffer of its length; False when it no longer stands, or may not be asked."""
        return self._disks.just_answered(self._name) and self._standing.read(into)

    def stands(self) -> bool:
        """Tell whether it stands as before; False also where it may not be asked."""
        return self._just_answered(self._name) and self._stands()

    def shows_changes(self, since: float) -> bool:
        """Tell whether any change since a time (in seconds since the epoch) makes `stands` say no."""
        return self._standing.shows_changes(since)

    def open(self) -> tuple[OpenFile | None, int]:
        """Open it, for one who has begun to send it, and say its size; None when it no longer stands."""
        try:
            fd = open_regular(self._path)
        except OSError:
            return None, 0
        found = os.fstat(fd)
        file = OpenFile(fd, self._name, Identity.of(found), self._sha256, self._path, found.st_nlink)
        if file.identity == self._identity:
            return file, self._identity.size
        file.close()
        return None, 0


def _all_mounts() -> frozenset[str]:
    """Return all mount points; none where this system does not tell."""
    found = set()
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                point = line.split(b" ")[4]
                if b"\\" in point:
                    point = point.decode("unicode_escape").encode("latin-1")  # blanks and the like as \\040
                found.add(os.fsdecode(point))
    except (OSError, ValueError, IndexError):
        pass  # not Linux, or no /proc in this container
    return frozenset(found)
