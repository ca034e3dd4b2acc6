"""`python -m benchmarks.journeys`: how many calls of httpserve's own three everyday journeys take, in all threads.

Traces what `httpserve` is installed, so an older commit is measured by the same script: PYTHONPATH says which.
Knows the public names alone. A change of module is a call whose nearest caller of ours lies in another module.
Of a download, each pair of a caller and what it calls counts once: how often its loops run depends on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple
from urllib.parse import urlsplit

import httpserve

HOME = os.path.dirname(os.path.abspath(httpserve.__file__)) + os.sep
SMALL_BYTES = 1024
LARGE_BYTES = 64 * 1024 * 1024
ROUNDS = 9
WAIT_SECONDS = 0.05
SETTLE_SECONDS = 10.0  # for the record of a download to be complete


class Call(NamedTuple):
    """One call of a function of ours: where it is, and the nearest caller of ours."""

    thread: int
    module: str
    name: str
    depth: int
    from_module: str | None = None
    from_name: str | None = None


class Figures(NamedTuple):
    """What one journey took.

    Attributes:
        calls: Functions of ours that were called, or generators that were resumed.
        modules: How many of our modules these lie in.
        changes: How many calls went from one module into another.
        depth: The most frames of ours on one stack.
    """

    calls: int
    modules: int
    changes: int
    depth: int


class Recorder:
    """Counts calls in every thread that begins after `install`."""

    def __init__(self) -> None:
        self._is_on = False
        self._without = 0  # the thread that does not count
        self.calls: list[Call] = []

    def install(self) -> None:
        threading.setprofile(self._event)
        sys.setprofile(self._event)

    def remove(self) -> None:
        threading.setprofile(None)
        sys.setprofile(None)

    @contextlib.contextmanager
    def recording(self, *, without: int = 0) -> Iterator[None]:
        self.calls = []
        self._without = without
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def figures(self, *, once: bool) -> Figures:
        calls = self.calls
        if once:
            calls = list({(call.from_module, call.from_name, call.module, call.name): call for call in calls}.values())
        return Figures(
            len(calls),
            len({call.module for call in calls}),
            sum(call.from_module not in (None, call.module) for call in calls),
            max((call.depth for call in calls), default=0),
        )

    def _event(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if not self._is_on or event != "call" or not code.co_filename.startswith(HOME) or code.co_name == "<module>":
            return
        thread = threading.get_ident()
        if thread == self._without:
            return
        above = [frame.f_code for frame in _stack(frame.f_back) if frame.f_code.co_filename.startswith(HOME)]
        caller = (above[0].co_filename, above[0].co_qualname) if above else ()
        self.calls.append(Call(thread, code.co_filename, code.co_qualname, len(above) + 1, *caller))


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def put(recorder: Recorder, client: httpserve.HttpServerClient, source: Path, number: int) -> None:
    with recorder.recording():
        client.put_file(f"small-{number}.bin", source)


def get(recorder: Recorder, client: httpserve.HttpServerClient, source: Path, number: int) -> None:
    name = f"large-{number}.img"
    url = urlsplit(client.put_file(name, source))
    request = f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode()
    buffer = bytearray(1024 * 1024)
    with recorder.recording(without=threading.get_ident()):
        with socket.create_connection((client.get_host(), client.get_port())) as board:
            board.sendall(request)
            while board.recv_into(buffer):
                pass
        deadline = time.monotonic() + SETTLE_SECONDS
        while not any(one.name == name and one.state == "completed" for one in client.transfers):
            assert time.monotonic() < deadline, "the record of the download is not complete"
            time.sleep(0.01)
    client.storage.delete(name)


def wait(recorder: Recorder, client: httpserve.HttpServerClient, source: Path, number: int) -> None:
    name = f"waited-{number}.bin"
    client.put_file(name, source)
    with recorder.recording(), contextlib.suppress(httpserve.WaitTimeout):
        client.wait_for_download(name, timeout=WAIT_SECONDS)


Journey = Callable[[Recorder, httpserve.HttpServerClient, Path, int], None]
JOURNEYS: dict[str, Journey] = {
    "put_file of a local file": put,
    "first GET of a large file": get,
    "a wait of 50 ms that times out": wait,
}


def measured(journey: Journey, rounds: int, trace: str | None) -> Figures:
    """Return the figures of the median round, by calls. The first round, which imports and fills caches, is left out.

    Args:
        journey: What to do.
        rounds: How often.
        trace: Where to write the calls of the last round, one in a line; None: nowhere.
    """
    recorder = Recorder()
    found = []
    with tempfile.TemporaryDirectory(prefix="journeys-") as scratch:
        source = Path(scratch, "source")
        source.write_bytes(os.urandom(LARGE_BYTES if journey is get else SMALL_BYTES))
        recorder.install()
        try:
            with httpserve.HttpServerClient(host="127.0.0.1") as client:
                for number in range(rounds + 1):
                    journey(recorder, client, source, number)
                    found.append(recorder.figures(once=journey is get))
        finally:
            recorder.remove()
    if trace is not None:
        with open(trace, "a", encoding="utf-8") as file:
            for call in recorder.calls:
                file.write(f"{call.thread % 1000:3d} {'  ' * call.depth}{call.module.removeprefix(HOME)}:{call.name}\n")
            file.write("\n")
    return sorted(found[1:])[rounds // 2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journeys", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"the median of so many (default {ROUNDS})")
    parser.add_argument("--trace", metavar="FILE", help="append every call of one round of each journey to FILE")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is a whole number from 1")
    print("| journey | calls | modules | changes of module | depth |")
    print("|---|---:|---:|---:|---:|")
    for title, journey in JOURNEYS.items():
        figures = measured(journey, options.rounds, options.trace)
        print(f"| {title} | {figures.calls} | {figures.modules} | {figures.changes} | {figures.depth} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
