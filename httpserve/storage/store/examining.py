"""What a store is seen to do when it is tried, for the doctor: it answers, lets this user in, lists, holds a version.

Knows the calls to a store. Does not know what its answers mean for boards. Changes nothing.
"""

from __future__ import annotations

import os
import secrets
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from httpserve.base.outcome import CacheSeen, StoreSeen
from httpserve.errors import HttpServeError, NotFound, Unsupported
from httpserve.storage.store.calls import Calls
from httpserve.storage.store.reading import Reads
from httpserve.storage.store.versions import Versions

if TYPE_CHECKING:
    from httpserve.storage.cache.cache import Cache

LOOKS = 3
MOST_LISTED = 20  # entries among which to find an object to try
CLOCK_SECONDS = 2.0
# What to miss, in opendal's words, and in those of the report.
WANTED = {
    "list": "listing",
    "write": "writing",
    "read_with_if_match": "reads that are held to a version",
    "write_with_user_metadata": "metadata for a digest",
}


class Examination:
    """Tries one store."""

    def __init__(self, calls: Calls, versions: Versions, reads: Reads, cache: Cache | None) -> None:
        self._calls = calls
        self._versions = versions
        self._reads = reads
        self._cache = cache

    def seen(self) -> StoreSeen:
        """Return what it does. Blocks for the store: some looks, a list, a read of a byte; longer where it fails."""
        error, seconds = self._answer()
        names, list_error = ([], "") if error else self._listed()
        capability = self._calls.capability
        return StoreSeen(
            label=self._calls.label,
            error=error,
            seconds=seconds,
            lacks=tuple(word for one, word in WANTED.items() if not getattr(capability, one)),
            list_error=list_error,
            is_pinned=self._is_pinned(names),
            skew=None if error else self._skew(),
            cache=self._room(),
        )

    def _answer(self) -> tuple[str, float]:
        """Return why it does not answer, and else how long a look at an object takes, at best."""
        name, best = f"httpserve-{secrets.token_hex(8)}", float("inf")
        for _ in range(LOOKS):
            began = time.monotonic()
            try:
                with self._calls.asking("stat", name):
                    self._calls.looking.stat(name)
            except NotFound:
                best = min(best, time.monotonic() - began)
            except HttpServeError as error:
                return str(error), time.monotonic() - began
        return "", best

    def _listed(self) -> tuple[list[str], str]:
        """Return the names of some objects, and why there are none."""
        try:
            listed = self._calls.below("", recursive=True, most=MOST_LISTED)
        except Unsupported:
            return [], ""
        except HttpServeError as error:
            return [], str(error)
        return [one.path for one in listed if not one.is_dir and one.size], ""

    def _is_pinned(self, names: list[str]) -> bool | None:
        if not self._calls.capability.read_with_if_match:
            return False
        for name in names[:1]:
            try:
                return self._reads.is_pinned(self._versions.look(name))
            except HttpServeError:
                return None
        return None

    def _skew(self) -> float | None:
        """Return by how much the store's clock is ahead, as far as its answers say; their Date has whole seconds."""
        import requests  # it takes 100 ms to import, and only the doctor asks

        try:
            signed = self._calls.signed("stat", f"httpserve-{secrets.token_hex(8)}", 60)
            before = time.time()
            answer = requests.request(
                signed.method, signed.url, headers=dict(signed.headers), timeout=CLOCK_SECONDS, allow_redirects=False
            )
            said = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (HttpServeError, requests.RequestException, KeyError, ValueError, TypeError):
            return None
        return said + 0.5 - (before + time.time()) / 2

    def _room(self) -> CacheSeen | None:
        if self._cache is None:
            return None
        usage = self._cache.usage()
        try:
            found = os.statvfs(usage.path)
        except OSError:
            return None
        return CacheSeen(usage.path, usage.limit or 0, usage.bytes, found.f_bavail * found.f_frsize)
