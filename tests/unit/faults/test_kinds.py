"""Each fault as a function from plan to plan, without a socket: what leaves, and what the record may count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.errors import InvalidArgument, InvalidType
from httpserve.faults import (
    Corrupt,
    Cut,
    Fault,
    Headers,
    IgnoreRange,
    NoLength,
    Redirect,
    Refuse,
    Slow,
    Stale,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
)
from httpserve.faults.fault import About, Ask
from httpserve.plan import Abort, Data, Piece, Plan, Region, Response, Step, Stream, Subject, Wait
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.root import Root
from tests.cases import each

CONTENT = bytes(range(200))
SIZE = len(CONTENT)
GET = About("GET", "fw.bin", has_range=False, is_http_10=False, seed="7")
HEAD = GET._replace(method="HEAD")
NO_TEXT: Any = 3
PARTS = ((10, 20), (90, 150))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenFile]:
    path: Path = tmp_path_factory.mktemp("faults")
    (path / "fw.bin").write_bytes(CONTENT)
    root = Root(path).open()
    file = root.open_file("fw.bin")
    yield file
    file.close()
    root.close()


def fields(length: int, *others: tuple[str, str]) -> list[tuple[str, str]]:
    return [("Content-Type", "x/y"), ("Content-Length", str(length)), *others, ("ETag", '"1"')]


def whole(file: OpenFile) -> Response:
    plan = Plan((Region(file, 0, SIZE),), SIZE, Subject("fw.bin", '"1"', SIZE, (Piece(0, 0, SIZE),)), b"raw")
    return Response(200, fields(SIZE), plan)


def part(file: OpenFile, start: int, stop: int) -> Response:
    subject = Subject("fw.bin", '"1"', SIZE, (Piece(0, start, stop),))
    told = ("Content-Range", f"bytes {start}-{stop - 1}/{SIZE}")
    return Response(206, fields(stop - start, told), Plan((Region(file, start, stop - start),), stop - start, subject))


def parts(file: OpenFile) -> Response:
    """Return an answer of two parts, each with a head of three bytes."""
    steps: list[Step] = []
    pieces, length = [], 0
    for start, stop in PARTS:
        steps += [Data(b"---"), Region(file, start, stop - start)]
        pieces.append(Piece(length + 3, start, stop))
        length += 3 + stop - start
    return Response(206, fields(length), Plan(tuple(steps), length, Subject("fw.bin", '"1"', SIZE, tuple(pieces))))


def memory(content: bytes = CONTENT) -> Response:
    """Return an answer that is no file's."""
    return Response(200, fields(len(content)), Plan((Data(content),), len(content)))


def stream(*pieces: bytes) -> Response:
    return Response(200, fields(SIZE), Plan((Stream(iter(pieces), None),), None))


def head() -> Response:
    return Response(200, fields(SIZE), Plan((), 0, Subject("fw.bin", '"1"', SIZE, ())))


def met(fault: Fault, response: Response, about: About = GET) -> Response:
    found = fault.altered(response, about)
    assert found is not None
    return found


def body_of(response: Response) -> bytes:
    """Return the bytes that leave before the answer ends or is cut."""
    sent = b""
    for step in response.plan.steps:
        if isinstance(step, Abort):
            break
        if not isinstance(step, Wait):
            sent += b"".join(Plan((step,), None))
    return sent


def ends(response: Response) -> list[Step]:
    return [step for step in response.plan.steps if isinstance(step, Wait | Abort)]


def value(response: Response, name: str) -> str | None:
    return dict(response.fields).get(name)


def counted(response: Response) -> list[tuple[int, int]]:
    subject = response.plan.subject
    return [] if subject is None else [(piece.start, piece.stop) for piece in subject.pieces]


# Where a byte lies


@each(
    "at, byte",
    [(0, 0), (50, 50), (0.5, 100), (0.0, 0), (-1, 199), (-200, 0), (-500, 0), (1.0, 200), (200, 200), (0.255, 51)],
)
def test_a_cut_comes_at_its_byte_of_the_file(file: OpenFile, at: float, byte: int) -> None:
    cut = met(Cut(at), whole(file))

    assert body_of(cut) == CONTENT[:byte]
    assert ends(cut) == [Abort(reset=False)]
    assert (cut.plan.length, cut.status, list(cut.fields)) == (SIZE, 200, fields(SIZE))


@each(
    "at, sent",
    [(10, b"---"), (15, b"---" + CONTENT[10:15]), (20, None), (90, b"---" + CONTENT[10:20] + b"---"), (0, None)],
)
def test_the_byte_is_of_the_file_whichever_ranges_are_asked(file: OpenFile, at: int, sent: bytes | None) -> None:
    found = Cut(at).altered(parts(file), GET)

    assert (None if found is None else body_of(found)) == sent


def test_a_range_without_the_byte_is_as_it_was(file: OpenFile) -> None:
    assert Cut(0.5).altered(part(file, 0, 100), GET) is None
    assert Cut(201).altered(whole(file), GET) is None
    assert Stall(0.5, 1.0).altered(part(file, 101, 200), GET) is None
    assert Corrupt(5).altered(part(file, 6, 200), GET) is None
    assert Cut(0).altered(head(), HEAD) is None


def test_other_content_than_a_file_has_bytes_too() -> None:
    assert body_of(met(Cut(0.5), memory(b"1234"))) == b"12"
    assert body_of(met(Cut(5), Response(200, [], Plan((Stream(iter([b"1234", b"5678"]), 8),), 8)))) == b"12345"


# How it ends


def test_a_cut_ends_in_good_order_or_by_a_reset(file: OpenFile) -> None:
    assert ends(met(Cut(1, how="reset"), whole(file))) == [Abort(reset=True)]
    assert ends(met(Cut(1, "fin"), whole(file))) == [Abort(reset=False)]


def test_a_stall_pauses_before_its_byte_and_before_the_head_at_the_very_first(file: OpenFile) -> None:
    assert met(Stall(0.5, 2), whole(file)).plan.steps == [Region(file, 0, 100), Wait(2.0), Region(file, 100, 100)]
    first = met(Stall(0, None), head(), HEAD).plan
    assert (first.before, first.steps) == (Wait(math.inf), ())
    assert met(Stall(0.0, 1.5), part(file, 0, 5)).plan.before == Wait(1.5)
    assert met(Stall(0, 1.5), part(file, 5, 10)).plan.before == Wait(1.5)
    assert Stall(-SIZE, 1.5).altered(part(file, 5, 10), GET) is None
    assert Stall(0.5, 1).altered(met(Cut(0.25), whole(file)), GET) is None


def test_a_slow_answer_is_the_same_in_parts_of_50_ms_with_pauses(file: OpenFile) -> None:
    slow = met(Slow(1000), parts(file))

    assert body_of(slow) == body_of(parts(file))
    lengths = [step.length if isinstance(step, Region) else len(step.data) for step in slow.plan.steps[::2]]  # type: ignore[union-attr]  # no others here
    assert lengths == [3, 10, 3, 50, 10]
    assert all(isinstance(step, Wait) for step in slow.plan.steps[1::2])
    assert len(slow.plan.steps) == 9
    assert slow.plan.sources == parts(file).plan.steps
    assert Slow(10).altered(head(), HEAD) is None


def test_a_slow_answer_of_a_gigabyte_is_no_list_of_steps(file: OpenFile) -> None:
    plan = Plan((Region(file, 0, 1 << 30),), 1 << 30)

    slow = met(Slow(1000), Response(200, [], plan)).plan

    assert len(slow.steps) == 2 * -(-(1 << 30) // 50) - 1
    assert slow.steps[-1] == Region(file, (1 << 30) - 24, 24)
    assert slow.sources is plan.steps


def test_a_slow_stream_is_the_same_in_smaller_pieces() -> None:
    slow = met(Slow(1_000_000), stream(CONTENT * 500, b"", b"end"))

    (step,) = slow.plan.steps
    assert isinstance(step, Stream)
    pieces = list(step.pieces)
    assert (b"".join(pieces), max(map(len, pieces))) == (CONTENT * 500 + b"end", 50_000)


# Other bytes


@each("count", [1, 3, 100])
def test_corrupt_flips_one_bit_in_each_byte_and_none_of_them_counts(file: OpenFile, count: int) -> None:
    for response in (whole(file), memory(), parts(file)):
        before = body_of(response)
        after = met(Corrupt(100, count), response)
        different = [one ^ other for one, other in zip(before, body_of(after), strict=True) if one != other]

        assert [bit.bit_count() for bit in different] == [1] * (count if response.status == 200 else min(count, 50))
        assert (after.fields, after.plan.length) == (response.fields, response.plan.length)
        assert not any(start < 100 + count and stop > 100 for start, stop in counted(after))


def test_corrupt_is_the_same_for_the_same_seed_whichever_ranges_are_asked(file: OpenFile) -> None:
    fault = Corrupt(95, 20)

    again, other = body_of(met(fault, whole(file))), body_of(met(fault, whole(file), GET._replace(seed="8")))

    assert body_of(met(fault, whole(file))) == again != other
    assert body_of(met(fault, part(file, 90, 150))) == again[90:150]


def test_corrupt_content_that_is_not_of_a_file_counts_for_nothing(file: OpenFile) -> None:
    corrupt = met(Corrupt(1), met(Status(200, body="instead"), whole(file)))

    assert (body_of(corrupt)[:1], body_of(corrupt) == b"instead", counted(corrupt)) == (b"i", False, [])


def test_corrupt_flips_bits_of_a_stream_too() -> None:
    flipped = body_of(met(Corrupt(1, 2), Response(200, [], Plan((Stream(iter([b"ab", b"cd"]), 4),), 4))))

    assert (flipped[:1], flipped[3:]) == (b"a", b"d")
    assert flipped[1:3] != b"bc"


def test_a_wrong_range_is_another_part_and_says_so_and_counts_nothing(file: OpenFile) -> None:
    for by, expected in ((5, (15, 25)), (-4, (6, 16)), (-50, (0, 10)), (500, (199, 200))):
        other = met(WrongRange(by), part(file, 10, 20))
        start, stop = expected

        assert body_of(other) == CONTENT[start:stop]
        assert value(other, "Content-Range") == f"bytes {start}-{stop - 1}/{SIZE}"
        assert value(other, "Content-Length") == str(stop - start)
        assert counted(other) == []
    assert WrongRange(5).altered(whole(file), GET) is None
    assert WrongRange(-5).altered(part(file, 0, 10), GET) is None


# Another head


@each("by, told, kept", [(3, 203, (0, 199)), (-50, 150, (0, 150)), (-500, 0, None)])
def test_a_wrong_length_is_told_and_the_connection_ends(
    file: OpenFile, by: int, told: int, kept: tuple[int, int] | None
) -> None:
    other = met(WrongLength(by), whole(file))

    assert (value(other, "Content-Length"), body_of(other)) == (str(told), CONTENT)
    assert (other.plan.is_last, other.plan.raw_fields, counted(other)) == (True, None, [kept] if kept else [])


def test_no_length_ends_the_connection_and_everything_counts(file: OpenFile) -> None:
    other = met(NoLength(), whole(file))

    assert (value(other, "Content-Length"), other.plan.is_last, body_of(other)) == (None, True, CONTENT)
    assert counted(other) == [(0, SIZE)]
    assert NoLength().altered(Response(304, [("ETag", '"1"')], Plan((), 0)), GET) is None


def test_chunks_carry_the_same_bytes_and_the_record_knows_where(file: OpenFile) -> None:
    for response in (whole(file), parts(file), memory()):
        other = met(NoLength(chunked=True), response)
        sent = body_of(other)

        assert value(other, "Transfer-Encoding") == "chunked"
        assert (value(other, "Content-Length"), other.plan.is_last, other.plan.length) == (None, False, len(sent))
        assert unchunked(sent) == body_of(response)
        for offset, start, stop in other.plan.subject.pieces if other.plan.subject else ():
            assert sent[offset : offset + stop - start] == CONTENT[start:stop]
        assert sum(stop - start for start, stop in counted(other)) == sum(b - a for a, b in counted(response))
    empty = met(
        NoLength(chunked=True), Response(200, fields(0), Plan((), 0, Subject("no", '"1"', 0, (Piece(0, 0, 0),))))
    )
    assert (body_of(empty), counted(empty)) == (b"0\r\n\r\n", [(0, 0)])
    assert met(NoLength(chunked=True), whole(file), GET._replace(is_http_10=True)).plan.is_last
    assert met(NoLength(chunked=True), head(), HEAD).plan.steps == ()


def unchunked(data: bytes) -> bytes:
    content = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        content, end, data = content + data[:length], data[length : length + 2], data[length + 2 :]
        assert end == b"\r\n"
        if not length:
            assert not data
            return content


def test_a_status_replaces_the_answer_and_its_content(file: OpenFile) -> None:
    other = met(Status(503, retry_after=1.2, body="later"), whole(file))

    assert (other.status, value(other, "Retry-After"), value(other, "Content-Length")) == (503, "2", "5")
    assert (body_of(other), value(other, "ETag"), counted(other)) == (b"later", None, [])
    assert other.plan.subject is not None
    assert other.plan.subject.name == "fw.bin"
    assert body_of(met(Status(500, body=b"x"), head(), HEAD)) == b""
    assert value(met(Status(304), whole(file)), "Content-Length") is None
    assert met(Status(599), memory()).fields[-1] == ("Content-Length", "0")


def test_a_redirect_says_where_to(file: OpenFile) -> None:
    other = met(Redirect("/other bin", 307), whole(file))

    assert (other.status, value(other, "Location"), body_of(other)) == (307, "/other bin", b"")


def test_headers_are_sent_as_they_are_given(file: OpenFile) -> None:
    other = met(Headers({"etag": "", "X-New": "1"}, drop=["CONTENT-TYPE"]), whole(file))

    assert other.fields == [("Content-Length", "200"), ("etag", ""), ("X-New", "1")]
    assert (other.plan.is_last, other.plan.raw_fields, body_of(other)) == (False, None, CONTENT)
    assert met(Headers(drop="content-length"), whole(file)).plan.is_last
    lying = met(Headers({"Content-Length": "7"}), whole(file))
    assert (lying.plan.is_last, counted(lying)) == (True, [])
    assert counted(met(Headers({"content-length": str(SIZE)}), whole(file))) == [(0, SIZE)]
    for unclear in (Headers({"Content-Range": "bytes 0-9/200"}), Headers(drop=["Content-Range"])):
        assert counted(met(unclear, part(file, 10, 20))) == []
    assert counted(met(Headers({"Transfer-Encoding": "chunked"}), whole(file))) == []
    assert Headers(drop=["X-New"]).altered(whole(file), GET) is None


def test_some_faults_change_what_is_asked_for() -> None:
    ranged = GET._replace(has_range=True)

    assert IgnoreRange().asked(Ask(), ranged) == Ask(ignores_range=True)
    assert IgnoreRange().asked(Ask(), GET) is None
    assert IgnoreRange().asked(Ask(), ranged._replace(method="HEAD")) is None
    assert Truncate(0.5).asked(Ask(stale="old"), GET) == Ask(shortened=0.5, stale="old")
    assert Stale(Path("old.bin")).asked(Ask(), GET) == Ask(stale="old.bin")
    assert Stale(b"old").asked(Ask(), GET) == Ask(stale=b"old")


# Together


@given(
    at=st.integers(-250, 250) | st.floats(0.0, 1.0),
    ranges=st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 60)), min_size=1, max_size=4),
    faults=st.lists(
        st.sampled_from([Corrupt(70, 9), NoLength(chunked=True), Stall(0.3, 1), WrongLength(-7)]), max_size=3
    ),
)
def test_what_a_record_counts_is_what_left(at: float, ranges: list[tuple[int, int]], faults: list[Fault]) -> None:
    steps: list[Step] = []
    pieces, length = [], 0
    for start, count in ranges:
        data = CONTENT[start : start + count]
        steps += [Data(b"--"), Data(data)]
        pieces.append(Piece(length + 2, start, start + len(data)))
        length += 2 + len(data)
    response = Response(206, fields(length), Plan(tuple(steps), length, Subject("n", "v", SIZE, tuple(pieces))))
    for fault in (*faults, Cut(at), Slow(1e9)):
        response = fault.altered(response, GET) or response

    sent = body_of(response)

    subject = response.plan.subject
    assert subject is not None
    for offset, start, stop in subject.pieces:
        assert CONTENT[start:stop].startswith(sent[offset : offset + stop - start])
    assert sent.startswith(b"--") or faults or not sent


