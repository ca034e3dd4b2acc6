"""Finds what may keep boards away from this host: a container, a virtual machine, WSL, firewalls.

Knows the files in which Linux and its programs say so. Needs no rights, and starts no program but nft, which alone can
read the rules, for root. Does not know whether a board is really kept away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from httpserve.network.interfaces import interfaces

_ROOT = Path("/")
_NFT_SECONDS = 5.0
_PROGRAM_DIRECTORIES = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin")


@dataclass(frozen=True)
class Firewall:
    """A firewall that is installed. `is_active` is None where only root could tell."""

    name: str
    is_active: bool | None
    evidence: str


@dataclass(frozen=True)
class Machine:
    """The kind of this machine."""

    wsl: int = 0  # the version
    container: str = ""
    hypervisor: str = ""
    has_user_network: bool = False  # an address in that of QEMU or VirtualBox, which lets in only forwarded ports


_USER_NETWORK = "10.0.2."


def machine() -> Machine:
    """Return the kind of this machine, as far as it is known."""
    has_user_network = any(here.address.startswith(_USER_NETWORK) for here in interfaces())
    return Machine(wsl_version(), container_kind(), hypervisor(), has_user_network)


def _text(path: Path) -> str:
    """Return the content of a small file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


# What kind of machine


def wsl_version(root: Path = _ROOT) -> int:
    """Return 1 or 2 in the Windows Subsystem for Linux, else 0. Only version 2 has its own network."""
    release = _text(root / "proc/sys/kernel/osrelease")
    if "microsoft" not in release.lower():
        return 0
    return 1 if release.endswith("-Microsoft") else 2


def container_kind(root: Path = _ROOT, environ: Mapping[str, str] = os.environ) -> str:
    """Return the kind of container that this is, such as `docker`; empty where nothing says so."""
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    if _exists(root / ".dockerenv"):
        return "docker"
    if _exists(root / "run/.containerenv"):
        return "podman"
    kind = _text(root / "run/systemd/container") or environ.get("container", "")
    if kind and kind != "wsl":
        return kind
    groups = _text(root / "proc/1/cgroup")
    return next((name for name in ("kubepods", "docker", "lxc") if f"/{name}" in groups), "")


def hypervisor(root: Path = _ROOT) -> str:
    """Return the hypervisor of this virtual machine, such as `QEMU`; empty where nothing says that it is one."""
    dmi = root / "sys/class/dmi/id"
    vendor, product = _text(dmi / "sys_vendor"), _text(dmi / "product_name")
    for sign, name in _VIRTUAL_VENDORS:
        if sign in f"{vendor} {product}":
            return name
    if _text(root / "proc/device-tree/hypervisor/compatible"):
        return "a hypervisor"
    flags = next((line for line in _text(root / "proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    return "a hypervisor" if "hypervisor" in flags.split() else ""


_VIRTUAL_VENDORS = (
    ("QEMU", "QEMU"),
    ("VMware", "VMware"),
    ("innotek", "VirtualBox"),
    ("VirtualBox", "VirtualBox"),
    ("Parallels", "Parallels"),
    ("Microsoft Corporation Virtual Machine", "Hyper-V"),
    ("Xen", "Xen"),
    ("Amazon EC2", "Amazon EC2"),
    ("Google Compute Engine", "Google Compute Engine"),
)


# Firewalls


def firewalls(root: Path = _ROOT, platform: str = sys.platform) -> list[Firewall]:
    """List the firewalls that are installed here, those that are known to be active first."""
    if platform == "win32":
        return [Firewall("Windows Defender", None, "it is part of Windows")]
    if platform == "darwin":
        return [Firewall("macOS", None, "it is part of macOS")]
    looks = (_ufw, _firewalld, _nftables, _iptables, _windows_outside)
    found = [firewall for look in looks if (firewall := look(root)) is not None]
    return sorted(found, key=lambda firewall: (firewall.is_active is False, firewall.is_active is None))


def _program(root: Path, name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join(str(root / folder) for folder in _PROGRAM_DIRECTORIES))


def _ufw(root: Path) -> Firewall | None:
    path = root / "etc/ufw/ufw.conf"
    if not (_exists(path) and _program(root, "ufw")):
        return None
    for line in _text(path).splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "ENABLED":
            return Firewall("ufw", value.strip().strip("\"'").lower() == "yes", f"{path} says {line.strip()}")
    return Firewall("ufw", None, f"{path} does not say whether it is enabled")


def _firewalld(root: Path) -> Firewall | None:
    if not (_program(root, "firewalld") or _program(root, "firewall-cmd")):
        return None
    if any(_text(path) == "firewalld" for path in (root / "proc").glob("[0-9]*/comm")):
        return Firewall("firewalld", True, "it runs")
    return Firewall("firewalld", False, "installed, does not run")


def _nftables(root: Path) -> Firewall | None:
    program = _program(root, "nft")
    if program is None:
        return None
    rules = _nft_rules(program)
    if rules is not None:
        has_input = "hook input" in rules
        return Firewall("nftables", has_input, f"it has {'a chain' if has_input else 'no rules'} for what comes in")
    if any((root / "etc/systemd/system").glob("*.wants/nftables.service")):
        return Firewall("nftables", True, "its service is enabled")
    return Firewall("nftables", None, "installed; only root can read its rules")


def _nft_rules(program: str) -> str | None:
    """Return all rules; None where they cannot be read."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    try:
        done = subprocess.run([program, "list", "ruleset"], capture_output=True, text=True, timeout=_NFT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _iptables(root: Path) -> Firewall | None:
    tables = _text(root / "proc/net/ip_tables_names")  # of the old kind, and only for root
    if tables:
        return Firewall("iptables", True, f"the kernel has its tables {', '.join(tables.split())}")
    is_there = _program(root, "iptables")
    return Firewall("iptables", None, "installed; only root can read its rules") if is_there else None


def _windows_outside(root: Path) -> Firewall | None:
    return Firewall("Windows Defender", None, "it guards the Windows around WSL") if wsl_version(root) else None
