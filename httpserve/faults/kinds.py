"""The faults: each turns the plan of an answer into another one.

Pure, except that `Corrupt` reads the bytes that it changes, and `Slow` has a clock. Knows plans and fields of answers.
"""

from __future__ import annotations

import math
import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as _Sequence
from dataclasses import dataclass, field
from typing import Literal

from httpserve.base.arguments import checked_count, checked_seconds, quoted_value
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.faults.fault import About, Ask, Fault
from httpserve.faults.steps import (
    PACE_SECONDS,
    At,
    Paced,
    changed,
    counting,
    field_of,
    length_of,
    pieces_of,
    place,
    position,
    replaced,
    split,
    with_fields,
    without,
)
from httpserve.plan import (
    Abort,
    ChangedWhileSent,
    Data,
    Piece,
    Pieces,
    ReadFailed,
    Region,
    Response,
    Step,
    Stream,
    Wait,
    read_at,
)

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_WHICH_BYTES = ("content-range", "content-encoding", "transfer-encoding")  # fields that say what the content is
_SERVERS_OWN = ("connection", "date")  # fields that the server adds to each answer
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def checked_at(name: str, at: object) -> At:
    """Return a place in a representation. Raises InvalidArgument for what is none."""
    if isinstance(at, int) and not isinstance(at, bool):
        return at
    if isinstance(at, float) and 0.0 <= at <= 1.0:
        return at
    raise InvalidArgument(
        f"{name} must be a byte number (an int; negative: from the end) or a fraction (a float from 0.0 to 1.0), "
        f"not {quoted_value(at)}"
    )


@dataclass(frozen=True, repr=False)
class Slow(Fault):
    """The answer comes at no more than this rate, in pieces of 50 ms, the first one at once.

    Reproduces a board behind a slow link (LTE, a USB hub at full speed, a busy mirror), whose updater takes a slow
    download for a dead one: curl's `--speed-limit`, SWUpdate's and Mender's time limits.

    Args:
        rate: In bytes a second.
    """

    rate: float

    def __post_init__(self) -> None:
        rate = self.rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise InvalidArgument(f"the rate of Slow must be a positive number of bytes a second, not {rate!r}")

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with pauses in it."""
        steps = response.plan.steps
        if not any(length_of(step) != 0 for step in steps):
            return None
        if any(isinstance(step, Stream) for step in steps):
            return changed(response, [self._slowed(step) if isinstance(step, Stream) else step for step in steps])
        return changed(response, Paced(steps, self.rate))

    def _slowed(self, stream: Stream) -> Stream:
        return stream._replace(pieces=self._pieces(stream.pieces))

    def _pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what an app gives, which has a thread of its own, in pieces that may take their time."""
        part = max(1, int(self.rate * PACE_SECONDS))
        for piece in pieces:
            for start in range(0, len(piece), part):
                yield piece[start : start + part]
                time.sleep(len(piece[start : start + part]) / self.rate)  # a stream has a thread while it sends


