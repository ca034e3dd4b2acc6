"""Which bytes of one representation one client has received: sets of intervals, as data.

Knows numbers only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

MOST_RANGES = 4096  # ranges remembered one by one
MOST_INTERVALS = 65_536  # an honest client leaves far fewer gaps; a hostile one must not fill the memory


class Intervals:
    """A set of byte positions, kept as sorted, disjoint, non-adjacent half-open intervals."""

    __slots__ = ("_size", "_starts", "_stops")

    def __init__(self) -> None:
        self._starts = array("q")
        self._stops = array("q")
        self._size = 0

    def add(self, start: int, stop: int) -> None:
        """Add the positions from `start` up to `stop` (exclusive).

        Once there are `MOST_INTERVALS` intervals, what touches none of them is left out.
        """
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
            self._size -= sum(self._stops[first:last]) - sum(self._starts[first:last])
        elif len(self._starts) >= MOST_INTERVALS:
            return
        self._starts[first:last] = array("q", [start])
        self._stops[first:last] = array("q", [stop])
        self._size += stop - start

    def size(self) -> int:
        """Return how many positions are in the set."""
        return self._size

    def __len__(self) -> int:
        return len(self._starts)

    def copy(self) -> Intervals:
        """Return an independent set with the same positions."""
        other = Intervals()
        other._starts, other._stops, other._size = self._starts[:], self._stops[:], self._size
        return other

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return the intervals as (start, stop) pairs, in order."""
        return tuple(zip(self._starts, self._stops, strict=True))


@dataclass(slots=True, eq=False)
class Coverage:
    """What one client has of one version (`validator`, `total` bytes) of one file."""

    validator: str
    total: int
    intervals: Intervals = field(default_factory=Intervals)
    numbers: array[int] = field(default_factory=partial(array, "q"))  # two for each range
    answers: int = 0
    arrived: int = 0  # bytes; those that came twice count twice
    began: float = 0.0
    ended: float = 0.0
    user_agent: str = ""
    local: str = ""
    known: str = ""
    claims: tuple[Any, ...] = ()  # see `exchange.Claim`; a copy has none
    whole: bool = False  # every byte has arrived; of an empty file, one answer has

    def copy(self) -> Coverage:
        """Return an independent coverage with the same content."""
        return replace(self, intervals=self.intervals.copy(), numbers=self.numbers[:], claims=())

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The (start, stop) pairs that arrived by ranges, in the order in which they ended."""
        numbers = iter(self.numbers)
        return list(zip(numbers, numbers, strict=True))

    def pieces(self) -> int:
        """Return how many intervals and ranges are remembered, which is what takes memory."""
        return len(self.intervals) + len(self.numbers) // 2

    def simplify(self) -> None:
        """Merge the remembered ranges: keep only what they add up to."""
        self.numbers = array("q", [edge for span in self.intervals.spans() for edge in span])

    def received(self) -> int:
        """Return how many bytes have arrived, each counted once."""
        return self.intervals.size()

    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Return the (start, stop) pairs that have not arrived, in order."""
        edges = [0, *(edge for span in self.intervals.spans() for edge in span), self.total]
        return tuple((start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop)

    def add(self, spans: list[tuple[int, int]], began: float, ended: float, user_agent: str, *, asked: bool) -> None:
        """Count one answer, of which these spans arrived, the last at `ended`; `asked`: ranges were asked for."""
        if self.answers == 0 or began < self.began:
            self.began = began
        self.answers += 1
        self.ended = max(self.ended, ended)
        self.user_agent = user_agent
        for start, stop in spans:
            self.arrived += stop - start
            if not self.whole:  # a board that asks for the same file again and again adds nothing new
                self.intervals.add(start, stop)
            if asked and len(self.numbers) < 2 * MOST_RANGES:
                self.numbers.extend((start, stop))
        self.whole = self.intervals.size() == self.total
