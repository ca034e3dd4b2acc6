"""The choice of an address where only this host's loopback interface is sure to exist."""

from __future__ import annotations

import logging
import socket

import pytest

from httpserve.errors import AddressNotFound, InvalidArgument
from httpserve.network import choice
from httpserve.network.choice import advertised, listen_host, validate
from httpserve.network.interfaces import InterfaceAddress, interfaces
from tests.cases import each, raised


@each(
    ("host", "peer", "chosen"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1", "0.0.0.0"),
        ("localhost", None, "127.0.0.1"),
        ("[::1]", None, "::1"),
        (None, "127.0.0.1", "127.0.0.1"),
        (None, "localhost", "127.0.0.1"),
    ],
)
def test_a_given_host_is_what_to_bind_else_what_faces_the_peer(host: str | None, peer: str | None, chosen: str) -> None:
    assert listen_host(host, peer) == chosen


def test_a_peer_that_is_an_address_of_this_host_is_faced_by_itself() -> None:
    for here in interfaces():
        if here.family == socket.AF_INET:
            assert listen_host(None, here.address) == here.address


def test_without_host_and_peer_an_address_of_this_host_is_chosen() -> None:
    assert listen_host(None, None) in {here.host for here in interfaces()}


@each(
    ("bound", "peer", "advertise", "url"),
    [
        ("192.168.7.1", None, None, "http://192.168.7.1:8080"),
        ("fd00::1", None, None, "http://[fd00::1]:8080"),
        ("fe80::1%eth0", None, None, "http://[fe80::1]:8080"),
        ("127.0.0.1", "192.168.7.2", None, "http://127.0.0.1:8080"),
        ("127.0.0.1", "no-such-board.invalid", None, "http://127.0.0.1:8080"),
        ("0.0.0.0", "127.0.0.1", None, "http://127.0.0.1:8080"),
        ("::", "127.0.0.1", None, "http://127.0.0.1:8080"),
        ("::", "::1", None, "http://[::1]:8080"),
        ("0.0.0.0", None, "bench", "http://bench:8080"),
        *[
            (bound, "no-such-board.invalid", "http://192.168.1.5:8000/x", "http://192.168.1.5:8000/x")
            for bound in ("0.0.0.0", "::", "127.0.0.1")
        ],
    ],
)
def test_urls_say_what_is_advertised_else_what_is_bound_and_for_a_wildcard_what_faces_the_peer(
    bound: str, peer: str | None, advertise: str | None, url: str
) -> None:
    assert advertised(bound, 8080, peer=peer, advertise=advertise) == url


