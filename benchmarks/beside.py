"""`python -m benchmarks.beside CHECKOUT`: this code beside that of another checkout, such as of an earlier commit.

Runs each in processes of its own, interleaved, and prints medians and ratios; above 1 this code is faster. Takes its
load from the other benchmarks. Uses public names that both have had for long.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.cases import CASES, KIB, LargeCase, RateCase
from benchmarks.peers import REPOSITORY
from benchmarks.report import markdown

LARGE_BYTES = 256 * KIB * KIB
COPIES = {"put 1 KiB": (KIB, 300), "put 64 KiB": (64 * KIB, 200), "put 16 MiB": (16 * KIB * KIB, 6)}
SERVE = """
import sys
from httpserve import HttpServerClient
with HttpServerClient(sys.argv[1], host="127.0.0.1") as client:
    print(client.get_port(), flush=True)
    sys.stdin.read()
"""
PUT = """
import os, statistics, sys, tempfile, time
from httpserve import HttpServerClient
size, times = int(sys.argv[1]), int(sys.argv[2])
with tempfile.TemporaryDirectory() as folder, HttpServerClient(host="127.0.0.1") as client:
    path = os.path.join(folder, "file")
    with open(path, "wb") as file:
        file.write(os.urandom(size))
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        client.put_file("file", path)
        taken.append(time.perf_counter() - began)
print(1 / statistics.median(taken))
"""
LIFE = """
import statistics, time
from httpserve import HttpServerClient
taken = []
for _ in range(60):
    began = time.perf_counter()
    with HttpServerClient(host="127.0.0.1"):
        pass
    taken.append(time.perf_counter() - began)
print(1 / statistics.median(taken))
"""


@dataclass(frozen=True)
class Code:
    """A checkout, and the server that runs from it."""

    place: Path
    url: str

    def run(self, program: str, *arguments: object) -> float:
        """Run a program that prints how often a second it could do something."""
        command = [sys.executable, "-c", program, *map(str, arguments)]
        done = subprocess.run(command, env=environment(self.place), capture_output=True, text=True, check=True, cwd="/")
        return float(done.stdout)


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(place)}


@contextlib.contextmanager
def served(place: Path, root: Path) -> Iterator[Code]:
    """Run a server of a checkout's until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(root)],
        env=environment(place),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Code(place, f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.stdin.close()


def make_files(root: Path) -> None:
    """Make the files that are fetched."""
    for name, size in (("small", KIB), ("medium", 64 * KIB), ("large", LARGE_BYTES)):
        (root / name).write_bytes(os.urandom(size))


def measured(case: str, code: Code, seconds: int) -> float:
    """Return how many of a case a second. Raises LoadFailed where an answer was not the file."""
    if case in COPIES:
        return code.run(PUT, *COPIES[case])
    if case == "life":
        return code.run(LIFE)
    known = next(one for one in CASES if one.key == case)
    if isinstance(known, LargeCase):
        sample = load.throughput(f"{code.url}/large", LARGE_BYTES, known.connections)
    else:
        assert isinstance(known, RateCase)
        url = f"{code.url}/{'small' if known.size == KIB else 'medium'}"
        sample = load.request_rate(url, known.connections, seconds, keep_alive=known.keep_alive)
    if sample.errors:
        raise load.LoadFailed(f"{case}, by {code.place}: {sample.errors} requests failed")
    return sample.value


def main() -> int:
    keys = [*(case.key for case in CASES if isinstance(case, RateCase | LargeCase)), *COPIES, "life"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="the other checkout's folder")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, medians of these (default 7)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement of a rate (default 2)")
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=keys, help="only these of " + ", ".join(keys))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        make_files(Path(folder))
        places = (options.checkout.resolve(), REPOSITORY)
        codes = [stack.enter_context(served(place, Path(folder))) for place in places]
        rows = [["case", "other", "this", "ratio"]]
        for case in options.only or keys:
            pairs = [[measured(case, code, options.seconds) for code in codes] for _ in range(options.rounds)]
            other, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(after / before for before, after in pairs)
            rows.append([case, f"{other:.1f}", f"{ours:.1f}", f"{ratio:.2f}"])
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
