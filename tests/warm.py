"""Pythons in processes of their own that begin at once: forks of a process that has the package, or pytest, loaded.

Starting Python and loading the package takes longer than most scripts of tests run. `Popen` is `subprocess.Popen` for
commands that run this Python: the process has its own streams, ends as any does, and can be signalled, killed and
waited for. Where a loaded process cannot be forked (not Linux, or coverage is measured), a Python is started.
"""

from __future__ import annotations

import atexit
import builtins
import ctypes
import functools
import gc
import importlib
import inspect
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = ("PYTHON", "LC_", "LANG", "COV")  # what a Python reads when it starts
CAN_CHANGE = {"PYTHONPATH", "PYTHONUNBUFFERED"}  # those that a Python which runs can follow
MOST_BYTES = 1 << 18  # of a job
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
KEPT_OURS = 0x44000  # MS_REC | MS_PRIVATE
STREAMS = {"stdin", "stdout", "stderr", "text", "bufsize", "start_new_session"}
LOADED_FOR = {
    "robot": ["robot.run"],
    "robot.libdoc": ["robot.libdocpkg"],
    "httpserve": [f"httpserve.cli.{name}" for name in ("main", "serve", "screen", "json_events", "port_file", "qr")],
}
PYTEST = ["-m", "pytest"]  # it has a parent without the package: it would warn that it cannot rewrite what is loaded


def Popen(  # as subprocess has it
    command: Sequence[str],
    *,
    cwd: str | os.PathLike[str] = REPOSITORY,
    env: dict[str, str] | None = None,
    **streams: Any,  # as subprocess takes them
) -> subprocess.Popen[str]:
    """Start a command, at once if it is this Python; `unshare --mount` and another command may stand before it."""
    environment = dict(os.environ if env is None else env)
    can_fork = hasattr(os, "pidfd_open") and streams.keys() <= STREAMS and not os.environ.get("PLAIN_PYTHON")
    kind = _Warm if can_fork and _settings(environment) == LOADED_WITH and _job(command) else subprocess.Popen
    return kind(list(command), cwd=cwd, env=environment, **{"text": True, **streams})


