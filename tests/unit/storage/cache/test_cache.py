"""What is read once is there for all, and is served while it comes."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from httpserve.errors import StoreUnavailable
from httpserve.plan import ReadFailed
from httpserve.storage.cache.cache import Cache
from httpserve.storage.served import VersionGone
from tests.server.wire import eventually
from tests.unit.storage.cache.objects import BLOCK, MIB, Object, fetched, opened, read

SIZE = 5 * MIB + 12_345


@pytest.mark.parametrize("is_pinned", [True, False])
def test_an_object_is_read_once_by_one_get_and_served_from_then_on(cache: Cache, is_pinned: bool) -> None:
    thing = Object(SIZE)

    assert fetched(cache, thing, is_pinned=is_pinned) == thing.data
    assert fetched(cache, thing, is_pinned=is_pinned) == thing.data
    assert fetched(cache, thing, 70_000, 3 * MIB, is_pinned=is_pinned) == thing.data[70_000 : 3 * MIB]
    assert (thing.reads, thing.sent) == ([(0, SIZE)], SIZE)
    again = opened(cache, thing)
    assert (again.is_whole, again.unchanged()) == (True, True)
    again.close()


@pytest.mark.parametrize("is_pinned", [True, False])
def test_boards_that_come_together_share_one_get(cache: Cache, is_pinned: bool) -> None:
    thing = Object(SIZE)

    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: fetched(cache, thing, is_pinned=is_pinned), range(8)))

    assert bodies == [thing.data] * 8
    assert thing.reads == [(0, SIZE)]


def test_a_board_gets_what_is_there_while_the_rest_comes(cache: Cache) -> None:
    thing = Object(SIZE)
    gate = thing.gate(2 * MIB + 1000)
    first, later = opened(cache, thing), opened(cache, thing)

    assert read(first, 0, 2 * MIB + 1000, SIZE) == thing.data[: 2 * MIB + 1000]
    assert (first.arrived(2 * MIB + 1000, MIB, 0.0), first.is_whole) == (0, False)
    assert later.arrived(MIB, MIB, 0.0) == MIB
    gate.set()
    assert read(first, 2 * MIB + 1000, SIZE - 2 * MIB - 1000) == thing.data[2 * MIB + 1000 :]
    assert thing.reads == [(0, SIZE)]
    first.close()
    later.close()


def test_a_far_range_has_its_own_read_and_waits_for_no_other(cache: Cache) -> None:
    thing = Object(SIZE)
    gate = thing.gate(MIB)
    whole = opened(cache, thing)
    assert whole.arrived(0, SIZE, 10.0)

    assert fetched(cache, thing, 4 * MIB) == thing.data[4 * MIB :]
    gate.set()
    assert read(whole, 0, SIZE) == thing.data
    assert thing.sent <= SIZE + MIB
    whole.close()


def test_a_near_range_waits_for_the_read_that_comes_by(cache: Cache) -> None:
    thing = Object(SIZE)
    gate = thing.gate(MIB)
    whole, near = opened(cache, thing), opened(cache, thing)
    assert read(whole, 0, MIB, SIZE) == thing.data[:MIB]

    assert near.arrived(MIB + 2 * BLOCK, 1000, 0.0) == 0
    gate.set()
    assert read(near, MIB + 2 * BLOCK, 1000) == thing.data[MIB + 2 * BLOCK :][:1000]
    assert thing.reads == [(0, SIZE)]
    whole.close()
    near.close()


@pytest.mark.parametrize("is_pinned", [True, False])
def test_the_last_board_gone_ends_the_read_and_what_came_is_kept(cache: Cache, is_pinned: bool) -> None:
    thing = Object(SIZE)
    gate = thing.gate(2 * MIB + 1000)
    board = opened(cache, thing, is_pinned=is_pinned)
    assert read(board, 0, 2 * MIB, SIZE) == thing.data[: 2 * MIB]

    board.close()
    gate.set()
    eventually(lambda: not thing.open, "the end of the read")
    assert thing.sent <= 2 * MIB + BLOCK
    assert fetched(cache, thing, is_pinned=is_pinned) == thing.data
    assert thing.sent == SIZE


def test_random_ranges_move_at_most_four_times_what_is_asked_and_nothing_again(cache: Cache) -> None:
    thing, chance = Object(40 * MIB), random.Random(14)
    starts = [chance.randrange(40 * MIB - 250_000) for _ in range(137)]

    def ask() -> bool:
        return all(fetched(cache, thing, at, at + 250_000) == thing.data[at : at + 250_000] for at in starts)

    assert ask()
    eventually(lambda: not thing.open, "the end of the last block")
    moved = thing.sent
    assert moved <= 4 * 137 * 250_000
    assert ask()
    assert thing.sent == moved


def test_all_who_wait_learn_why_no_more_comes_and_the_next_goes_on_there(cache: Cache) -> None:
    thing = Object(SIZE)
    thing.breaks_at = 3 * MIB
    gate = thing.gate(3 * MIB)
    boards = [opened(cache, thing) for _ in range(3)]
    for board in boards:
        assert read(board, 0, 3 * MIB, SIZE) == thing.data[: 3 * MIB]

    gate.set()
    for board in boards:
        with pytest.raises(ReadFailed) as told:
            read(board, 3 * MIB, SIZE - 3 * MIB)
        assert isinstance(told.value.cause, StoreUnavailable)
        board.close()
    thing.breaks_at = None
    assert fetched(cache, thing) == thing.data
    assert thing.sent == SIZE


def test_a_version_that_is_gone_is_forgotten(cache: Cache) -> None:
    thing = Object(SIZE)
    assert fetched(cache, thing, 0, MIB) == thing.data[:MIB]
    board = opened(cache, thing)
    thing.is_gone = True

    assert read(board, 0, MIB) == thing.data[:MIB]
    with pytest.raises(ReadFailed) as told:
        read(board, MIB, MIB)
    assert isinstance(told.value.cause, VersionGone)
    board.close()
    eventually(lambda: not cache.usage().entries, "the end of the entry")


@pytest.mark.parametrize("stop", [SIZE, BLOCK, 3 * MIB])
def test_what_a_store_mixes_is_neither_completed_nor_kept(cache: Cache, stop: int) -> None:
    thing = Object(SIZE)
    gate = thing.gate(stop - 1)
    board = opened(cache, thing, is_pinned=False)
    assert board.arrived(0, stop, 0.1) < stop
    thing.replaced_by = bytes(SIZE)

    gate.set()
    with pytest.raises(ReadFailed) as told:
        read(board, 0, stop)
    assert isinstance(told.value.cause, VersionGone)
    board.close()
    thing.replaced_by = None
    assert fetched(cache, thing, is_pinned=False) == thing.data


def test_a_part_of_what_comes_unpinned_is_asked_for_once_at_its_end(cache: Cache) -> None:
    thing = Object(SIZE)
    gate = thing.gate(4 * MIB)
    whole = opened(cache, thing, is_pinned=False)
    assert read(whole, 0, 4 * MIB, SIZE) == thing.data[: 4 * MIB]

    assert thing.asked == 0
    part = opened(cache, thing, is_pinned=False)
    assert part.arrived(0, 4 * MIB + BLOCK, 0.0) == 4 * MIB
    gate.set()
    assert read(part, 0, 4 * MIB + BLOCK) == thing.data[: 4 * MIB + BLOCK]
    assert read(whole, 4 * MIB, SIZE - 4 * MIB) == thing.data[4 * MIB :]
    assert (thing.reads, thing.asked) == ([(0, SIZE)], 2)
    whole.close()
    part.close()


def test_a_cache_that_is_closed_ends_reads_and_lets_who_waits_know(cache: Cache) -> None:
    thing = Object(SIZE)
    gate = thing.gate(MIB)
    board = opened(cache, thing)
    assert read(board, 0, MIB, SIZE) == thing.data[:MIB]

    cache.close()
    with pytest.raises(ReadFailed):
        board.arrived(MIB, MIB, 10.0)
    gate.set()
    eventually(lambda: not thing.open, "the end of the read")
    board.close()
    cache.close()
    assert cache.file(thing.key, thing.fetch, is_pinned=True) is None
    cache.open()
    assert fetched(cache, thing) == thing.data


def test_an_empty_object_is_whole(cache: Cache) -> None:
    thing = Object(0)
    board = opened(cache, thing)

    assert (board.is_whole, board.unchanged(), thing.reads) == (True, True, [])
    board.close()


def test_two_caches_on_one_directory_read_an_object_once(two: tuple[Cache, Cache]) -> None:
    thing = Object(SIZE)

    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda number: fetched(two[number % 2], thing), range(8)))

    assert bodies == [thing.data] * 8
    assert thing.reads == [(0, SIZE)]
    first, second = [one.usage() for one in two]
    assert first == second
    assert [(one.name, one.size, one.in_use) for one in first.entries] == [("image", SIZE, False)]


def test_what_another_does_not_go_on_with_is_taken_over(two: tuple[Cache, Cache]) -> None:
    thing = Object(SIZE)
    gate = thing.gate(2 * MIB)
    board, other = opened(two[0], thing), opened(two[1], thing)
    assert read(board, 0, 2 * MIB, SIZE) == thing.data[: 2 * MIB]

    assert read(other, 0, 2 * MIB, SIZE) == thing.data[: 2 * MIB]
    assert other.arrived(2 * MIB, MIB, 0.0) == 0
    board.close()
    gate.set()
    assert read(other, 2 * MIB, SIZE - 2 * MIB) == thing.data[2 * MIB :]
    assert thing.sent == SIZE
    other.close()


def test_a_process_that_was_stopped_keeps_nobody_waiting(
    two: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, thing = Object(SIZE), Object(SIZE)
    gate = stopped.gate(MIB)
    board = opened(two[0], stopped)
    assert read(board, 0, MIB, SIZE) == thing.data[:MIB]

    monkeypatch.setattr("httpserve.storage.cache.fill.STUCK_SECONDS", 0.0)
    assert fetched(two[1], thing) == thing.data
    gate.set()
    assert read(board, 0, SIZE) == thing.data
    board.close()
