"""Files that are still coming while they are sent: each byte leaves once it is there, and never one that is not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from httpserve.plan import Plan, ReadFailed, Region
from httpserve.server.limits import Limits
from tests.server.limited import Limited
from tests.server.wire import eventually, pattern

CONTENT = pattern(3 * 1024 * 1024 + 17)
STEPS = [1, 300_000, 300_001, 1_500_000, len(CONTENT) - 1, len(CONTENT)]


class Coming:
    """A file whose bytes come when a test says so."""

    name = "image"
    disk = 0

    def __init__(self, path: Path) -> None:
        path.touch()
        self.fd = os.open(path, os.O_RDWR)
        os.truncate(self.fd, len(CONTENT))  # what has not come is zeros
        self.there = 0
        self.error: OSError | None = None
        self.waiting = 0  # threads
        self._changed = threading.Condition()

    is_whole = False

    def come(self, there: int) -> None:
        with self._changed:
            os.pwrite(self.fd, CONTENT[self.there : there], self.there)
            self.there = there
            self._changed.notify_all()

    def fail(self) -> None:
        with self._changed:
            self.error = OSError(errno.EIO, "the store broke off")
            self._changed.notify_all()

    def arrived(self, offset: int, length: int, seconds: float) -> int:
        with self._changed:
            self.waiting += seconds > 0
            self._changed.wait_for(lambda: self.error or self.there > offset, seconds)
            self.waiting -= seconds > 0
            if self.error is not None and self.there <= offset:
                raise ReadFailed(self.name, self.error)
            return max(0, min(length, self.there - offset))

    def unchanged(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: the test closes it."""


@pytest.fixture
def coming(tmp_path: Path) -> Iterator[Coming]:
    file = Coming(tmp_path / "image")
    yield file
    os.close(file.fd)


def sending(file: Coming) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(len(CONTENT)))])
        return Plan((Region(file, 0, len(CONTENT)),), len(CONTENT))

    return app


def test_each_byte_leaves_once_it_is_there(coming: Coming) -> None:
    with Limited(Limits(), app=sending(coming)) as server, server.wire() as wire:
        wire.get("/image")
        wire.read_head()
        got = b""
        for there in STEPS:
            coming.come(there)
            got += wire.read_exactly(there - len(got))

        assert got == CONTENT


def test_no_thread_waits_for_what_does_not_come(coming: Coming) -> None:
    with Limited(Limits(), app=sending(coming)) as server:
        wires = [server.wire() for _ in range(20)]
        for wire in wires:
            wire.get("/image")
            wire.read_head()

        eventually(lambda: not coming.waiting, "an end of the threads that wait")
        coming.come(len(CONTENT))

        assert all(wire.read_exactly(len(CONTENT)) == CONTENT for wire in wires)
        for wire in wires:
            wire.close()


def test_what_does_not_come_resets_the_answer(coming: Coming) -> None:
    with Limited(Limits(), app=sending(coming)) as server, server.wire() as wire:
        wire.get("/image")
        wire.read_head()
        coming.come(300_000)
        got = wire.read_exactly(300_000)
        coming.fail()

        with pytest.raises(ConnectionResetError):
            wire.read_exactly(1)
        assert got == CONTENT[:300_000]


def test_an_ordinary_server_waits_in_its_thread(coming: Coming) -> None:
    plan = Plan((Region(coming, 0, len(CONTENT)),), len(CONTENT))

    def come() -> None:
        for there in STEPS:
            coming.come(there)

    others = threading.Thread(target=come)
    others.start()

    assert b"".join(plan) == CONTENT
    others.join()
