"""What the kernel copies: by which interfaces a client is reached whose acknowledgment means that it has copies."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from httpserve.server import tcp


def interface(net: Path, name: str, kind: str = "", *, hardware: bool = False, lower: tuple[str, ...] = ()) -> None:
    """Make an interface as sysfs shows it."""
    path = net / name
    path.mkdir()
    (path / "uevent").write_text(f"DEVTYPE={kind}\nINTERFACE={name}\n" if kind else f"INTERFACE={name}\n")
    if hardware:
        (path / "device").mkdir()
    for other in lower:
        (path / f"lower_{other}").mkdir()


@pytest.fixture
def net(tmp_path: Path) -> str:
    """The interfaces of a bench."""
    interface(tmp_path, "lo")
    interface(tmp_path, "eth0", hardware=True)
    interface(tmp_path, "wlan0", "wlan", hardware=True)
    interface(tmp_path, "veth1")
    interface(tmp_path, "eth0.7", "vlan", lower=("eth0",))
    interface(tmp_path, "bond0", "bond", lower=("eth0", "wlan0"))
    interface(tmp_path, "br0", "bridge", lower=("eth0.7",))
    interface(tmp_path, "docker0", "bridge", lower=("eth0", "veth1"))
    interface(tmp_path, "br1", "bridge")
    interface(tmp_path, "mac0", "macvlan", lower=("eth0",))
    return str(tmp_path)


@pytest.mark.parametrize("name", ["eth0", "wlan0", "eth0.7", "bond0", "br0"])
def test_what_leaves_by_hardware_is_copied(net: str, name: str) -> None:
    assert tcp.is_hardware(name, net)


@pytest.mark.parametrize("name", ["lo", "veth1", "docker0", "br1", "mac0"])
def test_what_may_stay_on_this_machine_is_not_copied(net: str, name: str) -> None:
    assert not tcp.is_hardware(name, net)


@pytest.mark.parametrize(
    ("family", "host", "target"),
    [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "::1"), (socket.AF_INET6, "::", "127.0.0.1")],
)
def test_a_client_on_this_machine_borrows_more_than_one_behind_a_cable(
    monkeypatch: pytest.MonkeyPatch, family: int, host: str, target: str
) -> None:
    with (
        socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as listener,
        socket.create_connection((target, listener.getsockname()[1])),
        listener.accept()[0] as sock,
    ):
        here = tcp.borrowed_bytes(sock)
        monkeypatch.setattr(tcp, "is_hardware", lambda name: name == "lo")
        there = tcp.borrowed_bytes(sock)

    assert here > there > 0