# What they are


@each(
    "make",
    [
        lambda: Cut(1.5),
        lambda: Cut(-0.1),
        lambda: Cut("50%"),  # type: ignore[arg-type]  # no such type
        lambda: Cut(True),
        lambda: Cut(1, how="rst"),  # type: ignore[arg-type]  # no such type
        lambda: Slow(0),
        lambda: Slow(math.inf),
        lambda: Slow(math.nan),
        lambda: Stall(0, -1),
        lambda: Stall(None, 1),  # type: ignore[arg-type]  # no such type
        lambda: Corrupt(0, 0),
        lambda: Truncate("half"),  # type: ignore[arg-type]  # no such type
        lambda: WrongLength(0),
        lambda: WrongRange(1.5),  # type: ignore[arg-type]  # no such type
        lambda: Status(100),
        lambda: Status(1000),
        lambda: Status(500, -1),
        lambda: Redirect("/a\r\nb"),
        lambda: Redirect("/a", 200),
        lambda: Headers(),
        lambda: Headers({"a b": "c"}),
        lambda: Headers({"a": "b\nc"}),
        lambda: Headers({"Date": "now"}),
        lambda: Headers(drop=["Connection"]),
    ],
)
def test_what_means_nothing_is_refused(make: Any) -> None:
    with pytest.raises(InvalidArgument):
        make()


@each("make", [lambda: Status(200, body=NO_TEXT), lambda: Headers({"a": NO_TEXT}), lambda: Redirect(NO_TEXT)])
def test_what_is_of_another_type_is_refused(make: Any) -> None:
    with pytest.raises(InvalidType):
        make()


@each(
    "fault, text",
    [
        (Cut(0.5), "Cut(0.5)"),
        (Cut(-1, "reset"), "Cut(-1, how='reset')"),
        (Status(503, 2), "Status(503, retry_after=2)"),
        (Refuse(), "Refuse()"),
        (NoLength(True), "NoLength(chunked=True)"),
        (Headers({"A": "b"}), "Headers(set={'A': 'b'})"),
    ],
)
def test_a_fault_shows_itself_as_the_call_that_makes_it(fault: Fault, text: str) -> None:
    assert repr(fault) == text
    assert hash(fault) == hash(eval(text, vars(__import__("httpserve.faults", fromlist=["faults"]))))
