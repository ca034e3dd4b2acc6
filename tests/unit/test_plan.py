"""Claims about plans: what an ordinary WSGI server gets of them, and what becomes of a file that changes."""

from __future__ import annotations

import errno
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.plan import (
    READ_BYTES,
    Abort,
    ChangedWhileSent,
    Data,
    Pieces,
    Plan,
    ReadFailed,
    Region,
    Step,
    Stream,
    Wait,
    read_at,
)
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.root import Root
from httpserve.storage.served import Identity
from tests.cases import each

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path).open()
    yield root
    root.close()


@pytest.fixture
def file(root: Root, tmp_path: Path) -> Iterator[OpenFile]:
    (tmp_path / "f").write_bytes(CONTENT)
    file = root.open_file("f")
    yield file
    file.close()


def test_a_plan_is_the_bytes_of_its_steps_in_order(file: OpenFile) -> None:
    plan = Plan((Data(b"<"), Region(file, 3, 4), Data(b"|"), Region(file, 0, 2), Data(b">")), 9)

    body = b"".join(plan)

    assert body == b"<" + CONTENT[3:7] + b"|" + CONTENT[:2] + b">"


def test_a_disk_that_fails_is_told_from_a_connection_that_does(root: Root, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    file = OpenFile(os.open(tmp_path / "d", os.O_RDONLY), "d", Identity.of(os.stat(tmp_path / "d")), None, "d", 1)

    with pytest.raises(ReadFailed, match="read 'd': Is a directory") as failed:
        b"".join(Plan((Region(file, 0, 4),), 4))
    file.close()

    assert (failed.value.name, failed.value.cause.errno) == ("d", errno.EISDIR)
    assert not isinstance(failed.value, OSError)


@given(st.lists(st.tuples(*[st.integers(0, 1 << 40)] * 3), max_size=40))
def test_pieces_are_a_sequence_of_those_that_were_added(added: list[tuple[int, int, int]]) -> None:
    pieces = Pieces()
    for piece in added:
        pieces.add(*piece)

    assert (len(pieces), bool(pieces), list(pieces)) == (len(added), bool(added), added)
    assert [pieces[at] for at in range(len(added))] == added
    assert (pieces[-1:], pieces[1:3]) == (tuple(added[-1:]), tuple(added[1:3]))
    with pytest.raises(IndexError):
        pieces[len(added)]


def test_the_pieces_of_a_hundred_answers_of_255_ranges_take_few_kib() -> None:
    tracemalloc.start()
    try:
        kept = [Pieces() for _ in range(100)]
        for pieces in kept:
            for at in range(255):
                pieces.add(at * 200, at * 300, at * 300 + 50)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 800 << 10


def test_a_plan_without_steps_is_an_empty_body() -> None:
    assert list(Plan((), 0)) == []


def test_an_empty_region_yields_nothing(file: OpenFile) -> None:
    assert list(Plan((Region(file, 5, 0),), 0)) == []


def test_a_large_region_comes_in_pieces(root: Root, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (READ_BYTES + 1))
    file = root.open_file("large")

    pieces = [len(piece) for piece in Plan((Region(file, 0, READ_BYTES + 1),), READ_BYTES + 1)]
    file.close()

    assert pieces == [READ_BYTES, 1]


def test_a_wait_takes_its_time_and_sends_nothing() -> None:
    began = time.monotonic()

    body = list(Plan((Data(b"a"), Wait(0.01), Data(b"b")), 2))

    assert body == [b"a", b"b"]
    assert time.monotonic() - began >= 0.01


@each("reset", [False, True])
def test_an_abort_ends_the_body_with_an_error(reset: bool) -> None:
    body = iter(Plan((Data(b"a"), Abort(reset), Data(b"b")), 2))
    first = next(body)

    with pytest.raises(ChangedWhileSent):
        next(body)

    assert first == b"a"


def test_close_closes_the_file_of_every_region_and_may_be_repeated(root: Root, file: OpenFile) -> None:
    other = root.open_file("f")
    plan = Plan((Data(b"a"), Region(file, 0, 1), Region(other, 0, 1), Region(file, 1, 1)), 4)

    plan.close()
    plan.close()

    assert (file.fd, other.fd) == (-1, -1)


def test_a_stream_gives_its_pieces_among_the_other_steps_and_is_closed() -> None:
    closed: list[str] = []
    stream = Stream(iter([b"b", b"c"]), None, lambda: closed.append("stream"))
    plan = Plan((Data(b"a"), stream, Data(b"d")), None)

    assert list(plan) == [b"a", b"b", b"c", b"d"]
    plan.close()
    assert closed == ["stream"]


def test_a_file_that_became_shorter_is_not_sent(file: OpenFile, tmp_path: Path) -> None:
    os.truncate(tmp_path / "f", 10)

    with pytest.raises(ChangedWhileSent):
        list(Plan((Region(file, 0, len(CONTENT)),), len(CONTENT)))


def test_a_file_that_lost_all_its_bytes_is_not_sent(file: OpenFile, tmp_path: Path) -> None:
    os.truncate(tmp_path / "f", 0)

    with pytest.raises(ChangedWhileSent):
        read_at(Region(file, 0, 5), 0, 5)


def test_a_file_that_became_longer_is_not_sent(file: OpenFile, tmp_path: Path) -> None:
    with (tmp_path / "f").open("ab") as end:
        end.write(b"more")

    with pytest.raises(ChangedWhileSent):
        read_at(Region(file, 0, 5), 0, 5)


def test_a_file_that_was_rewritten_in_place_is_not_sent(file: OpenFile, tmp_path: Path) -> None:
    found = os.stat(tmp_path / "f")
    os.utime(tmp_path / "f", ns=(found.st_atime_ns, found.st_mtime_ns + 1))

    with pytest.raises(ChangedWhileSent):
        read_at(Region(file, 0, 5), 0, 5)


def test_a_file_that_was_replaced_is_sent_as_it_was_opened(file: OpenFile, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    os.replace(tmp_path / "new", tmp_path / "f")

    body = b"".join(Plan((Region(file, 0, len(CONTENT)),), len(CONTENT)))

    assert body == CONTENT


def _write_in_place(path: Path) -> None:
    """Change a byte, and set the time back as `touch -r` and `rsync --inplace --times` do."""
    found = os.stat(path)
    with path.open("r+b") as file:
        file.write(b"new")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _link_and_replace(path: Path) -> None:
    os.link(path, path.with_name("link"))
    os.replace(path.with_name("other"), path)


NAME_CHANGES: dict[str, Callable[[Path], object]] = {
    "replaced": lambda path: os.replace(path.with_name("other"), path),
    "deleted": lambda path: path.unlink(),
    "linked": lambda path: os.link(path, path.with_name("link")),
    "renamed": lambda path: path.rename(path.with_name("renamed")),
    "moved to another directory": lambda path: path.rename(path.parent / "d" / "f"),
    "linked, and replaced": lambda path: _link_and_replace(path),
}


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A file that another may be put into the place of, and a directory to move it to."""
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "d").mkdir()
    return tmp_path


@pytest.mark.parametrize("change", NAME_CHANGES)
def test_a_file_that_gets_or_loses_names_is_sent_as_it_was_opened(file: OpenFile, beside: Path, change: str) -> None:
    region = Region(file, 0, len(CONTENT))
    begun = read_at(region, 0, 10)
    NAME_CHANGES[change](beside / "f")

    assert begun + read_at(region, 10, 1000) + read_at(region, 1010, 14) == CONTENT


def test_a_file_that_is_written_in_place_with_its_old_time_is_not_sent(file: OpenFile, tmp_path: Path) -> None:
    _write_in_place(tmp_path / "f")

    with pytest.raises(ChangedWhileSent):
        read_at(Region(file, 0, 5), 0, 5)


@pytest.mark.parametrize(("change", "now"), [("renamed", "renamed"), ("linked", "f"), ("linked", "link")])
def test_a_file_that_is_written_in_place_under_a_new_name_is_not_sent(
    file: OpenFile, beside: Path, change: str, now: str
) -> None:
    region = Region(file, 0, len(CONTENT))
    NAME_CHANGES[change](beside / "f")
    read_at(region, 0, 10)
    _write_in_place(beside / now)

    with pytest.raises(ChangedWhileSent):
        read_at(region, 10, 10)


def test_each_part_of_many_is_seen_to_be_of_one_version(file: OpenFile, tmp_path: Path) -> None:
    steps = iter(Plan((Data(b"<"), Region(file, 0, 5), Data(b"|"), Region(file, 9, 5)), 12))
    begun = [next(steps), next(steps), next(steps)]
    _write_in_place(tmp_path / "f")

    with pytest.raises(ChangedWhileSent):
        next(steps)
    assert begun == [b"<", CONTENT[:5], b"|"]


def test_a_file_system_that_reads_short_is_asked_again(file: OpenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 3), offset))

    data = read_at(Region(file, 2, 8), 2, 8)

    assert data == CONTENT[2:10]


def test_any_cut_of_a_file_into_regions_gives_its_bytes_back(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)

    @given(st.lists(st.integers(0, len(CONTENT)), max_size=8))
    def check(cuts: list[int]) -> None:
        marks = sorted([0, *cuts, len(CONTENT)])
        root = Root(tmp_path).open()
        file = root.open_file("f")
        steps: list[Step] = [Region(file, start, stop - start) for start, stop in pairwise(marks)]
        plan = Plan(tuple(steps), len(CONTENT))
        try:
            assert b"".join(plan) == CONTENT
        finally:
            plan.close()
            root.close()

    check()
