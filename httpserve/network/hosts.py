"""Reads hosts and ports that a caller wrote, and writes addresses into URLs.

Knows the forms of names and addresses, brackets and zones; asks the resolver for names. Does not know which address
suits a board.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from httpserve.base.text import Hint, Message
from httpserve.errors import AddressNotFound, InvalidArgument
from httpserve.network.interfaces import addresses_here, host_of, interfaces

LAST_PORT = 65535
MOST_NAME = 253  # characters, RFC 1035, 2.3.4, without the dot at the end
_V4, _V6 = socket.AF_INET, socket.AF_INET6


@dataclass(frozen=True)
class Endpoint:
    """Where to bind or connect: `host` is the numeric address, with its zone if it is link-local IPv6."""

    host: str
    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]  # Any: its shape depends on the family


_MAY_BE_SECRET = frozenset("@?#")  # what comes before or after may be


def checked_port(port: object) -> int:
    """Return *port* if it is an int from 0 to 65535, else raise InvalidArgument."""
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= LAST_PORT:
        text = "{} is not an int of 0 to {}; {} lets the system choose"
        raise InvalidArgument(text, Hint("port", port), LAST_PORT, Hint("port", 0))
    return port


def checked_host(host: object, what: str = "host") -> str:
    """Return the argument *what* without brackets if it has the form of a name or an address; else InvalidArgument."""
    given = Hint(what, masked(host) if isinstance(host, str) else host)
    if not isinstance(host, str):
        raise InvalidArgument("{} is not a str; give a name or an address, '192.168.7.1' say", given)
    if not host:
        every = Hint("host", "0.0.0.0")
        raise InvalidArgument("{} names nothing; {} chooses, {} takes all addresses", given, Hint(what, None), every)
    if re.search(r"[\s\x00-\x1f\x7f/\\@?#*]", host):
        raise InvalidArgument("{} is not a host; give a name or address without scheme or path", given)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = numeric_address(bare)
    except ValueError:
        if _is_broken_ipv4(bare):
            raise InvalidArgument("{} is no address: IPv4 has four numbers of 0 to 255", given) from None
        if re.search(r"[:%\[\]]", bare):
            text = "{} is neither a name nor an address; give a port apart, as {}"
            raise InvalidArgument(text, given, Hint("port")) from None
        if len(bare) > MOST_NAME or not bare.isprintable():  # a lone surrogate, for one, is not printable
            text = "{} cannot be a host, whose name has at most {} printable characters; give a name or an address"
            raise InvalidArgument(text, Hint(what, bare[:80]), MOST_NAME) from None
        return bare
    if address.is_multicast:
        raise InvalidArgument("{} is a multicast address; give one that a single interface has", given)
    return bare


def _is_broken_ipv4(name: str) -> bool:
    # No top-level domain is a number, so no resolver knows the name, and asking one may take long.
    if not name.rstrip(".").rpartition(".")[2].isdigit() or _is_interface(name):  # eth0.100 is a VLAN
        return False
    try:
        socket.inet_aton(name)  # takes the short forms too: 127.1
    except OSError:
        return True
    return False


def checked_peer(peer: object) -> str:
    """Return *peer* without brackets if it can be one board's name or address, else raise InvalidArgument."""
    bare = checked_host(peer, "peer")
    try:
        is_wildcard = numeric_address(bare).is_unspecified
    except ValueError:  # a name
        return bare
    if is_wildcard:
        raise InvalidArgument("{} is not one board; give the address that the board has", Hint("peer", peer))
    return bare


def numeric_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the number of an address, wrapped IPv4 unwrapped; raises ValueError for anything else."""
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def url_host(host: str, zone: str | None = None) -> str:
    """Return a numeric address as URLs write it: IPv6 in brackets, with *zone* only if it is link-local.

    A zone in *host* is the bench's own name of an interface; it means nothing to a board, and is left out.
    """
    address = numeric_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    suffix = f"%25{quote(zone, safe='')}" if zone and address.is_link_local else ""  # RFC 6874
    return f"[{address}{suffix}]"


def is_numeric(host: str) -> bool:
    """Tell whether `resolve` finds *host* without asking a name server: an address, or `localhost`."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        numeric_address(bare.partition("%")[0])
    except ValueError:
        return bare.lower().rstrip(".") == "localhost"
    return True


