"""What was made through us: the record that the cleanup goes by.

Knows names, and which file on the disk each one meant. Does not change the disk. Its owner's lock guards it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from httpserve.storage.directory.generations import Generation, Held, generation_at
from httpserve.storage.directory.places import Place
from httpserve.storage.served import Fields, Identity


class Version(NamedTuple):
    """A file that came in through us: which version, its digest where one was computed, and the fields it came with.

    The `note` is of whoever put it, about where its bytes are from; it goes with the version, and says nothing here.
    """

    identity: Identity
    sha256: str | None
    shares_second: bool = False  # with the version before: their times of change differ by less than HTTP can say
    fields: Fields = ()
    note: object = None


class Origin(Enum):
    """How a name got on record."""

    FILE = "a file that we made"
    DIRECTORY = "a directory that the user asked for"
    PARENT = "a directory that was made for a file in it"
    OVERWRITTEN = "a file of ours in the place of one that was there before"


class Sure(Enum):
    """How sure we are that what is there is what a mark records."""

    OURS = "it is"
    THEIRS = "somebody else replaced it since"
    UNKNOWN = "nothing tells whether it is still what was put there"


class Mark(NamedTuple):
    """One name on record, and which thing on the disk it means."""

    kind: Origin
    device: int
    inode: int
    generation: Generation = None
    held: Held | None = None  # keeps the number of a directory from being reused, where there is no generation

    @property
    def is_directory(self) -> bool:
        return self.kind in (Origin.DIRECTORY, Origin.PARENT)

    def may_be(self, found: os.stat_result) -> bool:
        """Say whether *found* may be that thing: by its number, which may have been reused since."""
        same = (self.device, self.inode) == (found.st_dev, found.st_ino)
        return same and self.is_directory == stat.S_ISDIR(found.st_mode)

    def is_of(self, place: Place, found: os.stat_result, version: Version | None) -> Sure:
        """Say whether *found*, which is at *place*, is that thing; *version* is what is on record about its bytes."""
        if not self.may_be(found):
            return Sure.THEIRS
        if self.held is not None:
            return Sure.OURS
        now = generation_at(place.last, place.fd, found) if self.generation is not None else None
        if now is not None:
            return Sure.OURS if now == self.generation else Sure.THEIRS
        unchanged = version is not None and version.identity == Identity.of(found)
        return Sure.OURS if unchanged else Sure.UNKNOWN


_ASKED_FOR = (Origin.FILE, Origin.DIRECTORY)


class Created:
    """Marks and versions by name. Everything is bounded by the number of names."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.versions: dict[str, Version] = {}

    def names(self) -> set[str]:
        """Return what the user asked for, without `/` at either end."""
        return {name for name, mark in self.marks.copy().items() if mark.kind in _ASKED_FOR}

    def holds(self, name: str) -> bool:
        """Say whether a file that came in, or a directory that was made, is on record under a name."""
        mark = self.marks.get(name)
        return name in self.versions or (mark is not None and mark.is_directory)

    def file(self, name: str, version: Version, *, is_ours: bool, generation: Generation = None) -> None:
        """Record a new version of *name*. It *is_ours* unless it replaced something."""
        kind = Origin.FILE if is_ours else Origin.OVERWRITTEN
        self.marks[name] = Mark(kind, version.identity.device, version.identity.inode, generation)
        self.versions[name] = version

    def adopt(self, name: str) -> None:
        """Record that the user asked for a directory which was made for a file earlier."""
        mark = self.marks.get(name)
        if mark is not None and mark.kind is Origin.PARENT:
            self.marks[name] = mark._replace(kind=Origin.DIRECTORY)

    def forget(self, name: str, *, unless: Callable[[str], bool] = lambda name: False) -> None:
        """Forget a name and all below it, as they are gone; *unless* says which are not."""
        for known in self._within(name):
            if not unless(known):
                self.marks.pop(known, None)
                self.versions.pop(known, None)

    def below(self, source: str, target: str) -> dict[str, Version]:
        """Return the versions on record at *source* and below it, by the names that a move to *target* gives."""
        within = ((name, self.versions.get(name)) for name in self._within(source))
        return {target + name[len(source) :]: version for name, version in within if version is not None}

    def move(self, source: str, target: str, *, is_ours: bool) -> None:
        """Follow a rename. It *is_ours* if nothing was at *target* until now, or something of ours.

        What was there before stays on record as such under its new name.
        """
        marks = {name: self.marks[name] for name in self._within(source) if name in self.marks}
        versions = self.below(source, target)
        self.forget(source)
        self.forget(target)
        for name, mark in marks.items():
            kept = mark if is_ours or name != source else mark._replace(kind=Origin.OVERWRITTEN)
            self.marks[target + name[len(source) :]] = kept
        self.versions.update(versions)

    def moved(self, name: str, found: os.stat_result) -> None:
        """Take over the new ctime that a rename gives a file, if it is still the version on record."""
        version = self.versions.get(name)
        if version is not None:
            new = Identity.of(found)
            if new[:-1] == version.identity[:-1]:
                self.versions[name] = version._replace(identity=new)

    def made(self, place: Place, found: os.stat_result) -> bool:
        """Say whether *found*, which is at *place*, was made by us where there was nothing."""
        mark = self.marks.get(place.key)
        if mark is None or mark.kind is Origin.OVERWRITTEN or not mark.may_be(found):
            return False
        version = self.versions.get(place.key)
        if version is not None and version.identity == Identity.of(found):
            return True  # without a look at the generation, as a file is put again and again
        return mark.is_of(place, found, version) is Sure.OURS

    def _within(self, name: str) -> list[str]:
        mark = self.marks.get(name)
        if mark is not None and mark.kind is Origin.FILE:
            return [name]  # so that deleting many files does not look at all of them each time
        known = self.marks.keys() | self.versions.keys()
        return [other for other in known if not name or other == name or other.startswith(f"{name}/")]
