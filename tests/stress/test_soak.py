"""A soak of a moment runs as one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_soak_of_a_moment_tells_its_seed_and_what_must_not_be_and_ends_with_a_verdict() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.1", "--seed", "17"]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=50, check=False)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("seed 17\n")
    assert done.stdout.endswith("\nflat\n")
    assert "| RSS, MiB |" in done.stdout
    for what in ("wrong bytes", "false claims", "false waits", "false uploads", "files of the user's lost"):
        assert f"| {what} | 0 |" in done.stdout
