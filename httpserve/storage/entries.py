"""What is in a root, in opendal's words: what `stat` says about one entry, and which entries lists show.

Knows directories and their entries. Does not know how users write paths; names
are checked ones.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from opendal.types import EntryMode

from httpserve.base.names import is_name
from httpserve.base.tables import Listing, Record
from httpserve.errors import InvalidName
from httpserve.storage.directory.places import Ground

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Names = list[str]  # for the class with a method named `list`; what that returns shows itself as a Listing


@dataclass(frozen=True, slots=True)
class Metadata(Record):
    """What `stat` tells, with the attributes of opendal's Metadata."""

    mode: EntryMode
    content_length: int
    last_modified: datetime
    etag: str | None = None
    content_type: str | None = None
    content_md5: str | None = None
    content_encoding: str | None = None
    content_disposition: str | None = None
    version: str | None = None
    user_metadata: dict[str, str] | None = None

    @classmethod
    def of(cls, found: os.stat_result, digest: str | None) -> Self:
        """Word what the system tells; *digest* is the SHA-256 of that version, where it is known."""
        mode = EntryMode.File if stat.S_ISREG(found.st_mode) else EntryMode.Unknown
        return cls(
            mode=EntryMode.Dir if stat.S_ISDIR(found.st_mode) else mode,
            content_length=found.st_size if mode is EntryMode.File else 0,
            last_modified=_EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000),
            etag=None if digest is None else f'"{digest}"',
        )

    @property
    def is_file(self) -> bool:
        return self.mode.is_file()

    @property
    def is_dir(self) -> bool:
        return self.mode.is_dir()


def listed(ground: Ground, name: str, *, is_directory: bool, recursive: bool) -> Names:
    """Return a directory and its entries, or (not *is_directory*) what begins with *name* in its parent."""
    own: Names = []
    links: set[str] = set()  # to directories: they are shown, but may lead in a circle
    waiting = _entries(ground, name if is_directory else name.rpartition("/")[0], links)
    if waiting is None:
        return Listing()
    if is_directory:
        own.append(f"{name}/")
    else:
        waiting = [entry for entry in waiting if entry.startswith(name)]
    found = []
    while waiting:
        entry = waiting.pop()
        found.append(entry)
        if recursive and entry.endswith("/") and entry not in links:
            waiting += _entries(ground, entry[:-1], links) or []
    return Listing(own + sorted(found))


def _entries(ground: Ground, name: str, links: set[str]) -> Names | None:
    """Return what is in a directory and can be asked for, and add to *links*; None if there is no such directory."""
    found = []
    try:
        with ground.directory(name) as directory:
            for entry in directory:
                below = f"{name}/{entry.name}" if name else entry.name
                if not is_name(below):
                    continue
                if not entry.is_symlink():
                    found.append(f"{below}/" if entry.is_dir(follow_symlinks=False) else below)
                    continue
                try:
                    leads_to = directory.status(entry)
                except (InvalidName, OSError):  # nowhere, in a circle, or out of the root
                    continue
                if stat.S_ISDIR(leads_to.st_mode):
                    below += "/"
                    links.add(below)
                found.append(below)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found
