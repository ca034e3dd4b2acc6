"""Scripts of users as processes of their own, for faults that no test could survive itself.

A script ends with status 0, prints nothing to stderr, and has no thread, socket or file of ours left: `ran` and
`running` see to that. Knows processes and mount namespaces.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import warm
from tests.server.wire import next_line, unmeasured

LONGEST_SECONDS = 50.0  # for what should take one

PRELUDE = """
import errno, gc, hashlib, json, logging, os, signal, sys, tempfile, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later say that a fork has one thread only
from http.client import HTTPConnection
from httpserve import *

where = sys.argv[1]
tempfile.tempdir = os.path.join(where, "tmp")
root = os.path.join(where, "root")
os.makedirs(tempfile.tempdir, exist_ok=True)

def outcome(call):
    try:
        return repr(call())
    except HttpServeError as error:
        code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
        return f"{type(error).__name__} {errno.errorcode.get(code, code)}"

def fetched(client, name, **fields):
    connection = HTTPConnection("127.0.0.1", client.get_port(), timeout=10)
    try:
        connection.request("GET", f"/{name}", headers=fields)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()

def names(directory):
    found = [os.path.join(at, name) for at, below, files in os.walk(directory) for name in below + files]
    # Journals are there while a server writes.
    return sorted(os.path.relpath(path, directory) for path in found if not path.endswith(".journal"))

def ours():
    links = []
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("httpserve")]
    return sorted(link for link in links if link.startswith("socket:") or link.startswith(where)) + threads

def tell(*what):
    print(*what, flush=True)

before_all = ours()
"""
EPILOGUE = """
gc.collect()
for thread in threading.enumerate():
    if thread.name.startswith("httpserve"):
        thread.join(20)
left = ours()
assert left == before_all, (left, before_all)
assert names(tempfile.tempdir) == [], names(tempfile.tempdir)
"""


def start(code: str, where: Path, *arguments: str, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a script whose work directory is *where*, under a command such as `unshare`.

    Its coverage is not measured: a Ctrl-C inside the lock of coverage's own tracer would lock it for good.
    """
    return warm.start(PRELUDE + code + EPILOGUE, str(where), *arguments, env=unmeasured(), under=under)


def ended(process: subprocess.Popen[str], said: str = "\n") -> list[str]:
    """Let a script go on to its end, and return the lines that it printed since."""
    try:
        out, err = process.communicate(said, timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    assert (process.returncode, err) == (0, ""), f"{out}\n{err}"
    return out.splitlines()


def ran(code: str, where: Path, *arguments: str, under: Sequence[str] = ()) -> list[str]:
    """Run a script to its end, and return the lines that it printed."""
    with running(code, where, *arguments, under=under) as process:
        return ended(process)


@contextmanager
def running(code: str, where: Path, *arguments: str, under: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run a script for as long as the block lasts."""
    with start(code, where, *arguments, under=under) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a script prints."""
    line = next_line(process)
    if not line:
        assert process.stderr is not None
        raise AssertionError(f"the script ended: {process.stderr.read()}")
    return line.rstrip("\n")


def go_on(process: subprocess.Popen[str]) -> None:
    """Give a script the line that it waits for."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@functools.cache
def own_mounts() -> tuple[str, ...] | None:
    """Return the command under which a script may mount what only it sees; None where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    ways = [("--mount",), ("--mount", "--map-root-user")]
    for way in ways if os.geteuid() == 0 else ways[1:]:
        command = (unshare, *way)
        trial = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        if subprocess.run(trial, capture_output=True, check=False, timeout=10).returncode == 0:
            return command
    return None


def on_a_disk_of(size: str, inodes: int, disk: Path) -> list[str]:
    """Return the command that runs a script with a small file system of its own at *disk*."""
    command = own_mounts()
    assert command is not None
    mount = f'mount -t tmpfs -o size={size},nr_inodes={inodes} none "$0" && exec "$@"'
    return [*command, "sh", "-c", mount, str(disk)]
