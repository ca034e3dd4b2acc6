"""The latest uploads, and which of them waits have returned.

Knows records. The exchange log's lock guards them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from httpserve.records.model import UploadRecord


class UploadFilter(NamedTuple):
    """Which uploads are meant."""

    name: str  # of a file; of a directory, which is empty for the root, for any file below it
    is_directory: bool = False
    client: str | None = None  # an address; None: any

    def __str__(self) -> str:
        what = f"a file below {self.text!r}" if self.is_directory else repr(self.text)
        return what if self.client is None else f"{what} by {self.client}"

    @property
    def text(self) -> str:
        """The name as it is given: that of a directory ends in `/`."""
        return f"{self.name}/" if self.is_directory else self.name

    def means(self, name: str) -> bool:
        """Tell whether the file of a name is one of them, or the directory itself."""
        is_below = self.is_directory and (not self.name or name.startswith(f"{self.name}/"))
        return is_below or name == self.name

    def fits(self, record: UploadRecord) -> bool:
        """Tell whether an upload is one of them."""
        return self.means(record.name) and self.client in (None, record.client)


class Kept:
    """An upload, the number of the event of its end, and whether a wait has returned it."""

    __slots__ = ("is_claimed", "number", "record")

    def __init__(self, record: UploadRecord, number: int) -> None:
        self.record = record
        self.number = number
        self.is_claimed = False


class KeptUploads:
    """The latest uploads, completed or not, oldest first."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Kept] = deque(maxlen=most)

    def add(self, record: UploadRecord, number: int) -> None:
        """Take in one that is over."""
        self._kept.append(Kept(record, number))

    def records(self) -> list[UploadRecord]:
        """Return all."""
        return [one.record for one in self._kept]

    def find(self, wanted: Callable[[UploadRecord], bool], first: int, since: float | None) -> list[Kept]:
        """Return those that fit, from the number of an event and from a time on (None: any)."""
        return [
            one
            for one in self._kept
            if one.number >= first and (since is None or one.record.time >= since) and wanted(one.record)
        ]
