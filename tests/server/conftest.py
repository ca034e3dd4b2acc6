"""A server by each way that a system may offer: with and without epoll, with and without sendfile."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.server.poller import SelectorPoller
from tests.conftest import NewRoot
from tests.server.waits import put
from tests.server.wire import BIG_BYTES, pattern


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "big"
    path.write_bytes(pattern(BIG_BYTES))
    return path


@pytest.fixture
def filled(new_root: Callable[[Path], NewRoot], tmp_path: Path) -> NewRoot:
    """The root of `site`: the directory `tmp_path/root`, or with `--roots store` a place on a store."""
    return new_root(tmp_path / "root")


@pytest.fixture(params=["epoll and sendfile", "behind a cable", "selector", "neither"])
def site(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, filled: NewRoot
) -> Iterator[HttpServerClient]:
    """A server on `filled`, by each way that the system may offer."""
    if request.param == "behind a cable":  # where most of a file leaves by sendfile
        monkeypatch.setattr("httpserve.server.tcp.is_hardware", lambda _: True)
    if request.param in ("selector", "neither"):
        monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)  # what Windows has
        monkeypatch.setattr("httpserve.server.server.best_poller", SelectorPoller)
    if request.param == "neither":
        monkeypatch.delattr(os, "sendfile")
    with HttpServerClient(host="127.0.0.1", **filled.arguments) as client:
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for what a test lets wait while it does something else."""
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def image(bench: HttpServerClient) -> HttpServerClient:
    """A server with `Image` on it."""
    put(bench)
    return bench


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turns the clock on the wall by so many seconds."""
    now = time.time
    turned: list[float] = []
    monkeypatch.setattr(time, "time", lambda: now() + sum(turned))
    return turned.append
