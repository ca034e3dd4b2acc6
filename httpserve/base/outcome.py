"""What a call that is about many files has done with each. Knows tables."""

from __future__ import annotations

from dataclasses import dataclass

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
