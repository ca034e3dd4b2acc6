"""A real Jupyter kernel in a process of its own, cells that run in it, and every message that it sends.

Knows Jupyter's messages. They go over sockets of the file system: a test's own TCP sockets are counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server.wire import unmeasured

LONGEST_SECONDS = 30.0  # for what should take one
LOOK_SECONDS = 0.05

Message = dict[str, Any]  # as Jupyter defines it
PRELUDE = """
import gc, os, tempfile, threading, time, urllib.request
from httpserve import HttpServerClient, PortInUse
def fetch(client=None, name="", port=None):
    url = f"http://127.0.0.1:{port}" if client is None else client.get_url()
    with urllib.request.urlopen(f"{url}/{name}", timeout=10) as answer:
        return answer.read()
def eventually(fact):
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.02)
"""


class Cell:
    """One run of a cell: what was shown below it."""

    def __init__(self) -> None:
        self.outputs: list[Message] = []  # the contents, with their `type`
        self.status = ""
        self.error = ""

    @property
    def printed(self) -> str:
        return "".join(output["text"] for output in self.outputs if output["type"] == "stream").strip()

    def data(self, media: str = "text/plain") -> str:
        """Return what was shown last, in one of its forms."""
        return str([output["data"] for output in self.outputs if "data" in output][-1][media])


class Kernel:
    """A kernel, and whoever talks to it. One that is interrupted is not measured: the tracer's lock may stay locked."""

    def __init__(self, where: Path, *, measured: bool = True) -> None:
        from jupyter_client.manager import KernelManager  # not while tests are collected: it takes a fifth of a second

        self.manager = KernelManager(transport="ipc", connection_file=str(where / "kernel.json"), kernel_name="python3")
        environment = dict(os.environ) if measured else unmeasured()
        environment.pop("HTTPSERVE_LINK", None)  # it would change what a client shows
        self.manager.start_kernel(cwd=str(where), env={**environment, "IPYTHONDIR": str(where), "TMPDIR": str(where)})
        self.messages: list[Message] = []  # all that came, in order
        self._talk()

    def _talk(self) -> None:
        self._client = self.manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=LONGEST_SECONDS)
        self.printed(f"{PRELUDE}\ngc.freeze()")  # collecting need not look at all of IPython each time
        self.messages.clear()

    def begin(self, code: str) -> str:
        """Run a cell, and return its number at once."""
        # Else a kernel drops what comes right after a cell that failed.
        return str(self._client.execute(code, stop_on_error=False))

    def end(self, number: str) -> Cell:
        """Return what a cell has shown when it is done."""
        cell = Cell()
        deadline = time.monotonic() + LONGEST_SECONDS
        while True:
            message = self._client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            self.messages.append(message)
            if message["parent_header"].get("msg_id") != number:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind in ("stream", "display_data", "execute_result"):
                cell.outputs.append({**content, "type": kind})
            elif kind == "error":
                cell.error = f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                return cell

    def run(self, code: str) -> Cell:
        """Run a cell, and return what it has shown."""
        return self.end(self.begin(code))

    def printed(self, code: str) -> str:
        """Return what a cell has printed that must not fail."""
        cell = self.run(code)
        assert cell.error == "", cell.error
        return cell.printed

    def forget(self) -> None:
        """Forget all variables, and what only they have kept."""
        self.printed("%reset -f")
        self.printed("import gc; gc.collect();")  # once more: a traceback is kept until the next cell

    def listen(self, until: Callable[[Message], bool]) -> Message:
        """Return the first message of a kind, of those that came already and those that come."""
        for message in self.messages:
            if until(message):
                return message
        deadline = time.monotonic() + LONGEST_SECONDS
        while True:
            message = self._client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            self.messages.append(message)
            if until(message):
                return message

    def interrupt(self) -> None:
        """Do what the button of a notebook does."""
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        """Do what the menu of a notebook does: ask the kernel to end, and start another one."""
        self._client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._talk()

    def close(self) -> None:
        self._client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


@contextmanager
def kernel_in(where: Path, *, measured: bool = True) -> Iterator[Kernel]:
    """A kernel for the time of the block, whose files are in `where`."""
    kernel = Kernel(where, measured=measured)
    try:
        yield kernel
    finally:
        kernel.close()
