"""Tests that run many times are told apart: each run by its line, and each test that failed by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# Fails in its second run, as pytest does. Says how many processes its parent has.
TESTS = """
import os, pathlib, sys
others = 0
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        others += path.read_bytes().rpartition(b")")[2].split()[1] == b"%d" % os.getppid()
    except OSError:  # it has ended just now
        pass
print("processes", others, file=open("said", "a"))
if len(open("said").readlines()) == 2:
    print("FAILED tests/test_it.py::test_one[a - b] - assert 1 == 2")
    sys.exit(1)
"""


def repeat(where: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / ".ci" / "repeat"), *arguments]
    return subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, text=True)


def test_each_run_has_a_line_and_failed_tests_are_named(tmp_path: Path) -> None:
    running = repeat(tmp_path, "3", sys.executable, "-c", TESTS)
    lines = (running.communicate(timeout=50)[0]).splitlines()

    assert running.returncode == 1
    assert [line.split(" s  ")[1] for line in lines[:3]] == ["passed", "failed: 1, see .venv/repeat/2.log", "passed"]
    assert lines[3:] == ["passed 2 of 3", "  1x tests/test_it.py::test_one[a - b]"]


def test_where_all_passed_so_has_the_command(tmp_path: Path) -> None:
    running = repeat(tmp_path, "2", "true")

    assert running.communicate(timeout=50)[0].endswith("passed 2 of 2\n")
    assert running.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_under_load_the_second_half_runs_beside_a_process_for_each_processor(tmp_path: Path) -> None:
    running = repeat(tmp_path, "--load", "3", sys.executable, "-c", TESTS)
    lines = (running.communicate(timeout=50)[0]).splitlines()

    assert [line.split()[1] for line in lines[:3]] == ["alone", "loaded", "loaded"]
    counts = [int(line.split()[1]) for line in (tmp_path / "said").read_text().splitlines()]
    assert counts == [1, 1 + (os.cpu_count() or 1), 1 + (os.cpu_count() or 1)]
