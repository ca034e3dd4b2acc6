"""What must hold of the pure parts whatever comes: one check for each, bytes in, an outcome in a few words out.

A broken promise is an AssertionError, or whatever else got out. Beside each part stands a plain
reading of its grammar without regular expressions: a second opinion, and branches for a
coverage-guided fuzzer to find its way by. Knows no fuzzer, no socket and no file.
"""

from __future__ import annotations

import calendar
import time
from itertools import pairwise
from urllib.parse import quote_from_bytes

from httpserve.serving import content, head
from httpserve.serving.content import Content
from httpserve.serving.head import CHUNKED, Head, Refused
from httpserve.site import conditional
from httpserve.site.conditional import Kind, Validators, Verdict, decide

REFUSALS = {400, 414, 431, 501, 505}
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
BLANKS = b" \t"

# Heads


def check_head(data: bytes) -> str:
    """Take `data` for what a connection has received: a head and what follows, or the beginning of a head."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        return _check_beginning(data)
    raw = data[:end]
    try:
        head.check_incomplete(raw)
        found = head.parse(raw)
    except Refused as refused:
        check_refusal(refused)
        _check_why(raw, refused)
        return f"{refused.status} {refused.reason}"
    assert _follows_grammar(raw)
    assert head.parse_again(raw) == head.parse_again(raw) == found
    for cut in range(0, len(raw), 1 + len(raw) // 64):
        head.check_incomplete(raw[:cut])  # a head that drips in is refused at no point of it
    said = [(name.lower(), value.strip(BLANKS)) for name, _, value in _lines(raw)]
    _check_framing(said, found)
    _check_fields(said, found)
    _check_target(found)
    assert head.parse(_written_again(found)) == found
    return f"1.{int(not found.http_10)} {found.keep_alive} {found.expects_continue} {min(found.content_length, 1)}"


def _check_beginning(data: bytes) -> str:
    try:
        head.check_incomplete(data)
    except Refused as refused:
        check_refusal(refused)
        try:
            head.parse_again(data + b"\r\n\r\n")
        except Refused:
            return f"beginning {refused.status} {refused.reason}"
        raise AssertionError("a beginning was refused, and the whole is not") from refused
    assert b"\n" not in data.replace(b"\r\n", b"")
    return "beginning"


def check_refusal(refused: Refused, *statuses: int) -> None:
    """Hold a refusal to one of these statuses, and to a reason that a client can read."""
    assert refused.status in (statuses or REFUSALS)
    assert refused.reason
    assert str(refused) == refused.reason
    assert refused.reason.isascii()
    assert refused.reason.isprintable()


def _check_why(raw: bytes, refused: Refused) -> None:
    """What is refused for its form has not the form of a head, and the other way round."""
    malformed = refused.reason in ("the request line is malformed", "a header field is malformed")
    is_cut_off = refused.status in (414, 431) or b"\n" in raw.replace(b"\r\n", b"")
    assert is_cut_off or _follows_grammar(raw) is not malformed


def _follows_grammar(raw: bytes) -> bool:
    """Tell whether `raw` has the form of a head; what its words mean is not asked."""
    line, *fields = raw.split(b"\r\n")[:-2]
    words = line.split(b" ")
    if len(words) != 3 or not _is_token(words[0]) or not words[1]:
        return False
    if any(byte <= 0x20 or byte == 0x7F for byte in words[1]):
        return False
    version = words[2]
    if len(version) != 8 or version[:5] != b"HTTP/" or version[6:7] != b".":
        return False
    if version[5] not in DIGITS or version[7] not in DIGITS:
        return False
    # The number of fields is judged before their form, the version before both.
    return len(fields) > head.MOST_FIELDS or version[5:6] != b"1" or all(map(_is_field, fields))


def _is_token(text: bytes) -> bool:
    return bool(text) and all(byte in TOKEN for byte in text)


def _is_field(line: bytes) -> bool:
    name, colon, value = line.partition(b":")
    return bool(colon) and _is_token(name) and _is_text(value)


def _is_text(value: bytes) -> bool:
    return all(byte == 0x09 or (byte >= 0x20 and byte != 0x7F) for byte in value)


def _lines(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [line.partition(b":") for line in raw.split(b"\r\n")[1:-2]]


def _check_framing(said: list[tuple[bytes, bytes]], found: Head) -> None:
    """Where the content ends is said once, and by one field alone."""
    lengths = [value for name, value in said if name == b"content-length"]
    codings = [value for name, value in said if name == b"transfer-encoding"]
    if found.content_length == CHUNKED:
        assert not lengths
        assert [coding.lower() for coding in codings] == [b"chunked"]
        assert not found.http_10
    else:
        assert not codings
        assert [int(value) for value in lengths] == ([found.content_length] if lengths else [])
        assert lengths or found.content_length == 0
    hosts = [value for name, value in said if name == b"host"]
    assert len(hosts) <= 1
    assert hosts or found.http_10


def _check_fields(said: list[tuple[bytes, bytes]], found: Head) -> None:
    """What WSGI is told of the fields is what they say."""
    expected: dict[str, str] = {}
    for name, value in said:
        key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
        if b"_" not in name:
            text = value.decode("latin-1")
            expected[key] = f"{expected[key]},{text}" if key in expected else text
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{key}" in expected:
            expected[key] = expected.pop(f"HTTP_{key}")
    told = {key: value for key, value in found.environ.items() if key.startswith(("HTTP_", "CONTENT_"))}
    if not found.target.startswith(("/", "*")):
        expected["HTTP_HOST"] = told.get("HTTP_HOST", "")
        told.setdefault("HTTP_HOST", "")
    assert told == expected


def _check_target(found: Head) -> None:
    path = found.environ["PATH_INFO"]
    assert path.startswith("/") or (path == "*" and found.method == "OPTIONS")
    assert len(path) + len(found.environ["QUERY_STRING"]) <= len(found.target) + 1
    if path != "*":  # however a path is encoded, it is the same path
        for safe in ("", "/"):
            target = b"/" + quote_from_bytes(path[1:].encode("latin-1"), safe=safe).encode()
            assert head.parse(b"GET " + target + b" HTTP/1.1\r\nHost:\r\n\r\n").environ["PATH_INFO"] == path


def _written_again(found: Head) -> bytes:
    """Return a head that says what `found` understood, in one way."""
    lines = [f"{found.method} {found.target} {found.environ['SERVER_PROTOCOL']}"]
    for key, value in found.environ.items():
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            lines.append(f"{key.removeprefix('HTTP_').replace('_', '-')}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# Content

Outcome = tuple[bytes, bytes] | None  # data and rest, None while the end has not come


def check_content(data: bytes) -> str:
    """Take the first line for a length, or `chunked`, and for where to cut; what follows for the content."""
    first, _, received = data.partition(b"\n")
    words = first.split()
    length = _number(words[0]) if words and _number(words[0]) is not None else CHUNKED
    assert length is not None
    cuts = {number % (len(received) + 1) for number in map(_number, words[1:]) if number is not None}
    marks = sorted({0, len(received), *cuts})
    whole = _fed(length, [received])
    assert _fed(length, [received[start:stop] for start, stop in pairwise(marks)]) == whole
    assert _fed(length, [received[at : at + 1] for at in range(len(received))]) == whole
    try:
        expected = _read_plainly(length, received)
    except ValueError as error:
        assert whole == "refused"
        return f"refused: {error}"
    assert whole == expected
    return "not yet" if expected is None else f"{length == CHUNKED} {bool(expected[0])} {bool(expected[1])}"


def _number(word: bytes) -> int | None:
    return int(word) if 0 < len(word) <= 4 and all(byte in DIGITS for byte in word) else None


def _fed(length: int, pieces: list[bytes]) -> Outcome | str:
    one = Content(length)
    data = b""
    given = 0
    try:
        for piece in pieces:
            data += one.feed(piece)
            given += len(piece)
            assert one.taken + len(one.rest) == given
    except Refused as refused:
        check_refusal(refused, 400)
        return "refused"
    return (data, one.rest) if one.done else None


def _read_plainly(length: int, received: bytes) -> Outcome:
    """Read content from its beginning, as RFC 9112 section 7.1.3 has it. Raises ValueError where it is malformed."""
    if length != CHUNKED:
        return (received[:length], received[length:]) if len(received) >= length else None
    data, rest = b"", received
    while True:
        line, rest, is_whole = _line(rest)
        if not is_whole:
            return None
        size = _chunk_size(line)
        if size == 0:
            break
        if len(rest) < size:
            return None
        data, rest = data + rest[:size], rest[size:]
        if not rest.startswith(b"\r\n"):
            if rest in (b"", b"\r"):
                return None
            raise ValueError("longer than its size")
        rest = rest[2:]
    trailers = 0
    while True:
        line, rest, is_whole = _line(rest)
        if not is_whole:
            return None
        if not line:
            return data, rest
        trailers += len(line)
        if not _is_field(line) or trailers > content.MOST_TRAILER_BYTES:
            raise ValueError("trailer")


def _line(text: bytes) -> tuple[bytes, bytes, bool]:
    line, end, rest = text.partition(b"\r\n")
    if not end and line.endswith(b"\r"):
        line = line[:-1]
    if b"\n" in line or len(line) > content.MOST_LINE_BYTES:
        raise ValueError("line")
    return line, rest, bool(end)


def _chunk_size(line: bytes) -> int:
    at = 0
    while line[at : at + 1] and line[at : at + 1] in b"0123456789abcdefABCDEF":
        at += 1
    if not 0 < at <= 15:
        raise ValueError("size")
    size = int(line[:at], 16)
    while at < len(line):
        at = _after_extension(line, at)
    return size


def _after_extension(line: bytes, at: int) -> int:
    at = _after_blanks(line, at)
    if line[at : at + 1] != b";":
        raise ValueError("extension")
    at = _after_token(line, _after_blanks(line, at + 1))
    value = _after_blanks(line, at)
    if line[value : value + 1] != b"=":
        return at
    value = _after_blanks(line, value + 1)
    return _after_quoted(line, value + 1) if line[value : value + 1] == b'"' else _after_token(line, value)


def _after_blanks(line: bytes, at: int) -> int:
    while at < len(line) and line[at] in BLANKS:
        at += 1
    return at


def _after_token(line: bytes, at: int) -> int:
    end = at
    while end < len(line) and line[end] in TOKEN:
        end += 1
    if end == at:
        raise ValueError("token")
    return end


def _after_quoted(line: bytes, at: int) -> int:
    while at < len(line):
        if line[at] == 0x22:
            return at + 1
        at += 2 if line[at] == 0x5C else 1
        if not _is_text(line[at - 1 : at]):
            raise ValueError("quoted character")
    raise ValueError("open quotes")


# Conditions and ranges

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
    size = _number(first.encode("latin-1")) or 0
    fields = fields_in(lines)
    verdict = decided(fields, size)
    _check_precedence(fields, size, verdict)
    _check_ranges(fields, size, verdict)
    _check_tags(fields, verdict)
    dates = [fields[name] for name in (FIELDS["U"], FIELDS["S"], FIELDS["I"]) if name in fields]
    forms = [_check_date(value) for value in dates]
    return f"{verdict.kind.name} {min(len(verdict.ranges), 3)} {' '.join(fields)} {forms}"


def decided(fields: dict[str, str], size: int, *, is_get: bool = True) -> Verdict:
    """Return the verdict on a file of `size` bytes."""
    return decide(fields, Validators(ETAG, MODIFIED, size), is_get=is_get)


def without(fields: dict[str, str], letter: str) -> dict[str, str]:
    """Return the fields but for one."""
    return {name: value for name, value in fields.items() if name != FIELDS[letter]}


def _check_precedence(fields: dict[str, str], size: int, verdict: Verdict) -> None:
    """Hold a verdict to the order of RFC 9110 section 13.2.2, by what leaving out a field changes."""
    plain = decided(without(fields, "R"), size)
    assert plain.kind in (Kind.WHOLE, Kind.NOT_MODIFIED, Kind.FAILED)
    assert plain.kind is Kind.WHOLE or verdict == plain
    assert verdict.kind not in (Kind.NOT_MODIFIED, Kind.FAILED) or verdict == plain
    assert decided(fields, size, is_get=False) == plain
    for strong, ignored in ("MU", "NS"):
        if FIELDS[strong] in fields:
            assert decided(without(fields, ignored), size) == verdict
    if FIELDS["I"] in fields:
        assert verdict.kind is Kind.WHOLE or decided(without(fields, "I"), size) == verdict


def _check_ranges(fields: dict[str, str], size: int, verdict: Verdict) -> None:
    ranges = verdict.ranges
    assert bool(ranges) is (verdict.kind is Kind.PARTS)
    assert all(0 <= start < stop <= size for start, stop in ranges)
    total = sum(stop - start for start, stop in ranges)
    assert total <= 2 * size
    assert len(ranges) <= conditional.MOST_RANGES
    value = fields.get(FIELDS["R"])
    alone = decided({FIELDS["R"]: value}, size) if value is not None else conditional.WHOLE
    assert verdict.kind not in (Kind.PARTS, Kind.UNSATISFIABLE) or verdict == alone
    wanted = _read_ranges(value or "", size)
    if wanted is None:
        assert alone == conditional.WHOLE
    elif not wanted:
        assert alone.kind is Kind.UNSATISFIABLE
    elif alone.kind is Kind.PARTS:
        assert list(alone.ranges) == wanted
    else:  # a flood, or more ranges than anybody asks for
        assert alone == conditional.WHOLE
        assert len(wanted) > 2
        bytes_asked = sum(stop - start for start, stop in wanted)
        assert bytes_asked + len(wanted) * conditional.PART_BYTES > size


def _read_ranges(value: str, size: int) -> list[tuple[int, int]] | None:
    """Read a Range field by splitting it. None for what is ignored."""
    unit, equals, rest = value.partition("=")
    if unit.rstrip(" \t").lower() != "bytes" or not equals:
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


def _check_tags(fields: dict[str, str], verdict: Verdict) -> None:
    for letter, kind, weak in (("M", Kind.FAILED, False), ("N", Kind.NOT_MODIFIED, True)):
        value = fields.get(FIELDS[letter])
        if value is None:
            continue
        tags = [] if value == "*" else _read_tags(value)
        matches = value == "*" or ETAG in tags or (weak and f"W/{ETAG}" in tags)
        alone = decided({FIELDS[letter]: value}, 1).kind
        assert alone is (kind if matches is weak else Kind.WHOLE)
    if_range = fields.get(FIELDS["I"], ETAG)
    assert verdict.kind is not Kind.PARTS or if_range == ETAG or not if_range.startswith(("W", '"'))


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
    if decide(field, Validators(ETAG, _LONG_AGO, 1), is_get=True).kind is Kind.WHOLE:
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
    return at is Kind.NOT_MODIFIED and after is Kind.WHOLE
