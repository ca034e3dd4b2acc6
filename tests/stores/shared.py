"""Servers that all workers of a run share: started by the first that asks, ended with the last.

Knows processes and locks; which servers there are, `servers.py` knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")


@dataclass(frozen=True)
class Plan:
    """How a server is started.

    Attributes:
        command: The command; it runs in an empty directory of its own.
        ready: What it prints when it answers.
        facts: What those who use it must know: its endpoints.
        environment: What is added to the environment.
        litter: Patterns of files that it leaves.
    """

    command: list[str]
    ready: str
    facts: dict[str, str]
    environment: dict[str, str]
    litter: tuple[str, ...] = ()


class Use:
    """The use of a server by this process, until `close` or the process ends."""

    def __init__(self, users: io.FileIO, facts: dict[str, str]) -> None:
        self.facts = facts
        self._users = users

    def close(self) -> None:
        """Use it no longer. Returns at once; the server of the last user ends soon. Harmless when repeated."""
        self._users.close()


def use(directory: Path, name: str, plan: Callable[[], Plan]) -> Use:
    """Use the server *name* of the run, which is started if it does not run. Blocks until it answers.

    Args:
        directory: Belongs to the run: all its processes give the same one.
        name: Of the server. A process may use it once at a time.
        plan: How it is started, if it is.
    """
    users = directory / name
    file = io.FileIO(users, "a+")
    try:
        with _alone(directory / f"{name}.start"):
            # A POSIX lock: the children of a test that forks do not hold it. It waits while a server of before ends.
            fcntl.lockf(file, fcntl.LOCK_SH)
            if not (directory / f"{name}.ready").exists():
                made = plan()
                (directory / f"{name}.facts").write_text(json.dumps(made.facts))
                _start(directory, users, made)
        return Use(file, json.loads((directory / f"{name}.facts").read_text()))
    except BaseException:
        file.close()
        raise


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(directory: Path, users: Path, plan: Plan) -> None:
    home = tempfile.mkdtemp(prefix="home-", dir=directory)
    command = [sys.executable, "-IS", str(KEEPER), str(users), home, plan.ready, ":".join(plan.litter), *plan.command]
    # A session of its own: Ctrl-C, and what ends a whole group, reach it by the end of those who use it.
    said = subprocess.run(
        command, env=os.environ | plan.environment, stdout=subprocess.PIPE, start_new_session=True, check=True
    ).stdout  # ends when the server is ready
    if said:
        raise RuntimeError(f"{plan.command[0]} did not start:\n{said.decode(errors='replace')}")
