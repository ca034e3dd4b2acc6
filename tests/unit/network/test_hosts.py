"""The forms of hosts, ports, paths and advertised URLs."""

from __future__ import annotations

import socket
from urllib.parse import unquote, urlsplit

import pytest

from httpserve.base.text import url_path
from httpserve.errors import AddressNotFound, InvalidArgument
from httpserve.network.hosts import checked_host, checked_peer, checked_port, masked, resolve, url_host
from httpserve.network.urls import url_from_advertise
from tests.cases import each

UNKNOWN = "x" * 64 + ".invalid"  # a label too long to be asked for: nothing leaves this host


@each("port", [0, 1, 80, 65535])
def test_a_port_of_the_right_range_is_kept(port: int) -> None:
    assert checked_port(port) == port


@each("port", [-1, 65536, True, False, "80", 80.0, None])
def test_any_other_port_is_refused_by_name(port: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        checked_port(port)

    assert str(caught.value) == f"port={port!r} is not an int of 0 to 65535; port=0 lets the system choose"


@each("host", ["bench", "bench.example.", "192.168.7.1", "::1", "fd00::1", "fe80::1%eth0", "a_b-c"])
def test_a_name_or_address_is_kept(host: str) -> None:
    assert checked_host(host) == host


def test_an_interface_stands_for_its_address_where_one_listens() -> None:
    loopback = socket.if_indextoname(1)

    assert resolve(loopback)[0].host == "127.0.0.1"


def test_brackets_are_stripped() -> None:
    assert checked_host("[fd00::1]") == "fd00::1"


@each(
    ("host", "hint"),
    [
        (None, "is not a str"),
        (80, "is not a str"),
        (b"bench", "is not a str"),
        ("", "names nothing"),
        ("http://bench", "without scheme or path"),
        ("bench/", "without scheme or path"),
        ("two words", "without scheme or path"),
        ("bench\n", "without scheme or path"),
        ("bench\x00", "without scheme or path"),
        ("*", "without scheme or path"),
        ("bench:80", "give a port apart"),
        ("[::1]:80", "give a port apart"),
        ("[::1", "give a port apart"),
        ("[bench]x", "give a port apart"),
        ("1:2:3", "give a port apart"),
        ("10.0.0.1%eth0", "give a port apart"),
        ("192.168.7.256", "IPv4 has four numbers of 0 to 255"),
        ("1.2.3.4.5", "IPv4 has four numbers of 0 to 255"),
        ("a" * 5000, "cannot be a host"),
        (".".join(["a" * 60] * 5), "cannot be a host"),
        ("bench\ud83d", "cannot be a host"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
    ],
)
def test_what_is_no_host_is_refused_with_a_hint(host: object, hint: str) -> None:
    with pytest.raises(InvalidArgument, match=hint):
        checked_host(host)


def test_a_refused_host_shows_no_password() -> None:
    with pytest.raises(InvalidArgument) as caught:
        checked_host("http://me:secret@bench")

    assert "secret" not in str(caught.value)


@each("peer", ["0.0.0.0", "::", "[::]", "::ffff:0.0.0.0"])
def test_a_wildcard_is_no_peer(peer: str) -> None:
    with pytest.raises(InvalidArgument, match="is not one board"):
        checked_peer(peer)


@each("peer", ["board", "192.168.7.2", "fe80::2%usb0"])
def test_a_name_or_address_of_one_board_is_a_peer(peer: str) -> None:
    assert checked_peer(peer) == peer


@each(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("LocalHost.", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0::1", "::1"),
        ("::ffff:192.168.7.1", "192.168.7.1"),
        ("::", "::"),
        ("fe80::1%lo", "fe80::1%lo"),
    ],
)
def test_resolving_gives_the_canonical_address(host: str, address: str) -> None:
    assert [endpoint.host for endpoint in resolve(host)] == [address]


def test_wrapped_ipv4_becomes_an_ipv4_endpoint() -> None:
    endpoint = resolve("::ffff:127.0.0.1", 80)[0]

    assert (endpoint.family, endpoint.sockaddr) == (socket.AF_INET, ("127.0.0.1", 80))


def own_name_resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:
        return False


def test_a_name_resolves_to_ipv4_first() -> None:
    name = socket.gethostname()
    if not own_name_resolves(name):
        pytest.skip("the name of this host does not resolve")

    families = [endpoint.family for endpoint in resolve(name)]

    assert families == sorted(families, key=lambda family: family != socket.AF_INET)


@each("host", [UNKNOWN, "a..b", "é" * 70])
def test_a_name_that_does_not_resolve_is_named(host: str) -> None:
    with pytest.raises(AddressNotFound, match="does not resolve") as caught:
        resolve(host, 8080)

    assert (caught.value.host, caught.value.port) == (host, 8080)


@each("zone", ["nosuch0", "65000"])
def test_a_zone_that_is_no_interface_is_named(zone: str) -> None:
    with pytest.raises(AddressNotFound, match=f"no interface is called {zone} yet; addresses here: 127.0.0.1 .lo"):
        resolve(f"fe80::1%{zone}")


def test_a_link_local_address_that_no_interface_has_is_not_found() -> None:
    with pytest.raises(AddressNotFound, match="no interface has fe80::dead"):
        resolve("fe80::dead")


@each(
    ("host", "zone", "in_url"),
    [
        ("192.168.7.1", None, "192.168.7.1"),
        ("fd00::1", None, "[fd00::1]"),
        ("::ffff:192.168.7.1", None, "192.168.7.1"),
        ("fe80::1%eth0", None, "[fe80::1]"),
        ("fe80::1%eth0", "usb0", "[fe80::1%25usb0]"),
        ("fd00::1", "usb0", "[fd00::1]"),
        ("10.0.0.1", "usb0", "10.0.0.1"),
        ("fe80::1", "Ethernet 2/x", "[fe80::1%25Ethernet%202%2Fx]"),
    ],
)
def test_a_url_brackets_ipv6_and_has_the_zone_of_the_board_alone(host: str, zone: str | None, in_url: str) -> None:
    assert url_host(host, zone) == in_url


@each(
    ("name", "path"),
    [
        ("a/b.img", "a/b.img"),
        ("AZaz09-._~", "AZaz09-._~"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("#?", "%23%3F"),
        ("+:@;&", "%2B%3A%40%3B%26"),
        ("'*[]", "%27%2A%5B%5D"),
        ("$!(),=", "%24%21%28%29%2C%3D"),
        ('"<>^`{|}', "%22%3C%3E%5E%60%7B%7C%7D"),
        ("\x01\x7f", "%01%7F"),
        ("é.img", "%C3%A9.img"),
        ("日", "%E6%97%A5"),
        ("😀", "%F0%9F%98%80"),
        ("\udcff", "%FF"),
    ],
)
def test_a_path_encodes_all_but_unreserved_characters_and_slashes(name: str, path: str) -> None:
    assert url_path(name) == path


@each("name", ["%2e%2e/x", "a+b c%20d", "x" * 200, "ÄÖ/ü#?.gz"])
def test_a_path_decodes_to_the_name(name: str) -> None:
    assert unquote(urlsplit(f"http://h/{url_path(name)}").path) == f"/{name}"


@each(
    ("advertise", "url"),
    [
        ("http://192.168.1.5:8000/x", "http://192.168.1.5:8000/x"),
        ("http://192.168.1.5:8000/x/", "http://192.168.1.5:8000/x"),
        ("http://192.168.1.5:8000/", "http://192.168.1.5:8000"),
        ("HTTPS://Bench.example/a/b%20c", "https://Bench.example/a/b%20c"),
        ("http://bench", "http://bench"),
        ("bench", "http://bench:9"),
        ("bench.example.", "http://bench.example.:9"),
        ("bench:8000", "http://bench:8000"),
        ("bench:08000", "http://bench:8000"),
        ("bench/x", "http://bench:9/x"),
        ("10.0.0.1", "http://10.0.0.1:9"),
        ("[fd00::1]:8000", "http://[fd00::1]:8000"),
        ("[FD00:0::1]", "http://[fd00::1]:9"),
        ("fd00::1", "http://[fd00::1]:9"),
        ("::ffff:10.0.0.1", "http://10.0.0.1:9"),
        ("http://[fe80::1%25usb0]:8000", "http://[fe80::1%25usb0]:8000"),
        ("fe80::1%usb0", "http://[fe80::1%25usb0]:9"),
        ("http://127.0.0.1:1234", "http://127.0.0.1:1234"),
    ],
)
def test_an_advertised_place_becomes_a_base_url(advertise: str, url: str) -> None:
    assert url_from_advertise(advertise, 9) == url


@each(
    "advertise",
    [
        "",
        ":8000",
        "8000",
        "/x",
        "ftp://bench",
        "http://",
        "http://user@bench",
        "http://bench/?",
        "http://bench/x?y=1",
        "http://bench#x",
        "http://bench/a b",
        "http://bench/\u00e9",
        "http://bench\\x",
        "b\u00e4nch",
        "bench\n",
        "a..b",
        "bench:port",
        "10.0.0.256",
        "0.0.0.0",
        "http://[::]:80",
        "[::ffff:0.0.0.0]",
        "[10.0.0.1]",
        "[fd00::1",
        "1:2:3",
    ],
)
def test_what_no_board_could_use_is_refused_with_examples(advertise: str) -> None:
    with pytest.raises(InvalidArgument, match=r"http://192\.168\.1\.5:8000/x"):
        url_from_advertise(advertise, 9)


@each("port", ["0", "65536", "99999"])
def test_an_advertised_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(InvalidArgument, match=f"port {port}; a port is 1 to 65535"):
        url_from_advertise(f"bench:{port}", 9)


def test_an_advertised_place_that_is_no_str_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="advertise=8000 is not a str"):
        url_from_advertise(8000, 9)


@each(
    ("url", "shown"),
    [
        ("http://me:se/cret@bench/x?token=1", "http://…@bench/x?…"),
        ("me@bench", "…@bench"),
        ("http://bench/x", "http://bench/x"),
        ("http://bench/#secret\nmore", "http://bench/?…"),
    ],
)
def test_messages_hide_user_query_and_fragment(url: str, shown: str) -> None:
    assert masked(url) == shown
