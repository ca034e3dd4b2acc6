"""What is read once is there for all, and is served while it comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.storage.cache.cache import Cache
from httpserve.storage.cache.cached_file import CachedFile
from tests.unit.storage.cache.objects import MIB, Object, read

SIZE = 5 * MIB + 12_345


@pytest.fixture(params=["private", "shared"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(None if request.param == "private" else str(tmp_path / "cache"), 64 * MIB)
    cache.open()
    yield cache
    cache.close()


def opened(cache: Cache, thing: Object, *, is_pinned: bool = True) -> CachedFile:
    file = cache.file(thing.key, thing.fetch, is_pinned=is_pinned)
    assert file is not None
    return file


def fetched(cache: Cache, thing: Object, start: int = 0, stop: int | None = None, *, is_pinned: bool = True) -> bytes:
    stop = thing.key.size if stop is None else stop
    file = opened(cache, thing, is_pinned=is_pinned)
    try:
        return read(file, start, stop - start)
    finally:
        file.close()


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
