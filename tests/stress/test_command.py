"""Impatient signals to the command while boards download, at random moments: it ends soon, and without a traceback."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

from tests.interfaces.terminal import Terminal
from tests.ports import free_port
from tests.server.wire import REPOSITORY, Wire, unmeasured

RUNS = 15
BIG = 12 << 20
END_SECONDS = 20.0  # 5 of these may go to downloads
OPTIONS: list[list[str]] = [[], ["--json", "--progress"], ["--exit-after", "board.img", "--exit-after", "other.img"]]
PAUSES = (0.0, 0.001, 0.01, 0.1, 0.3)


def test_signals_that_come_whenever_they_like_end_the_command_in_order(tmp_path: Path, seed: int) -> None:
    chances = random.Random(seed)
    for name in ("board.img", "other.img"):
        (tmp_path / name).write_bytes(bytes(BIG))
    for _ in range(RUNS):
        with ExitStack() as stack:
            terminal = stack.enter_context(closing(Terminal()))
            options = chances.choice(OPTIONS)
            port = free_port()
            command = [sys.executable, "-m", "httpserve", str(tmp_path), "-b", "127.0.0.1", "-p", str(port), *options]
            process = stack.enter_context(
                subprocess.Popen(
                    command, cwd=REPOSITORY, env=unmeasured(), stdout=subprocess.PIPE, stderr=terminal.theirs
                )
            )
            assert process.stdout is not None
            process.stdout.readline()
            for name in chances.choices(("board.img", "other.img", "none"), k=chances.randrange(5)):
                stack.enter_context(board := Wire(port, receive_bytes=64 << 10))
                board.get(f"/{name}")

            for _ in range(chances.choice((2, 3, 8))):
                time.sleep(chances.random() * chances.choice(PAUSES))
                process.send_signal(chances.choice((signal.SIGINT, signal.SIGTERM)))
            code = ended(process, terminal)

            said = terminal.raw.decode()
        assert "Traceback" not in said, said
        assert code in (1 if "--exit-after" in options else 0, -signal.SIGINT, -signal.SIGTERM), said


def ended(process: subprocess.Popen[bytes], terminal: Terminal) -> int:
    """Return the exit code of the process; one that does not end is killed, with all its words in the error."""
    deadline = time.monotonic() + END_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"it does not end: {terminal.raw.decode()}")
        terminal.read(0.02)  # it must not wait for room
    terminal.read()
    return process.returncode
