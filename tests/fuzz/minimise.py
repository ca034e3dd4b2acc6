"""Chooses, of many inputs, few small ones that together reach everything that all of them reach.

What an input reaches: the outcome that its check returns, and each step from line to line in httpserve and in the
checks, with how often, roughly. Knows no fuzzer.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.targets import CORPUS, Check, is_seed

MOST_ENTRIES = 150
MOST_ENTRY_BYTES = 2048
_WATCHED = (str(Path(__file__).parent), str(Path(__file__).parents[2] / "httpserve"))

Reached = set[tuple[object, ...]]


def reached_by(check: Check, data: bytes) -> Reached:
    """Return what an input reaches. Raises what the check raises."""
    found: Counter[tuple[object, ...]] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event != "call" or not frame.f_code.co_filename.startswith(_WATCHED):
            return None
        code, last = frame.f_code, 0

        def step(inner: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                found[code, last, inner.f_lineno] += 1
                last = inner.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        outcome = check(data)
    finally:
        sys.settrace(before)
    return {(*step, min(count.bit_length(), 4)) for step, count in found.items()} | {(outcome,)}


def chosen(check: Check, seeds: list[bytes], inputs: Iterable[bytes]) -> list[bytes]:
    """Return the smallest inputs that reach something new each, beyond the seeds; both together `MOST_ENTRIES`."""
    candidates = sorted({data for data in inputs if len(data) <= MOST_ENTRY_BYTES}, key=lambda data: (len(data), data))
    for data in candidates[:20]:
        check(data)  # what only the first call of a process does counts for no input
    known: Reached = set().union(*(reached_by(check, data) for data in seeds))
    kept: list[bytes] = []
    for data in candidates:
        reached = reached_by(check, data)
        if not reached <= known and len(seeds) + len(kept) < MOST_ENTRIES:
            kept.append(data)
            known |= reached
    return kept


def store(name: str, entries: list[bytes]) -> None:
    """Make `entries` what the corpus of a target holds beside the seeds."""
    directory = CORPUS / name
    wanted = {hashlib.sha256(data).hexdigest()[:16]: data for data in entries}
    for path in directory.iterdir():
        if path.name not in wanted and not is_seed(path):
            path.unlink()
    for digest, data in wanted.items():
        (directory / digest).write_bytes(data)
