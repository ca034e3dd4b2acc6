"""The benchmark of limits runs as one command and says of each claim whether it holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def test_one_command_judges_each_claim() -> None:
    small = ["--rounds", "1", "--seconds", "0.1", "--connections", "20", "--size", str(1 << 20)]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits", *small], cwd=REPOSITORY, capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 0, done.stderr
    assert "20 idle connections" in done.stdout
    assert "4 large downloads" in done.stdout
    assert done.stdout.count("to reach") == 5
