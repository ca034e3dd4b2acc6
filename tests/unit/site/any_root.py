"""A root for the site, of whatever kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from httpserve.storage.directory.root import Root
from httpserve.storage.store.root import StoreRoot

AnyRoot = Root | StoreRoot


def any_root(request: pytest.FixtureRequest) -> Iterator[AnyRoot]:
    """Give the directory `root`, or with `--roots store` a place on a store. For a fixture."""
    if request.config.getoption("roots") == "directory":
        yield request.getfixturevalue("root")
        return
    with closing(StoreRoot(request.getfixturevalue("s3").operator()).open()) as store:
        yield store
