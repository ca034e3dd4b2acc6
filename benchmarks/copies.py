"""How long copies, starts and stops take, each kind in a process of its own.

Knows `put_file`, `start` and `stop`, and what they are compared with. Knows
nothing of HTTP. `python -m benchmarks.copies KIND SOURCE FOLDER` prints seconds;
the time of an interpreter's start is not in them.
"""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.load import Sample, run

if TYPE_CHECKING:
    from httpserve import HttpServerClient

COPY_SECONDS = 120.0
SMALL_PUTS = 200
LIFECYCLES = 50


def measure(kind: str, source: Path, folder: Path) -> Sample:
    """Measure *kind* once, in seconds, with *source* copied into the directory *folder*."""
    command = [sys.executable, "-m", "benchmarks.copies", kind, str(source), str(folder)]
    return Sample(float(run(command, COPY_SECONDS)))


# What runs inside the measured process


def seconds_of(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def server_on(folder: Path) -> HttpServerClient:
    from httpserve import HttpServerClient

    return HttpServerClient(root_dir=folder, host="127.0.0.1")


def cp(source: Path, folder: Path) -> float:
    return seconds_of(lambda: subprocess.run(["cp", source, folder / "copy"], check=True))


def cp_then_sha256sum(source: Path, folder: Path) -> float:
    script = 'cp "$1" "$2" && sha256sum "$2" > /dev/null'
    return seconds_of(lambda: subprocess.run(["sh", "-c", script, "sh", source, folder / "copy"], check=True))


def file_digest(source: Path, folder: Path) -> float:
    with open(source, "rb", buffering=0) as file:
        return seconds_of(lambda: hashlib.file_digest(file, "sha256"))


def put_local(source: Path, folder: Path) -> float:
    with server_on(folder) as http:
        return seconds_of(lambda: http.put_file("copy", source))


def put_operator(source: Path, folder: Path) -> float:
    import opendal

    operator = opendal.Operator("fs", root=str(source.parent))
    with server_on(folder) as http:
        return seconds_of(lambda: http.put_file("copy", source.name, operator))


def put_decompressed(source: Path, folder: Path) -> float:
    with server_on(folder) as http:
        return seconds_of(lambda: http.put_file("copy", source, decompress=True))


def decompressed(source: Path, folder: Path) -> float:
    program = {".xz": "xz", ".gz": "gzip"}[source.suffix]
    with open(folder / "copy", "wb") as file:
        return seconds_of(lambda: subprocess.run([program, "-dc", source], stdout=file, check=True))


def put_small(source: Path, folder: Path) -> float:
    with server_on(folder) as http:
        return statistics.median(seconds_of(lambda: http.put_file("copy", source)) for _ in range(SMALL_PUTS))


def start_and_stop(folder: Path) -> tuple[float, float]:
    http = server_on(folder)
    times = [(seconds_of(http.start), seconds_of(http.stop)) for _ in range(LIFECYCLES)]
    http.close()
    starts, stops = zip(*times, strict=True)
    return statistics.median(starts), statistics.median(stops)


KINDS: dict[str, Callable[[Path, Path], float]] = {
    "cp": cp,
    "cp; sha256sum": cp_then_sha256sum,
    "hashlib.file_digest alone": file_digest,
    "put_file, local path": put_local,
    'put_file, Operator("fs")': put_operator,
    "put_file, decompress": put_decompressed,
    "-dc > file": decompressed,
    "put_file of 1 KiB": put_small,
    "start()": lambda source, folder: start_and_stop(folder)[0],
    "stop()": lambda source, folder: start_and_stop(folder)[1],
}


if __name__ == "__main__":
    print(KINDS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3])))
