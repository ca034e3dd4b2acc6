"""What was done or seen, as data that several rooms pass on: how many files were put, and what a store does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from httpserve.base.text import counted


@dataclass(frozen=True, slots=True)
class TreeReport:
    """What became of each file; names on the server, in their order.

    Attributes:
        copied: Those that were copied.
        unchanged: Those whose source is the version that is there already.
        failed: Those that could not be copied; what was there before stays.
        removed: Those that `delete=True` has removed.
    """

    copied: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the numbers in one line, such as `3 files copied, 5 unchanged`."""
        more = [(self.unchanged, "unchanged"), (self.failed, "failed"), (self.removed, "removed")]
        words = (f", {len(names):,} {what}" for names, what in more if names)
        return f"{counted(len(self.copied), 'file')} copied{''.join(words)}"


class CacheSeen(NamedTuple):
    """The cache on this host: where it is, what it may take and takes, and what its disk has left, in bytes."""

    path: str
    limit: int
    bytes: int
    free: int


class StoreSeen(NamedTuple):
    """What a store was seen to do.

    Attributes:
        label: What it is.
        error: Why it does not answer; empty if it does.
        seconds: How long one look at an object took, at best.
        lacks: What boards or scripts may miss.
        list_error: Why it does not list; empty if it does, or never can.
        is_pinned: Whether it holds a read to one version; None: nothing lies there to try it with.
        skew: By how many seconds its clock is ahead of this host's; None: it does not say.
        cache: What is kept of it on this host; None: nothing.
    """

    label: str
    error: str
    seconds: float
    lacks: tuple[str, ...]
    list_error: str
    is_pinned: bool | None
    skew: float | None
    cache: CacheSeen | None
