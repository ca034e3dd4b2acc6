"""Servers with private roots, and others on one root, that start and end in many processes at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.wire import REPOSITORY, unmeasured

PROCESSES = 6
ROUNDS = 1500  # of each process; before, about one in 460 failed
SECONDS = 20.0  # the longest

OPENING = """
import os, random, sys, tempfile, time
from httpserve import HttpServeError
from httpserve.storage.directory.root import Root

where, given, seed, rounds, seconds = sys.argv[1:]
tempfile.tempdir = where
chance = random.Random(int(seed))
end = time.monotonic() + float(seconds)
for number in range(int(rounds)):
    if time.monotonic() > end:
        break
    root = Root(given or None, remove_created=not given)
    name = f"{os.getpid()}/{number}"
    try:
        root.open()
        with root.incoming(name) as incoming:
            incoming.write(b"x")
            incoming.commit(None)
        root.open_file(name).close()
        if chance.random() < 0.5:
            root.changes.delete(name)
    except HttpServeError as error:
        print(repr(error), repr(error.__cause__))
    root.close()
"""
KILLED = """
import os, random, signal, sys, tempfile
from httpserve.storage.directory.root import Root

where, given, seed, rounds = sys.argv[1:]
tempfile.tempdir = where
chance = random.Random(int(seed))
root = Root(given or None, remove_created=False)

def work():
    while True:
        root.open()
        for number in range(3):
            with root.incoming(f"{number}/deep/file") as incoming:
                incoming.write(b"x")
                incoming.commit(None)
            root.changes.remove_all(str(number))
        root.close()

for _ in range(int(rounds)):
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.02))  # its default is to end the process
        work()
    os.waitpid(child, 0)
    chance.random()
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=unmeasured(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("kind", ["private", "given"])
def test_many_processes_that_start_at_the_same_time_do_not_sweep_each_other(
    tmp_path: Path, seed: int, kind: str
) -> None:
    where, given = tmp_path / "tmp", tmp_path / "root"
    where.mkdir()
    root = "" if kind == "private" else given
    processes = [started(OPENING, where, root, seed + number, ROUNDS, SECONDS) for number in range(PROCESSES)]

    said = [process.communicate()[0] for process in processes]

    assert said == [""] * PROCESSES
    assert os.listdir(where) == []
    assert kind == "private" or [name for name in os.listdir(given) if name.startswith(".")] == []


def test_killed_at_any_moment_processes_leave_no_private_root_after_the_next_start(tmp_path: Path, seed: int) -> None:
    processes = [started(KILLED, tmp_path, "", seed + number, 150) for number in range(2)]
    said = [process.communicate()[0] for process in processes]
    last = started(OPENING, tmp_path, "", seed, 1, SECONDS)

    assert [*said, last.communicate()[0]] == [""] * 3
    assert os.listdir(tmp_path) == []
