"""A bench in small: put an image on a private server, let a board fetch it, and wait for the record.

    python examples/board_boot.py [IMAGE]

The board is simulated by the first of curl, wget and busybox that is installed.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from httpserve import HttpServerClient


def board_fetches(url: str, directory: str) -> "subprocess.Popen[bytes]":
    """Start what a board would run. It goes on while we wait."""
    clients = {
        "curl": ["curl", "--silent", "--show-error", "--fail", "--output", "board.img", url],
        "wget": ["wget", "--quiet", "--output-document", "board.img", url],
        "busybox": ["busybox", "wget", "-q", "-O", "board.img", url],
    }
    for program, command in clients.items():
        if shutil.which(program):
            print(f"the board runs: {program} {url}")
            return subprocess.Popen(command, cwd=directory)
    fetch = "import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], 'board.img')"
    print(f"the board runs: Python's urllib on {url} (curl, wget and busybox are not installed)")
    return subprocess.Popen([sys.executable, "-c", fetch, url], cwd=directory)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        if len(sys.argv) > 1:
            image = Path(sys.argv[1])
        else:
            image = Path(directory, "built.img")
            image.write_bytes(b"\x7fboot" * 4_000_000)

        with HttpServerClient(host="127.0.0.1") as http:
            url = http.put_file("board.img", image)
            with board_fetches(url, directory):
                record = http.wait_for_download("board.img", timeout=60)
            print(f"{record.client} has all {record.bytes:,} bytes of {record.name}", end=" ")
            print(f"after {record.seconds:.3f} s, fetched by {record.user_agent}")

        assert Path(directory, "board.img").read_bytes() == image.read_bytes()


if __name__ == "__main__":
    main()
