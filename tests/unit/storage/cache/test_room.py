"""A cache keeps to its bound, and what finds no room goes past it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from httpserve.errors import RootUnusable
from httpserve.plan import ReadFailed
from httpserve.storage.cache.cache import Cache
from httpserve.storage.cache.memory import MemoryCache
from httpserve.storage.cache.source import Key
from httpserve.storage.served import VersionGone
from tests.cases import each
from tests.server.wire import eventually
from tests.unit.storage.cache.objects import BLOCK, MIB, Object, at_rest, fetched, opened, read


def small(path: str | None) -> Cache:
    cache = Cache(path, 8 * MIB)
    cache.open()
    return cache


def names(cache: Cache) -> list[str]:
    return [one.name for one in cache.usage().entries]


@each("is_shared", [False, True])
def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, is_shared: bool) -> None:
    cache = small(str(tmp_path / "cache") if is_shared else None)
    things = [Object(2 * MIB, f"image {number}", number) for number in range(6)]
    for thing in things[:3]:
        assert fetched(cache, thing) == thing.data
        at_rest(cache)
    assert fetched(cache, things[0]) == things[0].data

    for thing in things[3:]:
        assert fetched(cache, thing) == thing.data
        at_rest(cache)
        assert cache.usage().bytes <= 8 * MIB

    assert "image 1" not in names(cache)
    assert "image 5" in names(cache)
    cache.close()


def test_what_is_in_use_stays_and_the_rest_goes_past(caplog: pytest.LogCaptureFixture) -> None:
    cache = small(None)
    kept, large = Object(5 * MIB, "kept", 1), Object(6 * MIB, "large", 2)
    board = opened(cache, kept)
    assert read(board, 0, 5 * MIB) == kept.data

    with caplog.at_level(logging.WARNING):
        assert fetched(cache, large) == large.data
        assert cache.file(large.key, large.fetch, is_pinned=True) is None
    assert len(caplog.records) == 1
    assert "kept" in names(cache)
    assert cache.usage().bytes <= 8 * MIB
    board.close()
    eventually(lambda: is_kept(cache, large), "room")
    assert names(cache) == ["large"]
    cache.close()


def is_kept(cache: Cache, thing: Object) -> bool:
    """Fetch an object; say whether all of it is kept."""
    file = cache.file(thing.key, thing.fetch, is_pinned=True)
    if file is None:
        return False
    assert read(file, 0, thing.key.size) == thing.data
    file.close()
    return cache.usage().entries[0].kept >= thing.key.size


@each("is_pinned", [True, False])
def test_what_goes_past_serves_any_part_and_never_a_mixture(is_pinned: bool) -> None:
    cache = small(None)
    kept, large = Object(7 * MIB, "kept", 1), Object(8 * MIB, "large", 2)
    board, other = opened(cache, kept), opened(cache, large, is_pinned=is_pinned)
    assert read(board, 0, 7 * MIB) == kept.data
    assert read(other, 0, 8 * MIB) == large.data  # from here on past the cache

    for start, length in ((3 * MIB, 5 * MIB), (10, 3 * MIB), (0, 1), (8 * MIB - 1, 1)):
        assert read(other, start, length) == large.data[start : start + length]
    gate = large.gate(6 * MIB)
    assert read(other, 2 * MIB, 4 * MIB, 6 * MIB) == large.data[2 * MIB : 6 * MIB]
    assert other.arrived(6 * MIB, 2 * MIB, 0.0) == 0
    large.replaced_by, large.is_gone = bytes(8 * MIB), is_pinned
    gate.set()
    with pytest.raises(ReadFailed) as told:
        read(other, 6 * MIB, 2 * MIB)
    assert isinstance(told.value.cause, VersionGone)
    other.close()
    board.close()
    eventually(lambda: not large.open, "the end of the reads")
    cache.close()


def test_an_object_above_the_bound_is_not_kept(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    thing = Object(1000)

    assert cache.file(thing.key._replace(size=65 * MIB), thing.fetch, is_pinned=True) is None
    assert names(cache) == []
    assert "image has 65.0 MiB" in caplog.text


def test_usage_says_what_is_there_and_prune_leaves_what_is_in_use(cache: Cache) -> None:
    used, idle = Object(3 * MIB, "used", 1), Object(2 * MIB, "idle", 2)
    assert fetched(cache, idle) == idle.data
    at_rest(cache)
    board = opened(cache, used)
    assert read(board, MIB, MIB) == used.data[MIB : 2 * MIB]

    usage = cache.usage()
    first, second = sorted(usage.entries, key=lambda one: one.etag)
    assert (first.name, first.etag, first.size, first.in_use) == ("used", '"1"', 3 * MIB, True)
    assert (second.name, second.etag, second.size, second.in_use) == ("idle", '"2"', 2 * MIB, False)
    assert MIB <= first.kept < 2 * MIB <= second.kept
    assert usage.bytes == sum(one.kept for one in usage.entries)
    assert [one.name for one in cache.prune().entries] == ["used"]
    assert read(board, 0, 3 * MIB) == used.data
    board.close()
    at_rest(cache)
    assert cache.prune() == cache.usage()
    assert names(cache) == []


def test_prune_to_a_size_keeps_what_was_used_last(cache: Cache) -> None:
    for number in range(4):
        assert fetched(cache, thing := Object(MIB, f"image {number}", number)) == thing.data
        at_rest(cache)

    assert [one.name for one in cache.prune(2 * MIB + BLOCK).entries] == ["image 3", "image 2"]


def test_a_local_file_becomes_the_entry(cache: Cache, tmp_path: Path) -> None:
    thing = Object(2 * MIB + 5)
    for directory in (tmp_path, Path("/dev/shm")):
        spool = directory / f"httpserve-test-spool-{os.getpid()}"
        spool.write_bytes(thing.data)
        cache.adopt(thing.key, str(spool))
        spool.unlink(missing_ok=True)
        board = opened(cache, thing)
        assert board.is_whole or thing.reads == []
        assert read(board, 0, 2 * MIB + 5) == thing.data
        board.close()
        cache.prune()
    assert thing.reads == []


def test_what_is_adopted_keeps_to_the_bound(tmp_path: Path) -> None:
    cache = small(None)
    for number in range(10):
        thing, spool = Object(3 * MIB, f"image {number}", number), tmp_path / "spool"
        spool.write_bytes(thing.data)
        cache.adopt(thing.key, str(spool))

        assert cache.usage().bytes <= 8 * MIB
    assert names(cache)[0] == "image 9"
    cache.close()


def test_a_file_that_is_not_the_object_is_not_adopted(cache: Cache, tmp_path: Path) -> None:
    thing, spool = Object(2 * MIB), tmp_path / "spool"
    spool.write_bytes(thing.data[:-1])

    cache.adopt(thing.key, str(spool))
    cache.adopt(thing.key, str(tmp_path / "absent"))
    assert fetched(cache, thing) == thing.data
    assert thing.reads == [(0, 2 * MIB)]


def test_a_cache_dir_of_which_others_may_change_what_boards_get_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o700)
    open_to_all.chmod(0o777)
    (tmp_path / "file").touch()

    with pytest.raises(RootUnusable, match="chmod go-w"):
        Cache(str(open_to_all)).open()
    with pytest.raises(RootUnusable, match="keep a cache in"):
        Cache(str(tmp_path / "file")).open()
    open_to_all.chmod(0o755)
    cache = Cache(str(open_to_all))
    cache.open()
    assert Path(cache.usage().path).stat().st_mode & 0o777 == 0o700
    cache.close()
    assert open_to_all.exists()


def test_a_planted_link_in_place_of_the_hosts_folder_is_refused(tmp_path: Path) -> None:
    cache = small(str(tmp_path / "cache"))
    folder = Path(cache.usage().path)
    cache.close()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RootUnusable):
        cache.open()


def test_small_objects_stay_in_memory_within_a_bound() -> None:
    memory = MemoryCache(100)
    one, two, three = (Key("store", name, '"1"', 40) for name in ("one", "two", "three"))
    memory.put(one, b"1" * 40)
    memory.put(two, b"2" * 40)

    assert memory.get(one) == b"1" * 40
    memory.put(three, b"3" * 40)
    memory.put(one._replace(size=101), b"4" * 101)
    assert [memory.get(key) for key in (one, two, three)] == [b"1" * 40, None, b"3" * 40]


def test_hosts_that_share_a_directory_leave_each_others_entries_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing, folders = Object(MIB), set()
    for machine in ("one", "other"):
        (tmp_path / machine).write_text(machine)
        monkeypatch.setattr("httpserve.storage.cache.folder.MACHINE_ID", str(tmp_path / machine))
        cache = small(str(tmp_path / "cache"))
        folders.add(cache.usage().path)
        assert names(cache) == []
        assert fetched(cache, thing) == thing.data
        cache.close()

    assert (len(folders), thing.sent) == (2, 2 * MIB)
    again = small(str(tmp_path / "cache"))
    assert names(again) == ["image"]
    again.close()


def test_where_files_cannot_be_locked_each_process_has_its_own_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpserve.storage.cache.locks.work", lambda fd: False)
    thing, caches = Object(MIB), [small(str(tmp_path / "cache")) for _ in range(2)]

    for cache in caches:
        assert fetched(cache, thing) == thing.data
        assert fetched(cache, thing) == thing.data
        assert len(names(cache)) == 1
    assert thing.sent == 2 * MIB
    for cache in caches:
        cache.close()
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == ["locks"]
