"""What a test does with the command `httpserve` that runs: read its lines, fetch as a board does, see it end."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests.server.wire import Wire

END_SECONDS = 40

Event = dict[str, Any]  # of JSON


def first_line(process: subprocess.Popen[str]) -> str:
    """Return what comes first on stdout, such as the URL."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else "it ended"
    return line.removesuffix("\n")


def fetch(url: str) -> bytes:
    """Return what a URL has."""
    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
    return content


def end(process: subprocess.Popen[str], *, told: bool = True) -> tuple[int, str, str]:
    """Wait until it has ended, after a SIGTERM if it is to be told; return its exit code, and what was not read yet."""
    if told:
        process.terminate()
    output, errors = process.communicate(timeout=END_SECONDS)
    return process.returncode, output, errors


def is_refused(port: int) -> bool:
    """Tell whether nobody listens on a port any more."""
    try:
        Wire(port).close()
    except ConnectionRefusedError:
        return True
    return False


def events(process: subprocess.Popen[str]) -> Iterator[Event]:
    """Give the events of `--json` as they come."""
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def event(told: Iterator[Event], kind: str) -> Event:
    """Return the next event of a kind; those before it are passed over."""
    passed = []
    for one in told:
        if one["event"] == kind:
            return one
        passed.append(one["event"])
    raise AssertionError(f"no {kind} came, only {passed}")
