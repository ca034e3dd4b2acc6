"""Which states a connection has, and how it gets from one to another."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from httpserve.records.log import ExchangeLog
from httpserve.server.delivery import Delivery
from httpserve.server.limits import Limits
from httpserve.server.log_writer import LogWriter
from httpserve.server.shared import Shared
from httpserve.server.state import MOVES, NEVER, State
from tests.cases import each


def _app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


def test_every_state_is_reached_and_every_connection_may_go() -> None:
    reached = {State.IDLE}
    for _ in State:
        reached |= {to for state in reached for to in MOVES[state]}

    assert reached == set(State) == set(MOVES)
    assert all(State.GONE in MOVES[state] for state in State if state is not State.GONE)
    assert not MOVES[State.GONE]


@each(
    ("state", "to"),
    [
        (State.IDLE, State.PAUSED),
        (State.PAUSED, State.IDLE),
        (State.DRAINING, State.SENDING),
        (State.LINGERING, State.IDLE),
        (State.GONE, State.IDLE),
        (State.GONE, State.GONE),
    ],
)
def test_a_move_that_no_connection_makes_is_refused(state: State, to: State) -> None:
    shared = Shared(_app, ExchangeLog(), {}, "127.0.0.1", Limits(), LogWriter("log"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        delivery = Delivery(ours, "127.0.0.1", 4711, shared, 0.0)
        delivery.state = state

        with pytest.raises(RuntimeError, match=f"{state.name} does not become {to.name}"):
            delivery.enter(to, NEVER)

        assert delivery.state is state
