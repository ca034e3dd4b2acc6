"""The suites of examples/robot pass as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.robot.suites import END_SECONDS, REPOSITORY, start

EXAMPLES = REPOSITORY / "examples" / "robot"


@pytest.mark.parametrize("suite", sorted(EXAMPLES.glob("*.robot")), ids=lambda suite: suite.name)
def test_example_passes(suite: Path, tmp_path: Path) -> None:
    if shutil.which("busybox") is None:
        pytest.skip("the example's board is a busybox, which is not installed")

    # Robot's own Process library leaves files open, which tests in this process would be blamed for.
    with start(tmp_path, suite) as process:
        output, _ = process.communicate(timeout=END_SECONDS)

    assert process.returncode == 0, output
    assert "WARN" not in output


def test_there_is_a_suite_that_boots_and_one_with_two_servers() -> None:
    assert {suite.name for suite in EXAMPLES.glob("*.robot")} == {"boot.robot", "two_servers.robot"}
