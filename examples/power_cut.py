"""Pull the plug at bytes that are known, and see whether the updater of a board gets over it.

    python examples/power_cut.py [IMAGE]

Nobody sleeps for a random time: a hold stops the download at one byte, the script waits until the board has all before
it, and turns the power off. The relay and the board are simulated here: a board is a process that downloads, and a
power cut is SIGKILL. On a bench, Relay.on and Relay.off switch what powers the board.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from httpserve import HttpServerClient

PLACES = (1000, 0.5, -1)  # a byte, a fraction of the file, and a byte from its end
PIECE = 64 * 1024


def updater(url: str, flash: Path) -> None:
    """Do what the board does at each boot: go on where its flash ends, then check the digest."""
    with flash.open("ab") as file:
        request = urllib.request.Request(url, headers={"Range": f"bytes={file.tell()}-"})
        with urllib.request.urlopen(request) as answer:
            while piece := answer.read1(PIECE):
                file.write(piece)
                file.flush()
    with urllib.request.urlopen(f"{url}.sha256") as answer:
        expected = answer.read().split()[0].decode()
    if hashlib.sha256(flash.read_bytes()).hexdigest() != expected:
        sys.exit("the image on the flash is not the one on the server")


class Relay:
    """What powers the board."""

    def __init__(self, board: list[str]) -> None:
        self.board = board

    def on(self) -> None:
        self.process = subprocess.Popen(self.board)

    def off(self) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, HttpServerClient(host="127.0.0.1") as http:
        image = Path(directory, "built.img")
        image.write_bytes(Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else os.urandom(8_000_000))
        flash = Path(directory, "flash")
        url = http.put_file("board.img", image)
        relay = Relay([sys.executable, __file__, "--board", url, str(flash)])

        for at in PLACES:
            with http.hold("board.img", at) as hold:
                relay.on()
                held = hold.wait(timeout=60)
                relay.off()
            sent = (held.ranges[0][0] if held.ranges else 0) + held.acknowledged
            print(f"power cut at byte {sent:,}: the flash has {flash.stat().st_size:,} bytes")

        relay.on()
        record = http.wait_for_download("board.img", timeout=60)
        if relay.process.wait(timeout=60) != 0:
            sys.exit("the board does not get over a power cut")
        print(f"the board has all {record.total:,} bytes, as they are on the server, after {len(PLACES)} power cuts")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--board"]:
        updater(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
