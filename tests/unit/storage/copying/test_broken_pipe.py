"""A process with SIGPIPE at its default, which writes where nobody reads any more."""

from __future__ import annotations

import signal
import subprocess
import sys

WRITE = """
import os, signal, socket
from httpserve.storage.copying.broken_pipe import sigpipe_held

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
near, far = socket.socketpair()
far.close()

def write() -> None:
    # As OpenSSL does it, without MSG_NOSIGNAL.
    try:
        os.write(near.fileno(), b"x")
    except BrokenPipeError:
        print("EPIPE", flush=True)

"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WRITE + script], capture_output=True, text=True, timeout=60)


def test_a_write_in_the_block_fails_and_kills_nothing() -> None:
    done = run("with sigpipe_held():\n    write()\nwith sigpipe_held():\n    write()\n")

    assert (done.stdout, done.stderr, done.returncode) == ("EPIPE\nEPIPE\n", "", 0)


def test_a_write_behind_the_block_ends_the_process_as_the_script_wants() -> None:
    done = run("with sigpipe_held():\n    write()\nwrite()\n")

    assert (done.stdout, done.returncode) == ("EPIPE\n", -signal.SIGPIPE)


def test_a_signal_that_was_held_before_stays_held() -> None:
    done = run(
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})\n"
        "with sigpipe_held():\n    write()\n"
        "assert signal.SIGPIPE in signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
    )

    assert (done.stdout, done.stderr, done.returncode) == ("EPIPE\n", "", 0)
