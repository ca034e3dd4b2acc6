"""Claims about preconditions and ranges (RFC 9110 sections 13 and 14), by tables and against werkzeug."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import http_date, parse_range_header

from httpserve.site.conditional import (
    FIELDS,
    MOST_RANGES,
    PART_BYTES,
    WHOLE,
    Answer,
    ByteRange,
    Decision,
    Validators,
    decide,
    parse_ranges,
    takes_long,
)
from tests.cases import each

MODIFIED = 784111777
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
SAME = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
FILE = Validators('"tag"', MODIFIED, 1000)

GIVEN = {
    "range": "HTTP_RANGE",
    "match": "HTTP_IF_MATCH",
    "none_match": "HTTP_IF_NONE_MATCH",
    "modified": "HTTP_IF_MODIFIED_SINCE",
    "unmodified": "HTTP_IF_UNMODIFIED_SINCE",
    "if_range": "HTTP_IF_RANGE",
}


def kind(
    given: Mapping[str, str] | None = None, /, *, is_get: bool = True, file: Validators = FILE, **more: str
) -> Answer:
    fields = {GIVEN[name]: value for name, value in {**(given or {}), **more}.items()}
    return decide(fields, file, is_get=is_get).kind


def ranges(value: str, size: int = 1000) -> list[tuple[int, int]] | None:
    parsed = parse_ranges(value, size)
    return None if parsed is None else [(one.start, one.stop) for one in parsed]


# The order of section 13.2.2


def test_without_a_condition_the_whole_is_sent() -> None:
    assert decide({}, FILE, is_get=True) is WHOLE


@each(
    ("fields", "expected"),
    [
        pytest.param({"match": '"no"', "none_match": '"tag"'}, Answer.FAILED, id="1 If-Match first"),
        pytest.param({"match": '"no"', "unmodified": LATER}, Answer.FAILED, id="1 false, 2 is not asked"),
        pytest.param({"match": '"tag"', "unmodified": EARLIER}, Answer.WHOLE, id="1 true, 2 is not asked"),
        pytest.param({"match": '"tag"', "none_match": '"tag"'}, Answer.NOT_MODIFIED, id="1 true, then 3"),
        pytest.param({"unmodified": EARLIER, "none_match": '"tag"'}, Answer.FAILED, id="2 before 3"),
        pytest.param({"unmodified": SAME, "modified": SAME}, Answer.NOT_MODIFIED, id="2 true, then 4"),
        pytest.param({"none_match": '"no"', "modified": LATER}, Answer.WHOLE, id="3 true, 4 is not asked"),
        pytest.param({"none_match": '"tag"', "modified": EARLIER}, Answer.NOT_MODIFIED, id="3 false"),
        pytest.param({"none_match": '"tag"', "range": "bytes=0-1"}, Answer.NOT_MODIFIED, id="3 before 5"),
        pytest.param({"modified": SAME, "range": "bytes=0-1"}, Answer.NOT_MODIFIED, id="4 before 5"),
        pytest.param({"match": '"no"', "range": "bytes=5000-"}, Answer.FAILED, id="1 before an unsatisfiable"),
        pytest.param({"match": '"tag"', "range": "bytes=0-1"}, Answer.PARTS, id="1 true, then 5"),
        pytest.param({"range": "bytes=0-1", "if_range": '"no"'}, Answer.WHOLE, id="5 false"),
        pytest.param({"range": "bytes=5000-", "if_range": '"no"'}, Answer.WHOLE, id="5 false before 416"),
        pytest.param({"range": "bytes=0-1", "if_range": '"tag"'}, Answer.PARTS, id="5 true"),
        pytest.param({"if_range": '"tag"'}, Answer.WHOLE, id="If-Range without Range"),
    ],
)
def test_preconditions_are_asked_in_the_order_of_the_rfc(fields: dict[str, str], expected: Answer) -> None:
    assert kind(fields) is expected


@each(
    ("fields", "expected"),
    [
        ({"range": "bytes=0-1"}, Answer.WHOLE),
        ({"range": "bytes=5000-"}, Answer.WHOLE),
        ({"none_match": '"tag"', "range": "bytes=0-1"}, Answer.NOT_MODIFIED),
        ({"match": '"no"'}, Answer.FAILED),
        ({"modified": SAME}, Answer.NOT_MODIFIED),
    ],
)
def test_head_obeys_conditions_and_ignores_range(fields: dict[str, str], expected: Answer) -> None:
    assert kind(fields, is_get=False) is expected


def test_all_fields_that_decide_anything_are_named_for_the_app() -> None:
    assert set(FIELDS) == set(GIVEN.values()) - {"HTTP_IF_RANGE"}  # which decides nothing without Range


# Entity tags


@each(
    ("value", "strong", "weak"),
    [
        pytest.param('"tag"', True, True, id="the tag"),
        pytest.param('W/"tag"', False, True, id="weak"),
        pytest.param('w/"tag"', False, False, id="W is case-sensitive"),
        pytest.param("*", True, True, id="star"),
        pytest.param(" * ", True, True, id="star with blanks"),
        pytest.param('"no"', False, False, id="another"),
        pytest.param('"no", "tag"', True, True, id="in a list"),
        pytest.param('"no","tag" ,W/"x"', True, True, id="in a list with odd blanks"),
        pytest.param(', ,"no",, "tag",', True, True, id="in a list with empty members"),
        pytest.param('"a,b", "tag"', True, True, id="behind a tag with a comma"),
        pytest.param('"a,"tag","', False, False, id="not inside another"),
        pytest.param('"no" "tag"', False, False, id="without a comma"),
        pytest.param("tag", False, False, id="unquoted"),
        pytest.param('"tag', False, False, id="unclosed"),
        pytest.param('*, "tag"', False, False, id="star in a list"),
        pytest.param("", False, False, id="empty"),
        pytest.param(",", False, False, id="nothing but a comma"),
        pytest.param('"t ag"', False, False, id="with a blank"),
        pytest.param('""', False, False, id="the empty tag"),
        pytest.param('"TAG"', False, False, id="another case"),
    ],
)
def test_if_match_compares_strongly_and_if_none_match_weakly(value: str, strong: bool, weak: bool) -> None:
    assert kind(match=value) is (Answer.WHOLE if strong else Answer.FAILED)
    assert kind(none_match=value) is (Answer.NOT_MODIFIED if weak else Answer.WHOLE)


@each(
    ("value", "same"),
    [
        ('"tag"', True),
        (' "tag"\t', True),
        ('W/"tag"', False),
        ('"no"', False),
        ('"tag", "tag"', False),
        ("*", False),
        (SAME, True),
        ("Sunday, 06-Nov-94 08:49:37 GMT", True),
        (EARLIER, False),
        (LATER, False),
        ("yesterday", False),
        ("", False),
    ],
)
def test_if_range_asks_for_the_very_same_version(value: str, same: bool) -> None:
    assert kind(range="bytes=0-1", if_range=value) is (Answer.PARTS if same else Answer.WHOLE)


@each("rest", ["x", '"', " " * 30_000 + "x", ', "a"' * 10_000 + "x", "," * 30_000 + "x"])
def test_a_malformed_list_of_tags_matches_nothing_however_long(rest: str) -> None:
    assert kind(none_match='"tag"' + rest) is Answer.WHOLE


# Dates


@each(
    "value",
    [
        pytest.param(SAME, id="IMF-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", id="RFC 850"),
        pytest.param("Sun Nov  6 08:49:37 1994", id="asctime"),
        pytest.param("Mon, 06 Nov 1994 08:49:37 GMT", id="the wrong day of the week"),
        pytest.param(f" {SAME}\t", id="with blanks around"),
    ],
)
def test_a_date_is_understood_in_all_three_forms(value: str) -> None:
    assert kind(modified=value) is Answer.NOT_MODIFIED
    assert kind(unmodified=value) is Answer.WHOLE


@each(
    ("value", "modified", "unmodified"),
    [
        (EARLIER, Answer.WHOLE, Answer.FAILED),
        (SAME, Answer.NOT_MODIFIED, Answer.WHOLE),
        (LATER, Answer.NOT_MODIFIED, Answer.WHOLE),
        ("Sun, 06 Nov 1994 08:48:60 GMT", Answer.WHOLE, Answer.FAILED),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Answer.WHOLE, Answer.FAILED),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Answer.NOT_MODIFIED, Answer.WHOLE),
        ("Mon, 01 Jan 0001 00:00:00 GMT", Answer.WHOLE, Answer.FAILED),
    ],
)
def test_dates_are_compared_by_the_second(value: str, modified: Answer, unmodified: Answer) -> None:
    assert kind(modified=value) is modified
    assert kind(unmodified=value) is unmodified


@each(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="a number"),
        pytest.param(f"{SAME},{SAME}", id="two"),
        pytest.param(f"{SAME}, {LATER}", id="two with a blank"),
        pytest.param("Sun, 06 Nov 1994 08:49:37", id="no zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 UTC", id="another zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +0100", id="an offset"),
        pytest.param("Sun, 6 Nov 1994 08:49:37 GMT", id="one digit"),
        pytest.param("Sun, 06 Nov 94 08:49:37 GMT", id="two digits of the year"),
        pytest.param("Sun, 06-Nov-94 08:49:37 GMT", id="RFC 850 with a short day"),
        pytest.param("Sun Nov 6 08:49:37 1994", id="asctime with one blank"),
        pytest.param("sun, 06 nov 1994 08:49:37 gmt", id="another case"),
        pytest.param("Sun, 31 Feb 1994 08:49:37 GMT", id="a day that was not"),
        pytest.param("Sun, 00 Nov 1994 08:49:37 GMT", id="day 0"),
        pytest.param("Sun, 06 Nov 0000 08:49:37 GMT", id="year 0"),
        pytest.param("Sun, 06 Nov 1994 24:49:37 GMT", id="hour 24"),
        pytest.param("Sun, 06 Nov 1994 08:60:37 GMT", id="minute 60"),
        pytest.param("Sun, 06 Nov 1994 08:49:61 GMT", id="second 61"),
        pytest.param("Sun, ٠٦ Nov 1994 08:49:37 GMT", id="digits of another script"),
        pytest.param("1994-11-06T08:49:37Z", id="ISO 8601"),
    ],
)
def test_what_is_no_date_is_no_condition(value: str) -> None:
    assert kind(modified=value) is Answer.WHOLE
    assert kind(unmodified=value) is Answer.WHOLE
    assert kind(range="bytes=0-1", if_range=value) is Answer.WHOLE


@each(("ahead", "meant"), [(0, 0), (51, -49), (99, -1)])
def test_a_year_of_two_digits_more_than_fifty_years_ahead_is_of_the_last_century(ahead: int, meant: int) -> None:
    now = time.gmtime().tm_year
    file = FILE._replace(modified=int(datetime(now + meant, 3, 1, tzinfo=UTC).timestamp()))

    date = f"Monday, 01-Mar-{(now + ahead) % 100:02} 00:00:00 GMT"

    assert kind(range="bytes=0-1", if_range=date, file=file) is Answer.PARTS


@given(st.integers(0, 4102444800))
def test_every_date_of_ours_is_understood_as_werkzeug_writes_it(seconds: int) -> None:
    file = FILE._replace(modified=seconds)

    assert kind(range="bytes=0-1", if_range=http_date(seconds), file=file) is Answer.PARTS


@given(st.text(max_size=40))
def test_no_text_breaks_a_condition(text: str) -> None:
    for field in GIVEN:
        assert kind({field: text}) in Answer
        assert kind({"range": "bytes=0-1", field: text}) in Answer


# Ranges


@each(
    ("value", "expected"),
    [
        pytest.param("bytes=0-499", [(0, 500)], id="first bytes"),
        pytest.param("bytes=500-999", [(500, 1000)], id="second half"),
        pytest.param("bytes=0-0", [(0, 1)], id="one byte"),
        pytest.param("bytes=999-", [(999, 1000)], id="open, the last byte"),
        pytest.param("bytes=0-", [(0, 1000)], id="open, from the start"),
        pytest.param("bytes=-500", [(500, 1000)], id="suffix"),
        pytest.param("bytes=-5000", [(0, 1000)], id="suffix beyond the start"),
        pytest.param("bytes=900-5000", [(900, 1000)], id="beyond the end"),
        pytest.param("bytes=0-0,-1", [(0, 1), (999, 1000)], id="first and last"),
        pytest.param("bytes=500-600,0-1", [(500, 601), (0, 2)], id="unordered, as asked"),
        pytest.param("bytes=0-9,10-19", [(0, 10), (10, 20)], id="adjacent, not joined"),
        pytest.param("bytes=0-9,5-14", [(0, 10), (5, 15)], id="overlapping"),
        pytest.param("bytes=0-9, 20-29", [(0, 10), (20, 30)], id="a blank"),
        pytest.param("bytes= 0-9\t,\t20-29 ", [(0, 10), (20, 30)], id="tabs and blanks"),
        pytest.param("bytes=,0-9,,20-29,", [(0, 10), (20, 30)], id="empty members"),
        pytest.param("BYTES=0-9", [(0, 10)], id="the unit in capitals"),
        pytest.param("bytes=007-08", [(7, 9)], id="leading zeros"),
        pytest.param("bytes=0-9,1000-1001", [(0, 10)], id="what is beyond is left out"),
        pytest.param("bytes=0-9,-0", [(0, 10)], id="an empty suffix is left out"),
        pytest.param("bytes=1000-", [], id="starts at the end"),
        pytest.param("bytes=5000-6000", [], id="starts beyond the end"),
        pytest.param("bytes=-0", [], id="an empty suffix"),
        pytest.param("bytes=9999999999999999999-", [], id="beyond any file"),
    ],
)
def test_ranges_that_are_understood(value: str, expected: list[tuple[int, int]]) -> None:
    assert ranges(value) == expected


@each(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("bytes", id="no ranges"),
        pytest.param("bytes=", id="no range"),
        pytest.param("bytes=,", id="nothing but a comma"),
        pytest.param("bytes= ", id="nothing but a blank"),
        pytest.param("bytes=-", id="nothing but a hyphen"),
        pytest.param("bytes=5", id="no hyphen"),
        pytest.param("bytes=9-5", id="reversed"),
        pytest.param("bytes=0-9,9-5", id="one of them reversed"),
        pytest.param("bytes=a-b", id="letters"),
        pytest.param("bytes=0x1-0x2", id="hexadecimal"),
        pytest.param("bytes=+1-2", id="a sign"),
        pytest.param("bytes=--1", id="two hyphens"),
        pytest.param("bytes=1--2", id="a negative end"),
        pytest.param("bytes=-2147483648-2147483647", id="iPXE of 32 bits beyond 2 GiB"),
        pytest.param("bytes=1 -2", id="a blank in a range"),
        pytest.param("bytes=1_0-2_0", id="underscores"),
        pytest.param("bytes=1-2;3-4", id="another separator"),
        pytest.param("bytes=٠-٩", id="digits of another script"),
        pytest.param("bytes=0-1\n", id="a line feed"),
        pytest.param("bytes:0-1", id="no equals sign"),
        pytest.param("lines=0-1", id="another unit"),
        pytest.param("bytes =x", id="nonsense"),
        pytest.param("bytes=0-1,bytes=2-3", id="two fields in one"),
        pytest.param("bytes=0-" + "9" * 50, id="a number without end"),
    ],
)
def test_what_is_not_understood_is_ignored(value: str) -> None:
    assert ranges(value) is None
    assert decide({"HTTP_RANGE": value}, FILE, is_get=True) is WHOLE


@each(
    ("value", "expected"),
    [
        pytest.param("bytes=0-", Answer.UNSATISFIABLE, id="open"),
        pytest.param("bytes=0-3", Answer.UNSATISFIABLE, id="closed"),
        pytest.param("bytes=-0", Answer.UNSATISFIABLE, id="an empty suffix"),
        pytest.param("bytes=-5", Answer.WHOLE, id="a suffix is satisfiable, but has no Content-Range"),
    ],
)
def test_an_empty_file_has_no_ranges(value: str, expected: Answer) -> None:
    assert kind(range=value, file=FILE._replace(size=0)) is expected


def test_parts_are_told_in_the_order_asked() -> None:
    verdict = decide({"HTTP_RANGE": "bytes=500-600,0-1"}, FILE, is_get=True)

    assert verdict == Decision(Answer.PARTS, (ByteRange(500, 601), ByteRange(0, 2)))


@each("count", [2, 10, 255, 1000, MOST_RANGES])
@each("size", [10 * MOST_RANGES, 1 << 40], ids=["small file", "large file"])
def test_many_honest_ranges_are_all_answered(count: int, size: int) -> None:
    value = "bytes=" + ",".join(f"{start * 10}-{start * 10 + 4}" for start in range(count))

    verdict = decide({"HTTP_RANGE": value}, FILE._replace(size=size), is_get=True)

    assert len(verdict.ranges) == count


def test_more_ranges_than_any_client_asks_for_get_the_whole() -> None:
    value = "bytes=" + ",".join(f"{start * 2}-{start * 2}" for start in range(MOST_RANGES + 1))

    assert kind(range=value, file=FILE._replace(size=1 << 20)) is Answer.WHOLE


MANY = 1_000_000  # of whatever: work that grows with its square would take hours

LONG = {
    "blanks": " " * MANY,
    "commas": "," * MANY,
    "blanks and commas": " ," * MANY,
    "blanks at the end": '"a"' + " " * MANY + "x",
    "blanks in the middle": '"a"' + " " * MANY + ',"b"',
    "tags": '"a",' * MANY,
    "tags and rubbish": '"a" , ' * MANY + "x",
    "quotes": '"' * MANY,
    "an open quote": '"' + "a" * MANY,
    "weak": "W/" * MANY,
    "a tag without an end": '"tag' * MANY,
    "our tag, and what is none": '"tag", ' + '"a" ,, , ' * MANY + "x",
    "ranges": "bytes=" + "0-0," * MANY,
    "a range": "bytes=" + "1" * MANY + "-",
    "a range backwards": "bytes=-" + "9" * MANY,
    "a range of blanks": "bytes" + " " * MANY + "= 0-1" + " " * MANY + "x",
    "no range": "bytes=" + "-" * MANY,
    "no ranges": "bytes=" + ",".join(["1" * 1000] * 1000),
    "numbers": "bytes=" + ",".join(["1" * 30 + "-"] * 1000) + "x",
    "a date": "Sun, 06 Nov 1994 08:49:37 GMT" * MANY,
    "digits": "Sunday, " + "0" * MANY,
}


@each("value", LONG.values(), ids=LONG)
@each("name", GIVEN)
def test_no_field_takes_longer_than_its_length_does(name: str, value: str) -> None:
    assert isinstance(kind({"range": "bytes=0-1", name: value}), Answer)


@each("value", ["bytes=" + "," * MOST_RANGES + "0-1", "bytes=" + "0-," * MANY, "x" + "," * MANY])
def test_too_many_ranges_are_ignored_before_they_are_read(value: str) -> None:
    assert kind(range=value) is Answer.WHOLE


@each(
    ("fields", "long"),
    [
        ({}, False),
        ({"range": "bytes=0-1"}, False),
        ({"range": "bytes=" + "0-1," * 16}, True),
        ({"range": "bytes=" + "," * MANY}, True),
        ({"range": "bytes=" + "1" * 1000}, True),
        ({"none_match": f'"{"0" * 64}"'}, False),
        ({"none_match": '"a",' * 1000}, True),
        ({"match": '"a",' * 1000, "range": "bytes=0-1"}, True),
        ({"modified": SAME, "unmodified": SAME}, False),
        ({"unmodified": SAME * 1000}, True),
    ],
)
def test_what_takes_more_than_a_moment_is_known_before_it_is_read(fields: dict[str, str], long: bool) -> None:
    assert takes_long({GIVEN[name]: value for name, value in fields.items()}) is long


@each("fields", [{"if_range": '"tag"'}, {"if_range": SAME}, {"match": '"tag"'}, {"match": "*"}, {"unmodified": SAME}])
@each("wanted", ["bytes=5-", "bytes=0-1,5-6", "bytes=5000-"])
def test_nothing_is_resumed_where_the_bytes_may_be_others_under_the_same_validators(
    fields: dict[str, str], wanted: str
) -> None:
    file = FILE._replace(may_resume=False)

    assert kind(fields, range=wanted, file=file) is Answer.WHOLE
    assert kind(range="bytes=5-", file=file) is Answer.PARTS
    assert kind(none_match='"tag"', range=wanted, file=file) is Answer.NOT_MODIFIED


@each(
    "value",
    [
        pytest.param("bytes=0-,0-,0-", id="three times the whole"),
        pytest.param("bytes=" + "0-," * 1000, id="a thousand times"),
        pytest.param("bytes=" + "0-0," * 1000, id="small ones, dear by their heads"),
        pytest.param("bytes=" + "5-," * 500 + "0-", id="nested at the end"),
        pytest.param("bytes=0-," + ",".join(f"{at}-{at}" for at in range(0, 900, 3)), id="small ones in one"),
        pytest.param("bytes=" + ",".join(f"-{at}" for at in range(1, 900)), id="suffixes"),
    ],
)
def test_a_flood_of_overlapping_ranges_gets_the_whole_instead_of_more(value: str) -> None:
    assert kind(range=value) is Answer.WHOLE


@each(
    ("value", "size"),
    [
        pytest.param("bytes=0-9,5-14", 20, id="two that overlap"),
        pytest.param("bytes=0-,0-", 1000, id="two wholes"),
        pytest.param("bytes=0-9,5-14,10-19,15-24", 10_000, id="many that overlap, less than the whole"),
    ],
)
def test_ranges_that_overlap_a_little_are_answered(value: str, size: int) -> None:
    assert kind(range=value, file=FILE._replace(size=size)) is Answer.PARTS


SPEC = st.one_of(
    st.builds("{}-{}".format, st.integers(0, 1200), st.integers(0, 1200)),
    st.builds("{}-".format, st.integers(0, 1200)),
    st.builds("-{}".format, st.integers(0, 1200)),
)


@given(st.lists(SPEC, min_size=1, max_size=40), st.integers(0, 1100))
@example(["0-", "1-1", "3-3", "5-5"], 1000)
def test_overlapping_ranges_never_cost_much_more_than_the_whole(specs: list[str], size: int) -> None:
    verdict = decide({"HTTP_RANGE": "bytes=" + ",".join(specs)}, FILE._replace(size=size), is_get=True)

    marked = bytearray(size)
    doubled = 0
    for start, stop in verdict.ranges:
        doubled += any(marked[start:stop])
        marked[start:stop] = b"\1" * (stop - start)
    length = sum(stop - start + PART_BYTES for start, stop in verdict.ranges)
    assert all(0 <= start < stop <= size for start, stop in verdict.ranges)
    assert length <= max(size, 2 * size + 2 * PART_BYTES) or doubled <= 1 or not size


# Against werkzeug


def second_opinion(value: str, size: int) -> list[tuple[int, int]] | None:
    """Return what werkzeug makes of a value, in our terms."""
    parsed = parse_range_header(value)
    if parsed is None or parsed.units != "bytes":
        return None
    found = []
    for start, stop in parsed.ranges:
        first = max(0, size + start) if start < 0 else start
        last = size if stop is None else min(stop, size)
        if first < last:
            found.append((first, last))
    return found


ODD = st.text("0123456789-, \t=bytes+_", max_size=12)
VALUE = st.one_of(
    st.builds(lambda specs: "bytes=" + ",".join(specs), st.lists(SPEC, min_size=1, max_size=5)),
    st.builds(lambda spec, odd: f"bytes={spec}{odd}", SPEC, ODD),
    st.builds("bytes={}".format, ODD),
    ODD,
)


@given(VALUE, st.integers(1, 1100))
def test_ranges_are_what_werkzeug_makes_of_them_but_for_differences_that_are_explained(value: str, size: int) -> None:
    ours, theirs = ranges(value, size), second_opinion(value, size)

    if ours == theirs:
        return
    specs = [spec.strip(" \t") for spec in value.partition("=")[2].split(",")]
    if ours is not None:
        # Werkzeug wants ranges in order and apart; RFC 9110 14.2 says how ranges may overlap, in any order.
        numbers = [tuple(spec.partition("-")[::2]) for spec in specs if spec]
        starts = [int(first) if first else -1 for first, _ in numbers]
        in_order = all(a < b for a, b in pairwise(starts))
        has_suffix = any(not first for first, _ in numbers)  # werkzeug: nothing may follow a suffix
        overlaps = any(
            last and int(last) >= following for (_, last), following in zip(numbers, starts[1:], strict=False)
        )
        is_open = any(not last for _, last in numbers[:-1])  # werkzeug: nothing may follow an open range
        has_empty = "" in specs  # RFC 9110 5.6.1.2: empty members of a list are skipped
        assert theirs is None
        assert not in_order or has_suffix or overlaps or is_open or has_empty
    else:
        # Werkzeug takes a number as int() does: with a sign, blanks or underscores around or in it.
        assert any(mark in spec for spec in specs for mark in "+_ \t") or any(
            spec.startswith("-") and "-" in spec[1:] for spec in specs
        )
