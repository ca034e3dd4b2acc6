"""Scripts of users as processes: how they exit, what Ctrl-C does, what a forked child leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.wire import Wire, next_line, script

HUGE_BYTES = 1 << 30

SERVING = """
import os, signal, sys, tempfile, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later say that a fork has one thread only
from httpserve import *
tempfile.tempdir = sys.argv[1]
client = HttpServerClient(host="127.0.0.1")
client.start()
with client.storage.open("huge", "wb") as file:
    file.write(b"x")
with open(os.path.join(tempfile.tempdir, os.listdir(tempfile.tempdir)[0], "huge"), "r+b") as file:
    file.truncate(1 << 30)
print(client.get_port(), flush=True)
"""


@contextmanager
def serving(code: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a script that serves `huge` from a private root, then `code`; yield it and its port."""
    with script(SERVING + code, str(tmp_path)) as process:
        try:
            yield process, int(line_of(process))
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that the script prints."""
    return next_line(process)


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Let the script go on to its end; return what it printed since, and its complaints."""
    return process.communicate("\n", timeout=20)  # for ever, if something held it up


@pytest.mark.parametrize(
    ("end", "code", "complaint"),
    [
        ("sys.stdin.readline()", 0, ""),
        ("sys.stdin.readline(); sys.exit(3)", 3, ""),
        ("sys.stdin.readline(); 1 / 0", 1, "ZeroDivisionError"),
        ("keep = client; del client; sys.stdin.readline()", 0, ""),
        ("me = [client]; me.append(me); del client; sys.stdin.readline()", 0, ""),
        ("storage = client.storage; sys.stdin.readline()", 0, ""),
        ("threading.Thread(target=sys.stdin.readline).start()", 0, ""),
    ],
)
def test_transfers_under_way_do_not_hold_up_the_exit(tmp_path: Path, end: str, code: int, complaint: str) -> None:
    with serving(end, tmp_path) as (process, port), Wire(port) as wire, Wire(port) as idle, Wire(port) as half:
        wire.get("/huge")
        wire.read_head()
        idle.ask("/")
        half.send(b"GET")

        out, err = ended(process)

        assert process.returncode == code
        assert (out, complaint in err) == ("", True)
        assert err == "" or complaint
        assert list(tmp_path.iterdir()) == []
        assert len(wire.rest_until_any_end()) < HUGE_BYTES


def test_a_waiting_daemon_thread_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    code = "threading.Thread(target=client.wait_for_download, args=['huge'], daemon=True).start(); sys.stdin.readline()"
    with serving(code, tmp_path) as (process, _):
        out, _ = ended(process)

    assert (process.returncode, out) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_many_servers_with_transfers_do_not_hold_up_the_exit(tmp_path: Path) -> None:
    code = """
clients = [HttpServerClient(host="127.0.0.1") for _ in range(10)]
for one in clients:
    one.start()
    one.put_file("a", "/dev/null")
print(*[one.get_port() for one in clients], flush=True)
sys.stdin.readline()
"""
    with serving(code, tmp_path) as (process, _):
        ports = [int(text) for text in line_of(process).split()]
        wires = [Wire(port) for port in ports]
        for wire in wires:
            wire.get("/")

        out, err = ended(process)

        for wire in wires:
            wire.close()
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# Ctrl-C


def test_ctrl_c_in_a_with_block_stops_and_cleans_up(tmp_path: Path) -> None:
    code = """
with client:
    print("in", flush=True)
    threading.Event().wait()  # a Ctrl-C from here on leaves the block
"""
    with serving(code, tmp_path) as (process, _):
        line_of(process)
        process.send_signal(signal.SIGINT)

        _, err = ended(process)

    assert process.returncode in (-signal.SIGINT, 130)
    assert err.endswith("KeyboardInterrupt\n")
    assert list(tmp_path.iterdir()) == []


# Forks


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.parametrize(
    "end",
    [
        "client.close()",
        "client.stop() if client.is_running else None",
        "del client",
        "sys.exit(0)",
        "client.__exit__(None, None, None)",
        "client.storage.list('/')",
    ],
)
def test_a_forked_child_neither_answers_nor_deletes(tmp_path: Path, end: str) -> None:
    code = f"""
client.put_file("kept", sys.argv[0] if os.path.exists(sys.argv[0]) else "/dev/null")
pid = os.fork()
if not pid:
    {end}
    sys.exit(7 if "client" in globals() and client.is_running else 0)
print(os.waitpid(pid, 0)[1], client.is_running, client.storage.exists("kept"), flush=True)
sys.stdin.readline()
client.stop()
print(client.is_running)
"""
    with serving(code, tmp_path) as (process, port):
        line = line_of(process)
        with Wire(port) as wire:
            status = wire.ask("/kept").status

        out, err = ended(process)

    assert line == "0 True True\n"
    assert status == 200
    assert (out, err) == ("False\n", "")


@needs_fork
def test_the_port_is_free_when_the_parent_stops_although_the_child_lives(tmp_path: Path) -> None:
    code = """
reader, writer = os.pipe()
pid = os.fork()
if not pid:
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
client.stop()
HttpServerClient(host="127.0.0.1", port=int(sys.stdin.readline())).start()
print("listened again", flush=True)
os.close(writer)
os.waitpid(pid, 0)
"""
    with serving(code, tmp_path) as (process, port):
        out, err = process.communicate(f"{port}\n", timeout=20)

    assert (process.returncode, out, err) == (0, "listened again\n", "")


def test_a_process_that_we_start_does_not_keep_the_port(tmp_path: Path) -> None:
    code = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE)
client.stop()
print("stopped", flush=True)
sys.stdin.readline()
child.communicate(b"\\n")
"""
    with serving(code, tmp_path) as (process, port):
        line_of(process)
        with pytest.raises(ConnectionRefusedError):
            Wire(port)

        ended(process)


def test_importing_starts_no_thread_and_opens_no_socket() -> None:
    code = "import threading, os, httpserve; print(threading.active_count(), len(os.listdir('/proc/self/fd')))"
    bare = "import threading, os; print(threading.active_count(), len(os.listdir('/proc/self/fd')))"

    runs = [subprocess.run([sys.executable, "-c", one], capture_output=True, check=True) for one in (code, bare)]
    outputs = [run.stdout for run in runs]

    assert outputs[0] == outputs[1]
