"""Several places of files as one: the root, and the files and directories that are served in place beside it.

Knows which name belongs to which of them. Opens no file, and knows no request.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Self

from httpserve.base.threads import Latch, renew_in_child, sigint_held
from httpserve.errors import (
    AlreadyExists,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    StoreUnavailable,
)
from httpserve.plan import Repeatable
from httpserve.storage.in_place import InPlace
from httpserve.storage.served import (
    AnyIdentity,
    Entry,
    MemoryFile,
    NewVersion,
    RemoteFile,
    ServedFile,
    ServedRoot,
    Status,
)


class Joined:
    """A root, and what is served in place beside it: a `ServedRoot`. Safe from any number of threads.

    Whatever lies in the root under a name that is served in place, or below it, is hidden.

    Attributes:
        root: The root.
        changed: When what is served in place was last changed, in seconds since the epoch.
    """

    def __init__(self, root: ServedRoot) -> None:
        self.root = root
        self._lock = threading.Lock()  # guards changes of the fields below, which are replaced as a whole
        self._in_place: Mapping[str, InPlace] = {}
        self._above: Mapping[str, frozenset[str]] = {}  # by directory: the last parts of the names in it
        self.changed = 0.0
        renew_in_child(self, Joined._renew_lock)

    @property
    def in_place(self) -> Mapping[str, InPlace]:
        """What is served in place, by name."""
        return self._in_place

    def serve(self, name: str, path: str | os.PathLike[str], *, is_directory: bool) -> InPlace | None:
        """Serve a file or directory under a checked name, in place of what was served there so far.

        Blocks for the disk, and for the root.

        Args:
            name: The checked name.
            path: The file or directory.
            is_directory: Whether the name was written as that of a directory.

        Returns:
            What is served now; None where that path was served there already.

        Raises:
            AlreadyExists: The root has something of that name.
            NotADirectory: A part of the name is a file.
            InvalidName: The name was written as that of a directory, and the path is that of a file.
            NotFound: There is nothing at the path.
            StorageError: It cannot be read.
        """
        made = InPlace(name, path)
        if is_directory and not made.is_directory:
            raise InvalidName(f"{name}/", f"it ends in '/' as directories do, and {made.path} is a file")
        before = self._in_place.get(name)
        if before is None:
            self._check_free(name)
        elif (before.path, before.is_directory) == (made.path, made.is_directory):
            return None
        made.open()
        with sigint_held(), self._lock:
            before = self._in_place.get(name)
            self._replace({**self._in_place, name: made})
        if before is not None:
            before.close()
        return made

    def unserve(self, name: str) -> bool:
        """End what is served in place under a checked name. Return whether there was anything."""
        with sigint_held(), self._lock:
            rest = dict(self._in_place)
            ended = rest.pop(name, None)
            self._replace(rest)
        if ended is None:
            return False
        ended.close()
        return True

    def owner(self, name: str) -> InPlace | None:
        """Return what is served in place under a checked name, or has it below itself; None: the root has it."""
        in_place = self._in_place
        at = name if in_place else ""
        while at:
            found = in_place.get(at)
            if found is not None:
                return found
            at = at.rpartition("/")[0]
        return None

    def check_writable(self, operation: str, name: str) -> None:
        """Raise NotPermitted for a checked name whose file or directory is served in place."""
        owner = self.owner(name)
        if owner is not None:
            raise NotPermitted(owner.refusal(operation, name), name)

    def check_new(self, name: str) -> None:
        """Raise NotPermitted or IsADirectory for a checked name under which no new file can be written."""
        self.check_writable("write", name)
        if name in self._above:
            raise IsADirectory(f"write {name!r}: there is a directory of that name", name)

    # What `ServedRoot` says

    @property
    def label(self) -> str:
        return self.root.label

    def open(self) -> Self:
        """Open the root. What is served in place stays open over `rest`; it ends at `close`."""
        self.root.open()
        for one in self._in_place.values():
            one.open()
        return self

    def close(self) -> None:
        """Close the root, and end all that is served in place. Harmless when repeated."""
        with sigint_held(), self._lock:
            ended = self._in_place
            self._replace({})
        for one in ended.values():
            one.close()
        self.root.close()

    def rest(self) -> None:
        for one in self._all():
            one.rest()

    def go_on(self) -> None:
        for one in self._all():
            one.go_on()

    def path_of(self, name: str) -> str:
        return self._at(name).path_of(name)

    def names(self, below: Sequence[str]) -> list[str]:
        found = [name for name in self.root.names(below) if self.owner(name) is None]
        for top, one in self._in_place.items():
            if not below or any(top == other or top.startswith(f"{other}/") for other in below):
                found += [name for name in one.names(()) if self.owner(name) is one]
        return found

    def status(self, name: str) -> Status:
        try:
            return self._at(name).status(name)
        except NotFound:
            self._check_not_above(name)
            raise

    def open_to_serve(self, name: str, *, may_block: bool) -> ServedFile | RemoteFile | MemoryFile | None:
        try:
            return self._at(name).open_to_serve(name, may_block=may_block)
        except NotFound:
            self._check_not_above(name)
            raise

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None = None) -> str | None:
        return self._at(name).digest(name, identity, seconds, stop)

    def again(self, file: ServedFile | RemoteFile) -> Repeatable | None:
        return self._at(file.name).again(file)

    def entries(self, name: str, is_wanted: Callable[[str], bool]) -> list[Entry]:
        prefix = f"{name}/" if name else ""
        in_place, own = self._in_place, self._above.get(name, frozenset())
        try:
            found = self._at(name).entries(name, lambda last: prefix + last not in in_place and is_wanted(last))
        except NotFound:
            if not own:
                raise
            found = []
        there = {entry.name for entry in found}
        for last in own - there:
            if is_wanted(last):
                with suppress(InvalidName, NotFound, NotPermitted):  # it is gone, or is not ours to read
                    one = in_place.get(prefix + last)
                    found.append(Entry(last, True, 0, self.changed) if one is None else one.entry(last))
        return found

    def came_in(self, name: str) -> bool:
        return name in self._above or self._at(name).came_in(name)

    def receive(self, name: str) -> NewVersion:
        if name in self._above:
            raise IsADirectory(f"write {name!r}: it is a directory", name)
        return self._at(name).receive(name)

    def directories(self) -> Collection[str]:
        """Return the names of the directories that lead to what is served in place, also those that the root lacks."""
        return self._above

    def _at(self, name: str) -> InPlace | ServedRoot:
        return self.owner(name) or self.root

    def _check_not_above(self, name: str) -> None:
        if name in self._above:
            raise IsADirectory(f"open {name!r}: it is a directory", name) from None

    def _check_free(self, name: str) -> None:
        """Raise an error where the root has a file or directory of that name, or a file in place of one above it."""
        parts = name.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if self._what_is(above) == "file":
                raise NotADirectory(f"serve {name!r}: {above!r} is a file", name)
        there = self._what_is(name)
        if there:
            way = "take another name, or remove what is there"
            raise AlreadyExists(f"serve {name!r}: there is a {there} of that name already; {way}", name)

    def _what_is(self, name: str) -> str:
        """Return whether a name is that of a file or a directory; empty: of neither, as far as that can be known."""
        try:
            self._at(name).status(name)
        except (NotFound, NotADirectory, StoreUnavailable):
            return ""
        except IsADirectory:
            return "directory"
        except (NotPermitted, InvalidName):  # it is there, whatever it is
            pass
        return "file"

    def _all(self) -> list[InPlace | ServedRoot]:
        return [self.root, *self._in_place.values()]

    def _replace(self, in_place: Mapping[str, InPlace]) -> None:
        """Set what is served in place. Called under the lock."""
        above: dict[str, set[str]] = {}
        for name in in_place:
            while name:
                directory, _, last = name.rpartition("/")
                above.setdefault(directory, set()).add(last)
                name = directory
        self.changed = time.time()
        self._above = {directory: frozenset(lasts) for directory, lasts in above.items()}
        self._in_place = in_place

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
