"""Boot loaders with the lines of `client.command`, under QEMU: U-Boot at its console, iPXE by a script.

QEMU and these builds are large, so nothing installs them for the tests: they run where they are found.
"""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from httpserve import HttpServerClient
from tests.boards.machines import NETWORK, UBOOT, UBOOT_MACHINE, Console, to_prompt
from tests.boards.programs import needs, noise

IPXE = Path(os.environ.get("HTTPSERVE_TEST_IPXE", "/usr/lib/ipxe/ipxe.lkrn"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "ipxe_per_mac.py"
NAME = "boot/disk image.img"
SIZE = 1_000_000
IPXE_ADDRESS = "set net0/ip 10.0.2.15\nset net0/netmask 255.255.255.0\nifopen net0"  # its dhcp takes three seconds


@pytest.fixture
def bench() -> Iterator[HttpServerClient]:
    """A server as a board in QEMU sees it."""
    with HttpServerClient(host="127.0.0.1", advertise="10.0.2.2") as client:
        client.storage.write_bytes(NAME, noise(SIZE))
        yield client


@pytest.fixture
def uboot() -> Iterator[Console]:
    """A U-Boot with an address, at its prompt."""
    needs("qemu-system-aarch64")
    if not UBOOT.exists() or b"httpdstp" not in UBOOT.read_bytes():
        pytest.skip(f"{UBOOT} is no U-Boot with wget; Debian 13 has one in u-boot-qemu")
    with Console(*UBOOT_MACHINE) as console:
        to_prompt(console)
        yield console


def test_u_boot_fetches_by_its_line(bench: HttpServerClient, uboot: Console) -> None:
    line = bench.command(NAME, "u-boot", sha256=False)

    uboot.type(f"{line} && echo f''etched ${{filesize}}\n")
    uboot.until(f"fetched {SIZE:x}")

    record = bench.wait_for_download(NAME, 10)
    request = bench.requests[-1]
    assert record.bytes == SIZE
    assert (request.target, request.status, dict(request.fields)) == ("/boot/disk%20image.img", 200, {})


def test_u_boot_compares_as_its_line_says(bench: HttpServerClient, uboot: Console) -> None:
    line = bench.command(NAME, "u-boot")
    comparison = line.rpartition(" && ")[2]
    digest = comparison.rpartition(" ")[2]

    for value, status in ((digest, 0), (digest[::-1], 1), ("", 1)):
        uboot.type(f"setenv h {value}; true && {comparison}; echo sta''tus $?.\n")

        assert f"status {status}." in uboot.until("\n=> ")


def test_u_boot_fails_by_its_line_when_the_file_is_not_there(bench: HttpServerClient, uboot: Console) -> None:
    line = bench.command("missing", "u-boot")

    uboot.type(f"{line}; echo sta''tus $?.\n")

    assert "status 1." in uboot.until("\n=> ")

    assert bench.wait_for_request("missing", status=404, timeout=10).method == "GET"


def test_ipxe_fetches_by_its_line_and_again(bench: HttpServerClient, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    if not IPXE.exists():
        pytest.skip(f"there is no {IPXE}; it is in the package ipxe")
    line = bench.command(NAME, "ipxe", sha256=False)
    script = tmp_path / "script.ipxe"
    script.write_text(f"#!ipxe\n{IPXE_ADDRESS}\n{line} && echo first\n{line} && echo second\nimgstat\necho end of it\n")

    with Console("qemu-system-x86_64", "-m", "256", "-kernel", IPXE, "-initrd", script, *NETWORK) as console:
        output = console.until("end of it")

    record = bench.wait_for_download(NAME, 10)
    assert "first" in output
    assert "second" in output
    assert output.count(f"{SIZE} bytes") == 1  # the second has replaced the first
    assert record.bytes == SIZE
    assert record.user_agent.startswith("iPXE/")
    assert [request.status for request in bench.requests] == [200, 200]


def test_ipxe_boots_the_script_for_its_mac_address(bench: HttpServerClient, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    if not IPXE.exists():
        pytest.skip(f"there is no {IPXE}; it is in the package ipxe")
    asked = bench.respond("boot.ipxe", runpy.run_path(str(EXAMPLE))["script"])
    bench.storage.write_bytes("debian/vmlinuz", noise(SIZE))
    chain = f"chain {bench.get_url('boot.ipxe')}?mac=${{net0/mac}}"
    (tmp_path / "script.ipxe").write_text(f"#!ipxe\n{IPXE_ADDRESS}\n{chain} || echo end of it\n")

    script = tmp_path / "script.ipxe"
    with Console("qemu-system-x86_64", "-m", "256", "-kernel", IPXE, "-initrd", script, *NETWORK) as console:
        console.until("end of it")  # it is no kernel

    assert [(unquote(hit.query), hit.status) for hit in asked.hits] == [("mac=52:54:00:12:34:56", 200)]
    record = bench.wait_for_download("debian/vmlinuz", 10)
    assert (record.bytes, record.user_agent[:5]) == (SIZE, "iPXE/")
