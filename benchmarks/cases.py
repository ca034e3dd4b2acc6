"""What is measured, as data: the cases, who takes part, and what is to be reached.

Knows titles, sizes and targets. Knows nothing of how a case is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers import OURS, SERVE

KIB = 1024
GIB = 1024**3
SERVERS = tuple(SERVE)


@dataclass(frozen=True)
class Target:
    """Ours is to be *factor* times as fast as *reference*, or more; or to take less than *limit*."""

    reference: str = ""
    factor: float = 0.0
    limit: float | None = None
    ours: str = OURS


@dataclass(frozen=True)
class Case:
    """One row of the result. *names* take part, interleaved; *unit* is of the medians."""

    key: str
    title: str
    unit: str
    names: tuple[str, ...]
    targets: tuple[Target, ...]

    @property
    def more_is_faster(self) -> bool:
        return self.unit.endswith("/s")


@dataclass(frozen=True)
class RateCase(Case):
    """Requests a second of a file of *size* bytes."""

    size: int = KIB
    connections: int = 1
    keep_alive: bool = True


@dataclass(frozen=True)
class LargeCase(Case):
    """MB/s of the large file, fetched once over each connection at the same time."""

    connections: int = 1


@dataclass(frozen=True)
class CopyCase(Case):
    """Seconds or milliseconds of what happens to one file, or of a start and a stop."""

    large: bool = False


def _rate(
    key: str,
    title: str,
    connections: int,
    *,
    aiohttp: float,
    nginx: float | None = None,
    size: int = KIB,
    keep_alive: bool = True,
) -> RateCase:
    targets = (Target("aiohttp", aiohttp), *([] if nginx is None else [Target("nginx", nginx)]))
    return RateCase(key, title, "requests/s", SERVERS, targets, size, connections, keep_alive)


PUT_LOCAL = "put_file, local path"
PUT_OPERATOR = 'put_file, Operator("fs")'
COPIES = ("cp", "cp; sha256sum", "hashlib.file_digest alone", PUT_LOCAL, PUT_OPERATOR)

CASES: tuple[Case, ...] = (
    _rate("keep1", "1 KiB, 1 kept connection", 1, aiohttp=5.5),
    _rate("keep16", "1 KiB, 16 kept connections", 16, aiohttp=18.0, nginx=0.6),
    _rate("new1", "1 KiB, new connection each, 1 at a time", 1, aiohttp=5.0, keep_alive=False),
    _rate("new16", "1 KiB, new connection each, 16 at a time", 16, aiohttp=10.0, nginx=0.9, keep_alive=False),
    _rate("64k", "64 KiB, 16 kept connections", 16, aiohttp=12.0, nginx=0.9, size=64 * KIB),
    LargeCase("large1", "{size}, 1 connection", "MB/s", SERVERS, (Target("nginx", 1.0),), 1),
    LargeCase("large4", "{size}, 4 connections", "MB/s", SERVERS, (Target("nginx", 1.3),), 4),
    CopyCase(
        "put",
        "{size} put, with its SHA-256",
        "s",
        COPIES,
        tuple(
            Target(reference, factor, ours=ours)
            for ours in (PUT_LOCAL, PUT_OPERATOR)
            for reference, factor in (("hashlib.file_digest alone", 0.85), ("cp; sha256sum", 2.5))
        ),
        large=True,
    ),
    CopyCase("put1k", "1 KiB put", "ms", ("put_file of 1 KiB",), (Target(limit=2.0, ours="put_file of 1 KiB"),)),
    CopyCase(
        "life",
        "start and stop, idle",
        "ms",
        ("start()", "stop()"),
        (Target(limit=5.0, ours="start()"), Target(limit=5.0, ours="stop()")),
    ),
)
