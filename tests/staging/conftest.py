"""What the tests of staging share: no thread of a copy may outlive its test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("httpserve:"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    """A path in a directory of its own, so that litter beside it is seen."""
    directory = tmp_path / "dst"
    directory.mkdir()
    return directory / "file"
