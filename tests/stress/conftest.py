"""What the tests under load share: a seed, which is printed, and which repeats their chances.

They run alone, one after the other: `.ci/do stress`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Generator

import pytest

VARIABLE = "HTTPSERVE_SEED"
SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help=f"of all chances in tests/stress (default: ${VARIABLE}, or any)")


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--seed", None)
    if seed is None:
        seed = int(os.environ.get(VARIABLE) or random.randrange(1_000_000))
    config.stash[SEED] = seed


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.stash[SEED]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        seed = item.config.stash[SEED]
        report.sections.append(("seed", f"{seed}; again with the same: .ci/do stress '{item.nodeid}' --seed {seed}"))
    return report


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What a test makes its `random.Random` of: the number given by `--seed`, or one of this run."""
    return pytestconfig.stash[SEED]
