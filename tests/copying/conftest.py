"""What the tests of staging share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    """A path in a directory of its own, so that litter beside it is seen."""
    directory = tmp_path / "dst"
    directory.mkdir()
    return directory / "file"
