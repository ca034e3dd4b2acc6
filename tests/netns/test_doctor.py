"""The doctor on a bench with boards: who is reached by what, who was seen, and a firewall that says nothing."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable

import pytest

from httpserve import Finding, HttpServerClient, Report
from tests.netns.conftest import Serve
from tests.netns.nets import Network, Place
from tests.server.wire import eventually

ETH_P_ALL = 3
ICMPV6, HOP_BY_HOP = 58, 0
DROP = """
table inet filter {
    chain input { type filter hook input priority 0; policy drop; iifname lo accept; meta l4proto ipv6-icmp accept; }
}
"""


def found(report: Report, check: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.check == check]


def only(report: Report, check: str) -> Finding:
    (finding,) = found(report, check)
    return finding


@pytest.fixture
def doctor(network: Network) -> Callable[[HttpServerClient], Report]:
    return lambda client: network.bench.call(client.doctor)


Doctor = Callable[[HttpServerClient], Report]


def a_tap_on_every_wire() -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.setblocking(False)
    return tap


def frames_beyond_this_host(tap: socket.socket) -> list[tuple[str, bytes]]:
    """Return interface and frame of all that was seen on cables, but what the kernel itself tells routers in IPv6."""
    frames: list[tuple[str, bytes]] = []
    while True:
        try:
            frame, (interface, *_) = tap.recvfrom(65536)
        except BlockingIOError:
            return frames
        is_ipv6 = frame[12:14] == b"\x86\xdd"
        if interface != "lo" and not (is_ipv6 and frame[20] in (ICMPV6, HOP_BY_HOP)):
            frames.append((interface, frame))


# URLs


def test_every_url_is_told_with_its_interface_and_who_reaches_it(serve: Serve, doctor: Doctor) -> None:
    client = serve(host="::")
    port = client.get_port()

    report = doctor(client)

    urls = [finding.data for finding in found(report, "url")]
    assert {data["url"]: (data["interface"], data["reached_by"]) for data in urls} == {
        f"http://192.168.7.1:{port}": ("eth1", "hosts of 192.168.7.0/24"),
        f"http://169.254.7.1:{port}": ("eth2", "boards on the cable of eth2 with an address of 169.254.0.0/16"),
        f"http://[fd00:9::1]:{port}": ("eth3", "hosts of fd00:9::/64"),
    }
    tested = {finding.data["host"] for finding in found(report, "self-test")}
    assert tested == {"192.168.7.1", "169.254.7.1", "fd00:9::1"}
    assert report.ok, str(report)


def test_the_address_of_the_default_route_is_told_to_be_for_more(
    network: Network, serve: Serve, doctor: Doctor
) -> None:
    network.bench.ip("route add default via 192.168.7.2")

    message = only(doctor(serve(host="192.168.7.1")), "url").message

    assert message.endswith("hosts of 192.168.7.0/24, and those from which routers lead here")


def test_the_other_end_of_a_point_to_point_link_is_told(network: Network, serve: Serve, doctor: Doctor) -> None:
    network.bench.ip("addr add 10.1.1.1 peer 10.1.1.2/32 dev eth2")

    assert "10.1.1.2" in only(doctor(serve(host="10.1.1.1")), "url").message


def test_an_address_for_containers_is_told_to_be_for_no_board(network: Network, serve: Serve, doctor: Doctor) -> None:
    network.bench.ip("link set eth2 down", "link set eth2 name docker0", "link set docker0 up")
    network.bench.ip("addr add 172.17.0.1/16 dev docker0")

    assert "no board on a cable" in only(doctor(serve(host="172.17.0.1")), "url").message


def test_a_link_local_url_of_ipv6_is_told_to_need_the_zone_of_the_board(serve: Serve, doctor: Doctor) -> None:
    report = doctor(serve(host="fe80::91%eth3"))

    assert only(report, "url").status == "warn"
    assert "its interface" in only(report, "url").next_step
    assert only(report, "self-test").status == "ok"


def test_without_a_peer_the_sides_are_told_among_which_to_choose(serve: Serve, doctor: Doctor) -> None:
    finding = only(doctor(serve(host="0.0.0.0")), "route")

    assert finding.status == "warn"
    assert finding.data == {"interfaces": ["eth1", "eth2"]}


# Cables and addresses that are away


def test_a_cable_without_carrier_is_told(network: Network, serve: Serve, doctor: Doctor) -> None:
    client = serve(peer="192.168.7.2")

    network.pull(network.board)

    # The kernel takes a moment to see it.
    eventually(lambda: only(doctor(client), "bind").status == "warn", "the warning")
    assert only(doctor(client), "bind").message.endswith("but eth1 has no carrier")


def test_an_address_that_went_away_is_told_and_the_server_goes_on_when_it_is_back(
    network: Network, serve: Serve, doctor: Doctor
) -> None:
    client = serve(peer="192.168.7.2")
    network.bench.ip("addr del 192.168.7.1/24 dev eth1")
    gone = doctor(client)
    network.bench.ip("addr add 192.168.7.1/24 dev eth1")

    back = doctor(client)

    assert not gone.ok
    assert only(gone, "bind").message.endswith("which no interface has any more")
    assert only(gone, "self-test").status == "fail"
    assert back.ok, str(back)


def test_a_host_with_loopback_alone_is_told(network: Network, serve: Serve, doctor: Doctor) -> None:
    network.bench.ip(*(f"addr flush dev eth{number}" for number in (1, 2, 3)))

    report = doctor(serve(host="0.0.0.0"))

    assert only(report, "url").message == "no interface but loopback has an address: only this host is answered"
    assert only(report, "self-test").data["host"] == "127.0.0.1"


# The peer


def test_a_peer_that_was_never_seen_is_told(serve: Serve, doctor: Doctor) -> None:
    report = doctor(serve(peer="192.168.7.2"))

    assert only(report, "route").message == "peer 192.168.7.2 is faced by 192.168.7.1 (eth1), on the same network"
    assert only(report, "peer").message == ("peer 192.168.7.2 has not been seen: no ARP or NDP entry")
    assert only(report, "peer").status == "warn"


@pytest.mark.parametrize(("role", "peer"), [("board", "192.168.7.2"), ("ipv6", "fd00:9::2")])
def test_a_peer_that_has_answered_on_the_network_is_told_with_its_hardware_address(
    network: Network, serve: Serve, doctor: Doctor, role: str, peer: str
) -> None:
    client = serve(peer=peer)
    board: Place = getattr(network, role)
    board.run("curl", "-sg", client.get_url())
    client.close()
    again = serve(peer=peer)  # which was not asked

    finding = only(doctor(again), "peer")

    assert finding.data["neighbour"] is True
    assert finding.data["mac"] == board.run("cat", "/sys/class/net/usb0/address").strip()
    assert finding.message.endswith("but not asked")


def test_a_peer_that_does_not_answer_on_the_network_is_told(network: Network, serve: Serve, doctor: Doctor) -> None:
    network.bench.ip("neigh add 192.168.7.3 dev eth1 nud failed")

    message = only(doctor(serve(peer="192.168.7.3")), "peer").message

    assert message == "peer 192.168.7.3 has not been seen: it does not answer on the network"


def test_a_peer_that_has_asked_is_told(network: Network, serve: Serve, doctor: Doctor) -> None:
    client = serve(peer="169.254.7.2")
    for _ in range(2):
        network.linklocal.run("curl", "-sS", client.get_url())

    report = doctor(client)

    assert only(report, "peer").status == "ok"
    assert only(report, "peer").message.startswith("peer 169.254.7.2 has asked 2 times, the last time ")
    assert only(report, "connections").data["clients"]["169.254.7.2"]["connections"] == 2


def test_a_peer_that_connects_and_asks_nothing_is_told(network: Network, serve: Serve, doctor: Doctor) -> None:
    client = serve(peer="192.168.7.2")
    network.board.start("busybox", "telnet", "192.168.7.1", str(client.get_port()))
    eventually(lambda: "192.168.7.2" in client.connections, "the connection")

    report = doctor(client)

    assert only(report, "peer").message == "peer 192.168.7.2 has connected, but asked for nothing"
    assert only(report, "connections").message == "other hosts have connected: 192.168.7.2 once"


def test_a_peer_to_which_no_route_leads_is_a_failure(serve: Serve, doctor: Doctor) -> None:
    report = doctor(serve(host="0.0.0.0", peer="10.9.9.9"))

    assert not report.ok
    assert only(report, "route").message == "no route leads to peer 10.9.9.9 (Network is unreachable)"
    assert "192.168.7.1 (eth1)" in only(report, "route").next_step


def test_a_peer_behind_the_default_router_is_a_warning(network: Network, serve: Serve, doctor: Doctor) -> None:
    network.bench.ip("route add default via 192.168.7.2")

    report = doctor(serve(peer="10.9.9.9"))

    assert only(report, "route").status == "warn"
    assert "is on no network of this host" in only(report, "route").message


def test_a_peer_behind_a_router_of_its_own_is_none(network: Network, serve: Serve, doctor: Doctor) -> None:
    network.bench.ip("route add 10.9.0.0/16 via 192.168.7.2", "route add default via 169.254.7.2")

    report = doctor(serve(peer="10.9.9.9"))

    assert only(report, "route").message == ("peer 10.9.9.9 is faced by 192.168.7.1 (eth1), with a router between")


def test_a_server_that_does_not_listen_on_the_side_of_the_peer_is_a_failure(serve: Serve, doctor: Doctor) -> None:
    report = doctor(serve(host="169.254.7.1", peer="192.168.7.2"))

    assert not report.ok
    assert only(report, "route").message == (
        "peer 192.168.7.2 is faced by 192.168.7.1 (eth1), but the server listens on 169.254.7.1"
    )
    assert "host='192.168.7.1'" in only(report, "route").next_step


# Firewalls


def test_a_firewall_that_drops_is_named_and_the_rule_that_is_told_lets_the_board_in(
    network: Network, serve: Serve, doctor: Doctor
) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft of nftables is not installed")
    loading = network.bench.start("sh", "-c", f"echo '{DROP}' | nft -f -")
    if loading.wait(timeout=30):
        pytest.skip(f"this kernel has no nftables: {loading.communicate()[1]}")
    client = serve(peer="192.168.7.2")
    asking = ("curl", "-sS", "-m", "1", client.get_url())
    assert network.board.start(*asking).wait(timeout=30) == 28  # nothing comes back
    shut = doctor(client)
    (firewall,) = [finding for finding in found(shut, "firewall") if finding.data["name"] == "nftables"]
    rule = firewall.next_step.partition("sudo nft ")[2].partition(" (where")[0]

    network.bench.run("nft", *rule.split())

    network.board.run(*asking)
    opened = doctor(client)
    assert firewall.status == "warn"
    assert only(shut, "self-test").status == "ok"  # that we reach ourselves proves nothing
    assert only(shut, "connections").status == "warn"
    assert {finding.status for finding in found(opened, "firewall")} == {"ok"}
    assert only(opened, "connections").status == "ok"


# Nothing leaves this host


def test_nothing_is_sent_beyond_this_host(network: Network, serve: Serve, doctor: Doctor) -> None:
    client = serve(host="::", peer="192.168.7.2")
    with network.bench.call(a_tap_on_every_wire) as tap:
        report = doctor(client)

        sent = frames_beyond_this_host(tap)
        network.bench.start("busybox", "nc", "-w", "5", "192.168.7.2", "1").wait(timeout=30)
        seen = frames_beyond_this_host(tap)
    assert len(found(report, "self-test")) == 3
    assert sent == []
    assert {interface for interface, _ in seen} == {"eth1"}  # so it would have been seen
