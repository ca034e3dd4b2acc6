"""`python -m benchmarks.soak --minutes M`: everything that can go wrong, mixed, and whether the server stays flat.

A process with one client is put under load by its own threads (soak_bench) and by boards (soak_boards); between two
rounds it is at rest, and its memory, descriptors and threads are taken down. Another one is killed in every round.
Ends with a verdict, and with exit code 1 if anything grew or went wrong. Linux only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak_bench import NAMES
from benchmarks.soak_boards import Boards
from httpserve import HttpServerClient

ROUND_SECONDS = 15.0
SIZES = (0, 1_000, 20_000, 300_000, 2_000_000)
MIB = 1 << 20
# The allocator keeps what peaks have left behind; a leak grows with every round.
GROWTH_BYTES = 8 * MIB
SETTLING = 0.25  # of the rounds: until caches and records are full
VICTIM = """
import sys
from httpserve import HttpServerClient
client = HttpServerClient(sys.argv[1], host="127.0.0.1", remove_created_on_close=False)
client.start()
print("puts", flush=True)
while True:
    for source in sys.argv[2:]:
        client.put_file("deep/image", source)
"""


@dataclass
class Samples:
    """What the process had at rest after each round, and what went wrong."""

    rss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Say what grew, and what went wrong."""
        said = list(self.wrong)
        settled = int(len(self.rss) * SETTLING)
        first, last = _halves(self.rss[settled:])
        if last - first > GROWTH_BYTES:
            said.append(f"RSS grew from {first / MIB:.1f} to {last / MIB:.1f} MiB")
        for what, counts in (("descriptors", self.descriptors), ("threads", self.threads)):
            first, last = _halves(counts[settled:])
            if last > first:
                said.append(f"{what} grew from {first:g} to {last:g}")
        return said


def _halves(values: Sequence[int]) -> tuple[float, float]:
    half = max(1, len(values) // 2)
    return statistics.median(values[:half]), statistics.median(values[-half:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="everything that can go wrong")
    parser.add_argument("--minutes", type=float, default=8.0, help="how long (default 8)")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as where:
        samples, done = soak(Path(where), minutes)
    return report(samples, done)


def soak(where: Path, minutes: float) -> tuple[Samples, Counter[str]]:
    """Run rounds for so long. Returns what was measured, and how often what was done."""
    contents = {size: random.Random(size).randbytes(size) for size in SIZES}
    (where / "sources").mkdir()
    for size, content in contents.items():
        (where / "sources" / str(size)).write_bytes(content)
    port = free_port()
    samples = Samples()
    command = [sys.executable, "-m", "benchmarks.soak_bench", str(where), str(port)]
    boards = Boards(port, NAMES, set(contents.values()))
    with (where / "stderr").open("w+b") as errors:
        bench = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        boards.start()
        try:
            told = rounds(bench, where, time.monotonic() + minutes * 60, samples, contents)
        finally:
            boards.stop()
            bench.communicate()
        errors.seek(0)
        samples.wrong += [f"stderr: {line}" for line in errors.read().decode().splitlines()]
    samples.wrong += boards.wrong + told["wrong"]
    done = Counter({f"boards: {what}": count for what, count in boards.done.items()})
    done.update({f"script: {what}": count for what, count in told["done"].items()})
    done.update({f"script: {what} raised": count for what, count in told["errors"].items()})
    return samples, done


def rounds(
    bench: subprocess.Popen[str], where: Path, until: float, samples: Samples, contents: dict[int, bytes]
) -> dict[str, Any]:
    """Let the process work and rest until it is time. Returns what it told last."""
    assert bench.stdin is not None
    assert bench.stdout is not None
    told: dict[str, Any] = {"wrong": [], "done": {}, "errors": {}}
    while (left := until - time.monotonic()) > 0:
        bench.stdin.write(f"{min(left, ROUND_SECONDS)}\n")
        bench.stdin.flush()
        kill_another(where, set(contents.values()), samples)
        line = bench.stdout.readline()
        if not line:
            samples.wrong.append(f"the process ended by itself: {bench.wait()}")
            break
        told = json.loads(line)
        samples.rss.append(told["rss"])
        samples.descriptors.append(told["descriptors"])
        samples.threads.append(told["threads"])
        if told["ours"]:
            samples.wrong.append(f"{told['ours']} threads of ours after close()")
        print(
            f"round {len(samples.rss)}: {told['rss'] / MIB:.1f} MiB, {told['descriptors']} descriptors, "
            f"{told['threads']} threads, {len(told['wrong'])} wrong",
            flush=True,
        )
    return told


def kill_another(where: Path, contents: set[bytes], samples: Samples) -> None:
    """Kill a process in the middle of its puts; what the next one finds must be whole."""
    root = where / "killed"
    sources = sorted(str(path) for path in (where / "sources").iterdir())
    command = [sys.executable, "-c", VICTIM, str(root), *sources]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(random.uniform(0, 0.3))  # the moment of the kill
        victim.send_signal(signal.SIGKILL)
    with HttpServerClient(root, host="127.0.0.1", remove_created_on_close=False) as client:
        found = client.storage.scan("/")
        if not set(found) <= {"/", "deep/", "deep/image"} or [*root.rglob(".httpserve-*.part")]:
            samples.wrong.append(f"litter of a killed process: {found}")
        if "deep/image" in found and client.storage.read_bytes("deep/image") not in contents:
            samples.wrong.append("a killed process left part of a file")
    shutil.rmtree(root)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def report(samples: Samples, done: Counter[str]) -> int:
    """Print a table and the verdict; return the exit code."""
    now = datetime.datetime.now(datetime.UTC)
    print(f"\n{now:%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, {len(samples.rss)} rounds\n")
    print("| at rest | first | median | last | most |\n|---|---|---|---|---|")
    for what, unit, values in (
        ("RSS, MiB", MIB, samples.rss),
        ("descriptors", 1, samples.descriptors),
        ("threads", 1, samples.threads),
    ):
        numbers = (values[0], statistics.median(values), values[-1], max(values))
        print(f"| {what} | " + " | ".join(f"{number / unit:.4g}" for number in numbers) + " |")
    print("\n" + ", ".join(f"{what} {count}" for what, count in sorted(done.items())))
    complaints = samples.complaints()
    print("\n" + ("flat" if not complaints else "\n".join(["NOT FLAT:", *complaints[:50]])))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
