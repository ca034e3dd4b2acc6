"""Cutting and mending plans: where a byte of the representation lies in an answer, and the steps before and after it.

Pure but for `Paced`, which has a clock. Knows plans. Does not know which fault wants it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, overload

from httpserve.plan import Data, Piece, Plan, Region, Response, Step, Stream, Subject, Wait

At = int | float  # a byte of the representation: its number, a fraction of all, or, negative, its place from the end

PACE_SECONDS = 0.05
MOST_BEHIND_SECONDS = 1.0  # a client that takes less than it may get does not get more later


def position(at: At, total: int) -> int:
    """Return which byte of a representation of `total` bytes is meant, 0 at least; it may lie beyond the end."""
    if isinstance(at, float):
        return int(at * total)
    return max(0, total + at) if at < 0 else at


def pieces_of(plan: Plan) -> tuple[int, Sequence[Piece]]:
    """Return the size of the representation, and where its parts lie in the answer. Other content is its own."""
    subject = plan.subject
    if subject is not None and subject.pieces:
        return subject.total, subject.pieces
    length = sum(length_of(step) or 0 for step in plan.steps) if plan.length is None else plan.length
    return length, (Piece(0, 0, length),) if length else ()


def place(plan: Plan, at: At) -> int | None:
    """Return how many bytes of content come before a byte of the representation; None: the answer does not have it.

    The end of the representation is a place too, behind its last byte.
    """
    total, pieces = pieces_of(plan)
    wanted = position(at, total)
    for offset, start, stop in pieces:
        if start <= wanted < stop or (wanted == stop == total):
            return offset + wanted - start
    return None


def length_of(step: Step) -> int | None:
    """Return how many bytes of content a step sends; None: only its end tells."""
    if isinstance(step, Data):
        return len(step.data)
    if isinstance(step, Region | Stream):
        return step.length
    return 0


def split(steps: Sequence[Step], offset: int) -> tuple[list[Step], list[Step]]:
    """Return the steps that send the first `offset` bytes of the content, and those that send the rest."""
    before: list[Step] = []
    for index, step in enumerate(steps):
        length = length_of(step)
        if length is not None and length <= offset:
            before.append(step)
            offset -= length
            continue
        first, second = _halves(step, offset) if offset else ([], [step])
        return before + first, second + list(steps[index + 1 :])
    return before, []


def _halves(step: Step, offset: int) -> tuple[list[Step], list[Step]]:
    if isinstance(step, Data):
        return [Data(step.data[:offset])], [Data(step.data[offset:])]
    if isinstance(step, Region):
        file, start, length = step
        return [Region(file, start, offset)], [Region(file, start + offset, length - offset)]
    assert isinstance(step, Stream)
    shared = _Shared(step.pieces)
    left = None if step.length is None else step.length - offset
    first = Stream(shared.take(offset), None if left is None else offset, step.close)
    return [first], [Stream(shared.rest(), left, step.close)]


class _Shared:
    """An iterator of bytes that two streams share: one takes its beginning, the other what is left."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._kept = b""

    def take(self, count: int) -> Iterator[bytes]:
        for piece in self._pieces:
            self._kept = piece[count:]
            yield piece[:count]
            count -= len(piece)
            if count <= 0:
                return

    def rest(self) -> Iterator[bytes]:
        if self._kept:
            yield self._kept
        yield from self._pieces


def changed(response: Response, steps: Sequence[Step], **fields: Any) -> Response:
    """Return an answer with other steps. What the new plan is not given, it has from the old one."""
    old = response.plan
    plan = Plan(steps, fields.pop("length", old.length), fields.pop("subject", old.subject), old.raw_fields)
    plan.sources, plan.before, plan.is_last, plan.met = old.sources, old.before, old.is_last, old.met
    for name, value in fields.items():
        setattr(plan, name, value)
    return response._replace(plan=plan)


def with_fields(response: Response, fields: Sequence[tuple[str, str]]) -> Response:
    """Return an answer with other fields."""
    other = changed(response, response.plan.steps, raw_fields=None)
    return other._replace(fields=fields)


def field_of(response: Response, name: str) -> str | None:
    """Return the value of a field; None if the answer does not have it."""
    return next((value for field, value in response.fields if field.lower() == name.lower()), None)


def replaced(response: Response, name: str, value: str) -> list[tuple[str, str]]:
    """Return the fields with another value of one that is there."""
    return [(field, value if field.lower() == name.lower() else old) for field, old in response.fields]


def without(response: Response, *names: str) -> list[tuple[str, str]]:
    """Return the fields but those with these names, which are in lower case."""
    return [one for one in response.fields if one[0].lower() not in names]


def counting(subject: Subject | None, pieces: Sequence[Piece]) -> Subject | None:
    """Return what a record is to say where only these pieces count as received."""
    return None if subject is None else subject._replace(pieces=pieces)


class Paced(Sequence[Step]):
    """The same content, in parts with pauses in between, so that it takes its time. Made step by step when wanted.

    Args:
        steps: The steps, none of them a stream.
        rate: Bytes a second.
        clock: Returns the time in seconds.
    """

    def __init__(self, steps: Sequence[Step], rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps = steps
        self._rate = rate
        self._clock = clock
        self._part = max(1, int(rate * PACE_SECONDS))
        lengths = [length_of(step) or 0 for step in steps]
        counts = [2 * -(-length // self._part) or 1 for length in lengths]
        self._first = list(accumulate(counts, initial=0))  # which of ours is the first one of each step
        self._sent = list(accumulate(lengths, initial=0))  # how many bytes come before each step
        self._ends_with_pause = bool(lengths and lengths[-1])  # nobody waits for that one
        self._began = clock()

    def __len__(self) -> int:
        return self._first[-1] - self._ends_with_pause

    @overload
    def __getitem__(self, index: int) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...

    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        if isinstance(index, slice):
            return [self[one] for one in range(len(self))[index]]
        index = range(len(self))[index]
        at = bisect_right(self._first, index) - 1
        step, within = self._steps[at], index - self._first[at]
        length = length_of(step) or 0
        if not length:
            return step
        start = within // 2 * self._part
        stop = min(start + self._part, length)
        if within % 2:
            return self._wait_until(self._sent[at] + stop)
        return _part_of(step, start, stop)

    def _wait_until(self, sent: int) -> Wait:
        now, due = self._clock(), self._began + sent / self._rate
        if now > due + MOST_BEHIND_SECONDS:
            self._began += now - due
        return Wait(max(0.0, due - now))


def _part_of(step: Step, start: int, stop: int) -> Step:
    if isinstance(step, Data):
        return Data(step.data[start:stop])
    assert isinstance(step, Region)
    return Region(step.file, step.offset + start, stop - start)
