"""The suites of examples/robot pass as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.robot.suites import REPOSITORY, run

EXAMPLES = REPOSITORY / "examples" / "robot"


@pytest.mark.parametrize("suite", sorted(EXAMPLES.glob("*.robot")), ids=lambda suite: suite.name)
def test_example_passes(suite: Path, tmp_path: Path) -> None:
    if shutil.which("busybox") is None:
        pytest.skip("the example's board is a busybox, which is not installed")

    done = run(tmp_path, suite)

    assert done.all_passed()


def test_there_is_a_suite_that_boots_and_one_with_two_servers() -> None:
    assert {suite.name for suite in EXAMPLES.glob("*.robot")} == {"boot.robot", "two_servers.robot"}
