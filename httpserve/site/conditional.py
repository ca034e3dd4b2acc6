"""Which part of a representation a request gets: preconditions and ranges of RFC 9110.

Pure: field values and validators in, a decision out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple

MOST_RANGES = 2048  # zchunk asks for 255, SWUpdate for as many as fit into 32 KiB of text
MOST_RANGES_AT_ONCE = 16
MOST_BYTES_AT_ONCE = 256  # of one field
MOST_DATE_BYTES = 40
MOST_DIGITS = 39  # of both ends of one range; Python is slow with long numbers
MOST_OVERLAPS = 1  # RFC 9110 14.2: more than two ranges that overlap are a broken client, or an attack
PART_BYTES = 150  # about what a part of a multipart answer costs in addition to its bytes

# Possessive (*+) throughout: what two repetitions can share costs the square of its length if nothing matches.
_ETAG = r'(?:W/)?"[!#-~\x80-\xff]*+"'
_ETAGS = re.compile(rf"[ \t,]*+{_ETAG}(?:[ \t]*+,[ \t,]*+{_ETAG})*+[ \t,]*+")
_ONE_ETAG = re.compile(_ETAG)
_SPEC = r"(?:[0-9]++-[0-9]*+|-[0-9]++)"
_RANGES = re.compile(rf"(?i:bytes)[ \t]*+=[ \t,]*+{_SPEC}(?:[ \t]*+,[ \t,]*+{_SPEC})*+[ \t,]*+")
_RANGE = re.compile(r"([0-9]*+)-([0-9]*+)")

# The three forms of RFC 9110 5.6.7. Lenient parsers also take two dates in one field, which must be ignored.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = (
    re.compile(rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)

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


class Answer(Enum):
    """What to answer with."""

    WHOLE = auto()
    PARTS = auto()
    NOT_MODIFIED = auto()
    FAILED = auto()
    UNSATISFIABLE = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to answer with, and for `PARTS` which ranges, in the order asked."""

    kind: Answer
    ranges: tuple[ByteRange, ...] = ()


class Validators(NamedTuple):
    """A representation as far as conditions go: a strong ETag, the time in whole seconds, the size.

    The date is weak if the version before has the same one (RFC 9110 8.8.2.2): it does not tell which one is meant.
    If `may_resume` is false, others may have been writing while the validators were given out, so that a part
    which is asked for under them may not fit the part before.
    """

    etag: str
    modified: int
    size: int
    date_is_strong: bool = True
    may_resume: bool = True


WHOLE = Decision(Answer.WHOLE)


def takes_long(fields: Mapping[str, str]) -> bool:
    """Tell whether `decide`, or an answer as it decides, may take more than a moment."""
    wanted = fields.get("HTTP_RANGE")
    if wanted is not None and wanted.count(",") >= MOST_RANGES_AT_ONCE:
        return True
    for name in FIELDS:
        value = fields.get(name)
        if value is not None and len(value) > MOST_BYTES_AT_ONCE:
            return True
    return False


def decide(fields: Mapping[str, str], validators: Validators, *, is_get: bool) -> Decision:
    """Return the decision for a GET or HEAD, in the order of RFC 9110 section 13.2.2."""
    if_match = fields.get("HTTP_IF_MATCH")
    if_unmodified = fields.get("HTTP_IF_UNMODIFIED_SINCE")
    if if_match is not None:
        if not _matches(if_match, validators.etag, weak=False):
            return Decision(Answer.FAILED)
    elif if_unmodified is not None:
        limit = _seconds(if_unmodified)
        if limit is not None and validators.modified > limit:
            return Decision(Answer.FAILED)
    if_none_match = fields.get("HTTP_IF_NONE_MATCH")
    if_modified = fields.get("HTTP_IF_MODIFIED_SINCE")
    if if_none_match is not None:
        if _matches(if_none_match, validators.etag, weak=True):
            return Decision(Answer.NOT_MODIFIED)
    elif if_modified is not None:
        limit = _seconds(if_modified)
        is_weak = limit == validators.modified and not validators.date_is_strong
        if limit is not None and validators.modified <= limit and not is_weak:
            return Decision(Answer.NOT_MODIFIED)
    wanted = fields.get("HTTP_RANGE")
    if wanted is None or not is_get:  # RFC 9110 14.2: a server ignores Range for methods other than GET
        return WHOLE
    if_range = fields.get("HTTP_IF_RANGE")
    if if_range is not None and not _is_same(if_range, validators):
        return WHOLE
    is_resumed = if_range is not None or if_match is not None or if_unmodified is not None  # EDK2 uses the others
    if is_resumed and not validators.may_resume:
        return WHOLE
    return _parts(wanted, validators.size)


