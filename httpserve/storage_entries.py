"""What is in a root, in opendal's words: what `stat` tells of one entry, and which entries lists show.

Knows directories and their entries. Does not know how users write paths; names
are checked ones.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from opendal.types import EntryMode

from httpserve.display import Listing
from httpserve.errors import InvalidName
from httpserve.names import checked_name, is_reserved
from httpserve.root import Directory, Root

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
        entries = _entries(root, name)
        if entries is None:
            return Listing()
        own.append(f"{name}/")
    else:
        entries = [one for one in _entries(root, name.rpartition("/")[0]) or [] if one.name.startswith(name)]
    found = []
    while entries:
        entry = entries.pop()
        found.append(f"{entry.name}/" if entry.is_directory else entry.name)
        # Symlinks to directories are shown, but may lead in a circle.
        if recursive and entry.is_directory and not entry.is_symlink:
            entries += _entries(root, entry.name) or []
    return Listing(own + sorted(found))


class _Entry(NamedTuple):
    name: str
    is_directory: bool
    is_symlink: bool


def _entries(root: Root, name: str) -> list[_Entry] | None:
    """Return what is in a directory and can be asked for; None when there is no such directory."""
    try:
        with root.directory(name) as directory:
            entries = (_entry(directory, name, one) for one in directory if not is_reserved(one.name))
            return [entry for entry in entries if entry is not None]
    except (FileNotFoundError, NotADirectoryError):
        return None


def _entry(directory: Directory, parent: str, found: os.DirEntry[str]) -> _Entry | None:
    name = f"{parent}/{found.name}" if parent else found.name
    try:
        checked_name(name)
        return _Entry(name, directory.is_directory(found), found.is_symlink())
    except InvalidName:
        return None
    except OSError:
        if found.is_symlink():  # which leads nowhere, or in a circle
            return None
        raise
