"""Networks for the tests of this folder; they skip where namespaces are not allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from httpserve import HttpServerClient
from tests.netns.nets import Network, skip_where_not_allowed

Serve = Callable[..., HttpServerClient]


@pytest.fixture(scope="session")
def _allowed() -> None:
    skip_where_not_allowed()


@pytest.fixture
def network(_allowed: None) -> Iterator[Network]:
    """A bench with three boards, for one test, which may change it."""
    with contextlib.ExitStack() as stack:
        network = Network()
        for place in network.places():
            stack.enter_context(place)
        network.lay_cables()
        yield network


@pytest.fixture
def serve(network: Network) -> Iterator[Serve]:
    """Starts servers on the bench of this test: takes the arguments of HttpServerClient."""
    with contextlib.ExitStack() as stack:

        def serve(**settings: Any) -> HttpServerClient:
            client = HttpServerClient(**settings)
            stack.callback(client.close)
            network.bench.call(client.start)
            return client

        yield serve
