"""Which address faces whom, on real networks: a bench with two boards, each in a namespace of its own.

The bench has `eth1` (a board; IPv4, ULA and link-local), `eth2` (another board; link-local only), `docker0`
(a virtual one), and no default route unless a test adds it. Each test runs its code in a process inside the
namespace of the bench.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
TOLD = "logging.basicConfig(level='INFO', stream=sys.stdout, format='%(message)s')\n"
PRELUDE = """
import json, logging, os, socket, sys
from httpserve.network.binding import bind
from httpserve.network.choice import advertised, listen_host
from httpserve.network.interfaces import interfaces
from httpserve.errors import HttpServeError
def outcome(call):
    try:
        return call()
    except HttpServeError as error:
        return f"{type(error).__name__}: {error}"
"""
NETWORK = """
link add eth1 netns {bench} type veth peer name usb0 netns {board}
link add eth2 netns {bench} type veth peer name usb0 netns {other}
link add docker0 netns {bench} type veth peer name eth9 netns {other}
"""
BENCH = """
addr add 172.17.0.1/16 dev docker0
addr add 192.168.7.1/24 dev eth1
addr add fd00:7::1/64 dev eth1 nodad
addr add fe80::71/64 dev eth1 nodad
addr add fe80::81/64 dev eth2 nodad
link set lo up
link set docker0 up
link set eth1 up
link set eth2 up
"""
BOARD = """
addr add 192.168.7.2/24 dev usb0
addr add fd00:7::2/64 dev usb0 nodad
addr add fe80::72/64 dev usb0 nodad
link set usb0 up
"""
OTHER = """
addr add fe80::82/64 dev usb0 nodad
link set usb0 up
link set eth9 up
"""


_NUMBERS = itertools.count()


def ip(*arguments: str, batch: str = "") -> None:
    subprocess.run(["ip", *arguments], input=batch, capture_output=True, text=True, timeout=30, check=True)


class Bench:
    """A network namespace of a bench, with those of the boards on its cables."""

    def __init__(self) -> None:
        self.names = {role: f"hs{os.getpid()}-{next(_NUMBERS)}-{role}" for role in ("bench", "board", "other")}

    def __enter__(self) -> Bench:
        try:
            for name in self.names.values():
                ip("netns", "add", name)
                # Only the addresses that are given: none made by the kernel, none in doubt.
                self.run_in(name, "sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/addr_gen_mode; do echo 1 > $f; done")
            ip("-batch", "-", batch=NETWORK.format(**self.names))
            for role, batch in (("bench", BENCH), ("board", BOARD), ("other", OTHER)):
                ip("-n", self.names[role], "-batch", "-", batch=batch)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "_asked" in vars(self):
            self._asked.communicate(timeout=30)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30, check=False)

    def run_in(self, name: str, *command: str) -> None:
        ip("netns", "exec", name, *command)

    def ip(self, command: str) -> None:
        """Change the network of the bench, as `ip` does."""
        ip("-n", self.names["bench"], *command.split())

    def start(self, code: str, role: str = "bench") -> subprocess.Popen[str]:
        """Start *code* inside a namespace, with pipes to it."""
        command = ["ip", "netns", "exec", self.names[role], sys.executable, "-W", "error", "-c", PRELUDE + code]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, code: str, role: str = "bench") -> str:
        """Return what *code* writes on stdout; fails if it writes an error."""
        with self.start(code, role) as child:
            out, err = child.communicate(timeout=30)
        assert child.returncode == 0, err
        return out

    @functools.cached_property
    def _asked(self) -> subprocess.Popen[str]:
        """A process on the bench that says what each line of its stdin gives."""
        return self.start("for line in sys.stdin: print(json.dumps(outcome(lambda: eval(line))), flush=True)")

    def value(self, expression: str) -> Any:  # Any: of JSON
        """Return what *expression* gives, or the error of ours that it raises, on the bench."""
        assert self._asked.stdin is not None
        assert self._asked.stdout is not None
        self._asked.stdin.write(f"{expression}\n")
        self._asked.stdin.flush()
        return json.loads(self._asked.stdout.readline())


@pytest.fixture(scope="module")
def cabled() -> Iterator[Bench]:
    """The bench as the module describes it; tests leave it as it is."""
    yield from a_bench()


@pytest.fixture
def fresh() -> Iterator[Bench]:
    """One that a test may change."""
    yield from a_bench()


def a_bench() -> Iterator[Bench]:
    if shutil.which("ip") is None:
        pytest.skip("ip of iproute2 is not installed")
    if not socket.has_dualstack_ipv6():
        pytest.skip("this system has no IPv6")
    probe = f"hs{os.getpid()}-probe"
    allowed = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=30, check=False)
    if allowed.returncode:
        pytest.skip(f"network namespaces are not allowed here: {allowed.stderr.strip()}")
    ip("netns", "del", probe)
    with Bench() as bench:
        yield bench


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
def test_a_peer_is_faced_by_the_address_on_its_cable(cabled: Bench, peer: str | None, host: str) -> None:
    assert cabled.value(f"listen_host(None, {peer!r})") == host


def test_a_link_local_peer_without_a_zone_is_refused_where_several_fit(cabled: Bench) -> None:
    assert cabled.value("listen_host(None, 'fe80::72')") == (
        "InvalidArgument: peer='fe80::72' is link-local and could be on eth1 or eth2; "
        "name the interface, as in peer='fe80::72%eth1'"
    )


def test_a_link_local_host_of_ours_needs_no_zone(cabled: Bench) -> None:
    assert cabled.value("listen_host('fe80::81', None)") == "fe80::81%eth2"


def test_an_interface_is_taken_for_its_address(fresh: Bench) -> None:
    fresh.ip("link add eth1.100 type veth peer name eth1.101")

    found = [fresh.value(f"listen_host({name!r}, None)") for name in ("eth1", "eth2", "eth1.100")]

    assert found[:2] == ["192.168.7.1", "fe80::81%eth2"]  # IPv4, and link-local where there is no other
    assert found[2].startswith(
        "AddressNotFound: host='eth1.100': the interface has no address yet; start(wait_for_address=30) waits for one; "
    )


def test_a_link_local_host_can_be_bound(cabled: Bench) -> None:
    code = "s = bind('fe80::81%eth2', 8080); s.listen(); print(s.getsockname()[:2]); s.close()"

    assert cabled.run(code) == "('fe80::81', 8080)\n"


def test_a_peer_without_a_route_is_named_with_the_addresses_here(cabled: Bench) -> None:
    message = cabled.value("listen_host(None, '10.9.9.9')")

    assert message.startswith("AddressNotFound: no address of this host faces peer='10.9.9.9' (Network is unreachable)")
    assert "192.168.7.1 (eth1), 172.17.0.1 (docker0, virtual)" in message


def test_the_choice_is_told_with_the_other_address(cabled: Bench) -> None:
    told = cabled.run(TOLD + "listen_host(None, None)")

    assert told == "chose 192.168.7.1 (eth1); others are 172.17.0.1 (docker0, virtual); peer= or host= chooses\n"


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
    fresh: Bench, changes: list[str], peer: str | None, host: str
) -> None:
    for change in changes:
        fresh.ip(change)

    assert fresh.value(f"listen_host(None, {peer!r})") == host


def test_a_peer_that_will_hardly_reach_the_server_is_warned_of_or_refused(fresh: Bench) -> None:
    fresh.ip("route add default via 192.168.7.2")
    code = """
