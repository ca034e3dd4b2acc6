"""What is in a root, in opendal's words: what `stat` tells of one entry, and which entries lists show.

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

from httpserve.display import Listing
from httpserve.errors import InvalidName
from httpserve.names import checked_name, is_reserved
from httpserve.root import Root

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Names = list[str]  # for the class that has a method of the name `list`; what it returns shows itself as a Listing


@dataclass(frozen=True, slots=True)
class Metadata:
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


def listed(root: Root, name: str, *, is_directory: bool, recursive: bool) -> Names:
    """Return a directory and its entries, or (not *is_directory*) what begins with *name* in its parent."""
    own: Names = []
    if is_directory:
        if not os.path.isdir(root.path_of(name)):
            return Listing()
        own.append(f"{name}/")
        waiting = _entries(root, name)
    else:
        waiting = [entry for entry in _entries(root, name.rpartition("/")[0]) if entry.startswith(name)]
    found = []
    while waiting:
        entry = waiting.pop()
        found.append(entry)
        # Symlinks to directories are shown, but may lead in a circle.
        if recursive and entry.endswith("/") and not os.path.islink(root.path_of(entry[:-1])):
            waiting += _entries(root, entry[:-1])
    return Listing(own + sorted(found))


def _entries(root: Root, name: str) -> Names:
    """Return what is in a directory and can be asked for; nothing when there is no such directory."""
    found = []
    try:
        with os.scandir(root.path_of(name)) as entries:
            for entry in entries:
                below = f"{name}/{entry.name}" if name else entry.name
                if not is_reserved(entry.name) and _is_reachable(root, below, entry):
                    found.append(f"{below}/" if entry.is_dir() else below)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return found


def _is_reachable(root: Root, name: str, entry: os.DirEntry[str]) -> bool:
    try:
        checked_name(name)
        return not entry.is_symlink() or os.path.exists(root.path_of(name))
    except InvalidName:
        return False
