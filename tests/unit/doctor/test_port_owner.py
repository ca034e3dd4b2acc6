"""Who has a port: told of sockets of this very process, without a question to them."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.doctor.port_owner import PortOwner, listener
from httpserve.network.binding import bind
from tests.cases import each

NAME_SERVER_SECONDS = 4.5  # no name server would have given up by then
PROGRAM = Path("/proc/self/comm").read_text().strip() if sys.platform == "linux" else ""
ME = os.getpid() if sys.platform == "linux" else 0


@each("address", ["127.0.0.1", "::1", "0.0.0.0"])
def test_who_listens_is_told_with_its_address(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as taken:
        taken.setblocking(False)
        port = taken.getsockname()[1]

        found = listener(address, None, port)

        with pytest.raises(BlockingIOError):  # nobody has connected
            taken.accept()
    assert found == PortOwner(address, port, ME, PROGRAM)


def test_who_listens_on_one_address_is_in_the_way_of_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert listener("0.0.0.0", None, port) == PortOwner("127.0.0.1", port, ME, PROGRAM)


def test_a_port_that_nobody_has_stays_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert listener("127.0.0.1", None, port) is None
    bind("127.0.0.1", port).close()


@each(
    ("host", "peer", "port"),
    [
        ("127.0.0.1", None, 0),
        ("203.0.113.7", None, 60000),
        ("bench..invalid", None, 60000),
        (None, "board..invalid", 60000),
    ],
)
def test_nothing_is_said_where_there_is_no_port_no_address_or_only_a_name(
    host: str | None, peer: str | None, port: int
) -> None:
    began = time.monotonic()

    assert listener(host, peer, port) is None
    assert time.monotonic() - began < NAME_SERVER_SECONDS


def test_the_doctor_of_a_client_that_cannot_start_tells_both() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        report = HttpServerClient(host="127.0.0.1", port=port).doctor()

    assert [(one.status, one.check) for one in report.findings[:3]] == [
        ("fail", "server"),
        ("ok", "start"),
        ("warn", "bind"),
    ]
