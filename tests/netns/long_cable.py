"""A cable that is long and bad: frames take their time, and some get lost.

Knows TAP devices of Linux and Ethernet frames. It is for kernels without netem, and for a second opinion on it. What
is lost is chosen by a generator with a fixed seed.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import threading
import time
from types import TracebackType
from typing import Self

from tests.netns.nets import Place

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_BYTES = 65536
SEED = 20


def _tap(interface: str) -> int:
    """Make a TAP device in the namespace of this thread, which lasts as long as its descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


class LongCable:
    """Joins `eth4` of one place and `usb4` of another until the block ends.

    Args:
        bench: The one.
        board: The other.
        delay: Seconds that a frame takes from one end to the other.
        loss: Which part of the frames is lost, 0 to 1.

    Raises:
        OSError: This system has no TAP devices.
    """

    def __init__(self, bench: Place, board: Place, delay: float, loss: float) -> None:
        self._delay = delay
        self._loss = loss
        self._random = random.Random(SEED)
        self._order = itertools.count()  # two frames of the same moment stay in order
        self._due: list[tuple[float, int, int, bytes]] = []
        self.lost = 0
        self._ends = [bench.call(lambda: _tap("eth4"))]
        try:
            self._ends.append(board.call(lambda: _tap("usb4")))
        except OSError:
            os.close(self._ends[0])
            raise
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._stopped)
        self._thread.join()
        for fd in (*self._ends, self._stop):
            os.close(fd)

    def _carry(self) -> None:
        poll = select.poll()
        for fd in (*self._ends, self._stop):
            poll.register(fd, select.POLLIN)
        while True:
            wait = None if not self._due else max(0.0, self._due[0][0] - time.monotonic()) * 1000
            for fd, _ in poll.poll(wait):
                if fd == self._stop:
                    return
                self._take(fd)
            self._deliver()

    def _take(self, fd: int) -> None:
        other = self._ends[1] if fd == self._ends[0] else self._ends[0]
        while True:
            try:
                frame = os.read(fd, FRAME_BYTES)
            except BlockingIOError:
                return
            if self._random.random() < self._loss:
                self.lost += 1
            else:
                heapq.heappush(self._due, (time.monotonic() + self._delay, next(self._order), other, frame))

    def _deliver(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, fd, frame = heapq.heappop(self._due)
            try:
                os.write(fd, frame)
            except OSError:  # that end is down
                self.lost += 1
