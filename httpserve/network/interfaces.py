"""Lists the addresses of this host, and says from which of them a packet would leave.

Knows the kernel's lists: netlink on Linux; elsewhere psutil, where it is installed, else the resolver and the routing
table. Reads only, and sends nothing beyond this host. Does not know what the addresses are for.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from httpserve.base.log import logger
from httpserve.base.text import printable
from httpserve.network.netlink import netlink, netlink_attributes

log = logger("httpserve.network")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A bridge such as br0 is left out: benches put their real cards into one.
_VIRTUAL = re.compile(
    r"(lo\d*$|docker|veth|br-|virbr|vnet|vmnet|vboxnet|tun|tap|wg|ppp|utun|tailscale|zt|cni|flannel|cali|podman|lxc|lxd)"
)
_USB = re.compile(r"(usb\d|enx[0-9a-f]{12}$|en\w*s\d+\w*u\d)")  # kernel, MAC and path names of systemd


@dataclass(frozen=True)
class InterfaceAddress:
    """One address of one interface."""

    interface: str
    address: str  # without a zone; `host` has one where it is needed to use the address
    family: socket.AddressFamily
    prefix_length: int = 0
    network_of: str = ""
    is_up: bool = True
    has_carrier: bool = True
    is_point_to_point: bool = False
    is_ready: bool = True  # False while IPv6 still looks for duplicates: until then nothing can listen on it

    @property
    def ip(self) -> Address:
        """The address as a number."""
        return ipaddress.ip_address(self.address)

    @property
    def host(self) -> str:
        """The address as bind takes it: link-local IPv6 with its zone."""
        zoned = self.family == socket.AF_INET6 and self.is_link_local and self.interface
        return f"{self.address}%{self.interface}" if zoned else self.address

    @property
    def is_loopback(self) -> bool:
        """True for 127.0.0.0/8 and ::1, on whatever interface."""
        return self.ip.is_loopback

    @property
    def is_link_local(self) -> bool:
        """True for 169.254.0.0/16 and fe80::/10."""
        return self.ip.is_link_local

    @property
    def is_unique_local(self) -> bool:
        """True for fc00::/7, the private addresses of IPv6."""
        return self.family == socket.AF_INET6 and self.ip.packed[0] & 0xFE == 0xFC

    @property
    def is_virtual(self) -> bool:
        """True if the name is that of a container, virtual machine or VPN interface, or of loopback."""
        return _VIRTUAL.match(self.interface) is not None

    @property
    def is_usb(self) -> bool:
        """True if the name is that of a USB network interface."""
        return _USB.match(self.interface) is not None

    def reaches(self, address: str) -> bool:
        """Tell whether *address* is on the network of this interface, with no router between."""
        network = ipaddress.ip_network(self.network or f"{self.address}/0", strict=False)
        return ipaddress.ip_address(address.partition("%")[0]) in network

    @property
    def network(self) -> str:
        """The network of this interface, such as `192.168.7.0/24`; empty if the system does not tell."""
        if not self.prefix_length:
            return ""
        return str(ipaddress.ip_network(f"{self.network_of or self.address}/{self.prefix_length}", strict=False))

    def __str__(self) -> str:
        kinds = {
            "virtual": self.is_virtual and not self.is_loopback,
            "USB": self.is_usb,
            "point-to-point": self.is_point_to_point,
            "link-local": self.is_link_local,
            "down": not self.is_up,
            "no carrier": self.is_up and not self.has_carrier,
            "not ready": not self.is_ready,
        }
        notes = ", ".join(
            filter(None, [printable(self.interface), *(kind for kind, applies in kinds.items() if applies)])
        )
        return f"{self.address} ({notes})" if notes else self.address


def interfaces() -> list[InterfaceAddress]:
    """List the addresses of this host, in the kernel's order, IPv4 first.

    Does not block on Linux (0.1 ms). Without netlink and psutil it asks the resolver: the names of interfaces are then
    empty, and only the host's main addresses are in the list.
    """
    if sys.platform == "linux":
        try:
            return parse_addresses(netlink(_RTM_GETADDR, _RTM_NEWADDR, _IFADDRMSG.size))
        except OSError as error:  # a sandbox without netlink
            log.debug("netlink does not answer (%s); asking others for addresses", error)
    return from_psutil() or from_resolver()


def addresses_here() -> str:
    """Return all addresses with their interfaces, as the end of a message."""
    return f"addresses here: {', '.join(map(str, interfaces()))}"


def source_address(family: socket.AddressFamily, sockaddr: tuple[Any, ...]) -> str:
    """Return the address that packets to *sockaddr* leave from, with the zone if it is link-local IPv6.

    Does not block and sends nothing: connecting a UDP socket only asks the routing table. Raises the
    system's OSError if no route leads there.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(sockaddr)
        return host_of(probe.getsockname())


