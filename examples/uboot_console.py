"""Load an image with U-Boot over its serial console: the command is typed there, and the server knows what arrived.

    python examples/uboot_console.py [DEVICE BOARD [IMAGE]]

DEVICE is the console, such as /dev/ttyUSB0, already at its speed, and BOARD the board's address. Left out, a simulated
board is started on a pseudo-terminal, by simulated_uboot.py.
"""

import os
import select
import subprocess
import sys
import time
import tty
from pathlib import Path

from httpserve import HttpServerClient

PROMPT = "=> "


class Console:
    """U-Boot's prompt on a serial device. Each call blocks until the prompt is back."""

    def __init__(self, device: str) -> None:
        self.port = os.open(device, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.port)

    def run(self, command: str, timeout: float = 10.0) -> str:
        """Type a command, and return what the board prints before its next prompt."""
        os.write(self.port, command.encode() + b"\r")
        return self._read_until("\n" + PROMPT, time.monotonic() + timeout)

    def _read_until(self, end: str, deadline: float) -> str:
        text = ""
        while not text.endswith(end):
            ready, _, _ = select.select([self.port], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no prompt from the board; it printed {text!r}")
            text += os.read(self.port, 4096).decode("ascii", "replace").replace("\r", "")
        return text.removesuffix(end)


def load(console: Console, board: str, image: Path) -> None:
    with HttpServerClient(peer=board) as http:
        http.put_file(image.name, image)
        command = http.command(image.name, "u-boot")
        # U-Boot prints "Transfer Successful" on a 404 too. The record tells what it really has.
        with http.expect_download(image.name, timeout=60) as download:
            print(console.run(command, timeout=60))
        print(f"{download.record.client} has {download.record.bytes} bytes of {image.name}")


def main() -> None:
    image = Path(sys.argv[3] if len(sys.argv) > 3 else __file__)
    if len(sys.argv) > 1:
        load(Console(sys.argv[1]), sys.argv[2], image)
        return
    simulator = [sys.executable, str(Path(__file__).with_name("simulated_uboot.py"))]
    with subprocess.Popen(simulator, stdout=subprocess.PIPE, text=True) as board:
        assert board.stdout is not None
        try:
            load(Console(board.stdout.readline().strip()), "127.0.0.1", image)
        finally:
            board.terminate()


if __name__ == "__main__":
    main()
