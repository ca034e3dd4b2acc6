"""A small new version as the next of a row: it lies in memory until all of it is written and put in place at once.

Knows when it takes more than that: then it becomes an `Incoming`. Does not know how either is put in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httpserve.errors import HttpServeError, StorageError
from httpserve.storage.directory.changes import Changes, Incoming
from httpserve.storage.directory.os_errors import translated
from httpserve.storage.directory.row import Row
from httpserve.storage.served import Fields, Identity

if TYPE_CHECKING:
    from typing_extensions import Buffer

SMALL_BYTES = 64 * 1024  # written while the changes to the root wait


class Small:
    """A new version of *name*, of which nothing is on the disk before `commit` unless it grows: then it does as
    `Incoming` does. One thread writes and commits; any other may discard meanwhile.
    """

    __slots__ = (
        "_changes",
        "_data",
        "_grown",
        "_is_moving",
        "_row",
        "fields",
        "is_over",
        "may_replace",
        "name",
        "note",
        "start",
    )

    def __init__(self, name: str, changes: Changes, row: Row) -> None:
        self.name = name
        self.start = 0
        self.fields: Fields = ()
        self.may_replace = True
        self.note: object = None
        self.is_over = False  # whether it was discarded
        self._changes = changes
        self._row = row
        self._data: bytes | None = None
        self._is_moving = False  # while it is put in its place at once
        self._grown: Incoming | None = None

    def write(self, data: Buffer) -> None:
        """Append the whole of *data*. Raises StorageError."""
        if self._data is None and self._grown is None:
            with memoryview(data) as view:
                if view.nbytes <= SMALL_BYTES:
                    self._data = bytes(view)
                    return
        self._grow().write(data)

    def restart(self, size: int = 0) -> None:
        """Drop all bytes after the first *size*."""
        self._grow().restart(size)

    def reader(self) -> int:
        """Return another descriptor for reading it back."""
        return self._grow().reader()

    def refused(self, error: OSError) -> Exception:
        """Return the error for a version whose bytes the disk does not take."""
        return translated(error, "write", self.name, directory=self._changes.path)

    def commit(self, sha256: str | None) -> Identity:
        """Put it in its place in one step. Raises StorageError."""
        if self._grown is None and self._data is not None:
            self._is_moving = True
            try:
                identity = self._changes.publish_small(self, self._row, self._data, sha256)
            except HttpServeError:
                raise
            except OSError as error:
                raise self.refused(error) from error
            finally:
                self._is_moving = False
            if identity is not None:
                return identity
        grown = self._grow()
        grown.fields, grown.may_replace, grown.note = self.fields, self.may_replace, self.note
        return grown.commit(sha256)

    def discard(self) -> None:
        """Remove what came. Harmless when repeated, and after a commit."""
        self.is_over = True
        if self._grown is not None:
            self._grown.discard()
        elif self._is_moving:
            self._changes.await_small()

    def _grow(self) -> Incoming:
        """Return it as it lies on the disk."""
        if self._grown is None:
            self._grown = self._changes.incoming(self.name, self._row)
            if self._data is not None:
                self._grown.write(self._data)
                self._data = None
        if self.is_over:  # after it can be found, or else who discards has found it
            self._grown.discard()
            raise StorageError(f"write {self.name!r}: this new version is already discarded", self.name)
        return self._grown
