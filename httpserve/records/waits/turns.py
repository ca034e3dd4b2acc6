"""When a wait looks again: after what may matter to it, but rarely enough to leave the boards most of the processor.

Knows who is woken by what, and how much work a look is. Does not know what is looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from httpserve.base.ipython import fold
from httpserve.records.log import ExchangeLog, Waiter

# The share of processor time that all waits together may take, as a divisor: each event of a busy board would let each
# of them look, and Python lets one thread run at a time.
SHARE = 8
MOST_REST_SECONDS = 0.25  # a look may cost a lot: a user's function, or a thousand boards that fetch the same file


class Turns:
    """The looks of one wait, for a `with` block: `wait` comes between two.

    What happens from the begin of the block on, or from the end of a `wait`, ends the next `wait`. So a look in between
    misses nothing.

    Attributes:
        deadline: When the time-out is over, as time.monotonic() tells it; infinitely late without one.
    """

    __slots__ = ("__weakref__", "_exchanges", "_join", "_spent", "_waiter", "deadline")

    def __init__(self, exchanges: ExchangeLog, join: Callable[[], Waiter], timeout: float | None) -> None:
        self._exchanges = exchanges
        self._join = join
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._waiter: Waiter | None = None
        self._spent = 0.0

    def __enter__(self) -> Self:
        self._exchanges.waits.add(self)
        self._spent = time.thread_time()
        self._waiter = self._join()  # last: after it nothing may raise that would keep `__exit__` from leaving
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._exchanges.waits.discard(self)
        if self._waiter is not None:
            self._exchanges.leave(self._waiter)
        if isinstance(error, KeyboardInterrupt):
            fold(error)

    def wait(self, left: float, poll: float) -> bool:
        """Block until something has happened, for at most `poll` seconds; True: something has.

        However soon that is, the next look comes no sooner than the processor time that looks cost allows, and no
        later than in `left` seconds.
        """
        assert self._waiter is not None
        began, spent = time.monotonic(), time.thread_time()
        rest = min(left, MOST_REST_SECONDS, (spent - self._spent) * SHARE * len(self._exchanges.waits))
        self._spent = spent
        has_happened = self._waiter.wait(min(left, max(poll, rest)))
        rest -= time.monotonic() - began
        if rest > 0:
            time.sleep(rest)  # leaves the boards the processor, whatever happens meanwhile
        if self._waiter.is_open:
            self._waiter = self._join()
        return has_happened
