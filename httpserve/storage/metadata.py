"""What `stat` tells of a file or directory, in opendal's words, and the names of a list.

Knows opendal's types. Does not know where files live.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from opendal.types import EntryMode

from httpserve.base.tables import Record

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
