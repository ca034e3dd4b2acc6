"""What kind of machine this is and which firewalls it has, by files as such machines have them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from httpserve.doctor.host_kind import Firewall, container_kind, firewalls, hypervisor, wsl_version
from tests.cases import each

Files = dict[str, str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's files, looked at by who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path


def write(root: Path, files: Files) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def install(root: Path, *programs: str) -> None:
    for program in programs:
        write(root, {program: "#!/bin/sh\n"})
        (root / program).chmod(0o755)


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.12.0-amd64\n", 0),
        ("4.4.0-19041-Microsoft\n", 1),
        ("5.15.153.1-microsoft-standard-WSL2\n", 2),
        ("6.6.87.2-microsoft-standard-WSL2+\n", 2),
    ],
)
def test_wsl_is_told_by_the_release_of_the_kernel(root: Path, release: str, version: int) -> None:
    write(root, {"proc/sys/kernel/osrelease": release})

    assert wsl_version(root) == version


@pytest.mark.parametrize(
    ("files", "environ", "kind"),
    [
        ({}, {}, ""),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({"run/systemd/container": "lxc\n"}, {}, "lxc"),
        ({"run/systemd/container": "wsl\n"}, {}, ""),
        ({}, {"container": "systemd-nspawn"}, "systemd-nspawn"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"proc/1/cgroup": "12:cpuset:/docker/0123456789ab\n"}, {}, "docker"),
        ({"proc/1/cgroup": "1:name=systemd:/kubepods/besteffort/pod1\n"}, {}, "kubepods"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, {}, ""),
    ],
)
def test_a_container_is_told_by_what_its_runtime_leaves(root: Path, files: Files, environ: Files, kind: str) -> None:
    write(root, files)

    assert container_kind(root, environ) == kind


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, ""),
        ({"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu vme\n"}, ""),
        ({"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu hypervisor lahf_lm\n"}, "a hypervisor"),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "a hypervisor"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "QEMU"),
        ({"sys/class/dmi/id/sys_vendor": "VMware, Inc.\n"}, "VMware"),
        ({"sys/class/dmi/id/sys_vendor": "innotek GmbH\n"}, "VirtualBox"),
        (
            {
                "sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n",
                "sys/class/dmi/id/product_name": "Virtual Machine\n",
            },
            "Hyper-V",
        ),
        ({"sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n", "sys/class/dmi/id/product_name": "Surface\n"}, ""),
        ({"sys/class/dmi/id/sys_vendor": "LENOVO\n"}, ""),
    ],
)
def test_a_virtual_machine_is_told_by_its_firmware_or_its_processor(root: Path, files: Files, name: str) -> None:
    write(root, files)

    assert hypervisor(root) == name


UFW, FIREWALLD, NFT, IPTABLES = "usr/sbin/ufw", "usr/sbin/firewalld", "usr/sbin/nft", "usr/sbin/iptables"
UFW_SETTINGS = "etc/ufw/ufw.conf"
HIDDEN = "installed; only root can read its rules"
KERNEL = "the kernel has its tables filter, nat"
OUTSIDE = {"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n"}


@pytest.mark.parametrize(
    ("programs", "files", "found"),
    [
        ([], {}, []),
        ([], {UFW_SETTINGS: "ENABLED=yes\n"}, []),  # of one that was removed
        ([UFW], {UFW_SETTINGS: "# a comment\nENABLED=yes\n"}, [("ufw", True, "says ENABLED=yes")]),
        ([UFW], {UFW_SETTINGS: 'ENABLED="no"\n'}, [("ufw", False, 'says ENABLED="no"')]),
        ([UFW], {UFW_SETTINGS: "LOGLEVEL=low\n"}, [("ufw", None, "does not say whether it is enabled")]),
        ([UFW], {UFW_SETTINGS: ""}, [("ufw", None, "does not say whether it is enabled")]),
        ([FIREWALLD], {"proc/77/comm": "firewalld\n"}, [("firewalld", True, "it runs")]),
        ([FIREWALLD], {"proc/77/comm": "sshd\n"}, [("firewalld", False, "installed, does not run")]),
        (
            [NFT],
            {"etc/systemd/system/sysinit.target.wants/nftables.service": ""},
            [("nftables", True, "its service is enabled")],
        ),
        ([NFT], {}, [("nftables", None, HIDDEN)]),
        ([IPTABLES], {}, [("iptables", None, HIDDEN)]),
        ([], {"proc/net/ip_tables_names": "filter\nnat\n"}, [("iptables", True, KERNEL)]),
        ([], OUTSIDE, [("Windows Defender", None, "it guards the Windows around WSL")]),
        (
            [NFT, UFW, FIREWALLD],
            {UFW_SETTINGS: "ENABLED=no\n", "proc/77/comm": "firewalld\n"},
            [("firewalld", True, "it runs"), ("nftables", None, HIDDEN), ("ufw", False, "says ENABLED=no")],
        ),
    ],
)
def test_firewalls_are_told_by_their_files_those_that_are_active_first(
    root: Path, programs: list[str], files: Files, found: list[tuple[str, bool | None, str]]
) -> None:
    install(root, *programs)
    write(root, files)

    told = firewalls(root, "linux")

    assert [(one.name, one.is_active) for one in told] == [(name, is_active) for name, is_active, _ in found]
    assert all(one.evidence.endswith(evidence) for one, (*_, evidence) in zip(told, found, strict=True))


@each(
    "rules, is_active, evidence",
    [
        ("", False, "it has no rules for what comes in"),
        ("table ip n { chain p { type nat hook prerouting priority 0; } }", False, "it has no rules for what comes in"),
        ("table inet f { chain i { type filter hook input priority 0; } }", True, "it has a chain for what comes in"),
    ],
)
def test_root_reads_the_rules_of_nftables(
    root: Path, monkeypatch: pytest.MonkeyPatch, rules: str, is_active: bool, evidence: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install(root, "usr/sbin/nft")
    (root / "usr/sbin/nft").write_text(f"#!/bin/sh\necho '{rules}'\n")

    assert firewalls(root, "linux") == [Firewall("nftables", is_active, evidence)]


@pytest.mark.parametrize(("platform", "name"), [("win32", "Windows Defender"), ("darwin", "macOS")])
def test_other_systems_have_a_firewall_of_their_own(root: Path, platform: str, name: str) -> None:
    assert [found.name for found in firewalls(root, platform)] == [name]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the files of Linux")
def test_looking_at_this_machine_works_with_no_rights() -> None:
    firewalls()
    assert wsl_version() in (0, 1, 2)
    assert isinstance(container_kind() + hypervisor(), str)
