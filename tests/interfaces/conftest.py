"""What the tests of the command line share: the command as a process, and a folder to serve."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from httpserve.cli.main import main
from tests import warm
from tests.interfaces.command import END_SECONDS
from tests.server.wire import unmeasured

REPOSITORY = Path(__file__).resolve().parents[2]


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `python -m httpserve` with arguments; what a test leaves running is ended.

    Streams and `cwd` can be said as to Popen; not `measured` is a process that a test interrupts anywhere, and `plain`
    one whose command the system knows.
    """
    processes: list[subprocess.Popen[str]] = []

    def started(
        *arguments: str | os.PathLike[str],
        cwd: Path = REPOSITORY,
        measured: bool = True,
        plain: bool = False,
        **streams: Any,  # as Popen takes them
    ) -> subprocess.Popen[str]:
        environment = dict(os.environ) if measured else unmeasured()
        path = [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
        process = (subprocess.Popen if plain else warm.Popen)(
            [sys.executable, "-m", "httpserve", *(os.fspath(argument) for argument in arguments)],
            cwd=cwd,
            text=True,
            env={**environment, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "80"},
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, which is quick, and return its exit code, stdout and stderr."""

    def ran(*arguments: str | os.PathLike[str]) -> tuple[int, str, str]:
        try:
            code = main([os.fspath(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capfd.readouterr()

    return ran


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a directory to serve: a file in a directory, and one with a blank in its name."""
    folder = tmp_path / "served"
    (folder / "boot").mkdir(parents=True)
    (folder / "boot" / "zImage").write_bytes(b"kernel" * 1000)
    (folder / "a file.txt").write_bytes(b"text")
    return folder
