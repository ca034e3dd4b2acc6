"""Which part of a representation a request gets: preconditions and ranges of RFC 9110.

Pure: field values and validators in, a verdict out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import Enum, auto
from typing import NamedTuple

from werkzeug.http import parse_date

MOST_RANGES = 4096  # the head's own limit comes first

_ETAG = r'(?:W/)?"[!#-~\x80-\xff]*"'
_ETAGS = re.compile(rf"[ \t]*,*[ \t]*{_ETAG}(?:[ \t]*,[ \t,]*{_ETAG})*[ \t,]*")
_ONE_ETAG = re.compile(_ETAG)
_RANGES = re.compile(r"(?i:bytes)[ \t]*=([0-9,\- \t]+)")
_RANGE = re.compile(r"(?:([0-9]+)-([0-9]*)|-([0-9]+))")

# Present in the WSGI environ when there is anything to decide.
FIELDS = (
    "HTTP_RANGE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_MATCH",
    "HTTP_IF_UNMODIFIED_SINCE",
)


class ByteRange(NamedTuple):
    """A part of a representation; `stop` is exclusive."""

    start: int
    stop: int


class Kind(Enum):
    """What to answer with."""

    WHOLE = auto()
    PARTS = auto()
    NOT_MODIFIED = auto()
    FAILED = auto()
    UNSATISFIABLE = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to answer with, and for `PARTS` which ranges, in the order asked."""

    kind: Kind
    ranges: tuple[ByteRange, ...] = ()


class Validators(NamedTuple):
    """A representation as far as conditions go: a strong ETag, the time in whole seconds, the size."""

    etag: str
    modified: int
    size: int


WHOLE = Verdict(Kind.WHOLE)


def decide(fields: Mapping[str, str], validators: Validators, *, is_get: bool) -> Verdict:
    """Return the verdict for a GET or HEAD, in the order of RFC 9110 section 13.2.2."""
    if_match = fields.get("HTTP_IF_MATCH")
    if_unmodified = fields.get("HTTP_IF_UNMODIFIED_SINCE")
    if if_match is not None:
        if not _matches(if_match, validators.etag, weak=False):
            return Verdict(Kind.FAILED)
    elif if_unmodified is not None:
        limit = _seconds(if_unmodified)
        if limit is not None and validators.modified > limit:
            return Verdict(Kind.FAILED)
    if_none_match = fields.get("HTTP_IF_NONE_MATCH")
    if_modified = fields.get("HTTP_IF_MODIFIED_SINCE")
    if if_none_match is not None:
        if _matches(if_none_match, validators.etag, weak=True):
            return Verdict(Kind.NOT_MODIFIED)
    elif if_modified is not None:
        limit = _seconds(if_modified)
        if limit is not None and validators.modified <= limit:
            return Verdict(Kind.NOT_MODIFIED)
    wanted = fields.get("HTTP_RANGE")
    if wanted is None or not is_get:  # RFC 9110 14.2: a server ignores Range for other methods than GET
        return WHOLE
    if_range = fields.get("HTTP_IF_RANGE")
    if if_range is not None and not _is_same(if_range, validators):
        return WHOLE
    return _parts(wanted, validators.size)


def _matches(value: str, etag: str, *, weak: bool) -> bool:
    if value.strip(" \t") == "*":
        return True
    if _ETAGS.fullmatch(value) is None:
        return False
    tags = _ONE_ETAG.findall(value)
    return etag in tags or (weak and f"W/{etag}" in tags)


def _seconds(value: str) -> int | None:
    """Return an HTTP date in any of its three forms as seconds since the epoch; None for what is no date."""
    try:
        date = parse_date(value)
        return None if date is None else int(date.astimezone(UTC).timestamp())
    except (OverflowError, ValueError):  # year 0, or day 99
        return None


def _is_same(if_range: str, validators: Validators) -> bool:
    """Compare as RFC 9110 13.1.5 asks: an ETag strongly, a date exactly."""
    value = if_range.strip(" \t")
    if value.startswith(('"', "W/")):
        return value == validators.etag
    return _seconds(value) == validators.modified


def _parts(value: str, size: int) -> Verdict:
    ranges = parse_ranges(value, size)
    if ranges is None:
        return WHOLE
    if not ranges:
        return Verdict(Kind.UNSATISFIABLE)
    if len(ranges) > 1 and sum(stop - start for start, stop in ranges) > 2 * size:
        return WHOLE  # a flood of overlapping ranges is not answered with more than was asked for once
    return Verdict(Kind.PARTS, tuple(ranges))


def parse_ranges(value: str, size: int) -> list[ByteRange] | None:
    """Return the satisfiable ranges in the order asked, none of them empty.

    Returns:
        None for what RFC 9110 14.2 lets a server ignore: another unit, a malformed field, too many ranges.
    """
    match = _RANGES.fullmatch(value.strip(" \t"))
    if match is None:
        return None
    ranges: list[ByteRange] = []
    any_given = False
    for text in match[1].split(","):
        spec = text.strip(" \t")
        if not spec:
            continue
        any_given = True
        parsed = _range(spec, size)
        if parsed is None:
            return None
        if parsed.start < parsed.stop:
            ranges.append(parsed)
    return ranges if any_given and len(ranges) <= MOST_RANGES else None


def _range(spec: str, size: int) -> ByteRange | None:
    match = _RANGE.fullmatch(spec)
    if match is None or len(spec) > 40:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return ByteRange(max(0, size - int(suffix)), size)
    start = int(first)
    if not last:
        return ByteRange(start, size)
    if int(last) < start:
        return None
    return ByteRange(start, min(int(last) + 1, size))
