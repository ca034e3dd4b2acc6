"""A test under load that fails says with which seed, and how to have the same chances again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests import warm
from tests.server.wire import unmeasured

REPOSITORY = Path(__file__).resolve().parents[1]
TEST = """
import random

def test_chance(seed):
    print("chance", random.Random(seed).random())
    assert False
"""


def test_a_seed_is_told_and_gives_the_same_chances_again(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "tests" / "stress" / "conftest.py", tmp_path)
    (tmp_path / "test_chance.py").write_text(TEST)

    first = run(tmp_path)
    seed = first.partition("\nseed: ")[2].split()[0]
    again = run(tmp_path, "--seed", seed)

    assert f".ci/do stress 'test_chance.py::test_chance' --seed {seed}" in first
    assert chance(again) == chance(first) != ""


def run(where: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {**unmeasured(), "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return warm.run(command, cwd=where, env=environment, timeout=50).stdout


def chance(said: str) -> str:
    return said.partition("chance 0.")[2].split()[0]
