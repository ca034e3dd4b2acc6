"""What must hold of preconditions and ranges, whatever the fields say: bytes in, an outcome in a few words out.

Ranges, tags and dates are also read plainly, and the order of RFC 9110 section 13.2.2 is seen by
what leaving out a field changes. Knows no fuzzer, no socket and no file.
"""

from __future__ import annotations

import calendar
import time

from httpserve.site import conditional
from httpserve.site.conditional import Answer, Decision, Validators, decide
from tests.fuzz.grammar import BLANKS, DIGITS, number

FIELDS = {
    "R": "HTTP_RANGE",
    "I": "HTTP_IF_RANGE",
    "M": "HTTP_IF_MATCH",
    "U": "HTTP_IF_UNMODIFIED_SINCE",
    "N": "HTTP_IF_NONE_MATCH",
    "S": "HTTP_IF_MODIFIED_SINCE",
}
ETAG = '"abc"'
MODIFIED = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT
_LONG_AGO = -(10**12)
_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


def fields_in(lines: list[str]) -> dict[str, str]:
    """Return the fields that lines like `R bytes=0-1` stand for."""
    pairs = [line.partition(" ") for line in lines]
    return {FIELDS[letter]: value.strip(BLANKS.decode()) for letter, _, value in pairs if letter in FIELDS}


def check_conditions(data: bytes) -> str:
    """Take the first line for a size, further ones for fields as `fields_in` does."""
    first, *lines = data.decode("latin-1").split("\n")
    size = number(first.encode("latin-1")) or 0
    fields = fields_in(lines)
    verdict = decided(fields, size)
    _check_precedence(fields, size, verdict)
    _check_ranges(fields, size, verdict)
    _check_tags(fields, verdict)
    dates = [fields[name] for name in (FIELDS["U"], FIELDS["S"], FIELDS["I"]) if name in fields]
    forms = [_check_date(value) for value in dates]
    return f"{verdict.kind.name} {min(len(verdict.ranges), 3)} {' '.join(fields)} {forms}"


def decided(fields: dict[str, str], size: int, *, is_get: bool = True) -> Decision:
    """Return the verdict on a file of `size` bytes."""
    return decide(fields, Validators(ETAG, MODIFIED, size), is_get=is_get)


def without(fields: dict[str, str], letter: str) -> dict[str, str]:
    """Return the fields but for one."""
    return {name: value for name, value in fields.items() if name != FIELDS[letter]}


def _check_precedence(fields: dict[str, str], size: int, verdict: Decision) -> None:
    """Hold a verdict to the order of RFC 9110 section 13.2.2, by what leaving out a field changes."""
    plain = decided(without(fields, "R"), size)
    assert plain.kind in (Answer.WHOLE, Answer.NOT_MODIFIED, Answer.FAILED)
    assert plain.kind is Answer.WHOLE or verdict == plain
    assert verdict.kind not in (Answer.NOT_MODIFIED, Answer.FAILED) or verdict == plain
    assert decided(fields, size, is_get=False) == plain
    for strong, ignored in ("MU", "NS"):
        if FIELDS[strong] in fields:
            assert decided(without(fields, ignored), size) == verdict
    if FIELDS["I"] in fields:
        assert verdict.kind is Answer.WHOLE or decided(without(fields, "I"), size) == verdict


def _check_ranges(fields: dict[str, str], size: int, verdict: Decision) -> None:
    ranges = verdict.ranges
    assert bool(ranges) is (verdict.kind is Answer.PARTS)
    assert all(0 <= start < stop <= size for start, stop in ranges)
    total = sum(stop - start for start, stop in ranges)
    assert total <= 2 * size
    assert len(ranges) <= conditional.MOST_RANGES
    value = fields.get(FIELDS["R"])
    alone = decided({FIELDS["R"]: value}, size) if value is not None else conditional.WHOLE
    assert verdict.kind not in (Answer.PARTS, Answer.UNSATISFIABLE) or verdict == alone
    wanted = _read_ranges(value or "", size)
    if wanted is None:
        assert alone == conditional.WHOLE
    elif not wanted:
        assert alone.kind is Answer.UNSATISFIABLE
    elif alone.kind is Answer.PARTS:
        assert list(alone.ranges) == wanted
    else:  # a flood
        assert alone == conditional.WHOLE
        assert len(wanted) > 2
        bytes_asked = sum(stop - start for start, stop in wanted)
        assert bytes_asked + len(wanted) * conditional.PART_BYTES > size


