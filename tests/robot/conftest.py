"""Runs of suites, each in the directory of its test."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.robot.suites import Run, run

Ran = Callable[[str], Run]


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    """Run a table of test cases, which has a board, in this process."""
    return functools.partial(run, tmp_path)
