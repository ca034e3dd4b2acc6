"""How a store is served, beside a local file, no cache and nginx: `python -m benchmarks.stores [--only NAME]`.

A real S3 server, and each of our servers, are processes of their own. What is compared takes turns in each round; a
figure is the median of the ratios of all rounds. Load, servers and store share the machine's processors, so only
ratios count; they need two processors that nobody else uses. Returns 1 where an aim is not reached.
"""

from __future__ import annotations

import argparse
import contextlib
import operator
import random
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import beside, copies, load, peers
from benchmarks.__main__ import conditions, progress
from benchmarks.peers import REPOSITORY
from benchmarks.report import STORES_BEGIN, markdown, number, verdict, write_into
from benchmarks.store_lab import MIB, Board, Lab, settled

RATE_SECONDS = 2
RANGES = 137
RANGE_BYTES = (4 * 1024, 512 * 1024)  # together about 34 MiB, as an update by casync or RAUC asks for
CLIENTS = 8

Sides = tuple[float, ...]  # ours, and what it is compared with, if it is compared


@dataclass(frozen=True)
class Figure:
    """One row of the result.

    Attributes:
        name: For `--only`.
        title: What is compared.
        unit: Of both sides.
        take: Measures both sides once; the one that comes first changes from turn to turn.
        least: The aim: at least so much; None: see `most`.
        most: The aim: at most so much.
        peer: A server of `benchmarks.peers` without which it cannot be measured.
    """

    name: str
    title: str
    unit: str
    take: Callable[[Lab, int], Sides]
    least: float | None = None
    most: float | None = None
    peer: str = ""

    def is_reached(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def aim(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"


def ratio(sides: Sides) -> float:
    """Return what is held against the aim: ours in units of the other, or as it is where there is no other."""
    ours, *other = sides
    return ours / other[0] if other else ours


def both(ours: Callable[[Lab], float], theirs: Callable[[Lab], float]) -> Callable[[Lab, int], Sides]:
    """Measure two sides, the one first that was second before."""

    def take(lab: Lab, turn: int) -> Sides:
        if turn % 2:
            other = theirs(lab)
            return ours(lab), other
        return ours(lab), theirs(lab)

    return take


# Rates and first bytes


def fetched(url: str, lab: Lab, clients: int) -> load.Fetched:
    """Have clients fetch the image once each. Raises LoadFailed where one did not get it."""
    result = load.fetched([url] * clients, lab.size)
    if result.sample.errors:
        raise load.LoadFailed(f"{url}: of {lab.size} bytes, the clients got {result.received}")
    return result


def rate(clients: int, url: Callable[[Lab], str]) -> Callable[[Lab], float]:
    return lambda lab: fetched(url(lab), lab, clients).sample.value


def first_byte(clients: int, url: Callable[[Lab], str]) -> Callable[[Lab], float]:
    return lambda lab: statistics.median(fetched(url(lab), lab, clients).firsts) * 1000


def kept(kind: str) -> Callable[[Lab], str]:
    return lambda lab: lab.kept(kind).image


def cold(
    measure: Callable[[int, Callable[[Lab], str]], Callable[[Lab], float]], clients: int
) -> Callable[[Lab], float]:
    """Measure a server whose cache is empty."""

    def take(lab: Lab) -> float:
        with lab.fresh("cached") as server:
            return measure(clients, lambda lab: server.image)(lab)

    return take


def small_rate(kind: str) -> Callable[[Lab], float]:
    return lambda lab: load.request_rate(lab.kept(kind).small, 1, RATE_SECONDS, keep_alive=True).value


def last_part(lab: Lab, turn: int) -> Sides:
    """Return how long the last MiB takes while another client fetches everything, and how long that takes."""
    with lab.fresh("cached", lab.slow_place) as server, Board(server) as whole, Board(server) as part:
        has_begun = threading.Event()
        taken: list[float] = []
        other = threading.Thread(target=lambda: taken.append(copies.seconds_of(lambda: whole.fetch("", has_begun))))
        other.start()
        has_begun.wait(load.DRAIN_SECONDS)
        seconds = copies.seconds_of(lambda: part.fetch(f"-{MIB}"))
        other.join()
    return seconds, taken[0]


# What is read from the store


def shared_gets(lab: Lab, turn: int) -> Sides:
    """Have two processes with one cache serve four clients each. Returns how many GETs of the store had content."""
    return (float(len(sent_for_all(lab))),)


def shared_bytes(lab: Lab, turn: int) -> Sides:
    """Do the same, and return how many MiB they read, and how many the image has."""
    return sum(sent_for_all(lab)) / MIB, lab.size / MIB


def sent_for_all(lab: Lab) -> list[int]:
    with lab.counted() as (place, proxy), lab.cache() as path, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(lab.fresh("cached", place, cache_dir=path)) for _ in range(2)]
        proxy.forget()
        load.fetched([server.image for server in servers] * (CLIENTS // 2), lab.size)
        settled(lambda: proxy.bytes_sent(target="image"))
        return [one.sent for one in proxy.seen("GET", "image") if one.sent and one.status < 300]


def ranges(lab: Lab) -> list[str]:
    """Return the same random ranges in each round."""
    chosen = random.Random(14)
    found = []
    for _ in range(RANGES):
        length = chosen.randint(*RANGE_BYTES)
        start = chosen.randrange(lab.size - length)
        found.append(f"{start}-{start + length - 1}")
    return found


def moved(*, again: bool) -> Callable[[Lab, int], Sides]:
    """Return how many MiB are read from the store for random ranges, and how many they have."""

    def take(lab: Lab, turn: int) -> Sides:
        with lab.counted() as (place, proxy), lab.fresh("cached", place) as server, Board(server) as board:
            for _ in range(2 if again else 1):
                proxy.forget()
                asked = sum(map(board.fetch, ranges(lab)))
                sent = settled(lambda: proxy.bytes_sent(target="image"))
        return sent / MIB, asked / MIB

    return take


# Memory


def growth(kind: str, clients: int) -> Callable[[Lab, int], Sides]:
    def take(lab: Lab, turn: int) -> Sides:
        with lab.fresh(kind) as server:
            return (server.grown_by(lambda: fetched(server.image, lab, clients)),)

    return take


# On the way in, and what was before


def put(kind: str, program: str) -> Callable[[Lab], float]:
    """Return how many MB of content a second come out of a compressed file."""

    def take(lab: Lab) -> float:
        source = lab.compressed(program)
        with tempfile.TemporaryDirectory(prefix="put-", dir=lab.folder) as target:
            return lab.size / 2 / copies.measure(kind, source, Path(target)).value / 1e6

    return take


PUT, TOOL = "put_file, decompress", "-dc > file"


def one_code(place: Path, case: str) -> Callable[[Lab], float]:
    """Measure a case of `benchmarks.beside` with the code of a checkout."""

    def take(lab: Lab) -> float:
        with beside.served(place, lab.files_beside) as code:
            return beside.measured(case, code, RATE_SECONDS)

    return take


NGINX = operator.attrgetter("nginx")
FIGURES = (
    Figure(
        "warm8", "warm, 8 clients / a local file", "MB/s", both(rate(8, kept("cached")), rate(8, kept("local"))), 0.95
    ),
    Figure("cold8", "cold, 8 clients / no cache", "MB/s", both(cold(rate, 8), rate(8, kept("uncached"))), 1.8),
    Figure("cold1", "cold, 1 client / no cache", "MB/s", both(cold(rate, 1), rate(1, kept("uncached"))), 0.55),
    Figure(
        "nginx1",
        "no cache, 1 client / nginx",
        "MB/s",
        both(rate(1, kept("uncached")), rate(1, NGINX)),
        0.85,
        peer="nginx",
    ),
    Figure(
        "nginx8",
        "no cache, 8 clients / nginx",
        "MB/s",
        both(rate(8, kept("uncached")), rate(8, NGINX)),
        0.85,
        peer="nginx",
    ),
    Figure(
        "first",
        "first byte, 8 cold clients / 1 without cache",
        "ms",
        both(cold(first_byte, 8), first_byte(1, kept("uncached"))),
        most=3,
    ),
    Figure("last", "last MiB while all is fetched / all", "s", last_part, most=0.1, peer="nginx"),
    Figure(
        "small",
        "1 kB, a look each time / a look and a read",
        "requests/s",
        both(small_rate("cached"), small_rate("bare")),
        1.5,
    ),
    Figure("read", "read from the store by 2 processes with 1 cache / the image", "MiB", shared_bytes, most=1.01),
    Figure("gets", "GETs of the image for it", "", shared_gets, most=1),
    Figure("ranges", f"{RANGES} random ranges: read from the store / asked for", "MiB", moved(again=False), most=4),
    Figure("again", "the same ranges again", "MiB", moved(again=True), most=0),
    Figure("streams", "memory for 8 streams without cache", "MiB", growth("uncached", 8), most=24),
    Figure("fill", "memory for a fill", "MiB", growth("cached", 1), most=8),
    Figure("xz", "put of .xz with its digest / xz -dc", "MB/s", both(put(PUT, "xz"), put(TOOL, "xz")), 0.85),
    Figure("gzip", "put of .gz with its digest / gzip -dc", "MB/s", both(put(PUT, "gzip"), put(TOOL, "gzip")), 1.0),
)


def figures_beside(other: Path) -> tuple[Figure, ...]:
    """Return the figures of a local directory with this code and that of another checkout."""
    titles = {
        "keep1": "1 KiB, 1 kept connection",
        "keep16": "1 KiB, 16 kept connections",
        "large1": "256 MiB, 1 client",
    }
    return tuple(
        Figure(
            case,
            f"a directory, {title} / before",
            "MB/s" if case == "large1" else "requests/s",
            both(one_code(REPOSITORY, case), one_code(other, case)),
            0.98,
        )
        for case, title in titles.items()
    )


Results = dict[str, list[Sides]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--mib", type=int, default=256, help="the size of the image in MiB (default 256)")
    add("--rounds", type=int, default=5, help="medians of so many (default 5)")
    names = [figure.name for figure in (*FIGURES, *figures_beside(Path()))]
    add("--only", nargs="+", metavar="NAME", choices=names, help="only these of " + ", ".join(names))
    add("--before", type=Path, metavar="DIR", help="another checkout, to compare how a directory is served")
    add("--dir", type=Path, help="where the files are made (default: the system's temporary directory)")
    add("--write", type=Path, metavar="PAGE", help="put the result into this Markdown page")
    options = parser.parse_args()
    if options.mib < 2 or options.rounds < 1:
        parser.error("--mib is a whole number from 2, --rounds one from 1")
    return options


def main() -> int:
    """Print the figures. Returns 1 where an aim is not reached."""
    options = arguments()
    figures = FIGURES + (() if options.before is None else figures_beside(options.before.resolve()))
    wanted = [
        figure for figure in figures if (not options.only or figure.name in options.only) and can_be_measured(figure)
    ]
    results: Results = {figure.name: [] for figure in wanted}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir)))
        lab = Lab(folder, options.mib * MIB, stack)
        for turn in range(options.rounds):
            for figure in wanted:
                progress(f"{figure.name} {turn + 1}/{options.rounds}")
                try:
                    results[figure.name].append(figure.take(lab, turn))
                except load.LoadFailed as error:
                    raise load.LoadFailed(f"{figure.name}: {error}") from error
        progress("")
    text = f"{conditions(options.rounds, RATE_SECONDS)} The image has {options.mib} MiB.\n\n{table(wanted, results)}"
    print(text)
    if options.write:
        write_into(options.write, text, STORES_BEGIN)
    return int(any(not figure.is_reached(median_ratio(results[figure.name])) for figure in wanted))


def can_be_measured(figure: Figure) -> bool:
    reason = peers.missing(figure.peer)
    if reason is not None:
        print(f"without {figure.name}: {reason}", file=sys.stderr)
    return reason is None


def median_ratio(samples: list[Sides]) -> float:
    return statistics.median(map(ratio, samples))


def table(figures: Sequence[Figure], results: Results) -> str:
    """Make the Markdown table."""
    rows = [["name", "figure", "unit", "ours", "other", "is", "aim", ""]]
    for figure in figures:
        samples = results[figure.name]
        sides = [number(statistics.median(side), figure.unit) for side in zip(*samples, strict=True)]
        ours, other = (*sides, "")[:2]
        value = median_ratio(samples)
        reached = verdict(figure.is_reached(value))
        rows.append([figure.name, figure.title, figure.unit, ours, other, f"{value:.3g}", figure.aim, reached])
    return markdown(rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (load.LoadFailed, peers.PeerFailed) as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
