"""A cache that is open, of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.storage.cache.cache import Cache
from tests.unit.storage.cache.objects import MIB


@pytest.fixture(params=["private", "shared"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(None if request.param == "private" else str(tmp_path / "cache"), 64 * MIB)
    cache.open()
    yield cache
    cache.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Cache, Cache]]:
    """Two caches in one directory. They share nothing else: locks of open files hold between them as between hosts."""
    both = Cache(str(tmp_path / "cache"), 64 * MIB), Cache(str(tmp_path / "cache"), 64 * MIB)
    for one in both:
        one.open()
    yield both
    for one in both:
        one.close()
