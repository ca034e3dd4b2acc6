"""Boot loaders with the lines of `client.command`, under QEMU: U-Boot at its console, iPXE by a script.

QEMU and these builds are large, so nothing installs them for the tests: they run where they are found.
"""

from __future__ import annotations

import os
import runpy
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import pytest

from httpserve import HttpServerClient
from tests.boards.programs import ENVIRONMENT, needs, noise

UBOOT = Path(os.environ.get("HTTPSERVE_TEST_UBOOT", "/usr/lib/u-boot/qemu_arm64/u-boot.bin"))
IPXE = Path(os.environ.get("HTTPSERVE_TEST_IPXE", "/usr/lib/ipxe/ipxe.lkrn"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "ipxe_per_mac.py"
NETWORK = ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n", "-nographic"]  # the host is 10.0.2.2
NAME = "boot/disk image.img"
SIZE = 1_000_000
BOOT_SECONDS = 40.0


class Console:
    """A machine in QEMU, by its serial port."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            list(map(str, command)),
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._deadline = time.monotonic() + BOOT_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def until(self, text: str) -> str:
        """Return what the machine prints until it has printed a text."""
        assert self._process.stdout is not None
        seen = b""
        while text.encode() not in seen:
            ready = select.select([self._process.stdout], [], [], max(0, self._deadline - time.monotonic()))[0]
            data = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert data, f"{text!r} did not come after {seen.decode(errors='replace')!r}"
            seen += data
        return seen.decode(errors="replace")


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
    machine = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-m", "256", "-bios"]
    with Console(*machine, UBOOT, *NETWORK) as console:
        console.until("stop autoboot")
        console.type("\n")
        console.until("=> ")
        console.type("setenv autoload no; dhcp\n")
        console.until("bound to address")
        console.type("\n")  # what comes while it works may get lost
        console.until("\n=> ")
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
    script.write_text(f"#!ipxe\ndhcp\n{line} && echo first\n{line} && echo second\nimgstat\necho end of it\n")

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
    (tmp_path / "script.ipxe").write_text(f"#!ipxe\ndhcp\n{chain} || echo end of it\n")

    script = tmp_path / "script.ipxe"
    with Console("qemu-system-x86_64", "-m", "256", "-kernel", IPXE, "-initrd", script, *NETWORK) as console:
        console.until("end of it")  # it is no kernel

    assert [(unquote(hit.query), hit.status) for hit in asked.hits] == [("mac=52:54:00:12:34:56", 200)]
    record = bench.wait_for_download("debian/vmlinuz", 10)
    assert (record.bytes, record.user_agent[:5]) == (SIZE, "iPXE/")
