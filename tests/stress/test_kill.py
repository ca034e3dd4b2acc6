"""kill -9 in the middle of `put_file`, at a hundred random moments: old or new, whole, and no litter.

One process has everything imported and forks; each of its children starts a server and puts files until it is killed.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.server.wire import REPOSITORY, Wire, pattern

pytestmark = pytest.mark.skipif(not hasattr(signal, "pidfd_send_signal"), reason="needs Linux's pidfd")

OLD, ONE, TWO = pattern(3_000_000, 1), pattern(2_500_000, 2), pattern(2_000_000, 3)
PUTS = 6.0  # the longest that a child lives, in the time that a put takes on this machine
DYING_SECONDS = 10_000  # in ms: for what takes one

TEMPLATE = """
import os, signal, sys
import opendal
from httpserve import HttpServerClient
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries them
for line in sys.stdin:
    root, sources, name, kind = line.rstrip("\\n").split("|")
    if os.fork():
        continue
    client = HttpServerClient(root, host="127.0.0.1", remove_created_on_close=False)
    client.start()
    operator = opendal.Operator("fs", root=sources) if kind == "operator" else None
    print(os.getpid(), flush=True)
    while True:
        for source in ("one", "two"):
            if kind == "bytes":
                with open(os.path.join(sources, source), "rb") as file:
                    client.storage.write_bytes(name, file.read())
            else:
                client.put_file(name, source if operator else os.path.join(sources, source), operator)
"""


@pytest.fixture
def template() -> Iterator[subprocess.Popen[str]]:
    """A process that forks another one for each line."""
    with subprocess.Popen(
        [sys.executable, "-c", TEMPLATE],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        yield process
        process.kill()


def kill_one(template: subprocess.Popen[str], order: str, after: float) -> None:
    """Have a child forked that does as it is told, kill it after that many seconds, and wait until it is gone."""
    assert template.stdin is not None
    assert template.stdout is not None
    template.stdin.write(f"{order}\n")
    pid = os.pidfd_open(int(template.stdout.readline()))
    try:
        threading.Event().wait(after)
        signal.pidfd_send_signal(pid, signal.SIGKILL)
        gone = select.poll()
        gone.register(pid, select.POLLIN)
        assert gone.poll(DYING_SECONDS)
    finally:
        os.close(pid)


def seconds_of_a_put(where: Path, source: Path) -> float:
    """Return how long a put takes here and now."""
    with HttpServerClient(where, host="127.0.0.1") as client:
        began = time.monotonic()
        client.put_file("image", source)
        return time.monotonic() - began


@pytest.mark.parametrize("name", ["image", "boards/seven/image"])
@pytest.mark.parametrize("kind", ["path", "operator", "bytes"])
def test_whatever_the_moment_of_a_kill_a_board_gets_old_or_new_whole_and_no_litter_stays(
    template: subprocess.Popen[str], tmp_path: Path, seed: int, name: str, kind: str
) -> None:
    root, sources = tmp_path / "root", tmp_path / "sources"
    root.mkdir()
    sources.mkdir()
    (sources / "one").write_bytes(ONE)
    (sources / "two").write_bytes(TWO)
    (root / "image").write_bytes(OLD)
    chance = random.Random(f"{seed} {name} {kind}")
    longest = PUTS * seconds_of_a_put(tmp_path / "trial", sources / "one")
    versions: list[int] = []
    while len(versions) < 17 or (len(set(versions)) == 1 and len(versions) < 51):
        if len(versions) in (17, 34):
            longest *= 3  # the machine has become slower since
        kill_one(template, f"{root}|{sources}|{name}|{kind}", chance.uniform(0, longest))

        with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
            found = {str(path.relative_to(root)) for path in root.rglob("*")}
            answer = wire.ask(f"/{name}")

        if answer.status == 404:
            assert found == {"image"}
            versions.append(-1)
        else:
            parents = [str(parent) for parent in Path(name).parents][:-1]
            assert found == {"image", name, *parents}
            versions.append((OLD, ONE, TWO).index(answer.body))
        if name != "image" and answer.status == 200:
            (root / name).unlink()
            (root / "boards" / "seven").rmdir()
            (root / "boards").rmdir()
    assert len(set(versions)) > 1
    assert (root / "image").read_bytes() in (OLD, ONE, TWO)
    assert template.poll() is None
