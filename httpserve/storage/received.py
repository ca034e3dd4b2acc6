"""A new version of a file that somebody sends, hashed while it comes.

Knows one incoming version, and threads. Does not know who sends it. Where much comes within a moment, a thread of its
own reads back what was written and hashes it, as a put does: then both processors work. It ends as soon as nothing
comes, so a slow sender has none.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

from httpserve.base.threads import JOIN_SECONDS, block_signals
from httpserve.storage.accessor import Writable

QUICK_BYTES = 1024 * 1024  # written within QUICK_SECONDS: worth a thread
QUICK_SECONDS = 0.1
HASH_BYTES = 256 * 1024  # stays in a processor's cache
# Who writes waits for the thread that hashes, which else would get too little of the processors beside the writer and a
# sender on the same computer, and be far from its end when all has come.
MOST_BEHIND_BYTES = 32 * 1024 * 1024


class Received:
    """Implements `NewVersion`. One thread writes, asks for the digest and commits; any may discard."""

    def __init__(self, incoming: Writable) -> None:
        self._incoming = incoming
        self.may_replace = True
        self._written = 0
        self._recent = (0.0, 0)  # since when, and how much had been written by then
        self._sha256 = hashlib.sha256()
        self._hashed = 0  # of what was written
        self._lock = threading.Lock()  # guards _follower
        self._follower: threading.Thread | None = None
        self._more: SimpleQueue[bool] = SimpleQueue()  # False: the end
        self._is_awaited = False
        self._caught_up: SimpleQueue[None] = SimpleQueue()
        self._is_given_up = False
        self._error: OSError | None = None  # of the follower

    def write(self, data: bytes) -> None:
        """Do what `NewVersion.write` says."""
        self._incoming.write(data)
        self._written += len(data)
        with self._lock:
            is_followed = self._follower is not None
            if is_followed:
                self._more.put(True)
        if is_followed:
            self._wait_for_follower()
        elif self._hashed + len(data) == self._written:
            self._sha256.update(data)
            self._hashed = self._written
            self._follow_if_quick()
        else:  # the follower has ended in between
            self._catch_up()

    def sha256(self) -> str:
        """Do what `NewVersion.sha256` says."""
        self._end_follower()
        if self._error is not None:
            raise self._incoming.refused(self._error) from self._error
        self._catch_up()
        return self._sha256.hexdigest()

    def commit(self) -> None:
        """Do what `NewVersion.commit` says, with the digest."""
        self._incoming.may_replace = self.may_replace
        self._incoming.commit(self.sha256())

    def discard(self) -> None:
        """Do what `NewVersion.discard` says."""
        self._is_given_up = True
        self._end_follower(JOIN_SECONDS)  # which has the file open, and the disk may be unmounted next
        self._incoming.discard()

    def _follow_if_quick(self) -> None:
        since, before = self._recent
        now = time.monotonic()
        if now - since > QUICK_SECONDS:
            self._recent = (now, self._written)
        elif self._written - before >= QUICK_BYTES:
            thread = threading.Thread(target=self._follow, name="httpserve:sha256", daemon=True)
            self._follower = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._follower = None

    def _wait_for_follower(self) -> None:
        while self._follower is not None and self._written - self._hashed > MOST_BEHIND_BYTES:
            self._is_awaited = True
            with suppress(Empty):
                self._caught_up.get(timeout=QUICK_SECONDS)

    def _end_follower(self, seconds: float | None = None) -> None:
        with self._lock:
            follower = self._follower
        if follower is not None:
            self._more.put(False)
            follower.join(seconds)

    def _catch_up(self) -> None:
        """Hash in this thread what was written and not hashed yet."""
        if self._hashed == self._written:
            return
        try:
            fd = self._incoming.reader()
            try:
                self._hash(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._incoming.refused(error) from error

    def _hash(self, fd: int) -> None:
        while self._hashed < self._written and not self._is_given_up:
            data = os.pread(fd, min(HASH_BYTES, self._written - self._hashed), self._hashed)
            if not data:
                raise OSError("it has become shorter")
            self._sha256.update(data)
            self._hashed += len(data)
            if self._is_awaited and self._written - self._hashed <= MOST_BEHIND_BYTES // 2:
                self._is_awaited = False
                self._caught_up.put(None)

    # In the follower

    def _follow(self) -> None:
        block_signals()
        try:
            fd = self._incoming.reader()
            try:
                self._hash_until_silence(fd)
            finally:
                os.close(fd)  # perhaps the only report: a disk tells only the first to close that it lost bytes
        except OSError as error:
            self._error = error
        finally:
            with self._lock:
                self._follower = None
            self._caught_up.put(None)

    def _hash_until_silence(self, fd: int) -> None:
        while True:
            self._hash(fd)
            try:
                if not self._more.get(timeout=QUICK_SECONDS):
                    self._hash(fd)
                    return
            except Empty:
                return
