"""How fast a file comes in, against its digest alone: `python -m benchmarks.uploads [MIB]`.

curl sends a file to a server in a process of its own, which stores it and computes its SHA-256; `hashlib.file_digest`
reads the same file alone. In turns, as a machine is not always as fast. By how much the server's memory grows is
printed too. Needs two processors that nobody else uses.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
LEAST_RATIO = 0.8
MOST_GROWTH_MIB = 16
WAYS = {
    "curl -T": ["-T", "{file}"],
    "curl -T, in chunks": ["-H", "Transfer-Encoding: chunked", "-T", "{file}"],
    "curl -F": ["-F", "file=@{file}"],
}
SERVER = """
import sys
from httpserve import HttpServerClient
with HttpServerClient(sys.argv[1], host="127.0.0.1") as http:
    http.accept_uploads("image", 1 << 40)
    print(http.get_url("image"), flush=True)
    sys.stdin.read()
"""


def main() -> int:
    """Print the figures. Returns 1 where a target is not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("mib", type=int, nargs="?", default=1024, help="the size of the file in MiB (default 1024)")
    mib: int = parser.parse_args().mib
    with tempfile.TemporaryDirectory(prefix="uploads-") as directory:
        file = Path(directory, "sent")
        with file.open("wb") as writer:
            block = os.urandom(1 << 20)
            for _ in range(mib):
                writer.write(block)
        return measured(file, mib)


def measured(file: Path, mib: int) -> int:
    """Measure each way in turn with the digest alone. Returns 1 where the first one misses its target."""
    root = file.parent / "root"
    command = [sys.executable, "-c", SERVER, str(root)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    failed = False
    try:
        send(WAYS["curl -T"], file, url, root)
        for name, words in WAYS.items():
            before = memory_of(server.pid)
            pairs = [(digest_alone(file), send(words, file, url, root)) for _ in range(ROUNDS)]
            alone, sent = (statistics.median(one) for one in zip(*pairs, strict=True))
            ratio = statistics.median(alone / sent for alone, sent in pairs)
            growth = memory_of(server.pid) - before
            print(f"{name}: {mib / sent:.0f} MiB/s, digest alone {mib / alone:.0f} MiB/s, ratio {ratio:.2f}", end="")
            print(f", memory of the server {growth:+.1f} MiB", flush=True)
            failed |= (name == "curl -T" and ratio < LEAST_RATIO) or growth > MOST_GROWTH_MIB
    finally:
        server.communicate("", timeout=60)
    return int(failed)


def digest_alone(file: Path) -> float:
    """Return in how many seconds a file is hashed."""
    began = time.perf_counter()
    with file.open("rb") as reader:
        hashlib.file_digest(reader, "sha256")
    return time.perf_counter() - began


def send(words: list[str], file: Path, url: str, root: Path) -> float:
    """Return in how many seconds curl has sent a file, its start left out. Removes what came."""
    command = ["curl", "-sSf", "-o", os.devnull, "-w", "%{time_total}", *(one.format(file=file) for one in words), url]
    seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (root / "image").unlink()
    return seconds


def memory_of(pid: int) -> float:
    """Return how much memory a process has had at most, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
