"""What README.md promises: its first script serves a real board's client, its two commands are there.

That each of its blocks runs is shown in tests/docs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import each

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BOARD = "192.168.7.2"
IMAGE = "build/board.img"
END_SECONDS = 40

CLIENTS = {"curl": ["curl", "-sSf", "-o"], "wget": ["wget", "-q", "-O"], "busybox": ["busybox", "wget", "-q", "-O"]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Make the directory in which the script runs: it holds the script's image."""
    image = tmp_path / IMAGE
    image.parent.mkdir()
    image.write_bytes(os.urandom(1_000_003) * 8)
    return tmp_path


@pytest.mark.parametrize("client", CLIENTS)
def test_script_serves_its_image_to_a_board_and_sees_it_arrive(client: str, bench: Path) -> None:
    if shutil.which(client) is None:
        pytest.skip(f"{client} is not installed")
    (script, *_) = blocks("python")
    as_here = script.replace(BOARD, "127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-u", "-W", "error", "-c", as_here],
        cwd=bench,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        subprocess.run([*CLIENTS[client], "fetched.img", url], cwd=bench, check=True, timeout=END_SECONDS)
        output, errors = process.communicate(timeout=END_SECONDS)

    assert (bench / "fetched.img").read_bytes() == (bench / IMAGE).read_bytes()
    assert "8000024" in output.replace(",", "")
    assert (process.returncode, errors) == (0, "")


def test_opening_script_has_ten_lines_at_most() -> None:
    (script, *_) = blocks("python")

    assert len(script.splitlines()) <= 10


@each("command", ["demo", "test"])
def test_each_of_the_two_commands_stands_in_the_readme_and_in_the_script(command: str) -> None:
    script = (REPOSITORY / ".ci" / "do").read_text(encoding="utf-8")

    assert any(f".ci/do {command}" in block for block in blocks("sh"))
    assert re.search(rf"^ +{command}(?: \| \w+)?\)$", script, re.MULTILINE)


def test_a_command_that_the_script_does_not_have_is_named() -> None:
    done = subprocess.run(
        ["sh", ".ci/do", "nonsense"], cwd=REPOSITORY, capture_output=True, text=True, timeout=END_SECONDS
    )

    assert done.returncode == 2
    assert done.stderr.startswith("do: there is no command 'nonsense'\nSets up what a command needs")
