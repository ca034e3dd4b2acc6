"""Reads URLs to advertise.

Knows the forms: brackets, zones, prefixes. Asks nobody.
"""

from __future__ import annotations

import ipaddress
import re

from httpserve.base.text import Hint
from httpserve.errors import InvalidArgument
from httpserve.network.hosts import LAST_PORT, masked, numeric_address, url_host

_NAME = r"(?:\w[\w-]*\.)*\w[\w-]*\.?"
_PATH = r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*"  # RFC 3986, 3.3
_ADVERTISE = re.compile(
    rf"(?:(?P<scheme>https?)://)?(?:\[(?P<v6>[^\]\[/%]+)(?:%(?:25)?(?P<zone>[\w.~-]+))?\]|(?P<name>{_NAME}))"
    rf"(?::(?P<port>\d{{1,5}}))?(?P<prefix>/{_PATH})?",
    re.ASCII | re.IGNORECASE,
)


def url_from_advertise(advertise: object, port: int) -> str:
    """Return the base URL that *advertise* means, without a slash at the end. Resolves nothing.

    It is `http://host:port/prefix`, `host:port`, or `host` with this *port*; IPv6 in brackets, or bare with no port. A
    whole URL without a port has its scheme's own. Raises InvalidArgument for another form, a wildcard, user or query.
    """
    if not isinstance(advertise, str):
        raise InvalidArgument("{} is not a str; give one, '192.168.1.5:8000' say", Hint("advertise", advertise))
    is_bare_v6 = advertise.count(":") > 1 and "[" not in advertise and "//" not in advertise
    match = _ADVERTISE.fullmatch(f"[{advertise}]" if is_bare_v6 else advertise)
    host = _advertised_host(match) if match else None
    if match is None or host is None:
        text = (
            "{} is not what a board can use; give 'http://192.168.1.5:8000/x', '192.168.1.5:8000', "
            "'bench.example' or '[fd00::1]:8000', without user, query or wildcard"
        )
        raise InvalidArgument(text, Hint("advertise", masked(advertise)))
    given = match["port"]
    if given is not None and not 0 < int(given) <= LAST_PORT:
        raise InvalidArgument("{} has port {}; a port is 1 to {}", Hint("advertise", advertise), given, LAST_PORT)
    suffix = f":{int(given)}" if given is not None else "" if match["scheme"] else f":{port}"
    return f"{(match['scheme'] or 'http').lower()}://{host}{suffix}{(match['prefix'] or '').rstrip('/')}"


def _advertised_host(match: re.Match[str]) -> str | None:
    """Return the host as the URL has it, or None if it is not a host that a board could use."""
    name: str | None = match["name"]
    if name is not None and not name.rstrip(".").rpartition(".")[2].isdigit():  # else it claims to be IPv4
        return name
    try:
        address = ipaddress.ip_address(name or match["v6"])
    except ValueError:
        return None
    if numeric_address(str(address)).is_unspecified or (name is None) != isinstance(address, ipaddress.IPv6Address):
        return None
    return url_host(str(address), match["zone"])
