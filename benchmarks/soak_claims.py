"""What a server says that boards have, compared with what they have.

Knows the notes of boards. Does not know how either came to be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.soak_boards import Note


@dataclass(frozen=True)
class Claim:
    """What a record said of one request, at any moment while the soak looked.

    Attributes:
        token: The request's.
        bytes: The most content that the board was said to have acknowledged.
        completed: Whether it was said to have it all.
    """

    token: str
    bytes: int
    completed: bool


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


def false_claims(claims: Iterable[Claim], notes: Iterable[Note]) -> list[str]:
    """Return what records said of requests that is not so."""
    by_token = {note.token: note for note in notes if note.token}
    said = []
    for claim in claims:
        note = by_token.get(claim.token)
        if note is None:
            said.append(f"a record of a request that no board sent: {claim}")
        elif claim.bytes > note.got or (claim.completed and not note.is_whole):
            said.append(f"a record says more than the board has: {claim}, {note}")
    return said


def false_waits(waits: Iterable[Waited], notes: Iterable[Note]) -> list[str]:
    """Return the waits that returned though the board does not have what they say."""
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
            said.append(f"a wait for what no board has asked: {waited}")
        elif _covered(parts) < waited.bytes:
            said.append(f"a wait returned, and the board has {_covered(parts)} bytes: {waited}")
        elif waited.is_single and last is not None and last.got < waited.bytes:
            said.append(f"a wait returned before the board had it: {waited}, {last}")
    return said


def _covered(notes: Iterable[Note]) -> int:
    """Return how many bytes of a file have come, each counted once."""
    reached = covered = 0
    for start, stop in sorted((note.start, note.start + note.got) for note in notes if note.status in (200, 206)):
        covered += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered
