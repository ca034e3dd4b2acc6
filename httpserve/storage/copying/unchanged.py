"""What is noted about the source of a file that was put, so that the same bytes need not be copied again.

Knows what tells one version of a source from all others. Knows nothing of how a source is read, nor where a file goes.
A time alone never tells: a local file is told by its number, size and both times, once it has rested; anything else by
the validator that its server gives it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Hashable
from typing import NamedTuple, cast

import opendal

RESTED_SECONDS = 2.0  # after a change in a second that a server's time tells
_STRONG_ETAG = re.compile(r'"[^"]*"')
_DIGEST = re.compile(r'"(?:[0-9a-f]{32}|[0-9a-f]{64})(?:-[0-9]+)?"', re.IGNORECASE)  # MD5, also of parts, or SHA-256


class Origin(NamedTuple):
    """One version of one source: two that are equal have the same bytes."""

    source: Hashable
    mark: Hashable


class Manner(NamedTuple):
    """How a file is put: what is done to the bytes, and what answers with them say."""

    fields: tuple[tuple[str, str], ...] = ()
    decompress: bool | str = False
    max_bytes: int | None = None


class Note:
    """What is kept with a file that was put. Its `origin` is None until it is known, and where nothing tells it."""

    __slots__ = ("manner", "origin")

    def __init__(self, manner: Manner, origin: Origin | None = None) -> None:
        self.manner = manner
        self.origin = origin


def is_digest(etag: str) -> bool:
    """Say whether an ETag is made of content. Many are made of size and time, in seconds."""
    return _DIGEST.fullmatch(etag) is not None


def seconds_to_last(etag: str, modified: float) -> float:
    """Return in how many seconds an ETag is that of no later version: 0.0 of a digest, or once its second is over.

    *modified*: in seconds since the epoch; a time in the future tells nothing, and 0.0 is none.
    """
    return 0.0 if is_digest(etag) else max(0.0, RESTED_SECONDS - abs(time.time() - modified))


def origin_of_object(store: Hashable, path: str, etag: str | None, size: int | None, modified: float) -> Origin | None:
    """Return the origin for an object; None where it has no lasting strong ETag as HTTP has it, or no size."""
    if etag is None or size is None or _STRONG_ETAG.fullmatch(etag) is None:
        return None
    return Origin((store, path), (etag, size)) if not seconds_to_last(etag, modified) else None


def version_of_object(origin: Origin) -> tuple[str, int]:
    """Return the ETag and the size that `origin_of_object` was given."""
    etag, size = cast(tuple[str, int], origin.mark)
    return etag, size


def store_of(operator: opendal.Operator) -> Hashable:
    """Return what tells the store of an operator from another: two with the same options have the same objects."""
    service, options = operator.__reduce__()[1]  # what it is pickled as: nothing else tells them
    return hashlib.sha256(repr((service, sorted(options.items()))).encode()).digest()  # they may be secret


def origin_of_url(url: str, etag: str | None) -> Origin | None:
    """Return the origin for what a URL gives; None without a strong ETag."""
    return Origin(url, etag) if etag is not None and _STRONG_ETAG.fullmatch(etag) else None


def etag_to_ask(url: str, known: Origin | None) -> str | None:
    """Return the ETag that a known origin has, if it is of this URL."""
    return str(known.mark) if known is not None and known.source == url else None
