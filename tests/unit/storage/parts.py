"""What tests of the storage share: to put a file, and to see what is there."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor
from httpserve.storage.facade import Storage
from httpserve.storage.served import Identity
from httpserve.storage.store.root import StoreRoot

T = TypeVar("T")


def put(root: Root, name: str, data: bytes = b"data") -> Identity:
    with root.incoming(name) as incoming:
        incoming.write(data)
        return incoming.commit(hashlib.sha256(data).hexdigest())


def left(directory: Path) -> list[str]:
    """Return all that is below a directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def on_disk(root: Root, directory: str = "") -> list[str]:
    """Return what is in a directory of a root, but its journal."""
    found = os.listdir(os.path.join(root.path, directory))
    return sorted(name for name in found if not name.endswith(".journal"))


def a_storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Give the storage of the directory `root`, or with `--roots store` of a place on a store. For a fixture."""
    if request.config.getoption("roots") == "directory":
        yield Storage(DirectoryAccessor(request.getfixturevalue("root")), timeout=5.0)
        return
    with closing(StoreRoot(request.getfixturevalue("s3").operator())) as store:
        yield Storage(store, timeout=5.0)


def in_threads(work: Callable[[T], object], values: Iterable[T]) -> None:
    """Call a function with each of some values at the same time, and wait for all."""
    threads = [threading.Thread(target=work, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
