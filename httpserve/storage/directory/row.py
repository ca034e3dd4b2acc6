"""Files that are put one after the other: those in one directory share the way there, and one temporary.

Knows the place of the latest one, which stays open, and its directory. Does not know what is put.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from httpserve.storage.directory.journal import Journal
from httpserve.storage.directory.places import Ground, Place


class Row:
    """What the next file of a row may use. For one thread, which has one file under way at a time.

    Attributes:
        temporary: The name of the temporary, which is on the journal; empty at the first file of a directory.
    """

    def __init__(self) -> None:
        self.temporary = ""
        self._directory = ""
        self._place: Place | None = None
        self._journal: Journal | None = None
        self._is_littered = False

    def place(self, ground: Ground, name: str) -> Place:
        """Walk to a checked name, or step there from the file before. Raises what `Place` does."""
        directory, _, last = name.rpartition("/")
        if self._place is not None and directory == self._directory:
            beside = self._place.neighbour(last)
            if beside is not None:
                return beside
        self.end()
        self._directory = directory
        return Place(ground, name)

    def beside(self, name: str) -> Place | None:
        """Return the place of a checked name, which was not looked at; None where it takes a walk. Not to be closed."""
        directory, _, last = name.rpartition("/")
        place = self._place
        if place is None or directory != self._directory:
            return None
        place.last = last
        return place

    def remove_temporary(self, place: Place) -> None:
        """Remove the temporary beside *place*. What cannot be removed now stays on the journal."""
        try:
            os.unlink(self.temporary, dir_fd=place.fd)
        except FileNotFoundError:
            pass
        except OSError:
            self._is_littered = True

    def begin(self, place: Place, temporary: str, journal: Journal) -> None:
        """Share a place and a temporary with the files to come, which stays on record until `end`."""
        journal.enter()
        self._journal = journal
        self.temporary = temporary
        self._place = place.neighbour(place.last) if not place.missing else None

    def end(self) -> None:
        """Share nothing any more, as after a failure. Harmless when repeated."""
        self.temporary = ""
        if self._place is not None:
            self._place.close()
            self._place = None
        if self._journal is not None:
            self._journal.leave(littered=self._is_littered)
            self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