def _read_ranges(value: str, size: int) -> list[tuple[int, int]] | None:
    """Read a Range field by splitting it. None for what is ignored."""
    unit, equals, rest = value.partition("=")
    if unit.rstrip(" \t").lower() != "bytes" or not equals or rest.count(",") >= conditional.MOST_RANGES:
        return None
    specs = [spec for spec in (part.strip(" \t") for part in rest.split(",")) if spec]
    found = []
    for spec in specs:
        first, dash, last = spec.partition("-")
        if not dash or len(spec) > 40 or not (first or last):
            return None
        if not all(ord(one) in DIGITS for one in first + last):
            return None
        if not first:
            if not size and int(last):
                return None
            start, stop = max(0, size - int(last)), size
        else:
            start, stop = int(first), min(size, int(last) + 1) if last else size
            if last and int(last) < start:
                return None
        if start < stop:
            found.append((start, stop))
    return found if specs else None


def _check_tags(fields: dict[str, str], verdict: Decision) -> None:
    for letter, kind, weak in (("M", Answer.FAILED, False), ("N", Answer.NOT_MODIFIED, True)):
        value = fields.get(FIELDS[letter])
        if value is None:
            continue
        tags = [] if value == "*" else _read_tags(value)
        matches = value == "*" or ETAG in tags or (weak and f"W/{ETAG}" in tags)
        alone = decided({FIELDS[letter]: value}, 1).kind
        assert alone is (kind if matches is weak else Answer.WHOLE)
    if_range = fields.get(FIELDS["I"], ETAG)
    assert verdict.kind is not Answer.PARTS or if_range == ETAG or not if_range.startswith(("W", '"'))


def _read_tags(value: str) -> list[str]:
    """Read a list of entity tags, none where it is malformed."""
    tags: list[str] = []
    while True:
        rest = value.lstrip(" \t,")
        if not rest:
            return tags
        between = value[: len(value) - len(rest)]
        start = 3 if rest.startswith('W/"') else 1
        end = rest.find('"', start)
        if end < 0 or rest[start - 1] != '"' or (tags and "," not in between):
            return []
        if not all(one == "!" or "#" <= one <= "~" or one >= "\x80" for one in rest[start:end]):
            return []
        tags.append(rest[: end + 1])
        value = rest[end + 1 :]


def _check_date(value: str) -> int:
    """Hold what is taken for a date to `time.strptime`, which takes more. Returns which form it has."""
    field = {FIELDS["S"]: value}
    if decide(field, Validators(ETAG, _LONG_AGO, 1), is_get=True).kind is Answer.WHOLE:
        return -1
    for form, pattern in enumerate(_FORMS):
        try:
            seconds = calendar.timegm(time.strptime(value, pattern))
        except ValueError:
            continue
        if form == 1:
            seconds = _nearest(seconds)
        assert _is_moment(field, seconds)
        return form
    raise AssertionError(f"{value!r} is no date")


def _nearest(seconds: int) -> int:
    """Return the same date of the century where its year is not more than 50 years ahead (RFC 9110 5.6.7)."""
    then, this_year = time.gmtime(seconds), time.gmtime().tm_year
    (year,) = [year for year in range(this_year - 49, this_year + 51) if year % 100 == then.tm_year % 100]
    return calendar.timegm((year, *then[1:6]))


def _is_moment(field: dict[str, str], seconds: int) -> bool:
    at, after = (decide(field, Validators(ETAG, when, 1), is_get=True).kind for when in (seconds, seconds + 1))
    return at is Answer.NOT_MODIFIED and after is Answer.WHOLE
