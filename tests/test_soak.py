"""The soak judges what it measured, and runs as one command."""

from __future__ import annotations

from pathlib import Path

from benchmarks.soak import MIB, Samples
from tests.cases import each

REPOSITORY = Path(__file__).resolve().parents[1]


def samples(rss: list[float], descriptors: list[int], threads: list[int]) -> Samples:
    return Samples([int(mib * MIB) for mib in rss], descriptors, threads)


def test_what_settles_and_stays_is_flat() -> None:
    flat = samples([50, 80, 81, 80, 82, 81, 80, 81], [9, 11, 11, 11, 12, 11, 11, 11], [1, 3, 3, 3, 3, 3, 3, 3])

    assert flat.complaints() == []


@each("growing", ["RSS", "descriptors", "threads"])
def test_what_grows_with_every_round_is_not_flat(growing: str) -> None:
    steps = list(range(1, 17))
    flat = [10] * 16

    grown = samples(
        [float(step * 2) if growing == "RSS" else 50.0 for step in steps],
        steps if growing == "descriptors" else flat,
        steps if growing == "threads" else flat,
    )

    assert [complaint.partition(" ")[0] for complaint in grown.complaints()] == [growing]


def test_anything_that_went_wrong_is_a_complaint() -> None:
    wrong = Samples([MIB], [1], [1], ["stderr: Traceback"])

    assert wrong.complaints() == ["stderr: Traceback"]
