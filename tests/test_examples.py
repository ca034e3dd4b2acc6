"""Each example runs as a user would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
END_SECONDS = 40


def command(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        command(name, *arguments), env=environment(), capture_output=True, text=True, timeout=END_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_board_boot_shows_the_record_of_a_whole_download() -> None:
    output = run("board_boot.py")

    assert re.search(
        r"127\.0\.0\.1 has all 20,000,000 bytes of board\.img after \d+\.\d+ s, fetched by \S+", output
    )


def test_board_boot_takes_an_image(tmp_path: Path) -> None:
    image = tmp_path / "small.img"
    image.write_bytes(b"12345")

    output = run("board_boot.py", image)

    assert "has all 5 bytes" in output


def test_plain_script_waits_for_the_board_and_says_so(tmp_path: Path) -> None:
    image = tmp_path / "board.img"
    image.write_bytes(bytes(100_000))
    script = subprocess.Popen(
        command("plain_script.py", image, "127.0.0.1"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with script:
        assert script.stdout is not None
        url = script.stdout.readline().split("'")[1]

        with urllib.request.urlopen(url) as response:
            fetched = response.read()
        output, errors = script.communicate(timeout=END_SECONDS)

    assert fetched == bytes(100_000)
    assert output.startswith("127.0.0.1 has 100000 bytes after")
    assert (script.returncode, errors) == (0, "")


def test_from_operator_puts_what_the_operator_has() -> None:
    output = run("from_operator.py")

    assert "fetched 800000 bytes" in output
    assert "boot/zImage" in output


def test_each_example_has_a_test_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")

    untested = [file.name for file in EXAMPLES.glob("*.py") if f'"{file.name}"' not in tested]

    assert not untested
