"""Scripts in processes of their own that begin at once: forks of a process that has the package loaded.

Starting Python and loading the package takes longer than most scripts of tests run. What `start` returns is a
`subprocess.Popen` all the same: its process has its own pipes, ends as any script does, and can be signalled, killed
and waited for. Where a loaded process cannot be forked (not Linux, or coverage is measured), a Python is started.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = ("PYTHON", "LC_", "LANG", "COV")  # what a Python reads when it starts
MOST_BYTES = 1 << 18  # of a job
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
KEPT_OURS = 0x44000  # MS_REC | MS_PRIVATE
PLAIN = (sys.executable, "-W", "always::ResourceWarning", "-c")


def start(
    code: str, *arguments: str, env: Mapping[str, str] | None = None, under: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start a script whose stdin, stdout and stderr are pipes.

    Args:
        code: The script.
        arguments: Its arguments.
        env: Its environment; ours if not given.
        under: A command to start it under; it may be `unshare --mount`, and a command after that.
    """
    environment = dict(os.environ if env is None else env)
    is_warm = under[1:2] in ((), ("--mount",), ["--mount"]) and _can_fork(environment)
    kind: type[subprocess.Popen[str]] = _Warm if is_warm else subprocess.Popen
    pipe = subprocess.PIPE
    command = [*under, *PLAIN, code, *arguments]
    return kind(command, cwd=REPOSITORY, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _can_fork(environment: Mapping[str, str]) -> bool:
    def settings(of: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in of.items() if name.startswith(SETTINGS)}

    is_measured = any(name.startswith("COV") for name in environment)
    return hasattr(os, "pidfd_open") and not is_measured and settings(environment) == settings(os.environ)


# The side of the tests


class _Warm(subprocess.Popen[str]):
    """A script in a fork of a process that has the package loaded."""

    def _execute_child(self, *values: Any) -> None:
        given = inspect.signature(subprocess.Popen._execute_child).bind(self, *values).arguments  # type: ignore[attr-defined]
        args: list[str] = given["args"]
        at = len(args) - args[::-1].index(PLAIN[0]) - 1
        job = {"argv": args[at + len(PLAIN) :], "under": args[:at], "env": given["env"], "cwd": str(given["cwd"])}
        self._end, end = os.pipe()
        theirs = [given["p2cread"], given["c2pwrite"], given["errwrite"], end]
        self.pid = _parent().start(job, theirs)
        self._child_created = True
        for descriptor in theirs:
            os.close(descriptor)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with self._reading:
            if self.returncode is None and select.select([self._end], [], [], 0)[0]:
                code = os.read(self._end, 16)
                os.close(self._end)
                self.returncode = int(code) if code else -signal.SIGKILL  # its parent was killed too
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            select.select([self._end], [], [], left)
        return code

    @functools.cached_property
    def _reading(self) -> threading.Lock:
        return threading.Lock()


class _Parent:
    """The process that has the package loaded."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._sock = ours
        code = f"import tests.warm; exec(tests.warm.wait_for_job({theirs.fileno()}))"
        nothing = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                [*PLAIN, code], cwd=REPOSITORY, stdin=nothing, stdout=nothing, pass_fds=[theirs.fileno()]
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._sock.close()
        self._process.wait()

    def start(self, job: dict[str, Any], descriptors: list[int]) -> int:
        """Start a script, and return its process id."""
        with self._lock:
            socket.send_fds(self._sock, [json.dumps(job).encode()], descriptors)
            return int(self._sock.recv(16))


@functools.cache
def _parent() -> _Parent:
    return _Parent()


# The side of the process that has the package loaded


def wait_for_job(descriptor: int) -> str:
    """Return, in a process of its own, each script that is to be run."""
    import httpserve
    from httpserve.server import server  # noqa: F401
    from httpserve.site import app  # noqa: F401
    from httpserve.storage.copying import copy  # noqa: F401

    for name in httpserve.__all__:
        getattr(httpserve, name)
    children: dict[int, tuple[int, int]] = {}  # of each pidfd: the process, and whom its end is told to
    with socket.socket(fileno=descriptor) as sock:
        while True:
            for ready in select.select([descriptor, *children], [], [])[0]:
                if ready != descriptor:
                    _tell_end(ready, *children.pop(ready))
                    continue
                message, descriptors, _, _ = socket.recv_fds(sock, MOST_BYTES, 4)
                if not message:
                    os._exit(0)
                *streams, end = descriptors
                child = os.fork()
                if child == 0:
                    for other in (end, *children, *(told for _, told in children.values())):
                        os.close(other)
                    sock.close()
                    return _begin(json.loads(message), streams)
                for stream in streams:
                    os.close(stream)
                children[os.pidfd_open(child)] = child, end
                sock.send(str(child).encode())


def _tell_end(pidfd: int, child: int, told: int) -> None:
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os.write(told, str(code).encode())
    except BrokenPipeError:
        pass  # nobody waits for it
    os.close(told)


def _begin(job: dict[str, Any], streams: list[int]) -> str:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    if job["under"]:
        _have_own_mounts(job["under"])
    code, *arguments = job["argv"]
    sys.argv = ["-c", *arguments]
    return str(code)


def _have_own_mounts(under: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (libc.unshare(NEW_MOUNTS), libc.mount(b"none", b"/", None, KEPT_OURS, None)):
        if failed:
            raise OSError(ctypes.get_errno(), "no mounts of our own")
    if under[2:]:
        subprocess.run([*under[2:], "true"], check=True)
