"""What an answer to a resumed request means, decided from its head alone.

Knows RFC 9110's ranges and validators. Knows nothing of sockets, and does nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

from httpserve.storage.copying.unchanged import is_digest

# No file has more bytes than 18 digits can say, and int() is of no use for more.
_CONTENT_RANGE = re.compile(r"bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")
# What any form of a date is made of. Years, zones and hours of twenty digits are sifted out by what reads it.
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,64}")
_STRONG_ETAG = re.compile(r'"[^"]*"')
# Statuses of a server that may do better in a moment.
_FOR_A_MOMENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Representation:
    """What is known of the bytes behind a URL at one moment. `size` is None where it was not said."""

    size: int | None
    etag: str | None
    validator: str | None  # the value for If-Range; None where nothing strong enough was said


class Part(NamedTuple):
    """The bytes from `start` up to `stop` (exclusive) of a representation; `total` is None where it was not said."""

    start: int
    stop: int
    total: int | None


class Resume(Enum):
    """What to do with an answer."""

    CONTINUE = "its content is what comes next"
    ANEW = "its content is the whole, from the first byte"
    ASK_ANEW = "of no use: ask for the whole"
    RETRY = "ask for the same again, later"
    FAIL = "nothing will come of it"


def representation_of(fields: Mapping[str, str]) -> Representation:
    """Read from the head of a 200 what can tell this representation from a later one."""
    etag = fields.get("ETag")
    return Representation(_length(fields), etag, _validator(fields))


def part_of(fields: Mapping[str, str]) -> Part | None:
    """Read from the head of a 206 which bytes it has; None where it does not say, or what cannot be."""
    match = _CONTENT_RANGE.fullmatch(fields.get("Content-Range", "").strip())
    if match is None:
        return None
    part = Part(int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3]))
    if part.start >= part.stop or (part.total is not None and part.stop > part.total):
        return None
    return part if _length(fields) in (None, part.stop - part.start) else None


def how_to_resume(status: int, fields: Mapping[str, str], asked: int | None, held: Representation) -> Resume:
    """Decide what an answer is worth to a copy that holds the first bytes of *held*.

    *asked*: the offset in bytes from which the content was asked for; None if all of it was.
    """
    if status == 200:
        return Resume.ANEW
    if status == 206:
        return Resume.CONTINUE if _continues(fields, asked, held) else Resume.ASK_ANEW
    if status in (412, 416):
        return Resume.ASK_ANEW
    return Resume.RETRY if status in _FOR_A_MOMENT else Resume.FAIL


def _continues(fields: Mapping[str, str], asked: int | None, held: Representation) -> bool:
    part = part_of(fields)
    if part is None or part.start != asked:
        return False
    if part.total is None and held.size is None:
        return False  # then nothing would say where the content ends
    if part.total is not None and held.size is not None and part.total != held.size:
        return False
    return fields.get("ETag", held.etag) == held.etag


def _length(fields: Mapping[str, str]) -> int | None:
    match = _LENGTH.fullmatch(fields.get("Content-Length", ""))
    return None if match is None or "Transfer-Encoding" in fields else int(match[0])


def _validator(fields: Mapping[str, str]) -> str | None:
    etag, modified, answered = (
        fields.get("ETag", ""),
        _seconds(fields.get("Last-Modified")),
        _seconds(fields.get("Date")),
    )
    # RFC 9110, 8.8.2.2: a date in the same second as the answer may belong to two versions. So may an ETag that is made
    # of it, as that of nginx.
    lasts = modified is None or modified < (time.time() if answered is None else answered)
    if _STRONG_ETAG.fullmatch(etag) and (lasts or is_digest(etag)):
        return etag
    return fields["Last-Modified"] if lasts and modified is not None else None


def _seconds(date: str | None) -> float | None:
    if date is None or _DATE.fullmatch(date) is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