from httpserve.network.choice import check_peer
for bound, peer in BOUND:
    print(bound, peer, outcome(lambda: check_peer(bound, peer, is_strict=False)))
    print(outcome(lambda: check_peer(bound, peer, is_strict=True)))
"""
    # A name that no resolver is asked for: here it would wait for an answer that cannot come.
    bound = [("192.168.7.1", "10.9.9.9"), ("127.0.0.1", "192.168.7.2"), ("192.168.7.1", "no..host")]
    good = [("192.168.7.1", "192.168.7.2"), ("0.0.0.0", "192.168.7.2"), ("127.0.0.1", "127.0.0.1")]

    told = fresh.run(TOLD + f"BOUND = {bound}" + code).splitlines()
    silent = fresh.run(TOLD + f"BOUND = {good}" + code).splitlines()

    away = "peer='10.9.9.9' is on no network of this host; 192.168.7.1 faces the router to it: is the interface"
    loopback = "peer='192.168.7.2' cannot reach 127.0.0.1, which only this host does: leave host= out, or pass"
    for at, expected in ((0, away), (3, loopback), (6, "'no..host' does not resolve")):
        assert expected in told[at]
        assert told[at + 1].endswith("None")
        assert told[at + 2] == f"AddressNotFound: {told[at]}"
    assert silent == [line for pair in good for line in (f"{pair[0]} {pair[1]} None", "None")]


def test_the_other_end_of_a_point_to_point_link_is_on_our_network(fresh: Bench) -> None:
    fresh.ip("addr add 10.1.1.1 peer 10.1.1.2/32 dev eth2")
    code = "print(*(h for h in interfaces() if h.family == socket.AF_INET and h.reaches('10.1.1.2')))"

    assert fresh.run(code) == "10.1.1.1 (eth2)\n"


# Binding


def test_an_address_that_comes_later_can_be_bound_then(fresh: Bench) -> None:
    before = fresh.value("bind('192.168.8.1', 8080)")
    fresh.ip("addr add 192.168.8.1/24 dev eth2")

    after = fresh.run("s = bind('192.168.8.1', 8080); print(s.getsockname()); s.close()")

    assert before.startswith("AddressNotFound: no interface has 192.168.8.1 yet; ")
    assert after == "('192.168.8.1', 8080)\n"


def test_an_address_that_is_still_tentative_is_told_so(fresh: Bench) -> None:
    fresh.run_in(fresh.names["bench"], "sh", "-c", "echo 60 > /proc/sys/net/ipv6/conf/eth2/dad_transmits")
    fresh.ip("addr add fd00:8::1/64 dev eth2")

    assert fresh.value("bind('fd00:8::1', 8080)").startswith("AddressNotFound: fd00:8::1 is not ready, as IPv6")


def test_a_tentative_address_is_not_chosen(fresh: Bench) -> None:
    fresh.run_in(fresh.names["bench"], "sh", "-c", "echo 60 > /proc/sys/net/ipv6/conf/eth2/dad_transmits")
    fresh.ip("addr flush dev eth1")
    fresh.ip("addr flush dev docker0")
    fresh.ip("addr add fd00:8::1/64 dev eth2")

    assert fresh.value("listen_host(None, None)") == "127.0.0.1"


def test_the_limit_of_the_system_decides_which_ports_need_a_right(fresh: Bench) -> None:
    fresh.run_in(fresh.names["bench"], "sh", "-c", "echo 9000 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
    code = (
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "bind('127.0.0.1', 9000).close(); print(outcome(lambda: bind('127.0.0.1', 8999)))"
    )

    told = fresh.run(code)

    assert told.startswith(
        "PortNotPermitted: port 8999 on 127.0.0.1 needs root or CAP_NET_BIND_SERVICE, like every port below 9000; "
        "pass port=0"
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
def test_urls_say_the_address_that_faces_the_peer(cabled: Bench, bound: str, peer: str | None, url: str) -> None:
    assert cabled.value(f"advertised({bound!r}, 80, peer={peer!r})") == url


def test_a_link_local_peer_gets_a_global_address_where_the_cable_has_no_ipv4(fresh: Bench) -> None:
    fresh.ip("addr del 192.168.7.1/24 dev eth1")

    assert fresh.value("advertised('::', 80, peer='fe80::72%eth1')") == "http://[fd00:7::1]:80"


def test_a_peer_on_a_cable_without_the_family_of_the_listener_is_refused(cabled: Bench) -> None:
    message = cabled.value("advertised('0.0.0.0', 80, peer='fe80::82%eth2')")

    assert message.startswith("AddressNotFound: no address of this host faces peer='fe80::82%eth2'")


@pytest.mark.parametrize(
    ("host", "peer"), [(None, "192.168.7.2"), (None, "fe80::72%eth1"), ("0.0.0.0", None), ("::", "fd00:7::2")]
)
def test_the_board_reaches_the_bench_by_the_url(cabled: Bench, host: str | None, peer: str | None) -> None:
    server = f"""
host = listen_host({host!r}, {peer!r})
with bind(host, 0) as listening:
    listening.settimeout(20)
    listening.listen()
    print(advertised(host, listening.getsockname()[1], peer={peer!r}), flush=True)
    with listening.accept()[0] as served:
        served.sendall(b"reached")
"""
    board = """
from urllib.parse import unquote
host, _, port = {url!r}.removeprefix("http://").rpartition(":")
with socket.create_connection((unquote(host.strip("[]")), int(port)), timeout=20) as client:
    print(client.recv(100).decode())
"""
    with cabled.start(server) as bench:
        assert bench.stdout is not None
        url = bench.stdout.readline().strip()

        said = cabled.run(board.format(url=url), "board")

        bench.communicate(timeout=30)
    assert said == "reached\n"