@dataclass(frozen=True, repr=False)
class Stall(Fault):
    """Nothing comes for a while, then the answer goes on.

    Reproduces a mirror whose disk sleeps, or a NAT that has lost the connection: nothing moves, nobody says why.
    busybox wget without -T waits for ever; U-Boot's lwIP wget gives up after 15 s.

    Args:
        at: Before which byte of the representation; 0: before the head.
        seconds: How long; None: for ever. The server does not give it up; it ends when the client leaves.
    """

    at: At
    seconds: float | None

    def __post_init__(self) -> None:
        checked_at("the at of Stall", self.at)
        if self.seconds is not None:
            checked_seconds("the seconds of Stall", self.seconds)

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with a pause in it."""
        return paused(response, self.at, Wait(math.inf if self.seconds is None else float(self.seconds)))


def paused(response: Response, at: At, wait: Wait) -> Response | None:
    """Return an answer with a pause before a byte of the representation; before the head for the very first one."""
    plan = response.plan
    if position(at, pieces_of(plan)[0]) == 0 and (at == 0 or place(plan, at) is not None):
        return changed(response, plan.steps, before=wait)
    offset = place(plan, at)
    if offset is None:
        return None
    before, after = split(plan.steps, offset)
    if any(isinstance(step, Abort) for step in before):
        return None  # it never comes there
    return changed(response, [*before, wait, *after])


@dataclass(frozen=True, repr=False)
class Cut(Fault):
    """The connection ends before a byte, once the client has acknowledged all before it.

    Reproduces a server that restarts, or a cable that is pulled: `fin` is what a proxy does whose backend died, and
    what clients that do not compare lengths (U-Boot's first wget, old busybox) take for the end of the file; `reset`
    is a crash.

    Args:
        at: Before which byte of the representation.
        how: `fin` for an orderly close, or `reset`.
    """

    at: At
    how: Literal["fin", "reset"] = "fin"

    def __post_init__(self) -> None:
        checked_at("the at of Cut", self.at)
        if self.how not in ("fin", "reset"):
            raise InvalidArgument(f"the how of Cut must be 'fin' or 'reset', not {self.how!r}")

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with an end in it."""
        offset = place(response.plan, self.at)
        if offset is None:
            return None
        before, _ = split(response.plan.steps, offset)
        return changed(response, [*before, Abort(reset=self.how == "reset")])


@dataclass(frozen=True, repr=False)
class Corrupt(Fault):
    """Bits are flipped; length and validators are those of the true file.

    Reproduces what apt reports as "Hash Sum mismatch" behind proxies that scan or compress, and bad memory in a mirror:
    TCP's checksum is right, and only a digest or a signature tells. A wait never takes such a download for a whole one.

    Args:
        at: Which byte of the representation.
        count: In how many bytes, from there on, one bit is flipped. The seed decides which bit.
    """

    at: At
    count: int = 1

    def __post_init__(self) -> None:
        checked_at("the at of Corrupt", self.at)
        checked_count("the count of Corrupt", self.count)

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with other bytes in it."""
        plan = response.plan
        total, pieces = pieces_of(plan)
        first = position(self.at, total)
        last = min(total, first + self.count)
        steps: _Sequence[Step] = plan.steps
        kept = Pieces()
        for offset, start, stop in pieces:
            begin, end = max(start, first), min(stop, last)
            if begin >= end:
                kept.add(offset, start, stop)
                continue
            found = self._flipped(steps, offset + begin - start, range(begin, end), about.seed)
            if found is None:
                return None
            steps = found
            for edge, until in ((start, begin), (end, stop)):
                if edge < until:
                    kept.add(offset + edge - start, edge, until)
        if steps is plan.steps:
            return None
        is_of_file = plan.subject is not None and plan.subject.pieces  # other content counts for nothing
        return changed(response, steps, subject=counting(plan.subject, kept) if is_of_file else plan.subject)

    def _flipped(self, steps: _Sequence[Step], offset: int, numbers: range, seed: str) -> list[Step] | None:
        before, rest = split(steps, offset)
        middle, after = split(rest, len(numbers))
        flips = bytes(1 << random.Random(f"{seed}|{number}").randrange(8) for number in numbers)
        try:
            return [*before, *_xor(middle, flips), *after]
        except (ReadFailed, ChangedWhileSent):
            return None  # the answer fails by itself


def _xor(steps: _Sequence[Step], flips: bytes) -> Iterator[Step]:
    at = 0
    for step in steps:
        if isinstance(step, Data | Region):
            data = step.data if isinstance(step, Data) else read_at(step, step.offset, step.length)
            yield Data(bytes(one ^ flip for one, flip in zip(data, flips[at:], strict=False)))
            at += len(data)
        elif isinstance(step, Stream):
            yield step._replace(pieces=_xor_pieces(step.pieces, flips[at:]))
            at += step.length or len(flips)
        else:
            yield step


def _xor_pieces(pieces: Iterator[bytes], flips: bytes) -> Iterator[bytes]:
    at = 0
    for piece in pieces:
        yield bytes(one ^ flip for one, flip in zip(piece, flips[at : at + len(piece)], strict=False))
        at += len(piece)


@dataclass(frozen=True, repr=False)
class Truncate(Fault):
    """The file is shorter, and the head agrees: nothing in the answer tells.

    Reproduces a cache that serves a file before it has all of it (npm-proxy-cache, issue 62), and an upload to a mirror
    that broke off: the length is that of the stump, and so are the ranges. Only a digest, or a length from elsewhere,
    tells.

    Args:
        to: How much there is of it.
    """

    to: At

    def __post_init__(self) -> None:
        checked_at("the to of Truncate", self.to)

    def asked(self, ask: Ask, about: About) -> Ask | None:
        """Ask for a shorter file."""
        return ask._replace(shortened=self.to)


@dataclass(frozen=True, repr=False)
class WrongLength(Fault):
    """Content-Length says more or less than comes, and the connection ends with the answer.

    Reproduces a server that counts characters for bytes (Node's `res.setHeader` with a string's length), and a proxy
    that unpacks a gzip and keeps the old length. urllib3 before 2.0 took a short answer for the whole one.

    Args:
        by: How many bytes too many it says; negative: too few.
    """

    by: int

    def __post_init__(self) -> None:
        if isinstance(self.by, bool) or not isinstance(self.by, int) or not self.by:
            raise InvalidArgument(f"the by of WrongLength must be a number of bytes other than 0, not {self.by!r}")

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with another length."""
        said = field_of(response, "content-length")
        if said is None or not said.isdigit():
            return None
        told = max(0, int(said) + self.by)
        other = with_fields(response, replaced(response, "content-length", str(told)))
        other.plan.is_last = True
        # A client that waits for more never has it all, and of what comes after its end it takes nothing.
        most = told if self.by < 0 else int(said) - 1
        kept = Pieces()
        for offset, start, stop in other.plan.subject.pieces if other.plan.subject is not None else ():
            if offset < most:
                kept.add(offset, start, min(stop, start + most - offset))
        other.plan.subject = counting(other.plan.subject, kept)
        return other


@dataclass(frozen=True, repr=False)
class IgnoreRange(Fault):
    """A request for ranges gets 200 with all of the file.

    Reproduces servers and proxies that know no ranges (`python -m http.server`, some CDNs for small objects): a client
    that resumes must begin again, and one that appends has a broken file.
    """

    def asked(self, ask: Ask, about: About) -> Ask | None:
        """Ask for all."""
        return ask._replace(ignores_range=True) if about.has_range and about.method == "GET" else None


@dataclass(frozen=True, repr=False)
class WrongRange(Fault):
    """A request for one range gets another one, which begins `by` bytes later; Content-Range tells where.

    Reproduces caches that align ranges to their own blocks (nginx logs "unexpected range in slice response" when its
    own upstream does so): a client that does not compare Content-Range with what it asked for writes the bytes to the
    wrong place. A wait counts none of them.

    Args:
        by: How many bytes later; negative: earlier.
    """

    by: int

    def __post_init__(self) -> None:
        if isinstance(self.by, bool) or not isinstance(self.by, int) or not self.by:
            raise InvalidArgument(f"the by of WrongRange must be a number of bytes other than 0, not {self.by!r}")

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with another part of the file."""
        match = _RANGE.fullmatch(field_of(response, "content-range") or "")
        steps = response.plan.steps
        region = steps[0] if len(steps) == 1 else None
        if match is None or not isinstance(region, Region):
            return None
        first, last, total = map(int, match.groups())
        start = max(0, min(total - 1, first + self.by))
        stop = min(total, start + last + 1 - first)
        if start == first:
            return None
        other = with_fields(response, replaced(response, "content-range", f"bytes {start}-{stop - 1}/{total}"))
        other = other._replace(fields=replaced(other, "content-length", str(stop - start)))
        part = Region(region.file, region.offset + start - first, stop - start)
        return changed(other, (part,), length=stop - start, subject=counting(other.plan.subject, ()))


@dataclass(frozen=True, repr=False)
class NoLength(Fault):
    """The answer has no Content-Length.

    Reproduces servers that make their answers as they go. Without a length the end of the connection is the end of the
    file, and a cut looks like it; U-Boot's lwIP wget and rauc-hawkbit need the length.

    Args:
        chunked: Send it in chunks (RFC 9112 7.1). HTTP/1.0 knows none: such a client gets it without.
    """

    chunked: bool = False

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer without a length."""
        said = field_of(response, "content-length")
        if said is None:
            return None
        fields = without(response, "content-length")
        if not self.chunked or about.is_http_10:
            other = with_fields(response, fields)
            other.plan.is_last = True
            return other
        other = with_fields(response, [*fields, ("Transfer-Encoding", "chunked")])
        return other if about.method == "HEAD" else _chunked(other)


def _chunked(response: Response) -> Response:
    """Return an answer whose content is in chunks, one for each step that has content."""
    plan = response.plan
    steps: list[Step] = []
    moves: list[tuple[int, int]] = []  # where a chunk's content begins in what was there, and in what is there now
    old = new = 0
    for step in plan.steps:
        length = length_of(step)
        if not length:
            steps.append(step)
            continue
        size = b"%x\r\n" % length
        steps += [Data(size), step, Data(b"\r\n")]
        moves.append((old, new + len(size)))
        old, new = old + length, new + len(size) + length + 2
    steps.append(Data(b"0\r\n\r\n"))
    pieces = Pieces()
    for piece in plan.subject.pieces if plan.subject is not None else ():
        for offset, start, stop in _moved(piece, moves, old):
            pieces.add(offset, start, stop)
    subject = counting(plan.subject, pieces) if moves else plan.subject  # an empty file has a piece, too
    return changed(response, steps, length=new + 5, subject=subject)


def _moved(piece: Piece, moves: list[tuple[int, int]], end: int) -> Iterator[Piece]:
    offset, start, stop = piece
    for (begin, now), (until, _) in zip(moves, [*moves[1:], (end, 0)], strict=False):
        first, last = max(offset, begin), min(offset + stop - start, until)
        if first < last:
            yield Piece(now + first - begin, start + first - offset, start + last - offset)


@dataclass(frozen=True, repr=False)
class Status(Fault):
    """Another status in place of the answer.

    Reproduces S3's 503 "Slow Down", nginx's 502 while hawkBit behind it starts, GitHub's rate limit (429), a token that
    has run out (403). U-Boot prints "Transfer Successful" for a 404 too.

    Args:
        code: From 200 to 999.
        retry_after: The value of Retry-After, in seconds; None: no such field.
        body: The content, bytes or text.
    """

    code: int
    retry_after: float | None = None
    body: bytes | str = b""

    def __post_init__(self) -> None:
        if isinstance(self.code, bool) or not isinstance(self.code, int) or not 200 <= self.code <= 999:
            raise InvalidArgument(f"the code of Status must be from 200 to 999, not {self.code!r}")
        if self.retry_after is not None:
            checked_seconds("the retry_after of Status", self.retry_after, zero=True)
        if not isinstance(self.body, bytes | str):
            raise InvalidType(f"the body of Status must be bytes or text, not {self.body!r}")

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the other answer."""
        wait = [] if self.retry_after is None else [("Retry-After", f"{math.ceil(self.retry_after)}")]
        return _instead(response, about, self.code, self.body, wait)


@dataclass(frozen=True, repr=False)
class Redirect(Fault):
    """The client is sent elsewhere.

    Reproduces GitHub's releases, which lie in another store (302), S3's 307 to a bucket's region, a captive portal, or,
    to its own path, a loop. U-Boot, GRUB, EDK2, the Raspberry Pi and plain curl do not follow.

    Args:
        to: The value of Location: a URL, or a path on this server such as `/other/fw.bin`.
        code: 301, 302, 303, 307 or 308.
    """

    to: str
    code: int = 302

    def __post_init__(self) -> None:
        _check_value("the to of Redirect", self.to)
        if self.code not in (301, 302, 303, 307, 308) or isinstance(self.code, bool):
            raise InvalidArgument(f"the code of Redirect must be 301, 302, 303, 307 or 308, not {self.code!r}")

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the redirect."""
        return _instead(response, about, self.code, b"", [("Location", self.to)])


def _instead(
    response: Response, about: About, status: int, body: bytes | str, fields: list[tuple[str, str]]
) -> Response:
    content = body.encode() if isinstance(body, str) else body
    has_none = status in (204, 304)
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/octet-stream"
    told = [] if has_none else [("Content-Type", kind), ("Content-Length", str(len(content)))]
    steps = () if has_none or about.method == "HEAD" or not content else (Data(content),)
    length = sum(len(step.data) for step in steps)
    other = changed(response, steps, length=length, subject=counting(response.plan.subject, ()), raw_fields=None)
    return other._replace(status=status, fields=[*told, *fields])


@dataclass(frozen=True, repr=False)
class Stale(Fault):
    """Another version of the file, with its own validators, as from a cache that has not heard of the new one.

    Reproduces a CDN or a squid in front of the update server: the manifest is new and the image is old, or one of two
    ranges is. A wait does not take it for the current version.

    Args:
        version: The name of a file on the server that is the version before, or its bytes.
    """

    version: str | os.PathLike[str] | bytes

    def __post_init__(self) -> None:
        if not isinstance(self.version, bytes):
            object.__setattr__(self, "version", os.fspath(self.version))

    def asked(self, ask: Ask, about: About) -> Ask | None:
        """Ask for the other version."""
        version = self.version
        return ask._replace(stale=version if isinstance(version, bytes) else os.fspath(version))


@dataclass(frozen=True, repr=False)
class Refuse(Fault):
    """The connection is reset before a byte is read.

    Reproduces a load balancer without a healthy target (AWS NLB), Docker's proxy before the container listens, a
    firewall that answers for a server. As nothing is read, only `client=` can choose: the name is None.
    """


@dataclass(frozen=True, repr=False)
class Headers(Fault):
    """Other fields, sent as they are given.

    Reproduces Envoy, which writes names in lower case (GRUB and U-Boot find no `content-length`), an empty value (which
    EDK2 fails on, issue 7443), nginx's 206 without Accept-Ranges, an ETag without quotes. Date and Connection are the
    server's own.

    Args:
        set: Fields by name. One that is there gets the name and the value given here.
        drop: Names of fields, in any case, that are not sent. Without Content-Length the connection ends with the
            answer.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    drop: _Sequence[str] = ()

    def __post_init__(self) -> None:
        drop = (self.drop,) if isinstance(self.drop, str) else tuple(self.drop)
        object.__setattr__(self, "drop", drop)
        object.__setattr__(self, "set", dict(self.set))
        for name in (*self.set, *drop):
            if not isinstance(name, str) or not _TOKEN.fullmatch(name):
                raise InvalidArgument(f"Headers takes names of fields, such as 'ETag', not {name!r}")
            if name.lower() in _SERVERS_OWN:
                raise InvalidArgument(f"Headers cannot change {name!r}, which the server adds to each answer")
        for name, value in self.set.items():
            _check_value(f"the value of {name!r}", value)
        if not self.set and not drop:
            raise InvalidArgument("Headers needs set={name: value} or drop=[name]: it changes nothing")

    def __hash__(self) -> int:
        return hash((tuple(self.set.items()), self.drop))

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with other fields."""
        new = {name.lower(): (name, value) for name, value in self.set.items()}
        dropped = {name.lower() for name in self.drop}
        fields = [new.pop(one[0].lower(), one) for one in response.fields if one[0].lower() not in dropped]
        fields += [one for name, one in new.items() if name not in dropped]
        if fields == list(response.fields):
            return None
        other = with_fields(response, fields)
        length, told = field_of(response, "content-length"), field_of(other, "content-length")
        if told != length and length is not None:
            other.plan.is_last = True
        other_bytes = any(field_of(response, name) != field_of(other, name) for name in _WHICH_BYTES)
        if told not in (length, None) or other_bytes:  # nobody knows what the client takes
            other.plan.subject = counting(other.plan.subject, ())
        return other


def _check_value(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidType(f"{name} must be text, not {value!r}")
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError:
        data = b"\n"
    if re.search(rb"[\r\n\x00]", data):
        raise InvalidArgument(f"{name} must be one line of characters up to U+00FF, not {value!r}")
