"""The kernel's lists of addresses, and the words for them."""

from __future__ import annotations

import errno
import resource
import socket
import struct
import sys
from dataclasses import replace

import pytest

from httpserve.network.interfaces import (
    InterfaceAddress,
    addresses_here,
    default_source,
    from_psutil,
    from_resolver,
    host_of,
    interfaces,
    parse_addresses,
    source_address,
)
from httpserve.network.netlink import read_answer
from tests.cases import each


def an_address(interface: str, address: str = "10.0.0.1") -> InterfaceAddress:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return InterfaceAddress(interface, address, family, 24)


def message(kind: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, 1, 0) + payload


def address_payload(family: int, index: int) -> bytes:
    attribute = struct.pack("=HH4s", 8, 1, socket.inet_aton("127.0.0.1"))
    return struct.pack("=BBBBI", family, 8, 0, 0, index) + attribute


def test_the_loopback_interface_is_listed() -> None:
    found = next(here for here in interfaces() if here.address == "127.0.0.1")

    assert (found.interface, found.prefix_length, found.is_up) == ("lo", 8, True)


def test_ipv4_is_listed_first() -> None:
    families = [here.family for here in interfaces()]

    assert families == sorted(families, key=lambda family: family != socket.AF_INET)


def test_every_listed_address_can_be_bound() -> None:
    for here in filter(lambda address: address.is_ready, interfaces()):
        endpoint = socket.getaddrinfo(here.host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(endpoint[0], socket.SOCK_STREAM) as sock:
            sock.bind(endpoint[4])

            assert sock.getsockname()[0] == here.address


def test_an_address_without_descriptors_to_ask_by_is_still_loopback() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        found = interfaces()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert [here.host for here in found] == ["127.0.0.1"]


def test_the_resolver_tells_the_same_main_addresses() -> None:
    found = {here.address for here in from_resolver()}

    expected = {default_source(socket.AF_INET), default_source(socket.AF_INET6)} - {None}
    assert found >= expected | {"127.0.0.1"}


def test_psutil_tells_the_same_addresses_as_the_kernel() -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")

    found = from_psutil()

    assert [replace(here, is_ready=True, has_carrier=True) for here in found] == [
        replace(here, is_ready=True, has_carrier=True, network_of="") for here in interfaces()
    ]


def test_without_psutil_there_are_no_such_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)

    assert from_psutil() == []


def test_an_address_of_unknown_network_reaches_every_address_of_its_family() -> None:
    here = from_resolver()[0]

    assert here.reaches("192.0.2.9")


def test_netlink_answers_in_several_parts() -> None:
    part = message(20, b"one") + b"\0" + message(16, b"link") + message(20, b"two!")

    assert read_answer(part, 20) == ([b"one", b"two!"], False)


def test_netlink_ends_its_answer() -> None:
    assert read_answer(message(20, b"last") + message(3, bytes(4)), 20) == ([b"last"], True)


def test_a_refusal_of_netlink_is_the_error_of_the_system() -> None:
    refusal = message(2, struct.pack("=i", -errno.EPERM))

    with pytest.raises(PermissionError):
        read_answer(refusal, 20)


def test_an_interface_that_went_away_meanwhile_is_left_out() -> None:
    gone = address_payload(socket.AF_INET, 2_000_000_000)

    assert parse_addresses([gone]) == []


def test_addresses_of_other_families_are_left_out() -> None:
    phonet = address_payload(35, 1)

    assert parse_addresses([phonet]) == []


def test_the_source_towards_loopback_is_loopback() -> None:
    assert source_address(socket.AF_INET, ("127.0.0.1", 9)) == "127.0.0.1"


@each(
    ("sockaddr", "host"),
    [
        (("10.0.0.1", 80), "10.0.0.1"),
        (("fd00::1", 80, 0, 0), "fd00::1"),
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1"),
        (("fe80::1", 80, 0, 1), "fe80::1%lo"),
        (("fe80::1%lo", 80, 0, 1), "fe80::1%lo"),
        (("fe80::1", 80, 0, 0), "fe80::1"),
    ],
)
def test_a_socket_address_reads_as_a_host(sockaddr: tuple[object, ...], host: str) -> None:
    assert host_of(sockaddr) == host


@each(
    ("names", "is_virtual"),
    [
        (["lo", "docker0", "veth12ab", "br-1f2e", "virbr0", "tun0", "tap1", "wg0", "tailscale0"], True),
        (["eth0", "enp3s0", "wlan0", "br0", "usb0", "bond0", "lowpan0"], False),
    ],
)
def test_containers_machines_and_tunnels_are_known_by_their_names(names: list[str], is_virtual: bool) -> None:
    assert [an_address(name).is_virtual for name in names] == [is_virtual] * len(names)


@each(("name", "is_usb"), [("usb0", True), ("enx001122aabbcc", True), ("enp0s18f2u1", True), ("enp3s0", False)])
def test_usb_networks_are_known_by_their_names(name: str, is_usb: bool) -> None:
    assert an_address(name).is_usb is is_usb


@each(("address", "host"), [("fe80::1", "fe80::1%eth0"), ("fd00::1", "fd00::1"), ("169.254.1.1", "169.254.1.1")])
def test_only_link_local_ipv6_needs_its_zone(address: str, host: str) -> None:
    assert an_address("eth0", address).host == host


@each(
    ("address", "is_unique_local"), [("fd00::1", True), ("fc00::1", True), ("2001:db8::1", False), ("252.0.0.1", False)]
)
def test_unique_local_addresses_are_known(address: str, is_unique_local: bool) -> None:
    assert an_address("eth0", address).is_unique_local is is_unique_local


def test_an_interface_reaches_its_network_and_no_other() -> None:
    here = an_address("eth0", "192.168.7.1")

    assert [here.reaches("192.168.7.200"), here.reaches("192.168.8.1")] == [True, False]


@each(
    ("here", "text"),
    [
        (an_address("eth0"), "10.0.0.1 (eth0)"),
        (an_address("lo", "127.0.0.1"), "127.0.0.1 (lo)"),
        (replace(an_address("docker0"), has_carrier=False), "10.0.0.1 (docker0, virtual, no carrier)"),
        (an_address("usb0", "169.254.1.1"), "169.254.1.1 (usb0, USB, link-local)"),
        (replace(an_address("tun0"), is_point_to_point=True), "10.0.0.1 (tun0, virtual, point-to-point)"),
        (replace(an_address("eth0"), is_up=False), "10.0.0.1 (eth0, down)"),
        (replace(an_address("eth0", "fd00::1"), is_ready=False), "fd00::1 (eth0, not ready)"),
        (an_address(""), "10.0.0.1"),
    ],
)
def test_an_address_tells_where_it_is_and_what_is_special(here: InterfaceAddress, text: str) -> None:
    assert str(here) == text


def test_a_message_lists_all_addresses() -> None:
    assert addresses_here() == f"addresses here: {', '.join(map(str, interfaces()))}"