def run(
    command: Sequence[str | os.PathLike[str]], *, timeout: float, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it printed; *settings* are those of Popen."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    with Popen([os.fspath(word) for word in command], **streams) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(
    code: str, *arguments: str, env: dict[str, str] | None = None, under: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start a script whose stdin, stdout and stderr are pipes."""
    command = [*under, sys.executable, "-W", "always::ResourceWarning", "-c", code, *arguments]
    return Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _settings(environment: Any) -> dict[str, str] | None:
    """Return what a Python that runs cannot change any more; None where its coverage is measured."""
    found = {name: value for name, value in environment.items() if name.startswith(SETTINGS)}
    if any(name.startswith("COV") for name in found):
        return None
    return {name: value for name, value in found.items() if name not in CAN_CHANGE}


LOADED_WITH = _settings({name: value for name, value in os.environ.items() if not name.startswith("COV")})


def _job(command: Sequence[str]) -> dict[str, Any] | None:
    """Return what a Python is to do for a command; None where it is no such command."""
    command = [os.fspath(word) for word in command]
    if sys.executable not in command:
        return None
    at = command.index(sys.executable)
    under, words = command[:at], command[at + 1 :]
    if (under and under[1:2] != ["--mount"]) or under[2:3] == ["--map-root-user"]:
        return None
    filters = []
    while words[:1] == ["-W"]:
        filters.append(words[1])
        words = words[2:]
    if words[:1] in (["-c"], ["-m"]):
        return {"under": under, "filters": filters, "kind": words[0], "what": words[1], "arguments": words[2:]}
    if not words or words[0].startswith("-"):
        return None
    return {"under": under, "filters": filters, "kind": "file", "what": words[0], "arguments": words[1:]}


# The side of the tests


class _Warm(subprocess.Popen[str]):
    """A script in a fork of a process that has the package loaded."""

    def _execute_child(self, *values: Any) -> None:
        given = inspect.signature(subprocess.Popen._execute_child).bind(self, *values).arguments  # type: ignore[attr-defined]  # not in the stubs
        job = {"env": given["env"], "cwd": os.fspath(given["cwd"]), "session": given["start_new_session"]}
        self._end, end = os.pipe()
        streams = [given["p2cread"], given["c2pwrite"], given["errwrite"]]
        try:
            theirs = [number if stream == -1 else stream for number, stream in enumerate(streams)]
            job |= _job(given["args"]) or {}
            self.pid = _parent(is_pytest=[job["kind"], job["what"]] == PYTEST).start(job, [*theirs, end])
            self._child_created = True
        finally:
            os.close(end)
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(given[name] for name in ends))  # type: ignore[attr-defined]  # likewise

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
    """The process that has the package loaded, or pytest."""

    def __init__(self, is_pytest: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._sock = ours
        self._owner = os.getpid()
        found = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})"
        code = f"{found}; import tests.warm; tests.warm.run_jobs({theirs.fileno()}, {is_pytest})"
        command = [sys.executable, "-c", code]
        # Its forks are measured no more than it is.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        nothing, passed = subprocess.DEVNULL, [theirs.fileno()]
        with theirs:
            self._process = subprocess.Popen(command, env=environment, stdin=nothing, stdout=nothing, pass_fds=passed)
        atexit.register(self._end)

    def _end(self) -> None:
        if os.getpid() == self._owner:
            with self._sock:
                self._sock.shutdown(socket.SHUT_RDWR)  # a process that a test has forked may have a copy
            self._process.wait()

    def start(self, job: dict[str, Any], descriptors: list[int]) -> int:
        """Start a script, and return its process id."""
        with self._lock:
            socket.send_fds(self._sock, [json.dumps(job).encode()], descriptors)
            return int(self._sock.recv(16))


@functools.cache
def _parent(*, is_pytest: bool) -> _Parent:
    return _Parent(is_pytest)


# The side of the process that has it loaded


def run_jobs(descriptor: int, is_pytest: bool) -> None:
    """Run each command in a process of its own, until nobody sends more."""
    if is_pytest:
        _load_pytest()
    else:
        _load()
    _keep_loaded()
    children: dict[int, tuple[int, int]] = {}  # of each pidfd: the process, and where its end is told
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
                job = json.loads(message)
                if job["kind"] == "-m" and job["what"] in LOADED_FOR:
                    for name in LOADED_FOR[job["what"]]:
                        importlib.import_module(name)
                child = os.fork()
                if child == 0:
                    for other in (end, *children, *(told for _, told in children.values())):
                        os.close(other)
                    sock.close()
                    _run(job, streams)
                    return
                for stream in streams:
                    os.close(stream)
                children[os.pidfd_open(child)] = child, end
                sock.send(str(child).encode())


def _load() -> None:
    import httpserve

    for name in ("server.server", "site.app", "storage.copying.copy"):
        importlib.import_module(f"httpserve.{name}")
    for name in httpserve.__all__:
        getattr(httpserve, name)
    _serve_once()


def _serve_once() -> None:
    """Have in each fork what a first server and its first request take: patterns, tables, what is loaded late."""
    import requests

    import httpserve

    for name in ("concurrent.futures.thread", "encodings.unicode_escape"):
        importlib.import_module(name)
    with httpserve.HttpServerClient(host="127.0.0.1") as client:
        requests.get(client.put_file("file", __file__), timeout=20)
        client.wait_for_download("file", timeout=20)


def _load_pytest() -> None:
    from _pytest.config import default_plugins

    for name in [*(f"_pytest.{name}" for name in default_plugins), "execnet", "requests"]:  # what plugins load
        importlib.import_module(name)


def _keep_loaded() -> None:
    """Spare the forks the taking down of what they share, which took nine parts in ten of their time."""
    kept = [vars(module).copy() for module in sys.modules.values()]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    gc.collect()
    gc.freeze()


def _tell_end(pidfd: int, child: int, told: int) -> None:
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os.write(told, str(code).encode())
    except BrokenPipeError:
        pass  # nobody waits for it
    os.close(told)


def _run(job: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    if job["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(job["env"])
    tempfile.tempdir = None  # it was looked up in another environment
    os.chdir(job["cwd"])
    if job["under"]:
        _have_own_mounts(job["under"])
    sys.stdout = sys.__stdout__ = _output(1, sys.stdout)  # type: ignore[assignment, misc]  # it is one
    sys.stderr = sys.__stderr__ = _output(2, sys.stderr)  # type: ignore[assignment, misc]  # likewise
    sys.warnoptions[:] = job["filters"]
    for action, _, category in (f"{text}::".split(":")[:3] for text in job["filters"]):
        warnings.filterwarnings(action, category=vars(builtins)[category or "Warning"])  # type: ignore[arg-type]  # a word of -W
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kind, what = job["kind"], job["what"]
    first = {"-c": "", "-m": os.getcwd(), "file": str(Path(what).parent.absolute())}[kind]
    sys.path[:2] = [first, *path, str(REPOSITORY)]
    sys.argv = [kind if kind != "file" else what, *job["arguments"]]
    main = sys.modules["__main__"].__dict__
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif kind == "-c":
            exec(what, main)
        else:
            main["__file__"] = what
            exec(compile(Path(what).read_bytes(), what, "exec"), main)
    except SystemExit as end:
        status = 0 if end.code is None else end.code
        if not isinstance(status, int):
            raise
    else:
        status = 0
    _end(main, status)
    sys.exit(status)


def _end(main: dict[str, Any], status: int) -> None:
    """End as Python does, but leave to the system what is shared with the parent, whose copying takes most of the time.

    Return where that is not all that there is to it: where other threads run, or nobody takes what was printed.
    """
    if len(sys._current_frames()) > 1:
        return
    atexit._run_exitfuncs()
    main.clear()
    gc.collect()  # says which sockets and files were left open
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(status & 0xFF)


def _output(number: int, before: TextIO) -> TextIO:
    """Return an output as a Python that starts makes it."""
    raw = io.FileIO(number, "wb", closefd=False)
    is_direct = bool(os.environ.get("PYTHONUNBUFFERED"))
    return io.TextIOWrapper(
        raw if is_direct else io.BufferedWriter(raw),  # as the interpreter does, too
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=number == 2 or os.isatty(number),
        write_through=is_direct,
    )


def _have_own_mounts(under: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (libc.unshare(NEW_MOUNTS), libc.mount(b"none", b"/", None, KEPT_OURS, None)):
        if failed:
            raise OSError(ctypes.get_errno(), "no mounts of our own")
    if under[2:]:
        subprocess.run([*under[2:], "true"], check=True)
