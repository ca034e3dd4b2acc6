"""What tests of waits have in common: files, boards that fetch them as they are told, and calls in other threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from httpserve import HttpServerClient, WaitTimeout
from tests.server.wire import Wire, eventually, pattern

SIZE = 1 << 20
BIG = 8 << 20  # more than the kernel takes for a board with a small receive buffer
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
    log = client._ledger._log
    eventually(lambda: all(one.is_over for one in list(log) if one.link.client_port == port), "it is known to be over")
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


def begin(pool: ThreadPoolExecutor, client: HttpServerClient, call: Callable[[], _Result]) -> Future[_Result]:
    """Begin a call that waits in another thread, and return when it waits."""
    ledger = client._ledger
    before = set(ledger._waiters)
    waits = threading.Event()

    def run() -> _Result:
        waits.set()
        return call()

    future = pool.submit(run)
    waits.wait(10)
    eventually(lambda: set(ledger._waiters) - before or future.done(), "it waits")
    return future


def watches(client: HttpServerClient) -> int:
    """Return how many waits are still fed with what happens."""
    return len(client._ledger._watching())