@each("advertise", [None, "bench.example:8000"])
@each("peer", ["", 0, [], "board:80", "board\ud83d", "a" * 5000])
def test_what_can_be_no_peer_is_refused_also_where_no_peer_is_needed(advertise: str | None, peer: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^peer="):
        advertised("127.0.0.1", 8080, peer=peer, advertise=advertise)  # type: ignore[arg-type]  # what is refused


@each("wildcard", ["0.0.0.0", "::"])
def test_a_wildcard_never_appears(wildcard: str) -> None:
    assert advertised(wildcard, 8080) not in ("http://0.0.0.0:8080", "http://[::]:8080")


def test_a_peer_of_a_family_that_nothing_listens_on_is_refused() -> None:
    with pytest.raises(AddressNotFound, match=r"another family.*host='::'"):
        advertised("0.0.0.0", 8080, peer="::1")


@each(
    "arguments",
    [
        ("bench.example", "fe80::2%usb0", "[fd00::1]:80/x", 0),
        (None, None, None, 8080),
        ("no-such-host.invalid", "no-such-board.invalid", "no-such-bench.invalid", 0),  # no name is resolved
    ],
)
def test_arguments_in_order_pass(arguments: tuple[object, ...]) -> None:
    assert raised(validate, *arguments) is None


@each(
    ("host", "peer", "advertise", "port", "named"),
    [
        ("", None, None, 0, "host=''"),
        ("http://bench", None, None, 0, "host='http://bench'"),
        (None, "", None, 0, "peer=''"),
        (None, "0.0.0.0", None, 0, r"peer='0\.0\.0\.0'"),
        (None, None, "ftp://x", 0, "advertise='ftp://x'"),
        (None, None, None, 65536, "port=65536"),
        (None, None, None, True, "port=True"),
    ],
)
def test_a_malformed_argument_is_named(
    host: str | None, peer: str | None, advertise: str | None, port: int, named: str
) -> None:
    with pytest.raises(InvalidArgument, match=named):
        validate(host, peer, advertise, port)


# The order of preference, on addresses that this host does not have


def on_a_host_with(monkeypatch: pytest.MonkeyPatch, *found: InterfaceAddress, default: str | None = None) -> None:
    """Put a list of addresses in place of the kernel's."""
    monkeypatch.setattr(choice, "interfaces", lambda: list(found))
    sources = {socket.AF_INET6 if ":" in (default or "") else socket.AF_INET: default}
    monkeypatch.setattr(choice, "default_source", sources.get)


def an_address(
    interface: str, text: str, *, is_up: bool = True, has_carrier: bool = True, is_ready: bool = True
) -> InterfaceAddress:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return InterfaceAddress(interface, text, family, 24, is_up=is_up, has_carrier=has_carrier, is_ready=is_ready)


CARD = an_address("eth0", "10.0.0.1")
SECOND_CARD = an_address("eth1", "192.168.7.1")
UNPLUGGED = an_address("eth2", "10.2.0.1", has_carrier=False)
BRIDGE = an_address("docker0", "172.17.0.1")
UNIQUE_LOCAL = an_address("eth3", "fd00::1")
GLOBAL_V6 = an_address("eth3", "2001:db8::1")
ZEROCONF = an_address("eth4", "169.254.3.4")
UNUSABLE = (
    an_address("lo", "127.0.0.1"),
    an_address("lo", "::1"),
    an_address("eth5", "10.5.0.1", is_up=False),
    an_address("eth6", "fd00::6", is_ready=False),
    an_address("eth0", "fe80::1"),
)
WORST_FIRST = [ZEROCONF, BRIDGE, GLOBAL_V6, UNIQUE_LOCAL, SECOND_CARD]


@pytest.mark.parametrize("count", range(1, len(WORST_FIRST) + 1))
def test_the_best_of_several_addresses_is_chosen(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    on_a_host_with(monkeypatch, *UNUSABLE, *WORST_FIRST[:count])

    chosen = listen_host(None, None)

    assert chosen == WORST_FIRST[count - 1].address


def test_a_card_with_a_cable_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_host_with(monkeypatch, UNPLUGGED, CARD)

    assert listen_host(None, None) == CARD.address


@pytest.mark.parametrize("default", [SECOND_CARD, BRIDGE, ZEROCONF])
def test_the_default_route_decides(monkeypatch: pytest.MonkeyPatch, default: InterfaceAddress) -> None:
    on_a_host_with(monkeypatch, CARD, SECOND_CARD, BRIDGE, ZEROCONF, default=default.address)

    assert listen_host(None, None) == default.address


def test_among_ipv6_addresses_the_default_route_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_host_with(monkeypatch, UNIQUE_LOCAL, GLOBAL_V6, default=GLOBAL_V6.address)

    assert listen_host(None, None) == GLOBAL_V6.address


def test_an_ipv4_card_comes_before_an_ipv6_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_host_with(monkeypatch, GLOBAL_V6, CARD, default=GLOBAL_V6.address)

    assert listen_host(None, None) == CARD.address


def test_with_nothing_usable_loopback_is_chosen_and_a_wildcard_becomes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_host_with(monkeypatch, *UNUSABLE)

    assert listen_host(None, None) == "127.0.0.1"
    assert advertised("0.0.0.0", 8080) == "http://127.0.0.1:8080"


@pytest.mark.parametrize(("wildcard", "url"), [("0.0.0.0", "http://172.17.0.1:80"), ("::", "http://[fd00::1]:80")])
def test_a_wildcard_becomes_the_best_address_of_what_it_answers(
    monkeypatch: pytest.MonkeyPatch, wildcard: str, url: str
) -> None:
    on_a_host_with(monkeypatch, *UNUSABLE, BRIDGE, UNIQUE_LOCAL)

    assert advertised(wildcard, 80) == url


@pytest.mark.parametrize("host", [None, "0.0.0.0"])
def test_a_choice_among_several_is_one_line_with_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, host: str | None
) -> None:
    on_a_host_with(monkeypatch, *UNUSABLE, CARD, SECOND_CARD, BRIDGE)
    caplog.set_level(logging.INFO)

    listen_host(host, None)

    assert caplog.messages == [
        "chose 10.0.0.1 (eth0); others are 192.168.7.1 (eth1), 172.17.0.1 (docker0, virtual); peer= or host= chooses"
    ]


def test_another_family_on_the_same_card_is_no_choice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_a_host_with(monkeypatch, CARD, an_address("eth0", "fd00::5"))
    caplog.set_level(logging.INFO)

    listen_host(None, None)

    assert caplog.messages == []


def test_a_named_peer_is_no_choice_to_tell_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_a_host_with(monkeypatch, *interfaces(), CARD, SECOND_CARD)
    caplog.set_level(logging.INFO)

    listen_host("0.0.0.0", "127.0.0.1")

    assert caplog.messages == []
