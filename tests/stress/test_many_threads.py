"""Many threads that do everything at once on one object. Nothing but errors of ours, no wrong byte, nothing left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from httpserve import CopyFailed, HttpServerClient, ServerNotRunning, StorageError, WaitTimeout
from tests.server.wire import pattern

SECONDS = 4.0
THREADS = 32
NAMES = [f"images/{number}" for number in range(4)]
CONTENTS = {pattern(size, size) for size in (0, 1000, 70_000, 600_000)}


class Crowd:
    """What the threads do, each drawing its next call by chance."""

    def __init__(self, client: HttpServerClient, sources: list[Path]) -> None:
        self.client = client
        self.sources = sources
        self.wrong: list[str] = []
        self.tried: set[str] = set()
        self.done: set[str] = set()
        self.calls: list[Callable[[random.Random], object]] = [
            *[self.start] * 4,
            self.stop,
            self.close,
            *[self.put] * 6,
            *[self.fetch] * 12,
            *[self.list] * 3,
            *[self.wait] * 3,
            *[self.read] * 3,
            self.rename,
            self.look,
        ]

    def run(self, seed: str, until: float) -> None:
        chance = random.Random(seed)
        while time.monotonic() < until and not self.wrong:
            call = chance.choice(self.calls)
            self.tried.add(call.__name__)
            try:
                call(chance)
                self.done.add(call.__name__)
            except (ServerNotRunning, StorageError, CopyFailed, WaitTimeout):
                pass  # it was stopped or closed, or the file went, in between
            except BaseException as error:
                self.wrong.append(f"{call.__name__}: {error!r}")
                raise

    def start(self, chance: random.Random) -> None:
        self.client.start()

    def stop(self, chance: random.Random) -> None:
        self.client.stop(timeout=chance.choice([0, 0.01, 1]))

    def close(self, chance: random.Random) -> None:
        self.client.close()

    def put(self, chance: random.Random) -> None:
        self.client.put_file(chance.choice(NAMES), chance.choice(self.sources))

    def fetch(self, chance: random.Random) -> None:
        connection = HTTPConnection("127.0.0.1", self.client.get_port(), timeout=10)
        try:
            for _ in range(3):
                connection.request("GET", f"/{chance.choice(NAMES)}")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200 and body not in CONTENTS:
                    self.wrong.append(f"{len(body)} bytes that nobody put")
        except (OSError, HTTPException):
            pass  # it was stopped, and another may listen at that port
        finally:
            connection.close()

    def list(self, chance: random.Random) -> None:
        found = {name.rstrip("/") for name in self.client.storage.scan("/")}
        self.wrong += [f"listed {name}" for name in found - {*NAMES, "images", ""}]

    def wait(self, chance: random.Random) -> None:
        self.client.wait_for_download(chance.choice(NAMES), timeout=0.25)

    def read(self, chance: random.Random) -> None:
        if self.client.storage.read_bytes(chance.choice(NAMES)) not in CONTENTS:
            self.wrong.append("read bytes that nobody put")

    def rename(self, chance: random.Random) -> None:
        self.client.storage.rename(*chance.sample(NAMES, 2))

    def look(self, chance: random.Random) -> None:
        repr(self.client)
        self.client.requests[-1:]
        self.client.get_url(chance.choice(NAMES))


@pytest.mark.parametrize("private", [True, False], ids=["private root", "given root"])
def test_threads_that_do_everything_at_once_meet_no_wrong_byte_and_leave_nothing(
    tmp_path: Path, seed: int, private: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = []
    for content in CONTENTS:
        sources.append(tmp_path / f"source{len(content)}")
        sources[-1].write_bytes(content)
    root = tmp_path / "root"
    client = HttpServerClient(None if private else root, host="127.0.0.1")
    crowd = Crowd(client, sources)
    until = time.monotonic() + SECONDS / 2
    threads = [threading.Thread(target=crowd.run, args=(f"{seed} {number}", until)) for number in range(THREADS)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    alive = [thread for thread in threads if thread.is_alive()]
    client.close()
    running = client.is_running

    assert (alive, crowd.wrong, running) == ([], [], False)
    assert crowd.tried == {call.__name__ for call in crowd.calls}
    assert crowd.done >= {"start", "stop", "close", "put", "fetch", "list", "read"}  # few waits see a whole download
    assert not root.exists()
    assert capfd.readouterr() == ("", "")
