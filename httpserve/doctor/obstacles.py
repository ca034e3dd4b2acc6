"""Checks what may keep boards away: firewalls, containers, virtual machines and WSL, and says what to do.

Knows which commands open a port. Runs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from httpserve.base.text import Hint, Message
from httpserve.doctor.host_kind import Firewall, Machine, firewalls, machine
from httpserve.doctor.report import Finding
from httpserve.doctor.situation import Situation

_WINDOWS_RULE = (
    "New-NetFirewallRule -DisplayName httpserve -Direction Inbound -Protocol TCP -LocalPort {port} -Action Allow"
)
_RULES = {
    "ufw": "sudo ufw allow {port}/tcp",
    "firewalld": "sudo firewall-cmd --add-port={port}/tcp",
    "nftables": "sudo nft insert rule inet filter input tcp dport {port} accept "
    "(where 'sudo nft list ruleset' shows that table and chain)",
    "iptables": "sudo iptables -I INPUT -p tcp --dport {port} -j ACCEPT",
    "Windows Defender": f"{_WINDOWS_RULE} (in a PowerShell of an administrator)",
    "macOS": "System Settings, Network, Firewall, incoming connections of Python",
}


def look_at_firewall(situation: Situation, found: Sequence[Firewall] | None = None) -> Iterator[Finding]:
    """Name the firewalls, and the rule to add where no board has come through yet. Default: those of this host."""
    found = firewalls() if found is None else found
    for firewall in found:
        yield _firewall(situation, firewall)
    if not found:
        yield Finding("ok", "firewall", "none was found on this host; there may be one between", data={"name": ""})


def _firewall(situation: Situation, firewall: Firewall) -> Finding:
    data = {"name": firewall.name, "active": firewall.is_active, "evidence": firewall.evidence}
    about = f"{firewall.name} ({firewall.evidence})"
    if firewall.is_active is False:
        return Finding("ok", "firewall", f"{about} is not active", data=data)
    if situation.boards:
        return Finding("ok", "firewall", f"{about} has let other hosts connect", data=data)
    rule = _RULES[firewall.name].format(port=situation.port or "PORT")
    step = Message("pass {}, so that a rule stays right, and let boards in: {}", Hint("port"), rule)
    return Finding("warn", "firewall", f"{about} may drop what boards send, and say nothing", step, data)


def look_at_machine(situation: Situation, host: Machine | None = None) -> Iterator[Finding]:
    """Say whether it is WSL, a container or a virtual machine, and what boards need then. Default: this one."""
    host = host or machine()
    version, kind, below = host.wsl, host.container, host.hypervisor
    is_settled = bool(situation.boards) or situation.advertise is not None
    port = situation.port or "PORT"
    outside = Hint("advertise", f"ADDRESS-OF-THE-HOST:{port}")
    if version == 2:
        message = "WSL 2: boards cannot reach its addresses, which are behind Windows"
        yield _machine("WSL", message, is_settled, _wsl(port))
    elif version == 1:
        yield Finding("ok", "machine", "WSL 1 shares the network of Windows", data={"kind": "WSL"})
    if kind:
        message = f"a container ({kind}): unless it has the host's network, boards reach none of its addresses"
        what = "run it with the host's network, or publish the port (docker run -p {}:{}) and pass {}, {} and {}"
        step = Message(what, port, port, Hint("host", "0.0.0.0"), Hint("port", port), outside)
        yield _machine(kind, message, is_settled, step)
    if below and version != 2:
        message = f"a virtual machine ({below}): boards reach it only where its network is bridged or passed through"
        if host.has_user_network:
            message = f"a virtual machine ({below}) on a user network (10.0.2.0/24): boards reach none of it"
        step = Message(
            "bridge the virtual machine's network card, pass the board's USB network through, or forward the port on "
            "the host and pass {}",
            outside,
        )
        yield _machine(below, message, is_settled, step)
    if not (version or kind or below):
        message = "no sign of WSL, a container or a virtual machine"
        yield Finding("ok", "machine", message, data={"kind": ""})


def _machine(kind: str, message: str, is_settled: bool, step: str) -> Finding:
    if is_settled:  # a board has come, or the user knows the way
        return Finding("ok", "machine", f"this is {message}", data={"kind": kind})
    return Finding("warn", "machine", f"this is {message}", step, {"kind": kind})


def _wsl(port: int | str) -> str:
    forward = (
        f"netsh interface portproxy add v4tov4 listenport={port} listenaddress=0.0.0.0 connectport={port} "
        "connectaddress=ADDRESS-OF-WSL"
    )
    return Message(
        "set networkingMode=mirrored in .wslconfig, or forward the port, in a PowerShell of an administrator: "
        "{}; {}; and pass {}",
        forward,
        _WINDOWS_RULE.format(port=port),
        Hint("advertise", f"ADDRESS-OF-WINDOWS:{port}"),
    )
