"""Which file it is, and which version of it.

Knows the numbers that a stat gives. Opens nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple, Self


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


@dataclass(frozen=True, slots=True)
class Version:
    """A file that came in through us: which version, and its digest where one was computed."""

    identity: Identity
    sha256: str | None
    shares_second: bool = False  # with the version before: their times of change differ in less than HTTP can say
