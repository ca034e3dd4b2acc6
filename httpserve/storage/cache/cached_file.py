"""One version of an object that is open for one answer, whether it is there, comes, or goes past the cache.

Knows an entry and what goes past it. Does not know where entries lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic

from httpserve.base.threads import Latch
from httpserve.storage.cache.entry import Entry, Run, Want
from httpserve.storage.cache.past import Past
from httpserve.storage.cache.source import Fetch


class CachedFile:
    """A `RegionFile` of an object, for one answer. One thread uses it at a time."""

    __slots__ = ("_entry", "_fetch", "_past", "_start", "_want", "disk", "name")

    def __init__(self, entry: Entry, want: Want, fetch: Fetch, start: Callable[[Entry, Run], object]) -> None:
        self._entry = entry
        self._want: Want | None = want  # None: closed
        self._fetch = fetch
        self._start = start
        self._past: Past | None = None
        self.name = entry.key.name
        self.disk = os.fstat(entry.files.data).st_dev

    @property
    def fd(self) -> int:
        """The descriptor that has the bytes which arrived last; it may be another one after each call of `arrived`."""
        return self._entry.files.data if self._past is None else self._past.fd

    @property
    def is_whole(self) -> bool:
        """Whether every byte of it is there."""
        return self._past is None and self._entry.is_whole

    def unchanged(self) -> bool:
        """Tell whether it is still the version that was opened: nobody else has written to it. Raises OSError."""
        return self._past is not None or self._entry.unchanged()

    def arrived(self, offset: int, length: int, seconds: float) -> int:
        """Return how many bytes from an offset on can be read, at most *length*; 0: none yet.

        Blocks for at most *seconds*, until the first of them is there. What is asked for here is what is wanted next,
        and is read for as long as that is so: within it, a later call with an offset behind this one's moves on.

        Raises:
            ReadFailed: They will not come: its `cause` says why.
        """
        want, deadline = self._want, monotonic() + seconds
        if want is None:
            return 0
        while True:
            if self._past is not None:
                return self._past_arrived(offset, length, max(0.0, deadline - monotonic()))
            latch = Latch()
            found = self._entry.look(want, offset, length, self._fetch, latch)
            if found.run is not None:
                self._start(self._entry, found.run)
            if found.there:
                return found.there
            if found.is_past:
                self._entry.leave(want)
                self._past = self._new_past(want.offset, want.stop)
                continue
            left = deadline - monotonic()
            if left > 0:
                latch.wait(left)
            self._entry.forget(latch)
            if left <= 0:
                return 0

    def close(self) -> None:
        """Want nothing more. Harmless when repeated. A read that others want goes on; what came of it is kept."""
        want, self._want = self._want, None
        if self._past is not None:
            self._past.close()
        if want is not None:
            self._entry.leave(want)

    def _past_arrived(self, offset: int, length: int, seconds: float) -> int:
        past = self._past
        if past is None or not past.covers(offset, length):
            if past is not None:
                past.close()
            past = self._past = self._new_past(offset, offset + length)
        return past.arrived(offset, length, seconds)

    def _new_past(self, offset: int, stop: int) -> Past:
        past = Past(self._entry.key, self._fetch, offset, stop, is_pinned=self._entry.is_pinned)
        past.start()
        return past