def host_of(sockaddr: tuple[Any, ...]) -> str:  # Any: what socket functions return
    """Return the host of a socket address as text, with the zone if it is link-local IPv6.

    An IPv4 address that comes wrapped in IPv6 (`::ffff:192.0.2.1`) is unwrapped.
    """
    host: str = sockaddr[0].partition("%")[0]
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        if address.is_link_local and sockaddr[3]:
            return f"{host}%{socket.if_indextoname(sockaddr[3])}"
    return host


# Documentation networks (RFC 5737, RFC 3849) are on no interface: only the default route leads there.
_FAR_AWAY = {socket.AF_INET: ("203.0.113.1", 9), socket.AF_INET6: ("2001:db8:ffff::1", 9, 0, 0)}


def default_source(family: socket.AddressFamily) -> str | None:
    """Return the source address of the default route of *family*, or None if it has none. Does not block."""
    try:
        return source_address(family, _FAR_AWAY[family])
    except OSError:
        return None


def from_psutil() -> list[InterfaceAddress]:
    """List the addresses that psutil knows, IPv4 first; empty where it is not installed. Does not block."""
    try:
        psutil = import_module("psutil")  # not a requirement, and without types here
        stats, interfaces_there = psutil.net_if_stats(), psutil.net_if_addrs()
    except (ImportError, OSError):  # OSError: out of descriptors
        return []
    found = []
    for name, addresses in interfaces_there.items():
        is_up = name not in stats or stats[name].isup
        for one in addresses:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                bits = int(ipaddress.ip_address(one.netmask)).bit_count() if one.netmask else 0
                link = (bits, one.ptp or "", is_up, is_up, bool(one.ptp))
                found.append(InterfaceAddress(name, one.address.partition("%")[0], one.family, *link))
    return sorted(found, key=lambda here: here.family != socket.AF_INET)


def from_resolver() -> list[InterfaceAddress]:
    found: dict[str, socket.AddressFamily] = {"127.0.0.1": socket.AF_INET}
    for family in _FAR_AWAY:
        source = default_source(family)
        if source is not None:
            found.setdefault(source, family)
    try:
        answers = socket.getaddrinfo(socket.gethostname(), 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a host name that is in no hosts file and no DNS
        answers = []
    for family, _, _, _, sockaddr in answers:
        found.setdefault(str(sockaddr[0]).partition("%")[0], family)
    return [InterfaceAddress("", address, family) for address, family in found.items()]


_IFADDRMSG = struct.Struct("=BBBBI")
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_DADFAILED_OR_TENTATIVE = 0x08 | 0x40
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_POINTOPOINT, _IFF_RUNNING = 0x1, 0x10, 0x40


def parse_addresses(payloads: Iterable[bytes]) -> list[InterfaceAddress]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for payload in payloads:
            if payload[0] not in (socket.AF_INET, socket.AF_INET6):
                continue
            try:
                found.append(_parse_address(payload, control))
            except OSError:  # the interface went away since the list was made
                continue
    return sorted(found, key=lambda address: address.family != socket.AF_INET)


def _parse_address(payload: bytes, control: socket.socket) -> InterfaceAddress:
    import fcntl  # absent on Windows

    family, prefix_length, flags, _, index = _IFADDRMSG.unpack_from(payload)
    attributes = dict(netlink_attributes(payload[_IFADDRMSG.size :]))
    if _IFA_FLAGS in attributes:
        flags = struct.unpack("=I", attributes[_IFA_FLAGS])[0]
    # On a point-to-point link IFA_ADDRESS is the other end, and IFA_LOCAL is ours.
    network_of = attributes[_IFA_ADDRESS]
    address = attributes.get(_IFA_LOCAL, network_of)
    name = socket.if_indextoname(index)
    answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
    link = struct.unpack_from("=H", answer, 16)[0]
    return InterfaceAddress(
        name,
        str(ipaddress.ip_address(address)),
        socket.AddressFamily(family),
        prefix_length,
        str(ipaddress.ip_address(network_of)),
        is_up=bool(link & _IFF_UP),
        has_carrier=bool(link & _IFF_RUNNING),
        is_point_to_point=bool(link & _IFF_POINTOPOINT),
        is_ready=not flags & _IFA_F_DADFAILED_OR_TENTATIVE,
    )


def with_zone(host: str) -> str:
    """Return an address of this host as connecting takes it: link-local IPv6 with its zone."""
    return next((here.host for here in interfaces() if here.address == host), host)
