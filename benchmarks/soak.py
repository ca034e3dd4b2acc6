"""`python -m benchmarks.soak --minutes M --seed N`: everything that can go wrong, mixed, and whether all of it is true.

Two processes with one client each are put under load by their own threads (soak_bench), with answers that are wrong on
purpose (soak_faults), and by boards that compare every byte (soak_boards) and send files (soak_uploads): one on a good
disk, one on a disk that is slow, hangs and fails (soak_disk). Others are killed in the middle of their puts
(soak_kills). Between two rounds all is at rest: memory, descriptors and threads are taken down, and what records and
waits said is compared with what the boards have and have sent (soak_claims, soak_uploads). Ends with a tally and
a verdict, and with exit code 1 and the seed if anything grew, was lost, or was not so. Linux only; without FUSE there
is no bad disk, and the tally says so.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import random
import select
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

from benchmarks.soak_bench import NAMES, USERS
from benchmarks.soak_boards import Boards, Note, Odd
from benchmarks.soak_claims import Claim, Waited, false_claims, false_waits, unexplained
from benchmarks.soak_disk import Chaos
from benchmarks.soak_kills import Kills
from benchmarks.soak_uploads import Sent, Upload, false_uploads
from tests import fuse

ROUND_SECONDS = 15.0
KILLS_PER_ROUND = 3
CALM_SECONDS = 1.0  # of a round, in which the disk is a good one again
PATIENCE_SECONDS = 100.0  # from the end of a round until all is at rest
BOARDS = 7  # of each process
SIZES = (0, 1_000, 20_000, 300_000, 2_000_000)
MIB = 1 << 20
# The allocator keeps what peaks have left behind; a leak grows with every round.
GROWTH_BYTES = 8 * MIB
FEWEST_ROUNDS = 8  # that tell a leak from what is filled
SETTLING = 0.25  # of the rounds: until caches and records are full
COMPLAINTS = 200  # that are printed
# What must not be, and how it is told apart from all else that went wrong.
NONE_OF = {
    "wrong bytes": "that nobody put",
    "false claims": "a record ",
    "false waits": "a wait ",
    "false uploads": "an upload ",
    "early ends": "that looks orderly",
    "files of the user's lost": "of the user's",
    "litter": "litter",
}


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
        if not self.rss:
            return [*said, "no round was ended"]
        settled = int(len(self.rss) * SETTLING)
        first, last = _halves(self.rss[settled:])
        if last - first > GROWTH_BYTES and len(self.rss) >= FEWEST_ROUNDS:
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
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=None, help="of all chances (default: another each time)")
    arguments = parser.parse_args()
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as where:
        parties, done = soak(Path(where), arguments.minutes, seed)
    return report(parties, done, seed)


class Party:
    """One process under load, and its boards.

    Args:
        name: What it is called in reports.
        where: The directory to work in.
        root: What it serves.
        beneath: The same, by a way that does not fail.
        number: Of it: its boards' addresses begin with 127.NUMBER.
        seed: Of all its chances.
    """

    def __init__(self, name: str, where: Path, root: Path, beneath: Path, number: int, seed: int) -> None:
        self.name = name
        self.samples = Samples()
        self.done: Counter[str] = Counter()
        port, network = free_port(), f"127.{number}.0"
        own = USERS.values() if root != beneath else ()
        contents = [(where / "sources" / str(size)).read_bytes() for size in SIZES]
        names = NAMES + [name for name in USERS if own]
        self._boards = Boards(port, names, [*contents, *own], network, BOARDS, seed + number)
        self._errors = (where / f"stderr-{number}").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak_bench", str(where), str(root), str(beneath), str(port), network,
             str(seed + number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        self._earlier: list[Note] = []
        self._told: dict[str, Any] = {"wrong": [], "done": {}, "errors": {}}

    def begin(self, seconds: float) -> None:
        """Have process and boards work for so long. Returns at once."""
        self._tell(f"{seconds}")
        self._boards.start()

    def rest(self) -> bool:
        """Wait until they rest, and take down what there is, and what is not so. Returns whether it lives."""
        told = self._hear()
        found = self._boards.stop()
        if told is None:
            return False
        self._compare(told["said"], *found)
        self.samples.rss.append(told["rss"])
        self.samples.descriptors.append(told["descriptors"])
        self.samples.threads.append(told["threads"])
        self.samples.wrong += [f"a thread of ours after close(): {thread}" for thread in told["ours"]]
        print(
            f"{self.name}, round {len(self.samples.rss)}: {told['rss'] / MIB:.1f} MiB, "
            f"{told['descriptors']} descriptors, {told['threads']} threads, "
            f"{len(told['wrong']) + len(self.samples.wrong)} wrong",
            flush=True,
        )
        return True

    def end(self) -> None:
        """Look once more for litter, end the process, and add all up."""
        if self._process.poll() is None:
            self._tell("")
            self._hear()
        self._process.communicate()
        self._errors.seek(0)
        said = self._errors.read().decode().splitlines()
        self._errors.close()
        self.samples.wrong += [f"stderr: {line}" for line in said] + self._told["wrong"]
        self.done.update({f"boards: {what}": count for what, count in self._boards.done.items()})
        self.done.update({f"script: {what}": count for what, count in self._told["done"].items()})
        self.done.update({f"script: {what} raised": count for what, count in self._told["errors"].items()})

    def _compare(self, said: dict[str, Any], notes: list[Note], odd: list[Odd], sent: list[Sent]) -> None:
        claims = [Claim(token, *claimed) for token, claimed in said["claims"].items()]
        waits = [Waited(**waited) for waited in said["waits"]]
        uploads, faults = [Upload(**upload) for upload in said["uploads"]], said["faults"]
        # A file that could not be removed is there in the next round too, and so are its downloads.
        self.samples.wrong += false_claims(claims, notes) + false_waits(waits, [*self._earlier, *notes])
        self._earlier = notes
        self.samples.wrong += unexplained(odd, faults) + false_uploads(uploads, sent, faults)
        self.done.update(f"answers with {fault.partition('(')[0]}" for met in faults.values() for fault in met)
        self.done.update(f"boards: {one.kind}, as was asked for" for one in odd)
        self.done.update(f"uploads{'' if upload.completed else ' not'} completed" for upload in uploads)
        self.done["records compared with what the board has"] += len(claims)
        self.done["waits that returned, compared with what the board has"] += len(waits)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, as is heard
            print(line, file=self._process.stdin, flush=True)

    def _hear(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE_SECONDS)[0]:
            self.samples.wrong.append("the process hangs; where, stands in its stderr")
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(1)  # until that is written
            self._process.kill()
        line = self._process.stdout.readline()
        if not line:
            self.samples.wrong.append(f"the process ended by itself: {self._process.wait()}")
            return None
        self._told = json.loads(line)
        return self._told


def soak(where: Path, minutes: float, seed: int) -> tuple[list[Party], Counter[str]]:
    """Run rounds for so long. Returns who was under load, and how often what else was done."""
    contents = {random.Random(size).randbytes(size) for size in SIZES}
    (where / "sources").mkdir()
    for content in contents:
        (where / "sources" / str(len(content))).write_bytes(content)
    kills = Kills(where, contents, random.Random(seed))
    until = time.monotonic() + minutes * 60
    with contextlib.ExitStack() as stack:
        root = where / "good" / "root"
        root.mkdir(parents=True)
        parties = [Party("good disk", where, root, root, 1, seed)]
        chaos = None
        if fuse.why_not() is None:
            disk = stack.enter_context(fuse.mounted(where))
            chaos = Chaos(disk, random.Random(seed + 3))
            shutil.copytree(where / "sources", disk.beneath / "sources")
            (disk.beneath / "root").mkdir()
            parties.append(Party("bad disk", where, disk.path / "root", disk.beneath / "root", 2, seed))
        rounds(parties, kills, chaos, until)
        for party in parties:
            party.end()
    done = kills.done + (Counter({f"no bad disk, as {fuse.why_not()}": 1}) if chaos is None else chaos.done)
    parties[0].samples.wrong += kills.wrong
    return parties, done


def rounds(parties: list[Party], kills: Kills, chaos: Chaos | None, until: float) -> None:
    """Let all work and rest until it is time."""
    while (left := until - time.monotonic()) > 0:
        seconds = min(left, ROUND_SECONDS)
        for party in parties:
            party.begin(seconds)
        if chaos is not None:
            chaos.start()
        calm = time.monotonic() + seconds - CALM_SECONDS
        for _ in range(KILLS_PER_ROUND):
            if time.monotonic() < calm:
                kills.kill_one()
        time.sleep(max(0.0, calm - time.monotonic()))
        if chaos is not None:
            chaos.stop()
        alive = [party.rest() for party in parties]
        if not all(alive):
            return


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def report(parties: list[Party], done: Counter[str], seed: int) -> int:
    """Print tables and the verdict; return the exit code."""
    now = datetime.datetime.now(datetime.UTC)
    print(f"\n{now:%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, seed {seed}\n")
    print("| at rest | rounds | first | median | last | most |\n|---|---|---|---|---|---|")
    for party in parties:
        for what, unit, values in (
            ("RSS, MiB", MIB, party.samples.rss),
            ("descriptors", 1, party.samples.descriptors),
            ("threads", 1, party.samples.threads),
        ):
            numbers = (values[0], statistics.median(values), values[-1], max(values)) if values else ()
            row = " | ".join(f"{number / unit:.4g}" for number in numbers)
            print(f"| {what} | {len(values)}, {party.name} | {row} |")
    # A traceback that comes again and again is told once.
    often = Counter(f"{party.name}: {what}" for party in parties for what in party.samples.complaints())
    wrong = [what if count == 1 else f"{count} times {what}" for what, count in often.items()]
    print("\n| what | how often |\n|---|---|")
    total = sum((party.done for party in parties), done)
    total.update({what: sum(count for said, count in often.items() if sign in said) for what, sign in NONE_OF.items()})
    for what in sorted(total):
        print(f"| {what} | {total[what]:,} |")
    shown = [
        f"NOT FLAT, with seed {seed}:",
        *wrong[:COMPLAINTS],
        *([f"and {len(wrong) - COMPLAINTS} more"] if len(wrong) > COMPLAINTS else []),
    ]
    print("\n" + ("\n".join(shown) if wrong else "flat"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