def _matches(value: str, etag: str, *, weak: bool) -> bool:
    if value.strip(" \t") == "*":
        return True
    if etag not in value or _ETAGS.fullmatch(value) is None:
        return False
    tags = _ONE_ETAG.findall(value)
    return etag in tags or (weak and f"W/{etag}" in tags)


def _seconds(value: str) -> int | None:
    """Return an HTTP date in any of its three forms as seconds since the epoch; None for what is not a date."""
    text = value.strip(" \t")
    if len(text) > MOST_DATE_BYTES:
        return None
    for form in _DATES:
        match = form.fullmatch(text)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        now = time.gmtime().tm_year
        year += now - now % 100
        if year > now + 50:  # RFC 9110 5.6.7: then the last century is meant
            year -= 100
    month = _MONTHS.index(match["month"]) + 1
    second = int(match["second"])
    try:
        date = datetime(year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), tzinfo=UTC)
    except ValueError:
        return None
    return int(date.timestamp()) + second if second <= 60 else None  # 60 is a leap second


def _is_same(if_range: str, validators: Validators) -> bool:
    """Compare as RFC 9110 13.1.5 asks: an ETag strongly, a date exactly."""
    value = if_range.strip(" \t")
    if value.startswith(('"', "W/")):
        return value == validators.etag
    return validators.date_is_strong and _seconds(value) == validators.modified


def _parts(value: str, size: int) -> Decision:
    ranges = parse_ranges(value, size)
    if ranges is None:
        return WHOLE
    if not ranges:
        return Decision(Answer.UNSATISFIABLE)
    if _is_flood(ranges, size):
        return WHOLE
    return Decision(Answer.PARTS, tuple(ranges))


def _is_flood(ranges: list[ByteRange], size: int) -> bool:
    """Tell whether overlapping ranges ask for a longer answer than the whole would be (RFC 9110 17.15)."""
    if len(ranges) <= MOST_OVERLAPS + 1 or sum(stop - start + PART_BYTES for start, stop in ranges) <= size:
        return False
    covered = overlaps = 0
    for start, stop in sorted(ranges):
        overlaps += start < covered
        covered = max(covered, stop)
    return overlaps > MOST_OVERLAPS


def parse_ranges(value: str, size: int) -> list[ByteRange] | None:
    """Return the satisfiable ranges in the order asked, none of them empty.

    Returns:
        None for what RFC 9110 14.2 lets a server ignore: another unit, a malformed field, too many ranges,
        and the last bytes of an empty representation, which are satisfiable but have no Content-Range.
    """
    if value.count(",") >= MOST_RANGES or _RANGES.fullmatch(value.strip(" \t")) is None:
        return None
    ranges: list[ByteRange] = []
    for first, last in _RANGE.findall(value):
        if len(first) + len(last) > MOST_DIGITS:
            return None
        if not first:
            if size == 0 and int(last):
                return None
            start, stop = max(0, size - int(last)), size
        else:
            start, stop = int(first), size
            if last:
                stop = min(int(last) + 1, size)
                if int(last) < start:
                    return None
        if start < stop:
            ranges.append(ByteRange(start, stop))
    return ranges
