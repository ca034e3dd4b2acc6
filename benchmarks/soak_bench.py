"""The process that the soak measures: one client, used by many threads in every way, right and wrong.

Reads how many seconds to work from stdin, line by line; prints as JSON what it did, and what it has left at rest.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import opendal

from httpserve import HttpServeError, HttpServerClient

WORKERS = 12
NAMES = ["images/0", "images/1", "images/2", "small"]
FULL_BYTES = 100_000  # the largest file while the disk is "full"
JOIN_SECONDS = 30.0
PAUSE_SECONDS = (0.1, 0.3)  # before a Ctrl-C
AGAIN_SECONDS = 1.0


class Refuses(logging.Handler):
    """A handler of the user's that raises now and then."""

    def emit(self, record: logging.LogRecord) -> None:
        if random.random() < 0.05:
            raise OSError("the log is full")


class Bench:
    """The client, and all that is done to it.

    Args:
        where: The directory to work in; the sources are in it.
        port: Where to listen.
    """

    def __init__(self, where: Path, port: int) -> None:
        self._where = where
        self._root = where / "root"
        self._sources = sorted((where / "sources").iterdir())
        self._operator = opendal.Operator("memory")
        for source in self._sources:
            self._operator.write(source.name, source.read_bytes())
        os.mkfifo(where / "stalled")
        self._stalled = os.open(where / "stalled", os.O_RDWR)
        self._client = HttpServerClient(self._root, host="127.0.0.1", port=port)
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._ways: list[Callable[[random.Random], object]] = [
            *[self.put] * 8,
            *[self.put_from_operator] * 2,
            *[self.write] * 4,
            *[self.read] * 4,
            *[self.list] * 3,
            *[self.wait] * 3,
            *[self.start] * 3,
            self.put_that_fails,
            self.put_with_a_callback_that_raises,
            self.rename,
            self.copy_out,
            self.look,
        ]
        self._rare: list[Callable[[random.Random], object]] = [
            self.stop,
            self.close,
            self.fork,
            self.fill_the_disk,
            self.lose_the_root,
        ]

    def work(self, seconds: float) -> None:
        """Do everything for so long. Returns with the client closed."""
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._work, args=(until,)) for _ in range(WORKERS)]
        self._client.start()
        for thread in threads:
            thread.start()
        while time.monotonic() < until:  # only the main thread gets a Ctrl-C
            self._interrupted(random.choice([self._wait_for_ever, self._put_what_stalls]))
        for thread in threads:
            thread.join(JOIN_SECONDS)
            if thread.is_alive():
                self.wrong.append("a thread hangs")
        self._client.close()

    def _work(self, until: float) -> None:
        chance = random.Random()
        while time.monotonic() < until:
            way = chance.choice(self._rare if chance.random() < 0.005 else self._ways)
            try:
                way(chance)
                self.done[way.__name__] += 1
            except HttpServeError as error:
                self.errors[type(error).__name__] += 1
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the soak looks for
                self.wrong.append(f"{way.__name__}: {error!r}")

    # In the main thread

    def _interrupted(self, call: Callable[[], object]) -> None:
        felt = threading.Event()
        user = threading.Thread(target=press_ctrl_c, args=(felt,))
        try:
            user.start()
            try:
                call()
            except HttpServeError as error:  # the client is stopped just now, or was
                self.errors[type(error).__name__] += 1
            signal.pause()
        except KeyboardInterrupt:
            felt.set()
            self.done[f"Ctrl-C in {call.__name__.strip('_')}"] += 1
        user.join()

    def _wait_for_ever(self) -> None:
        self._client.wait_for_download(random.choice(NAMES), client="127.0.0.9")

    def _put_what_stalls(self) -> None:
        self._client.put_file("small", self._where / "stalled")

    # In any thread

    def put(self, chance: random.Random) -> None:
        self._client.put_file(chance.choice(NAMES), chance.choice(self._sources))

    def put_from_operator(self, chance: random.Random) -> None:
        self._client.put_file(chance.choice(NAMES), chance.choice(self._sources).name, self._operator)

    def put_that_fails(self, chance: random.Random) -> None:
        self._client.put_file(chance.choice(NAMES), chance.choice(["/proc/self/mem", "/missing", str(self._where)]))

    def put_with_a_callback_that_raises(self, chance: random.Random) -> None:
        def progress(copied: int, total: int | None) -> None:
            raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError):
            self._client.put_file(chance.choice(NAMES), chance.choice(self._sources), progress=progress)

    def write(self, chance: random.Random) -> None:
        self._client.storage.write_bytes(chance.choice(NAMES), chance.choice(self._sources).read_bytes())

    def read(self, chance: random.Random) -> None:
        data = self._client.storage.read_bytes(chance.choice(NAMES))
        if data and len(data) not in {source.stat().st_size for source in self._sources}:
            self.wrong.append(f"read {len(data)} bytes that nobody put")

    def list(self, chance: random.Random) -> None:
        for name in self._client.storage.scan("/"):
            if name not in {"/", "images/", *NAMES}:
                self.wrong.append(f"listed {name}")

    def wait(self, chance: random.Random) -> None:
        self._client.wait_for_download(chance.choice(NAMES), timeout=0.1)

    def rename(self, chance: random.Random) -> None:
        self._client.storage.rename(*chance.sample(NAMES, 2))

    def copy_out(self, chance: random.Random) -> None:
        self._client.storage.read_into_path(chance.choice(NAMES), f"/dev/shm/httpserve-soak-{os.getpid()}")

    def look(self, chance: random.Random) -> None:
        repr(self._client)
        len(self._client.requests)
        self._client.get_url(chance.choice(NAMES))

    def start(self, chance: random.Random) -> None:
        self._client.start()

    def stop(self, chance: random.Random) -> None:
        self._client.stop(chance.choice([0, 0.1, 1]))

    def close(self, chance: random.Random) -> None:
        self._client.close()

    def fork(self, chance: random.Random) -> None:
        child = os.fork()
        if not child:
            self._client.close()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            self.wrong.append("a forked child failed")

    def fill_the_disk(self, chance: random.Random) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))
        time.sleep(0.02)  # it stays full for a moment
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def lose_the_root(self, chance: random.Random) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir(exist_ok=True)


def press_ctrl_c(felt: threading.Event) -> None:
    """Press Ctrl-C after a while, and again until it is felt.

    Python notes a signal after a blocking read only, if it came while its thread waited for the interpreter lock.
    """
    pause = random.uniform(*PAUSE_SECONDS)
    while not felt.wait(pause):
        os.kill(os.getpid(), signal.SIGINT)
        pause = AGAIN_SECONDS


def at_rest() -> dict[str, int]:
    """Return what this process has: bytes of memory, open descriptors, threads."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * resource.getpagesize(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "ours": sum(thread.name.startswith("httpserve") for thread in threading.enumerate()),
    }


def main() -> int:
    where, port = Path(sys.argv[1]), int(sys.argv[2])
    access = logging.getLogger("httpserve.access")
    access.setLevel(logging.INFO)
    access.addHandler(Refuses())
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # for whoever looks at one that hangs
    bench = Bench(where, port)
    for line in sys.stdin:
        bench.work(float(line))
        left = [path.name for path in bench._root.rglob("*")] if bench._root.exists() else []
        bench.wrong += [f"left {name}" for name in left if ".httpserve" in name]
        told = {**at_rest(), "done": bench.done, "errors": bench.errors, "wrong": bench.wrong}
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
