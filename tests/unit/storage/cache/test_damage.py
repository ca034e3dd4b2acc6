"""Whatever becomes of the files of a cache, no false byte is served: it is read again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from httpserve.storage.cache.cache import Cache
from tests.cases import each
from tests.server.wire import eventually
from tests.unit.storage.cache.objects import BLOCK, MIB, Object, at_rest, fetched, opened, read

SIZE = 3 * MIB + 12_345


def file_of(cache: Cache, suffix: str) -> Path:
    """Return the only file of that kind."""
    (path,) = Path(cache.usage().path).glob(f"*{suffix}")
    return path


def overwrite(path: Path, at: int, data: bytes) -> None:
    before = path.stat().st_mtime_ns
    while path.stat().st_mtime_ns == before:  # within one tick of the clock it stays the same on older kernels
        with path.open("r+b") as file:
            file.seek(at)
            file.write(data)


def lose_a_block(cache: Cache) -> None:
    overwrite(file_of(cache, ".data"), 5 * BLOCK, bytes(BLOCK))  # as after a power cut


def flip_a_bit(cache: Cache) -> None:
    path = file_of(cache, ".data")
    overwrite(path, SIZE - 1, bytes([path.read_bytes()[-1] ^ 1]))


def swap_marks(cache: Cache) -> None:
    path = file_of(cache, ".map")
    one, other = path.read_bytes()[8192:8200], path.read_bytes()[8200:8208]
    overwrite(path, 8192, other + one)


def cut(cache: Cache) -> None:
    os.truncate(file_of(cache, ".data"), 2 * MIB)


def lose_the_data(cache: Cache) -> None:
    file_of(cache, ".data").unlink()


def lose_the_map(cache: Cache) -> None:
    file_of(cache, ".map").unlink()


def spoil_the_map(cache: Cache) -> None:
    overwrite(file_of(cache, ".map"), 10, b"what is this")


def cut_the_map(cache: Cache) -> None:
    os.truncate(file_of(cache, ".map"), 0)


def replace_the_data(cache: Cache) -> None:
    path = file_of(cache, ".data")
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def replace_by_a_link(cache: Cache) -> None:
    path = file_of(cache, ".data")
    other = path.with_suffix(".elsewhere")
    path.rename(other)
    path.symlink_to(other)


ALL_AGAIN = [cut, lose_the_data, lose_the_map, spoil_the_map, cut_the_map, replace_the_data]
A_BLOCK = [lose_a_block, flip_a_bit]


@each("damage", [*ALL_AGAIN, *A_BLOCK, swap_marks], lambda case: case.__name__)
def test_what_was_damaged_is_read_again_by_the_next_process(tmp_path: Path, damage: Callable[[Cache], None]) -> None:
    thing, where = Object(SIZE), str(tmp_path / damage.__name__)
    first, second = Cache(where, 64 * MIB), Cache(where, 64 * MIB)
    first.open()
    second.open()
    assert fetched(first, thing) == thing.data

    at_rest(first)
    damage(first)
    assert fetched(second, thing) == thing.data
    assert thing.sent <= (2 * SIZE if damage in ALL_AGAIN else SIZE + 2 * BLOCK)
    assert fetched(first, thing) == thing.data
    first.close()
    second.close()


@each("damage", [*A_BLOCK, cut, lose_the_data, replace_the_data], lambda case: case.__name__)
def test_what_was_damaged_since_is_read_again_by_the_same_process(
    tmp_path: Path, damage: Callable[[Cache], None]
) -> None:
    for where in (None, str(tmp_path / damage.__name__)):
        thing, cache = Object(SIZE), Cache(where, 64 * MIB)
        cache.open()
        assert fetched(cache, thing) == thing.data

        at_rest(cache)
        damage(cache)
        assert fetched(cache, thing) == thing.data
        cache.close()


def test_an_answer_whose_object_is_damaged_under_way_is_cut(cache: Cache) -> None:
    thing = Object(SIZE)
    board = opened(cache, thing)
    assert read(board, 0, SIZE) == thing.data
    eventually(lambda: board.is_whole, "the end of the last block")
    assert board.unchanged()

    flip_a_bit(cache)
    assert not board.unchanged()
    assert fetched(cache, thing) == thing.data
    board.close()


def test_the_last_block_that_comes_during_a_look_is_no_damage(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = Object(SIZE)
    gate = thing.gate(SIZE - 1000)
    file = opened(cache, thing)
    read(file, 0, SIZE - 1000, SIZE)
    fstat = os.fstat

    def slow(fd: int) -> os.stat_result:
        found = fstat(fd)
        monkeypatch.setattr(os, "fstat", fstat)
        gate.set()
        eventually(lambda: file.is_whole, "the last block")
        return found

    monkeypatch.setattr(os, "fstat", slow)

    assert file.unchanged()
    file.close()


def test_a_link_in_place_of_an_entry_is_not_followed(cache: Cache) -> None:
    thing = Object(SIZE)
    assert fetched(cache, thing) == thing.data

    at_rest(cache)
    replace_by_a_link(cache)
    assert cache.file(thing.key, thing.fetch, is_pinned=True) is None
