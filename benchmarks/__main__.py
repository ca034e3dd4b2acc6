"""`python -m benchmarks`: measures every case in interleaved rounds and prints the tables.

Joins peers, load, copies and report. Everything it starts is stopped, and
everything it writes is removed, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from benchmarks import copies, load, peers, report
from benchmarks.cases import CASES, GIB, KIB, Case, CopyCase, LargeCase, RateCase

BLOCK_BYTES = 1024 * KIB
QUICK_LARGE_BYTES = 128 * 1024 * KIB
SMALL = "small"
MEDIUM = "medium"
LARGE = "large"
PYTHON_GENERATOR = "a generator in Python (wrk is not installed): it limits the fast servers, so ratios are low"

Samples = dict[str, dict[str, list[load.Sample]]]


def arguments() -> argparse.Namespace:
    keys = [case.key for case in CASES]
    servers = list(peers.SERVE)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="httpserve beside its peers")
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="interleaved rounds, medians of these (default 5)")
    add("--seconds", type=int, default=3, help="length of one measurement of a rate (default 3)")
    add("--quick", action="store_true", help="one round, one second each, 128 MiB in place of 1 GiB")
    add("--only", nargs="+", metavar="CASE", choices=keys, help="only these of " + ", ".join(keys))
    add("--peers", nargs="+", metavar="SERVER", choices=servers, help="only these of " + ", ".join(servers))
    add("--dir", type=Path, help="where the files are made (default: the system's temporary directory)")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    add("--write", type=Path, metavar="PAGE", help="put the result into this Markdown page")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are whole numbers from 1")
    return options


def main() -> int:
    options = arguments()
    if options.quick:
        options.rounds = options.seconds = 1
    large_bytes = QUICK_LARGE_BYTES if options.quick else GIB
    cases = [case for case in CASES if not options.only or case.key in options.only]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir)))
        root, target = folder / "root", folder / "target"
        root.mkdir()
        target.mkdir()
        make_files(root, large_bytes if any(needs_large(case) for case in cases) else 0)
        ports = {name: stack.enter_context(peers.running(name, root)).port for name in servers_of(cases, options.peers)}
        measure = Measure(root, target, ports, large_bytes, options.seconds)
        results = run_rounds(cases, options.rounds, measure)
    large = "1 GiB" if large_bytes == GIB else f"{large_bytes // (1024 * KIB)} MiB"
    text = conditions(options.rounds, options.seconds) + "\n\n" + report.table(cases, results, large)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(as_json(results), indent=1), encoding="utf-8")
    if options.write:
        report.write_into(options.write, text)
    return 0


class Measure:
    """Measures one case with one name, once."""

    def __init__(self, root: Path, target: Path, ports: dict[str, int], large_bytes: int, seconds: int) -> None:
        self._root = root
        self._target = target
        self._ports = ports
        self._large_bytes = large_bytes
        self._seconds = seconds

    def names(self, case: Case) -> list[str]:
        return [name for name in case.names if isinstance(case, CopyCase) or name in self._ports]

    def __call__(self, case: Case, name: str) -> load.Sample:
        match case:
            case RateCase():
                url = self._url(name, SMALL if case.size == KIB else MEDIUM)
                return load.request_rate(url, case.connections, self._seconds, keep_alive=case.keep_alive)
            case LargeCase():
                return load.throughput(self._url(name, LARGE), self._large_bytes, case.connections)
            case CopyCase():
                return self._copy(case, name)
        raise AssertionError(case)

    def _copy(self, case: CopyCase, name: str) -> load.Sample:
        try:
            sample = copies.measure(name, self._root / (LARGE if case.large else SMALL), self._target)
        finally:
            (self._target / "copy").unlink(missing_ok=True)
        return load.Sample(sample.value * 1000) if case.unit == "ms" else sample

    def _url(self, name: str, file: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}/{file}"


def run_rounds(cases: list[Case], rounds: int, measure: Measure) -> Samples:
    """Measure everything *rounds* times, the names of a case one after the other in each round."""
    results: Samples = {case.key: {name: [] for name in measure.names(case)} for case in cases}
    for case in cases:
        for turn in range(rounds):
            for name in in_turn(measure.names(case), turn):
                progress(f"{case.key} {turn + 1}/{rounds} {name}")
                results[case.key][name].append(measure(case, name))
    progress("")
    return results


def in_turn(names: list[str], turn: int) -> list[str]:
    """Let another name begin in each round: none has always the same one before it."""
    start = turn % len(names)
    return names[start:] + names[:start]


def servers_of(cases: list[Case], wanted: list[str] | None) -> list[str]:
    if all(isinstance(case, CopyCase) for case in cases):
        return []
    present = []
    for name in wanted or peers.SERVE:
        if reason := peers.missing(name):
            print(f"without {name}: {reason}", file=sys.stderr)
        else:
            present.append(name)
    return present


def needs_large(case: Case) -> bool:
    return isinstance(case, LargeCase) or (isinstance(case, CopyCase) and case.large)


def make_files(root: Path, large_bytes: int) -> None:
    for name, size in ((SMALL, KIB), (MEDIUM, 64 * KIB), (LARGE, large_bytes)):
        with open(root / name, "wb", buffering=0) as file:
            for start in range(0, size, BLOCK_BYTES):
                file.write(os.urandom(min(BLOCK_BYTES, size - start)))
            os.fsync(file.fileno())  # or the first measurements share the disk with its write-back


def conditions(rounds: int, seconds: int) -> str:
    """Say when and on what this was measured."""
    versions = {"Python": platform.python_version()}
    for package in ("opendal", "werkzeug", "aiohttp"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    generator = "wrk with one thread" if load.has_wrk() else PYTHON_GENERATOR
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}: medians of {rounds} interleaved rounds, "
        f"{seconds} s for each rate, on {os.cpu_count()} cores ({processor()}), {system}, {software}; "
        f"load from {generator}."
    )


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def as_json(results: Samples) -> dict[str, dict[str, list[dict[str, float]]]]:
    as_dict: Callable[[load.Sample], dict[str, float]] = vars
    return {
        case: {name: [dict(as_dict(sample)) for sample in samples] for name, samples in by_name.items()}
        for case, by_name in results.items()
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (load.LoadFailed, peers.PeerFailed) as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
