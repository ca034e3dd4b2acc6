"""What is cached, and where its bytes come from, as far as the cache knows it: a version, and a way to read it.

Knows no store and no files.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple, Protocol

from httpserve.errors import StorageError
from httpserve.plan import ReadFailed

NAME_BYTES = 16  # of the digest that entries are named by


class Key(NamedTuple):
    """One version of an object: no other has the same key."""

    store: str
    name: str
    etag: str
    size: int

    @property
    def file_name(self) -> str:
        """What its files are called, whatever the object is called."""
        digest = blake2b(digest_size=NAME_BYTES)
        for part in map(str, self):
            text = part.encode("utf-8", "surrogateescape")
            digest.update(b"%d:" % len(text) + text)  # no two keys make one text
        return digest.hexdigest()


class Reader(Protocol):
    """A read of some bytes of one version, from the first to the last. One thread uses it."""

    def readinto(self, buffer: memoryview) -> int:
        """Write the next bytes into a buffer and return how many, 0 after the last.

        Blocks, no longer than the store's timeouts. Raises VersionGone, or another StorageError.
        """

    def finish(self) -> None:
        """Ask whether the store still has this version, where the reads themselves cannot be bound to one.

        Blocks likewise. It may be read on afterwards. Raises VersionGone if not, or another StorageError.
        """

    def close(self) -> None:
        """End the read, wherever it is."""


Fetch = Callable[[int, int], Reader]  # an offset, and how many bytes; raises as `readinto` does


def read_failed(name: str, error: BaseException) -> ReadFailed:
    """Return what those get that wait for bytes which do not come."""
    if isinstance(error, OSError):
        return ReadFailed(name, error)
    return ReadFailed(name, StorageError(f"read {name!r}: {type(error).__name__}: {error}", name))


def ended_early(name: str, offset: int) -> StorageError:
    """Return the error for a read that gave fewer bytes than it was asked for."""
    return StorageError(f"read {name!r}: the store sent no more at byte {offset}, although the object is larger", name)
