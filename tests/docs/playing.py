"""Runs blocks of the docs as a reader would, and plays the board: it fetches every URL that they print."""

from __future__ import annotations

import contextlib
import functools
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests import warm
from tests.docs.blocks import REPOSITORY, Block
from tests.ports import free_port
from tests.server.wire import unmeasured

END_SECONDS = 40.0
BENCH = "http://192.168.7.1:8000"  # where the server stands for blocks that are typed on a board
ADDRESSES = ("192.168.7.1", "192.168.7.2")  # the bench's and the board's
PORT = "8000"
URL = re.compile(r"http://[\w.:\[\]-]+\w(?:/[^\s'\"<>]*)?")
FAULT = re.compile("Traceback|Exception ignored|Warning:")  # in what a block prints to stderr, which may be a client's
BUILT = {"board.img": 300_000, "zImage": 100_000, "board.dtb": 1_000}

TOOLS = {"bash", "busybox", "curl", "robot", "sha256sum", "wget"}  # skipped where they are missing

UNUSED = ["cacheprovider", "hypothesispytest", "labgrid", "pytest_cov"]  # plugins that take a second of each run

FRAGMENT = """*** Settings ***
Library    httpserve.robot.HttpServe    host=127.0.0.1

*** Test Cases ***
Block
"""


def build(directory: Path) -> None:
    """Make what the docs take for granted: a directory `build` with the files of a board."""
    (directory / "build").mkdir()
    for name, data in built().items():
        (directory / "build" / name).write_bytes(data)


@functools.cache
def built() -> dict[str, bytes]:
    """Make what lies in `build`, once: packing takes longer than some blocks run."""
    files = {name: os.urandom(size) for name, size in BUILT.items()}
    return {**files, "board.img.xz": lzma.compress(files["board.img"], preset=0)}


def as_here(text: str, port: int) -> str:
    """Return a block's text with addresses and a port that this machine has."""
    for address in ADDRESSES:
        text = text.replace(address, "127.0.0.1")
    return re.sub(rf"\b{PORT}\b", str(port), text)


def run(block: Block, directory: Path) -> None:
    """Run a block in a directory as its language and its notes say; fail unless it ends well."""
    port = free_port()
    for earlier in block.before:
        if earlier.file:
            (directory / earlier.file).write_text(as_here(earlier.text, port), encoding="utf-8")
    text = block.whole
    with contextlib.ExitStack() as bench:
        if "on the board" in block.notes:
            server = bench.enter_context(HttpServerClient(host="127.0.0.1"))
            for name in BUILT:
                server.put_file(name, directory / "build" / name)
            text = text.replace(BENCH, server.get_url())
        play(command(block, as_here(text, port), directory), directory, ctrl_c="ends with Ctrl-C" in block.notes)


def command(block: Block, text: str, directory: Path) -> list[str]:
    """Write a block's text to a file and return the command that runs it."""
    if block.language == "console":
        text = "".join(f"{line[2:]}\n" for line in text.splitlines() if line.startswith("$ "))
    if block.language == "robot" and "*** " not in text:
        text = FRAGMENT + "".join(f"    {line}\n" for line in text.splitlines() if line)
    suffix = {"python": "py", "robot": "robot"}.get(block.language, "sh")
    file = directory / (block.file or f"block.{suffix}")
    file.write_text(text, encoding="utf-8")
    need_tools(text)
    if suffix == "sh":
        return ["bash", "-e", file.name]
    if suffix == "robot":
        need_tools("robot")
        return [sys.executable, "-m", "robot", "--output", "NONE", "--log", "NONE", "--report", "NONE", file.name]
    runner = ["-m", "pytest", "-q"] if file.name.startswith("test_") else []
    return [sys.executable, "-W", "error", *runner, file.name]


def need_tools(script: str) -> None:
    words = set(re.findall(r"[\w-]+", script))
    for tool in sorted(words & TOOLS):
        if shutil.which(tool, path=search_path()) is None:
            pytest.skip(f"{tool} is not installed")


def search_path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def environment(*, measured: bool) -> dict[str, str]:
    return {
        **(dict(os.environ) if measured else unmeasured()),
        "PATH": search_path(),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "PYTEST_ADDOPTS": " ".join(["--httpserve-host 127.0.0.1", *(f"-p no:{name}" for name in UNUSED)]),
    }


def play(command: list[str], directory: Path, *, ctrl_c: bool) -> None:
    """Run a command to its end, fetch each URL that it prints, and fail unless it exits with 0 and prints no fault.

    Args:
        command: The command.
        directory: Where it runs.
        ctrl_c: Whether Ctrl-C is pressed after the URLs that were printed at once have been fetched.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = warm.Popen(
            command,
            cwd=directory,
            env=environment(measured=not ctrl_c),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        limit = threading.Timer(END_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        try:
            output = board(process, ctrl_c)
            process.wait()
        finally:
            limit.cancel()
            limit.join()
        errors.seek(0)
        said = errors.read()
    assert process.returncode == 0, f"exit code {process.returncode}\n{output}\n{said}"
    assert not FAULT.search(said), said


def board(process: subprocess.Popen[str], ctrl_c: bool) -> str:
    """Fetch each URL that a process prints, once; return all that it printed."""
    output, begun = "", b""
    fetched: set[str] = set()
    assert process.stdout is not None
    with process.stdout:
        while said := os.read(process.stdout.fileno(), 65536):
            lines, end, begun = (begun + said).rpartition(b"\n")
            text = (lines + end).decode()
            output += text
            new = [url for url in dict.fromkeys(URL.findall(text)) if url not in fetched]
            fetched.update(new)
            for url in new:
                fetch(url)
            if new and ctrl_c:
                os.killpg(process.pid, signal.SIGINT)
    return output + begun.decode()


def fetch(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=END_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.close()  # a name that the block talks about, and that is not there
    except OSError:
        pass  # printed when the server was gone already
