"""Which bytes of one representation one client has received: sets of intervals, as data.

Knows numbers only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

MOST_RANGES = 4096  # ranges remembered one by one; the intervals themselves merge and need no bound


class Intervals:
    """A set of byte positions, kept as sorted, disjoint, non-adjacent half-open intervals."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Put the positions from `start` up to `stop` (exclusive) in."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def size(self) -> int:
        """Return how many positions are in the set."""
        return sum(self._stops) - sum(self._starts)

    def copy(self) -> Intervals:
        """Return an independent set with the same positions."""
        other = Intervals()
        other._starts, other._stops = self._starts.copy(), self._stops.copy()
        return other

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return the intervals as (start, stop) pairs, in order."""
        return tuple(zip(self._starts, self._stops, strict=True))


class Coverage:
    """What one client has of one version (`validator`, `total` bytes) of one file."""

    __slots__ = ("answers", "began", "ended", "intervals", "ranges", "total", "user_agent", "validator", "whole")

    def __init__(self, validator: str, total: int) -> None:
        self.validator = validator
        self.total = total
        self.intervals = Intervals()
        self.ranges: list[tuple[int, int]] = []
        self.answers = 0
        self.began = 0.0
        self.ended = 0.0
        self.user_agent = ""
        self.whole = False  # every byte has arrived; of an empty file, one answer has

    def add(self, spans: list[tuple[int, int]], began: float, ended: float, user_agent: str, *, asked: bool) -> None:
        """Count one answer: the `spans` that arrived of it; `asked` tells whether the client had asked for ranges."""
        if self.answers == 0 or began < self.began:
            self.began = began
        self.answers += 1
        self.ended = max(self.ended, ended)
        self.user_agent = user_agent
        for start, stop in spans:
            self.intervals.add(start, stop)
            if asked and len(self.ranges) < MOST_RANGES:
                self.ranges.append((start, stop))
        self.whole = self.intervals.size() == self.total
