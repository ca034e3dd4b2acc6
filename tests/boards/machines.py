"""Machines in QEMU. As a script, a U-Boot that is told one line: `python machines.py LINE`.

The script ends with the line's status, and leaves in `got` what U-Boot then has in its memory. Knows consoles.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

UBOOT = Path(os.environ.get("HTTPSERVE_TEST_UBOOT", "/usr/lib/u-boot/qemu_arm64/u-boot.bin"))
NETWORK = ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n", "-nographic"]  # the host is 10.0.2.2
UBOOT_MACHINE: list[str | Path] = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-m", "256", *NETWORK]
UBOOT_MACHINE += ["-bios", UBOOT]
BOOT_SECONDS = 40.0
LONGEST_SECONDS = 600.0  # longer than who runs the script waits for it


class Console:
    """A machine in QEMU, by its serial port. Nothing that it prints may come later than after so many seconds."""

    def __init__(self, *command: str | Path, seconds: float = BOOT_SECONDS) -> None:
        self._process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._deadline = time.monotonic() + seconds

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


def to_prompt(console: Console) -> None:
    """Wait until a U-Boot has an address, and prompts."""
    console.until("stop autoboot")
    console.type("\n")
    console.until("=> ")
    console.type("setenv autoload no; dhcp\n")
    console.until("bound to address")
    console.type("\n")  # what comes while it works may get lost
    console.until("\n=> ")


def main(line: str) -> int:
    """Type a line at a U-Boot, save what it fetched, and return the status."""
    with Console(*UBOOT_MACHINE, "-monitor", "unix:monitor,server,nowait", seconds=LONGEST_SECONDS) as console:
        to_prompt(console)
        console.type("setenv filesize 0\n")
        console.until("\n=> ")
        console.type(f"{line}; echo sta''tus $? ${{loadaddr}} ${{filesize}}.\n")
        told = re.search(r"status (\d+) (\w+) (\w+)\.", console.until("\n=> "))
        assert told is not None
        status, address, size = int(told[1]), int(told[2], 16), int(told[3], 16)
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect("monitor")
            saved = monitor.makefile("rwb")
            saved.write(f'pmemsave {address:#x} {size} "got"\nquit\n'.encode())
            saved.flush()
            saved.read()
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
