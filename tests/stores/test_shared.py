"""A server that the workers of a run share: one for all, and gone with the last of them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.wire import eventually
from tests.stores.shared import Plan, use
from tests.warm import REPOSITORY

SERVER = "import os, time; print('my id is', os.getpid(), flush=True); time.sleep(600)"
WORKER = """
import sys
from pathlib import Path
from tests.stores.shared import Plan, use

def plan():
    Path(sys.argv[1], "id").write_text("")
    code = sys.argv[2].replace("print", f"open({str(Path(sys.argv[1], 'id'))!r}, 'w').write(str(os.getpid())); print")
    return Plan([sys.executable, "-c", code], "my id", {"endpoint": "here"}, {})

used = use(Path(sys.argv[1]), "server", plan)
print(used.facts["endpoint"], flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_is_started_once_and_ends_with_its_last_user_even_where_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), SERVER]
    workers = [
        subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(3)
    ]
    try:
        said = [worker.stdout and worker.stdout.readline() for worker in workers]
        server = int((tmp_path / "id").read_text())
        for worker in workers[:2]:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        survived_others = is_alive(server)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()

    assert said == [b"here\n"] * 3
    assert survived_others
    eventually(lambda: not is_alive(server), "the end of the server")
    eventually(lambda: {path.name for path in tmp_path.iterdir()} == {"id", "server", "server.facts", "server.start"})


def test_a_server_that_does_not_start_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no port is free"):
        use(tmp_path, "server", lambda: Plan([sys.executable, "-c", "print('no port is free')"], "ready", {}, {}))
