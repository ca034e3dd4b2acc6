"""What tests of waits have in common: files, boards that fetch them as they are told, and calls in other threads."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from httpserve import HttpServerClient, WaitTimeout
from httpserve.base.threads import Latch
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern

SIZE = 1 << 20
BIG = BIG_BYTES
ONE, OTHER, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"  # boards
AT_ONCE = 0.02  # seconds, for a wait that ends in vain
PATIENT = 20.0  # seconds, for one that does not

_Result = TypeVar("_Result")


def put(client: HttpServerClient, name: str = "Image", size: int = SIZE, seed: int = 1) -> None:
    client.storage.write_bytes(name, pattern(size, seed))


def fetch(client: HttpServerClient, *fields: str, target: str = "/Image", board: str | None = None) -> bytes:
    """Fetch, close, and return what came once the server knows that it has arrived."""
    with Wire(client.get_port(), source=board) as wire:
        port = wire.sock.getsockname()[1]
        body = wire.ask(target, *fields).body
    eventually(
        lambda: all(one.outcome != "under way" for one in client.requests if one.client_port == port),
        "it is known to be over",
    )
    return body


def fetch_part(client: HttpServerClient, start: int, stop: int, *, board: str | None = None) -> bytes:
    return fetch(client, f"Range: bytes={start}-{stop - 1}", board=board)


@contextlib.contextmanager
def halfway(client: HttpServerClient, count: int, *fields: str, board: str | None = None) -> Iterator[Wire]:
    """A board that has read `count` bytes of `Image`, and has a small buffer for more."""
    with Wire(client.get_port(), receive_bytes=65536, source=board) as wire:
        wire.get("/Image", *fields)
        wire.read_head()
        wire.read_exactly(count)
        yield wire


def vain(call: Callable[[], object]) -> WaitTimeout:
    """Call what waits in vain, and return what it raises."""
    with pytest.raises(WaitTimeout) as caught:
        call()
    return caught.value


def begin(pool: ThreadPoolExecutor, call: Callable[[], _Result]) -> Future[_Result]:
    """Begin a call that waits in another thread, and return when it waits."""
    threads: list[int] = []

    def run() -> _Result:
        threads.append(threading.get_ident())
        return call()

    future = pool.submit(run)
    eventually(lambda: future.done() or (threads and is_waiting(threads[0])), "it waits")
    return future


def is_waiting(thread: int) -> bool:
    """Tell whether a thread waits for something to happen."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code is not Latch.wait.__code__:
        frame = frame.f_back
    return frame is not None
