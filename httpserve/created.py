"""What came into being through us: the record that cleaning up is done by.

Knows names, and which file on the disk was meant by each. Does not change the
disk. Not safe from several threads: the root's lock guards it.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Self

if sys.platform == "linux":  # pragma: no branch - the tests run on one system at a time
    import fcntl

_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION of linux/fs.h


class Identity(NamedTuple):
    """One version of a file: what changes as soon as its bytes may have changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def generation_of(fd: int) -> int | None:
    """Return what tells a file from an earlier one with the same inode number; None where nothing does.

    ext4 gives the number of a removed file to the next one that is made, so a number alone says little.
    """
    if sys.platform != "linux":  # pragma: no cover - only Linux tells generations
        return None
    try:
        answer = fcntl.ioctl(fd, _GET_GENERATION, bytes(8))
    except OSError:
        return None
    (generation,) = struct.unpack("i", answer[:4])
    return int(generation)


class Kind(Enum):
    """How a name got on record."""

    FILE = "a file that we made"
    DIRECTORY = "a directory that the user asked for"
    PARENT = "a directory that was made for a file in it"
    OVERWRITTEN = "a file of ours in the place of one that was there before"


@dataclass(frozen=True, slots=True)
class Mark:
    """One name on record, and the thing on the disk that it stands for."""

    kind: Kind
    device: int
    inode: int
    generation: int | None = None

    def is_of(self, found: os.stat_result) -> bool:
        """Say whether *found* may be that thing: by its number, which may have been given anew since."""
        is_directory = self.kind in (Kind.DIRECTORY, Kind.PARENT)
        same = (self.device, self.inode) == (found.st_dev, found.st_ino)
        return same and is_directory == stat.S_ISDIR(found.st_mode)


@dataclass(frozen=True, slots=True)
class Version:
    """A file that came in through us: which version, and its digest where one was computed."""

    identity: Identity
    sha256: str | None
    shares_second: bool = False  # with the version before: their times of change differ in less than HTTP can say


_ASKED_FOR = (Kind.FILE, Kind.DIRECTORY)


class Created:
    """Marks and versions by name. Everything is bounded by the names that are there."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.versions: dict[str, Version] = {}

    def names(self) -> set[str]:
        """Return what the user asked for, without `/` at either end."""
        return {name for name, mark in self.marks.copy().items() if mark.kind in _ASKED_FOR}

    def holds(self, name: str) -> bool:
        """Say whether a file that came in, or a directory that was made, is on record under a name."""
        mark = self.marks.get(name)
        return name in self.versions or (mark is not None and mark.kind in (Kind.DIRECTORY, Kind.PARENT))

    def file(
        self, name: str, version: Version, before: os.stat_result | None, generation: int | None = None
    ) -> None:
        """Record a new version of *name*, where *before* was until now."""
        ours = before is None or self._made(name, before)
        kind = Kind.FILE if ours else Kind.OVERWRITTEN
        self.marks[name] = Mark(kind, version.identity.device, version.identity.inode, generation)
        self.versions[name] = version

    def directory(self, name: str, kind: Kind, found: os.stat_result) -> None:
        """Record a directory that was made just now, or asked for now and made earlier for a file."""
        self.marks[name] = Mark(kind, found.st_dev, found.st_ino)

    def adopt(self, name: str) -> None:
        """Record that the user asked for a directory which was made for a file earlier."""
        mark = self.marks.get(name)
        if mark is not None and mark.kind is Kind.PARENT:
            self.marks[name] = Mark(Kind.DIRECTORY, mark.device, mark.inode)

    def forget(self, name: str, *, unless: Callable[[str], bool] = lambda name: False) -> None:
        """Forget a name and all below it, as it is gone; *unless* says what is not."""
        for known in self._within(name):
            if not unless(known):
                self.marks.pop(known, None)
                self.versions.pop(known, None)

    def move(self, source: str, target: str, before: os.stat_result | None) -> None:
        """Follow a rename. What was there before stays on record as such under its new name.

        Args:
            before: what was under *target* until now.
        """
        ours = before is None or self._made(target, before)
        moved = self._within(source)
        marks = {name: self.marks.pop(name) for name in moved if name in self.marks}
        versions = {name: self.versions.pop(name) for name in moved if name in self.versions}
        self.forget(target)
        for name, mark in marks.items():
            kept = mark if ours or name != source else Mark(Kind.OVERWRITTEN, mark.device, mark.inode)
            self.marks[target + name[len(source) :]] = kept
        for name, version in versions.items():
            self.versions[target + name[len(source) :]] = version

    def moved(self, name: str, found: os.stat_result) -> None:
        """Take over the new ctime that a rename gives a file, if it is still the version on record."""
        version = self.versions.get(name)
        if version is not None:
            new = Identity.of(found)
            if new[:-1] == version.identity[:-1]:
                self.versions[name] = Version(new, version.sha256, version.shares_second)

    def _made(self, name: str, found: os.stat_result) -> bool:
        """Say whether *found*, which is under *name*, was made by us where nothing was."""
        mark = self.marks.get(name)
        return mark is not None and mark.kind is not Kind.OVERWRITTEN and mark.is_of(found)

    def _within(self, name: str) -> list[str]:
        mark = self.marks.get(name)
        if mark is not None and mark.kind is Kind.FILE:
            return [name]  # so that deleting many files does not look at all of them each time
        known = self.marks.keys() | self.versions.keys()
        return [other for other in known if not name or other == name or other.startswith(f"{name}/")]
