"""The benchmarks run as one command each, and leave nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_one_command_judges_each_claim() -> None:
    small = ["--rounds", "1", "--seconds", "0.1", "--connections", "20", "--size", str(1 << 20)]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits", *small], cwd=REPOSITORY, capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 0, done.stderr
    assert "20 idle connections" in done.stdout
    assert "4 large downloads" in done.stdout
    assert done.stdout.count("to reach") == 5


def test_one_command_measures_and_leaves_nothing(tmp_path: Path) -> None:
    page = Path(shutil.copy(REPOSITORY / "docs" / "performance.md", tmp_path))
    files = tmp_path / "files"
    files.mkdir()
    options = ["--quick", "--only", "keep1", "put1k", "life", "--peers", "httpserve", "http.server"]
    places = ["--dir", str(files), "--json", str(tmp_path / "samples.json"), "--write", str(page)]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options, *places],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    assert "1 KiB, 1 kept connection" in done.stdout
    assert done.stdout.strip() in page.read_text()
    measured = json.loads((tmp_path / "samples.json").read_text())
    assert measured["keep1"]["httpserve"][0]["value"] > 0
    assert list(files.iterdir()) == []


def test_what_waits_cost_is_measured() -> None:
    options = ["--rounds", "1", "--seconds", "1", "--only", "rest"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.waits", *options], cwd=REPOSITORY, capture_output=True, text=True, timeout=50
    )

    assert done.returncode == 0, done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("rest ")]
    assert len(row) == 6
    assert all(float(value) > 0 for value in row[1:])


def test_this_code_is_measured_beside_another_checkout() -> None:
    options = ["--rounds", "1", "--seconds", "1", "--only", "keep1", "life"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.beside", str(REPOSITORY), *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["keep1", "life"]
    assert all(float(value) > 0 for row in rows for value in row[1:])
