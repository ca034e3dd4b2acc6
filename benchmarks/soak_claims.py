"""What a server says that boards have, compared with what they have; and which oddities its faults explain.

Knows the notes of boards, and the faults that records tell. Does not know how either came to be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.soak_boards import Note, Odd

# Which faults explain what a board finds odd.
EXPLAINS = {
    "bytes": ("Corrupt", "Stale", "Status", "Headers"),
    "short": ("Truncate", "Stale", "WrongLength", "Cut", "Status", "Headers"),
    "early": ("Cut", "WrongLength", "Headers"),
    "rubbish": ("WrongLength", "Headers", "Corrupt"),
    "mixed": ("Corrupt", "Stale", "Truncate", "WrongLength", "WrongRange", "Cut", "Headers", "Status"),
}
UNFRAMED = ("WrongLength", "Headers")  # with which boards take more or less for the content than there is
UNENDED = (*UNFRAMED, "NoLength")  # with which only the end of the connection may tell


@dataclass(frozen=True)
class Claim:
    """What a record said of one request, at any moment while the soak looked.

    Attributes:
        token: The request's.
        bytes: The most content that the board was said to have acknowledged.
        completed: Whether it was said to have it all.
        fault: The faults that its answer was said to have met.
    """

    token: str
    bytes: int
    completed: bool
    fault: str = ""


@dataclass(frozen=True)
class Waited:
    """What a wait returned: that a board has a file, or so much of it.

    Attributes:
        token: That of its last request; empty for one that is as others.
        client: Its address.
        name: The file's.
        bytes: How many bytes.
        total: Of how many.
        is_single: Whether that request alone is said to have brought it.
        at: When it returned, in seconds since the epoch.
    """

    token: str
    client: str
    name: str
    bytes: int
    total: int
    is_single: bool
    at: float


def unexplained(found: Iterable[Odd], faults: Mapping[str, Iterable[str]]) -> list[str]:
    """Return what boards found odd, without what was asked for: `faults` has those of answers by token and by port."""
    said = []
    for odd in found:
        met = [fault for key in odd.keys for fault in faults.get(key, ())]
        if not _has(EXPLAINS[odd.kind], " ".join(met)):
            said.append(f"{odd.text}, with {', '.join(met) or 'no fault'}")
    return said


def _has(kinds: Iterable[str], fault: str) -> bool:
    return any(f"{kind}(" in fault for kind in kinds)


def false_claims(claims: Iterable[Claim], notes: Iterable[Note]) -> list[str]:
    """Return what records said of requests that is not so."""
    by_token = {note.token: note for note in notes if note.token}
    said = []
    for claim in claims:
        note = by_token.get(claim.token)
        if note is None:
            said.append(f"a record of a request that no board sent: {claim}")
            continue
        is_more = claim.bytes > note.got and not _has(UNFRAMED, claim.fault)
        is_less = claim.completed and not note.is_whole and not _has(UNENDED, claim.fault)
        if is_more or is_less:
            said.append(f"a record says more than the board has: {claim}, {note}")
    return said


def false_waits(waits: Iterable[Waited], notes: Iterable[Note]) -> list[str]:
    """Return the waits that returned though the board does not have what they say, each byte as it was put."""
    notes = list(notes)
    by_token = {note.token: note for note in notes if note.token}
    by_file = defaultdict(list)
    for note in notes:
        by_file[note.client, note.name, note.total].append(note)
    said = []
    for waited in waits:
        parts = [note for note in by_file[waited.client, waited.name, waited.total] if note.began <= waited.at]
        last = by_token.get(waited.token)
        if waited.token and (last is None or last.name != waited.name):
            said.append(f"a wait for what no board has asked: {waited}, {last}")
        elif _covered(parts) < waited.bytes:
            said.append(f"a wait returned, and the board has {_covered(parts)} bytes: {waited}, {parts[-2:]}")
        elif waited.is_single and last is not None and _covered([last]) < waited.bytes:
            said.append(f"a wait returned before the board had it: {waited}, {last}")
    return said


def _covered(notes: Iterable[Note]) -> int:
    """Return how many bytes of a file have come as they were put, each counted once."""
    reached = covered = 0
    for start, stop in sorted(span for note in notes for span in note.right):
        covered += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered
