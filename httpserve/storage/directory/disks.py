"""Which files may be opened without a separate thread, and how many requests wait for one disk.

Knows names, devices, mounts and the clock. Opens no file of the root.

A disk may sleep, a network file system may hang, a program behind FUSE may do as it likes. What is local to this
kernel and has just answered about this very name answers at once; anything else is asked in a thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from time import monotonic

from httpserve.base.slots import Slots
from httpserve.storage.served import DiskBusy

# Here each change is made by this kernel, and shows in the times of the file before the writer goes on. What is
# mounted from another machine, or from a program, reports a change when it likes.
LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs"})
RECENT_SECONDS = 2.0
MOST_NAMES = 4096
MOUNTS_SECONDS = 1.0  # how long the list of mounts is taken to be right
MOST_PARTS = 1000  # of a path with its symlinks; longer ones, such as those in a circle, lead nowhere
MOST_WAITING = 64  # requests for files of one file system that may wait for it; each takes a thread


class Disks:
    """What is known of the file systems below one root, by its real path. Safe from any thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._slots = Slots(MOST_WAITING)  # by mount point, and whether it is for a list
        # Replaced or touched in one step of the interpreter:
        self._answered: dict[str, float] = {}  # when a thread last had an answer about a name that is local
        self._local: dict[int, tuple[float, bool]] = {}  # by device, whose number is reused after an unmount
        self._mounts: tuple[float, frozenset[str]] = (0.0, frozenset())

    def just_answered(self, name: str) -> bool:
        """Tell whether a file lies on a local file system that has answered about it within RECENT_SECONDS."""
        at = self._answered.get(name)
        return at is not None and monotonic() - at < RECENT_SECONDS

    def note(self, name: str, fd: int, device: int) -> None:
        """Note that a file was opened, in a thread that was allowed to wait."""
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
        """Count a request that may wait for the disk of a file, or of a directory. Raises DiskBusy if too many do.

        One *for_list* asks for all that is in a directory, including what is mounted there. Such requests are counted
        separately: they must not take the places of those for files.
        """
        with self._place(name, ("", False)):  # finding out which disk it is takes the root's own disk
            mount = self._mount_of(name)
        with self._place(name, (mount, for_list)):
            yield

    @contextlib.contextmanager
    def _place(self, name: str, key: tuple[str, bool]) -> Iterator[None]:
        if not self._slots.take(key):
            raise DiskBusy(f"open {name!r}: {MOST_WAITING} requests wait for its disk already", name)
        try:
            yield
        finally:
            self._slots.give_back(key)

    def _mount_of(self, name: str) -> str:
        """Return the first mount point on the way to what a name leads to, symlinks followed; empty: the root's disk.

        Looks at nothing behind a mount point: that disk may hang. What is mounted above the root counts as the root's.
        """
        at, mounts = self._mounts
        now = monotonic()
        if now - at > MOUNTS_SECONDS:
            mounts = _all_mounts()
            self._mounts = (now, mounts)
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


def file_system(fd: int) -> str:
    """Return the type of the file system that an open file lies on, empty where this system does not tell.

    An overlay has the type of its first layer that is not local, since it waits for all of them.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        mounts = _mounts()
        return next((_layered_type(one, mounts) for one in mounts if one[0] == fields["mnt_id"].strip()), "")
    except (OSError, KeyError, ValueError, IndexError):
        return ""  # not Linux, no /proc in this container, or not as we know it


def _layered_type(fields: list[str], mounts: list[list[str]]) -> str:
    kind, _, options = fields[fields.index("-") + 1 :]
    if kind != "overlay":
        return kind
    layers = [
        layer
        for option in options.split(",")
        if option.partition("=")[0] in ("lowerdir", "lowerdir+", "datadir+", "upperdir")
        for layer in option.partition("=")[2].split(":")
    ]
    for layer in layers:
        # A layer that cannot be seen from here, as in most containers, is the host's own.
        below = [one for one in mounts if one is not fields and f"{layer}/".startswith(f"{one[4].rstrip('/')}/")]
        if below:
            nearest = max(below, key=lambda one: len(one[4]))
            under = nearest[nearest.index("-") + 1]
            if under not in LOCAL:
                return under
    return kind


def _mounts() -> list[list[str]]:
    """Return the fields of all mounts (proc(5), mountinfo). Raises OSError where this system does not tell."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [line.split() for line in file]


def _all_mounts() -> frozenset[str]:
    """Return all mount points; none where this system does not tell."""
    try:
        points = [os.fsencode(one[4]) for one in _mounts()]
    except (OSError, IndexError):  # not Linux, or no /proc in this container
        return frozenset()
    # Blanks and the like are written as \\040.
    return frozenset(os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in points)
