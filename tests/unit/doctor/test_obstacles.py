"""What is said of machines and firewalls that this one may not have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from httpserve import Finding
from httpserve.doctor.host_kind import Firewall, Machine
from httpserve.doctor.obstacles import look_at_firewall, look_at_machine
from httpserve.doctor.situation import Situation
from tests.cases import each


@contextlib.contextmanager
def no_probe(data: bytes) -> Iterator[str]:
    yield ""


def situation(*, port: int = 8000, advertise: str | None = None, board: bool = False) -> Situation:
    return Situation(
        host=None,
        peer=None,
        advertise=advertise,
        port=port,
        bound="0.0.0.0",
        since=0.0,
        requests=(),
        missing=(),
        connections={"203.0.113.2": 1} if board else {"127.0.0.1": 1},
        probe=no_probe,
    )


MACHINES = {
    "WSL": (Machine(wsl=2, hypervisor="Hyper-V"), "WSL 2", ["mirrored", "portproxy", "-LocalPort 8000", "advertise="]),
    "docker": (Machine(container="docker"), "a container (docker)", ["docker run -p 8000:8000", "advertise="]),
    "QEMU": (Machine(hypervisor="QEMU"), "a virtual machine (QEMU)", ["bridge", "advertise="]),
    "NAT": (Machine(hypervisor="QEMU", has_user_network=True), "on a user network", ["forward the port"]),
}


@each(("machine", "said", "steps"), MACHINES.values(), ids=list(MACHINES))
def test_a_machine_that_boards_may_not_reach_is_told_with_the_way_out(
    machine: Machine, said: str, steps: list[str]
) -> None:
    (finding,) = look_at_machine(situation(), machine)

    assert finding.status == "warn"
    assert said in finding.message
    assert all(step in finding.next_step for step in steps)


@each("known", [situation(board=True), situation(advertise="192.168.1.5:8000")])
@each(("machine", "said", "steps"), MACHINES.values(), ids=list(MACHINES))
def test_once_a_board_has_come_or_the_way_is_advertised_no_machine_is_a_warning(
    machine: Machine, said: str, steps: list[str], known: Situation
) -> None:
    assert [finding.status for finding in look_at_machine(known, machine)] == ["ok"]


def test_a_container_in_a_virtual_machine_is_told_as_both() -> None:
    findings = look_at_machine(situation(), Machine(container="docker", hypervisor="QEMU"))

    assert [finding.data["kind"] for finding in findings] == ["docker", "QEMU"]


@each("machine", [Machine(), Machine(wsl=1)])
def test_a_machine_with_the_network_of_its_host_is_well(machine: Machine) -> None:
    assert [finding.status for finding in look_at_machine(situation(), machine)] == ["ok"]


def firewall(name: str, is_active: bool | None, about: Situation | None = None) -> Finding:
    (finding,) = look_at_firewall(about or situation(), [Firewall(name, is_active, "evidence")])
    return finding


@each(
    ("name", "rule"),
    [
        ("ufw", "sudo ufw allow 8000/tcp"),
        ("firewalld", "sudo firewall-cmd --add-port=8000/tcp"),
        ("nftables", "sudo nft insert rule inet filter input tcp dport 8000 accept"),
        ("iptables", "sudo iptables -I INPUT -p tcp --dport 8000 -j ACCEPT"),
        ("Windows Defender", "-Direction Inbound -Protocol TCP -LocalPort 8000 -Action Allow"),
        ("macOS", "System Settings"),
    ],
)
@each("is_active", [True, None])
def test_a_firewall_that_may_drop_is_told_with_its_rule(name: str, rule: str, is_active: bool | None) -> None:
    finding = firewall(name, is_active)

    assert finding.status == "warn"
    assert finding.message == f"{name} (evidence) may drop what boards send, and say nothing"
    assert rule in finding.next_step


def test_a_firewall_that_is_off_is_well() -> None:
    assert firewall("ufw", False).message == "ufw (evidence) is not active"
    assert firewall("ufw", False).status == "ok"


def test_a_firewall_that_has_let_a_board_in_is_well() -> None:
    assert firewall("ufw", True, situation(board=True)).status == "ok"


def test_before_a_port_is_known_the_rule_has_a_placeholder() -> None:
    assert "ufw allow PORT/tcp" in firewall("ufw", True, situation(port=0)).next_step


def test_no_firewall_is_told_as_none_on_this_host() -> None:
    (finding,) = look_at_firewall(situation(), [])

    assert finding.status == "ok"
    assert "none was found on this host" in finding.message
