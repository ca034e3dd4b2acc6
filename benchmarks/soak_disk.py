"""What a bad disk does to a server while others use it: it is slow, hangs for seconds, and fails.

Knows the disk of the tests and its rules. Knows nothing of servers.
"""

from __future__ import annotations

import errno
import random
import threading
from collections import Counter

from tests.fuse import FaultyDisk

ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES]
READING = ["open", "read", "getattr", "readdir"]
WRITING = ["create", "write", "flush", "fsync", "rename", "unlink", "mkdir", "truncate", "release"]
LONGEST_SECONDS = 3.0  # of a delay, and of a hang
PAUSE_SECONDS = 0.3


class Chaos:
    """Sets one fault after the other until it is stopped.

    Args:
        disk: The disk.
        chance: Which, where, and for how long.
    """

    def __init__(self, disk: FaultyDisk, chance: random.Random) -> None:
        self._disk = disk
        self._chance = chance
        self._end = threading.Event()
        self._thread = threading.Thread()
        self.done: Counter[str] = Counter()

    def start(self) -> None:
        self._end.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Have the disk be a good one again."""
        self._end.set()
        self._thread.join()
        self._disk.clear()

    def _run(self) -> None:
        while not self._end.wait(self._chance.uniform(0, PAUSE_SECONDS)):
            what, settings = self._any_fault()
            op = self._chance.choice(self._chance.choice([READING, WRITING]))
            path = self._chance.choice(["*", "*", "*", "root/images/*", "root/small"])
            fault = self._disk.fault(op, path, chance=self._chance.choice([0.02, 0.2, 1.0]), **settings)
            self._end.wait(self._chance.uniform(0, LONGEST_SECONDS if "block" in settings else 1.0))
            self.done[f"disk {what}"] += fault.met
            fault.clear()

    def _any_fault(self) -> tuple[str, dict[str, object]]:
        kind = self._chance.randrange(10)
        if kind < 5:
            return "errors", {"errno": self._chance.choice(ERRORS), "times": self._chance.choice([1, 5, None])}
        if kind < 8:
            return "delays", {"delay": self._chance.uniform(0, LONGEST_SECONDS) ** 2 / LONGEST_SECONDS, "times": 20}
        return "hangs", {"block": True, "times": 3}
