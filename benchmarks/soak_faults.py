"""What a script does with a server's answers on purpose while others use it: faults and holds that come and go, and
names that boards may send files to.

Knows the public API. Does not know what boards get by it: their notes are compared with what it notes here.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

from benchmarks import soak_uploads
from httpserve import HttpServerClient, NotFound, UploadRecord
from httpserve.faults import (
    Chance,
    Corrupt,
    Cut,
    Fault,
    Headers,
    IgnoreRange,
    NoLength,
    Redirect,
    Refuse,
    Sequence,
    Slow,
    Stale,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
)

STALE = random.Random("stale").randbytes(12_345)  # nobody puts that
PLACES: list[int | float] = [0, 0, 1, 500, 10_000, -1, 0.5, 0.9, 1.0]
STALL_SECONDS = 0.3  # at most, where it is not for ever
MOMENT_SECONDS = 0.3  # at most, that something is in force
HEADERS = [
    Headers(set={"X-Empty": "", "accept-ranges": "none"}),
    Headers(set={"ETag": '"another"'}),
    Headers(set={"content-length": "700"}),
    Headers(drop=["ETag", "Last-Modified"]),
    Headers(drop=["Content-Length"]),
    Headers(drop=["Content-Range"]),
    Headers(set={"Content-Range": "bytes 0-99/1000"}),
]


def any_fault(chance: random.Random) -> Fault:
    """Return a fault; some by chance, some after others."""
    at = chance.choice([*PLACES, chance.random()])
    body = chance.choice(["", "gone\n"])
    made: list[Callable[[], Fault]] = [
        lambda: Slow(chance.choice([200_000.0, 1e6, 1e8])),
        lambda: Stall(at, chance.choice([0.001, chance.uniform(0, STALL_SECONDS)])),
        lambda: Stall(at, chance.choice([0.01, None])),
        lambda: Cut(at, chance.choice(["fin", "reset"])),
        lambda: Corrupt(at, chance.choice([1, 100])),
        lambda: Truncate(at),
        lambda: WrongLength(chance.choice([-1000, -1, 1, 1000])),
        IgnoreRange,
        lambda: WrongRange(chance.choice([-5000, -1, 1, 512])),
        lambda: NoLength(chunked=chance.random() < 0.5),
        lambda: Status(chance.choice([200, 204, 304, 404, 503]), chance.choice([None, 1]), body),
        lambda: Redirect("/small"),
        lambda: Stale(STALE),
        lambda: Stale("small"),
        lambda: chance.choice(HEADERS),
    ]
    fault = chance.choice(made)()
    if chance.random() < 0.2:
        return Chance(0.5, fault)
    return Sequence([fault, None, chance.choice(made)()]) if chance.random() < 0.2 else fault


class Mischief:
    """All that is wrong on purpose, and what boards may send, for moments.

    Args:
        client: Whose answers.
        names: That boards ask for.
        network: Their addresses begin so.

    Attributes:
        ways: What there is to be done to answers, each once it is called. Raises errors of ours.
        upload_ways: The same for uploads.
        held: What holds said: the token of an answer, how many bytes its board has, and which faults it met.
        wrong: What is not so.
    """

    def __init__(self, client: HttpServerClient, names: list[str], network: str) -> None:
        self._client = client
        self._names = names
        self._network = network
        self.held: list[tuple[str, int, str]] = []
        self.wrong: list[str] = []
        self.ways: list[Callable[[random.Random], object]] = [
            *[self.fault] * 4,
            *[self.faults_that_overlap] * 2,
            *[self.hold] * 2,
            *[self.rest] * 3,
            self.refuse,
        ]
        self.upload_ways: list[Callable[[random.Random], object]] = [self.accept_uploads, self.expect_upload]

    def _anybody(self, chance: random.Random) -> str | None:
        return chance.choice([None, None, f"{self._network}.{chance.randrange(1, 5)}"])

    def rest(self, chance: random.Random) -> None:
        """Do nothing for a moment, and leave nothing in force, so that answers are given again without asking."""
        self._client.clear_faults()
        time.sleep(chance.uniform(0, MOMENT_SECONDS))

    def fault(self, chance: random.Random) -> None:
        """Have answers meet one to three faults for a moment, or so many times."""
        handle = self._client.fault(
            chance.choice([None, "*", "images/*", *self._names]),
            *(any_fault(chance) for _ in range(chance.choice([1, 1, 2, 3]))),
            times=chance.choice([None, 1, 5]),
            after=chance.choice([0, 0, 3]),
            client=self._anybody(chance),
            method=chance.choice([None, None, "GET"]),
            seed=chance.choice([None, 7]),
        )
        time.sleep(chance.uniform(0, MOMENT_SECONDS))
        if chance.random() < 0.9:  # the others end with the client, or by `rest`
            handle.clear()
        if any(not record.fault for record in handle.hits):
            self.wrong.append(f"{handle} has hits of no fault")

    def faults_that_overlap(self, chance: random.Random) -> None:
        """Have several in force, and end them in any order."""
        handles = [self._client.fault(chance.choice(["*", *self._names]), any_fault(chance)) for _ in range(3)]
        repr(self._client.faults)
        chance.shuffle(handles)
        for handle in handles:
            time.sleep(chance.uniform(0, MOMENT_SECONDS / 3))
            handle.clear()

    def refuse(self, chance: random.Random) -> None:
        """Have connections reset for a moment."""
        client, times = self._anybody(chance), chance.choice([1, 20])
        with self._client.fault(None, Chance(0.5, Refuse()), times=times, client=client):
            time.sleep(chance.uniform(0, MOMENT_SECONDS / 3))

    def hold(self, chance: random.Random) -> None:
        """Hold answers, until one is there, or for a moment."""
        held = self._client.hold(chance.choice(["*", *self._names]), chance.choice(PLACES), self._anybody(chance))
        try:
            transfer = held.wait(MOMENT_SECONDS)
            self.held.append((transfer.user_agent, transfer.acknowledged, transfer.fault))
            time.sleep(chance.uniform(0, MOMENT_SECONDS / 3))
            repr(held.held)
        finally:
            if chance.random() < 0.9:  # the others end with the client
                held.release()

    def accept_uploads(self, chance: random.Random) -> None:
        """Let boards send files for a moment, and wait for one."""
        with self._client.accept_uploads(
            chance.choice(["up/", *soak_uploads.NAMES]),
            chance.choice(soak_uploads.MOST_BYTES),
            overwrite=chance.random() < 0.7,
            count=chance.choice([None, 1, 3]),
        ):
            time.sleep(chance.uniform(0, 2 * MOMENT_SECONDS))
            self._see(self._client.wait_for_upload("up/", MOMENT_SECONDS, client=self._anybody(chance)))
        if chance.random() < 0.5:
            self._client.storage.delete(chance.choice(soak_uploads.NAMES))

    def expect_upload(self, chance: random.Random) -> None:
        """Wait for a file that is to be sent now."""
        name = chance.choice(["up/", *soak_uploads.NAMES])
        with self._client.expect_upload(name, 2 * MOMENT_SECONDS, overwrite=True) as upload:
            pass
        self._see(upload.record)

    def _see(self, record: UploadRecord) -> None:
        """Look into a file that is said to be in its place."""
        with contextlib.suppress(NotFound, OSError):  # it was replaced or removed since, or the disk fails
            data = record.read()
            if len(data) != record.bytes or data != soak_uploads.sent_as(data):
                self.wrong.append(f"an upload called completed is no whole one: {record}")
