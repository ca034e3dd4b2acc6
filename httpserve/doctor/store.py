"""Checks the store that files come from: whether it answers, lets this user in, and does what boards need.

Knows what a store was seen to do. Does not know how it is asked, nor what lies in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from httpserve.base.outcome import StoreSeen
from httpserve.base.text import Hint, Message, size
from httpserve.doctor.report import Finding

MOST_SKEW_SECONDS = 60.0  # S3 refuses a request from 15 minutes on
SLOW_SECONDS = 0.5  # EDK2 gives up after 5, and a request asks once or twice


def look_at_store(seen: StoreSeen) -> Iterator[Finding]:
    """Say what keeps files from coming out of a store."""
    data = {"store": seen.label, "error": seen.error, "seconds": round(seen.seconds, 4)}
    if seen.error:
        what, _, way = seen.error.rpartition("; ")
        step = f"{way}; boards get 503 until it answers" if what else "boards get 503 until it answers"
        yield Finding("fail", "store", f"it serves nothing: {what or way}", step, data)
    elif seen.seconds > SLOW_SECONDS:
        what = f"{seen.label} takes {seen.seconds:.2f} s to say which version an object is, and each request asks"
        yield Finding("warn", "store", what, Message("pass {} to ask less often", Hint("fresh_for", 2.0)), data)
    else:
        yield Finding("ok", "store", f"{seen.label} answers within {1000 * seen.seconds:.1f} ms", data=data)
    for look in (_list, _lacks, _pin, _clock, _room):
        yield from look(seen)


def _list(seen: StoreSeen) -> Iterator[Finding]:
    if seen.list_error and not seen.error:
        what = f"{seen.label} does not list: {seen.list_error}"
        yield Finding("warn", "store list", what, "listings and names of directories need the right to list")


def _lacks(seen: StoreSeen) -> Iterator[Finding]:
    if seen.lacks:
        what = f"the service of {seen.label} has no {', no '.join(seen.lacks)}"
        yield Finding("warn", "store service", what, "docs/stores.md says what works without", {"lacks": [*seen.lacks]})


def _pin(seen: StoreSeen) -> Iterator[Finding]:
    if seen.is_pinned is False and not seen.error:
        what = "it does not hold a read to one version; the last block of an answer waits for one more look"
        yield Finding("warn", "store pin", what, "replace objects by new names, not in place, while boards read them")


def _clock(seen: StoreSeen) -> Iterator[Finding]:
    if seen.skew is None:
        return
    data = {"skew": round(seen.skew, 1)}
    if abs(seen.skew) > MOST_SKEW_SECONDS:
        ahead = "ahead of" if seen.skew > 0 else "behind"
        what = f"the clock of the store is {abs(seen.skew):.0f} s {ahead} this host's; S3 refuses keys from 900 s on"
        yield Finding("fail", "store clock", what, "set the clocks, best by NTP", data)
    else:
        yield Finding("ok", "store clock", "its clock agrees with this host's", data=data)


def _room(seen: StoreSeen) -> Iterator[Finding]:
    cache = seen.cache
    if cache is None:
        return
    data = {"path": cache.path, "limit": cache.limit, "bytes": cache.bytes, "free": cache.free}
    left = max(0, cache.limit - cache.bytes)
    what = f"{size(cache.bytes)} of {size(cache.limit)} are kept in {cache.path}"
    if cache.free < left:
        step = Message("pass a smaller {}, or another {}", Hint("cache_bytes"), Hint("cache_dir"))
        yield Finding("warn", "store cache", f"{what}, but the disk has room for {size(cache.free)} more", step, data)
    else:
        yield Finding("ok", "store cache", what, data=data)
