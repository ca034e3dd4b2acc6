"""Running real clients as boards. Knows processes; each runs on this host, in a directory of its own."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from httpserve import HttpServerClient

RUN_SECONDS = 30.0  # for what should take less than one
MEBIBYTE = 1 << 20

# No proxy of this machine, and no setting of its user, has a say.
IN_ANY_LANGUAGE = {
    **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
    # A board's Python is this one: what chooses among those of a user takes longer than the line that a board runs.
    "PATH": f"{sys.base_prefix}/bin{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}
ENVIRONMENT = {**IN_ANY_LANGUAGE, "LC_ALL": "C"}


def needs(*programs: str) -> None:
    """Skip the test where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; .ci/run has the names of the packages")


def run(*command: str | Path, cwd: Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and see that it succeeded unless `ok` is False."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=RUN_SECONDS
    )
    assert done.returncode == 0 or not ok, f"{command}: {done.stdout}{done.stderr}"
    return done


def type_line(line: str, *, cwd: Path, shell: Sequence[str] = ("sh",)) -> subprocess.CompletedProcess[str]:
    """Type a line in a shell, as somebody does on a board."""
    return run(*shell, "-c", line, cwd=cwd, ok=False)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def put_tree(client: HttpServerClient, source: Path, target: str) -> list[str]:
    """Put all files below a directory, and return their names on the server."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    names = [f"{target}/{path.relative_to(source).as_posix()}" for path in files]
    for name, path in zip(names, files, strict=True):
        client.put_file(name, path)
    return names


def tree(path: Path) -> dict[str, bytes]:
    """Return all files below a directory, by name."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
