"""Which address faces whom, on real networks: a bench with two boards, each in a namespace of its own.

The bench has `eth1` (a board; IPv4, ULA and link-local), `eth2` (another board; link-local only), `docker0`
(a virtual one), and no default route unless a test adds it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

import pytest

from httpserve.errors import HttpServeError
from httpserve.network.binding import bind
from httpserve.network.choice import advertised, check_peer, listen_host
from httpserve.network.interfaces import interfaces
from tests.netns.nets import Place, ip

T = TypeVar("T")

REACH_SECONDS = 20.0
NETWORK = """
link add eth1 netns {bench} type veth peer name usb0 netns {board}
link add eth2 netns {bench} type veth peer name usb0 netns {other}
link add docker0 netns {bench} type veth peer name eth9 netns {other}
"""
BENCH = (
    "addr add 172.17.0.1/16 dev docker0",
    "addr add 192.168.7.1/24 dev eth1",
    "addr add fd00:7::1/64 dev eth1 nodad",
    "addr add fe80::71/64 dev eth1 nodad",
    "addr add fe80::81/64 dev eth2 nodad",
    *(f"link set {name} up" for name in ("lo", "docker0", "eth1", "eth2")),
)
BOARD = (
    "addr add 192.168.7.2/24 dev usb0",
    "addr add fd00:7::2/64 dev usb0 nodad",
    "addr add fe80::72/64 dev usb0 nodad",
    "link set usb0 up",
)
OTHER = ("addr add fe80::82/64 dev usb0 nodad", "link set usb0 up", "link set eth9 up")


class Cabled(NamedTuple):
    """The bench, and the board at its eth1."""

    bench: Place
    board: Place

    def outcome(self, function: Callable[..., T], *arguments: object, **named: object) -> T | str:
        """Return what a call gives on the bench, or the error of ours that it raises."""
        try:
            return self.bench.call(partial(function, *arguments, **named))
        except HttpServeError as error:
            return f"{type(error).__name__}: {error}"

    def refusal(self, function: Callable[..., object], *arguments: object) -> str:
        """Return the error of ours that a call raises on the bench."""
        said = self.outcome(function, *arguments)
        assert isinstance(said, str)
        return said


@contextmanager
def laid() -> Iterator[Cabled]:
    with Place("bench") as bench, Place("board") as board, Place("other") as other:
        ip("-batch", "-", batch=NETWORK.format(bench=bench.name, board=board.name, other=other.name))
        for place, lines in ((bench, BENCH), (board, BOARD), (other, OTHER)):
            place.ip(*lines)
        yield Cabled(bench, board)


@pytest.fixture(scope="module")
def cabled(_allowed: None) -> Iterator[Cabled]:
    """The bench as the module describes it; tests leave it as it is."""
    with laid() as cabled:
        yield cabled


@pytest.fixture
def fresh(_allowed: None) -> Iterator[Cabled]:
    """One that a test may change."""
    with laid() as cabled:
        yield cabled


# What to bind


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("192.168.7.2", "192.168.7.1"),
        ("::ffff:192.168.7.2", "192.168.7.1"),
        ("172.17.0.9", "172.17.0.1"),
        ("fd00:7::2", "fd00:7::1"),
        ("[fd00:7::2]", "fd00:7::1"),
        ("fe80::72%eth1", "192.168.7.1"),  # which needs no zone
        ("fe80::82%eth2", "fe80::81%eth2"),  # where there is no other
        (None, "192.168.7.1"),  # without a default route a real card
    ],
)
def test_a_peer_is_faced_by_the_address_on_its_cable(cabled: Cabled, peer: str | None, host: str) -> None:
    assert cabled.outcome(listen_host, None, peer) == host


def test_a_link_local_peer_without_a_zone_is_refused_where_several_fit(cabled: Cabled) -> None:
    assert cabled.outcome(listen_host, None, "fe80::72") == (
        "InvalidArgument: peer='fe80::72' is link-local and could be on eth1 or eth2; "
        "name the interface, as in peer='fe80::72%eth1'"
    )


def test_a_link_local_host_of_ours_needs_no_zone(cabled: Cabled) -> None:
    assert cabled.outcome(listen_host, "fe80::81", None) == "fe80::81%eth2"


def test_an_interface_is_taken_for_its_address(fresh: Cabled) -> None:
    fresh.bench.ip("link add eth1.100 type veth peer name eth1.101")

    found = [fresh.outcome(listen_host, name, None) for name in ("eth1", "eth2", "eth1.100")]

    assert found[:2] == ["192.168.7.1", "fe80::81%eth2"]  # IPv4, and link-local where there is no other
    assert str(found[2]).startswith(
        "AddressNotFound: host='eth1.100': the interface has no address yet; start(wait_for_address=30) waits for one; "
    )


def test_a_link_local_host_can_be_bound(cabled: Cabled) -> None:
    with cabled.bench.call(partial(bind, "fe80::81%eth2", 8080)) as sock:
        sock.listen()

        assert sock.getsockname()[:2] == ("fe80::81", 8080)


def test_a_peer_without_a_route_is_named_with_the_addresses_here(cabled: Cabled) -> None:
    message = cabled.refusal(listen_host, None, "10.9.9.9")

    assert message.startswith("AddressNotFound: no address of this host faces peer='10.9.9.9' (Network is unreachable)")
    assert "192.168.7.1 (eth1), 172.17.0.1 (docker0, virtual)" in message


def test_the_choice_is_told_with_the_other_address(cabled: Cabled, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    cabled.outcome(listen_host, None, None)

    told = "chose 192.168.7.1 (eth1); others are 172.17.0.1 (docker0, virtual); peer= or host= chooses"
    assert caplog.messages == [told]


ZEROCONF = "addr add 169.254.7.1/16 dev eth2"


@pytest.mark.parametrize(
    ("changes", "peer", "host"),
    [
        (["route add default via 172.17.0.2"], None, "172.17.0.1"),
        (["addr flush dev eth1", "addr flush dev docker0", ZEROCONF], None, "169.254.7.1"),
        ([ZEROCONF], "169.254.7.2", "169.254.7.1"),
        (["link set eth1 down", "link set docker0 down"], None, "127.0.0.1"),
    ],
    ids=["source of the default route", "nothing but zeroconf", "zeroconf peer", "nothing but link-local IPv6"],
)
def test_on_another_network_another_address_is_chosen(
    fresh: Cabled, changes: list[str], peer: str | None, host: str
) -> None:
    fresh.bench.ip(*changes)

    assert fresh.outcome(listen_host, None, peer) == host


@pytest.mark.parametrize(
    ("bound", "peer", "expected"),
    [
        (
            "192.168.7.1",
            "10.9.9.9",
            "peer='10.9.9.9' is on no network of this host; 192.168.7.1 faces the router to it",
        ),
        (
            "127.0.0.1",
            "192.168.7.2",
            "peer='192.168.7.2' cannot reach 127.0.0.1, which only this host does: leave host=",
        ),
        # A name that no resolver is asked for: here it would wait for an answer that cannot come.
        ("192.168.7.1", "no..host", "'no..host' does not resolve"),
        ("192.168.7.1", "192.168.7.2", None),
        ("0.0.0.0", "192.168.7.2", None),
        ("127.0.0.1", "127.0.0.1", None),
    ],
)
def test_a_peer_that_will_hardly_reach_the_server_is_warned_of_or_refused(
    fresh: Cabled, caplog: pytest.LogCaptureFixture, bound: str, peer: str, expected: str | None
) -> None:
    fresh.bench.ip("route add default via 192.168.7.2")

    assert fresh.outcome(check_peer, bound, peer, is_strict=False) is None
    refused = fresh.outcome(check_peer, bound, peer, is_strict=True)

    if expected is None:
        assert (refused, caplog.messages) == (None, [])
    else:
        (told,) = caplog.messages
        assert expected in told
        assert refused == f"AddressNotFound: {told}"


def test_the_other_end_of_a_point_to_point_link_is_on_our_network(fresh: Cabled) -> None:
    fresh.bench.ip("addr add 10.1.1.1 peer 10.1.1.2/32 dev eth2")

    found = [here for here in fresh.bench.call(interfaces) if here.family == socket.AF_INET]

    assert [str(here) for here in found if here.reaches("10.1.1.2")] == ["10.1.1.1 (eth2)"]


# Binding


def test_an_address_that_comes_later_can_be_bound_then(fresh: Cabled) -> None:
    before = fresh.refusal(bind, "192.168.8.1", 8080)
    fresh.bench.ip("addr add 192.168.8.1/24 dev eth2")

    with fresh.bench.call(partial(bind, "192.168.8.1", 8080)) as after:
        assert after.getsockname() == ("192.168.8.1", 8080)
    assert before.startswith("AddressNotFound: no interface has 192.168.8.1 yet; ")


def test_an_address_that_is_still_tentative_is_told_so(fresh: Cabled) -> None:
    fresh.bench.run("sh", "-c", "echo 60 > /proc/sys/net/ipv6/conf/eth2/dad_transmits")
    fresh.bench.ip("addr add fd00:8::1/64 dev eth2")

    assert fresh.refusal(bind, "fd00:8::1", 8080).startswith("AddressNotFound: fd00:8::1 is not ready, as IPv6")


def test_a_tentative_address_is_not_chosen(fresh: Cabled) -> None:
    fresh.bench.run("sh", "-c", "echo 60 > /proc/sys/net/ipv6/conf/eth2/dad_transmits")
    fresh.bench.ip("addr flush dev eth1", "addr flush dev docker0", "addr add fd00:8::1/64 dev eth2")

    assert fresh.outcome(listen_host, None, None) == "127.0.0.1"


def test_the_limit_of_the_system_decides_which_ports_need_a_right(fresh: Cabled) -> None:
    fresh.bench.run("sh", "-c", "echo 9000 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
    code = (
        "import os\nfrom httpserve.network.binding import bind\nfrom httpserve.errors import PortNotPermitted\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "bind('127.0.0.1', 9000).close()\n"
        "try:\n    bind('127.0.0.1', 8999)\nexcept PortNotPermitted as error:\n    print(error)"
    )

    told = fresh.bench.run(sys.executable, "-W", "error", "-c", code)

    assert told.startswith(
        "port 8999 on 127.0.0.1 needs root or CAP_NET_BIND_SERVICE, like every port below 9000; pass port=0"
    )


# What URLs say


@pytest.mark.parametrize(
    ("bound", "peer", "url"),
    [
        ("0.0.0.0", None, "http://192.168.7.1:80"),
        ("0.0.0.0", "192.168.7.2", "http://192.168.7.1:80"),
        ("0.0.0.0", "172.17.0.9", "http://172.17.0.1:80"),
        ("::", None, "http://192.168.7.1:80"),
        ("::", "172.17.0.9", "http://172.17.0.1:80"),
        ("::", "fd00:7::2", "http://[fd00:7::1]:80"),
        ("192.168.7.1", "172.17.0.9", "http://192.168.7.1:80"),
        ("0.0.0.0", "fd00:7::2", "http://192.168.7.1:80"),  # on the same cable
        ("0.0.0.0", "fe80::72%eth1", "http://192.168.7.1:80"),  # which needs no zone
        ("::", "fe80::72%eth1", "http://192.168.7.1:80"),
        ("::", "fe80::82%eth2", "http://[fe80::81]:80"),  # the zone is that of the bench, and no business of the board
    ],
)
def test_urls_say_the_address_that_faces_the_peer(cabled: Cabled, bound: str, peer: str | None, url: str) -> None:
    assert cabled.outcome(advertised, bound, 80, peer=peer) == url


def test_a_link_local_peer_gets_a_global_address_where_the_cable_has_no_ipv4(fresh: Cabled) -> None:
    fresh.bench.ip("addr del 192.168.7.1/24 dev eth1")

    assert fresh.outcome(advertised, "::", 80, peer="fe80::72%eth1") == "http://[fd00:7::1]:80"


def test_a_peer_on_a_cable_without_the_family_of_the_listener_is_refused(cabled: Cabled) -> None:
    message = cabled.outcome(advertised, "0.0.0.0", 80, peer="fe80::82%eth2")

    assert str(message).startswith("AddressNotFound: no address of this host faces peer='fe80::82%eth2'")


@pytest.mark.parametrize(
    ("host", "peer"), [(None, "192.168.7.2"), (None, "fe80::72%eth1"), ("0.0.0.0", None), ("::", "fd00:7::2")]
)
def test_the_board_reaches_the_bench_by_the_url(cabled: Cabled, host: str | None, peer: str | None) -> None:
    chosen = cabled.bench.call(partial(listen_host, host, peer))
    with cabled.bench.call(partial(bind, chosen, 0)) as listening:
        listening.listen()
        listening.settimeout(REACH_SECONDS)
        url = cabled.bench.call(partial(advertised, chosen, listening.getsockname()[1], peer=peer))
        name, _, port = url.removeprefix("http://").rpartition(":")
        address = (unquote(name.strip("[]")), int(port))
        with (
            cabled.board.call(partial(socket.create_connection, address, REACH_SECONDS)) as client,
            listening.accept()[0] as served,
        ):
            served.sendall(b"reached")

            assert client.recv(100) == b"reached"