def resolve(host: str, port: int = 0, *, what: str = "host") -> list[Endpoint]:
    """Return where *host* is, IPv4 first. Does not block for an address; for a name as long as the resolver.

    Brackets are stripped, and IPv4 wrapped in IPv6 is unwrapped. A host may also be an interface, which then means
    its first address, a link-local one last. *what* is the argument's name, for the messages.

    Raises:
        InvalidArgument: *host* is malformed, or link-local IPv6 without a zone where several would fit.
        AddressNotFound: The name does not resolve, the zone is not an interface, or the interface has no address.
    """
    bare = checked_host(host, what)
    if bare.lower().rstrip(".") == "localhost":  # RFC 6761, 6.3: never a matter for the resolver
        bare = "127.0.0.1"
    if what != "peer" and _is_interface(bare):
        bare = _address_of(bare)
    if ":" in bare and "%" not in bare and numeric_address(bare).is_link_local:
        bare = f"{bare}%{_only_zone(bare, what)}"
    try:
        found = dict.fromkeys(_lookup(bare, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that is empty or too long
        raise AddressNotFound(_unresolved(bare, what, error), host, port) from error
    return sorted(found, key=lambda endpoint: endpoint.family != _V4)


def _is_interface(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except (OSError, UnicodeError):  # UnicodeError: no name that the system could have
        return False


def _address_of(interface: str) -> str:
    """Return the address to listen on for an interface, IPv4 before IPv6, and link-local last."""
    addresses = [here for here in interfaces() if here.interface == interface]
    if not addresses:
        text = "{}: the interface has no address yet; {} waits for one; {}"
        hints = Hint("host", interface), Hint("wait_for_address", 30)
        raise AddressNotFound(Message(text, *hints, addresses_here()), interface)
    return min(addresses, key=lambda here: (here.is_link_local, here.family != _V4)).host


def _unresolved(bare: str, what: str, error: OSError | UnicodeError) -> str:
    zone = bare.partition("%")[2]
    given = Hint(what, bare)
    if zone:
        return Message("{}: no interface is called {} yet; {}", given, zone, addresses_here())
    reason = error.strerror if isinstance(error, OSError) else "no host name"
    return Message("{} does not resolve ({}); give a numeric address; {}", given, reason, addresses_here())


def _lookup(bare: str, port: int) -> Iterable[Endpoint]:
    # As bytes: Python then does not import the codec for international names, which takes milliseconds.
    text = bare.encode("ascii") if bare.isascii() else bare
    try:
        answers = socket.getaddrinfo(text, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        if ":" in bare:  # an address, with a zone that is not an interface
            raise
        answers = socket.getaddrinfo(text, port, type=socket.SOCK_STREAM)
    for family, _, _, _, sockaddr in answers:
        host = host_of(sockaddr)
        if ":" in host:
            yield Endpoint(host, family, sockaddr)
        else:
            yield Endpoint(host, _V4, (host, port))


def _only_zone(address: str, what: str) -> str:
    """Find the interface of a link-local address that came without one."""
    zones = {
        here.interface
        for here in interfaces()
        if here.family == _V6 and here.is_link_local and here.is_up
        if what == "peer" or here.address == address
    }
    if not zones:
        raise AddressNotFound(f"no interface has {address} or leads to it; {addresses_here()}", address)
    if len(zones) > 1:
        first = Hint(what, f"{address}%{min(zones)}")
        text = "{} is link-local and could be on {}; name the interface, as in {}"
        raise InvalidArgument(text, Hint(what, address), " or ".join(sorted(zones)), first)
    return zones.pop()


def masked(url: str) -> str:
    """Return *url* without what may be a secret, for messages."""
    if _MAY_BE_SECRET.isdisjoint(url):
        return url
    return re.sub(r"[?#].*", "?…", re.sub(r"^([a-z]+://)?.*@", r"\1…@", url, flags=re.S | re.I), flags=re.S)
