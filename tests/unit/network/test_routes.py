"""Routes from this host, and the kernel's list of neighbours as its messages have it."""

from __future__ import annotations

import socket
import struct

from httpserve.network.hosts import is_numeric, resolve
from httpserve.network.interfaces import interfaces
from httpserve.network.routes import Neighbour, is_near, neighbours, parse_neighbours, route_to
from tests.cases import each

REACHABLE, STALE, FAILED, INCOMPLETE, NOARP, PERMANENT = 0x02, 0x04, 0x20, 0x01, 0x40, 0x80
LOOPBACK_INDEX = 1
MAC = bytes.fromhex("020000000001")


def attribute(number: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), number) + value).ljust((4 + len(value) + 3) & ~3, b"\0")


def entry(address: str, state: int, mac: bytes = MAC, index: int = LOOPBACK_INDEX) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    fixed = struct.pack("=BBHiHBB", family, 0, 0, index, state, 0, 0)
    return fixed + attribute(1, socket.inet_pton(family, address)) + attribute(2, mac)


@each("state", [REACHABLE, STALE, PERMANENT])
def test_a_neighbour_that_has_answered_is_told_with_its_hardware_address(state: int) -> None:
    assert parse_neighbours([entry("10.0.0.2", state)]) == [
        Neighbour("lo", "10.0.0.2", "02:00:00:00:00:01", has_answered=True)
    ]


@each("state", [FAILED, INCOMPLETE, NOARP, 0])
def test_a_neighbour_that_did_not_answer_has_no_hardware_address(state: int) -> None:
    assert parse_neighbours([entry("fd00::2", state)]) == [Neighbour("lo", "fd00::2", "", has_answered=False)]


def test_entries_of_bridges_and_interfaces_that_went_away_are_left_out() -> None:
    bridge = struct.pack("=BBHiHBB", 7, 0, 0, LOOPBACK_INDEX, REACHABLE, 0, 0) + attribute(2, MAC)

    assert parse_neighbours([bridge, entry("10.0.0.2", REACHABLE, index=2_000_000_000)]) == []


def test_the_list_of_this_host_is_read() -> None:
    names = {name for _, name in socket.if_nameindex()}

    assert {found.interface for found in neighbours()} <= names


def test_the_route_to_loopback_is_this_host() -> None:
    route = route_to(resolve("127.0.0.1", 9)[0])

    assert (route.source, route.interface) == ("127.0.0.1", "lo")
    assert route.is_here
    assert route.is_near
    assert not route.is_default


def test_an_own_address_is_this_host() -> None:
    for own in interfaces():
        if own.is_ready and own.is_up:
            assert route_to(resolve(own.host, 9)[0]).is_here


def test_a_documentation_address_is_near_to_nobody() -> None:
    assert not is_near(resolve("203.0.113.9", 9)[0])


@each(
    ("host", "expected"),
    [
        ("192.168.7.2", True),
        ("fd00::2", True),
        ("[fd00::2]", True),
        ("fe80::2%eth0", True),
        ("localhost", True),
        ("board", False),
        ("board.local", False),
    ],
)
def test_a_host_that_needs_no_name_server_is_told(host: str, expected: bool) -> None:
    assert is_numeric(host) is expected
