"""The SHA-256 of files that came in without one: computed when it is first asked for, and kept.

Knows versions of files, and a thread for each disk that reads them for those who may wait only for a while. Does not
know where files lie: the caller says how to open one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import threading
import time
from collections.abc import Callable

from httpserve.base.log import logger, say
from httpserve.base.slots import Slots
from httpserve.base.threads import JOIN_SECONDS, Latch, block_signals
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.os_errors import translating
from httpserve.storage.served import SETTLED_SECONDS, Identity

log = logger("httpserve.storage")

AT_ONCE_BYTES = 1 << 20  # of a file that the caller's thread reads, in about a millisecond
# No lower priority: such a thread would sleep while a busy host runs others, and keep the interpreter's lock, which the
# boards' threads need. While a chunk is read, and while it is hashed, that lock is free.
CHUNK_BYTES = 1 << 20
MOST_KEPT = 4096
MOST_WAITING = 64  # for files of one disk; each takes a thread
MOST_AWAITED = 64  # files of one disk


class _Awaited:
    """A digest that a thread is to compute."""

    def __init__(self, name: str, identity: Identity, opened: Callable[[], OpenFile]) -> None:
        self.name = name
        self.identity = identity
        self.opened = opened
        self.is_over = Latch()
        self.error: BaseException | None = None


class Digests:
    """Digests of files below one root, by the version. Safe from any number of threads."""

    def __init__(self) -> None:
        self._known: dict[Identity, str] = {}  # each touch is one step of the interpreter
        self.begin_anew()

    def begin_anew(self) -> None:
        """Go on in a forked child, which does not have the threads."""
        # Guards the fields below. The collector may close the root in a thread that holds it.
        self._lock = threading.RLock()
        self._awaited: dict[Identity, _Awaited] = {}
        self._threads: dict[int, threading.Thread] = {}  # by device
        self._stop = Latch()  # of those threads
        self._waiting = Slots(MOST_WAITING)

    def of(
        self,
        name: str,
        identity: Identity,
        opened: Callable[[], OpenFile],
        seconds: float | None,
        stop: Latch | None = None,
    ) -> str | None:
        """Return the hexadecimal digest of that very version of a file.

        Blocks for at most *seconds*, and until a small file is read; if *seconds* is None, for as long as it takes
        to read the file in this thread, or until *stop* is open.

        Returns:
            None if it is another version by now, or *seconds* were not enough. Ask again.

        Raises:
            StorageError: The disk fails; or whatever else *opened* raises.
        """
        known = self._known.get(identity)
        if known is not None:
            return known
        if seconds is None:
            return self._read_here(identity, opened, stop or Latch())
        if not self._waiting.take(identity.device):
            return None
        try:
            if identity.size <= AT_ONCE_BYTES:
                return self._read_here(identity, opened, Latch())
            awaited = self._begun(name, identity, opened)
            if awaited is not None and awaited.is_over.wait(seconds) and awaited.error is not None:
                raise awaited.error
            return self._known.get(identity)
        finally:
            self._waiting.give_back(identity.device)

    def rest(self) -> None:
        """Give up what is being computed, and begin nothing before `go_on`. Blocks for a moment.

        Meanwhile only a caller that may wait without end gets the digest of a large file. Harmless when repeated.
        """
        with self._lock:
            threads, self._threads = self._threads, {}
            awaited, self._awaited = self._awaited, {}
            self._stop.open()
        for one in awaited.values():
            one.is_over.open()
        until = time.monotonic() + JOIN_SECONDS
        for thread in threads.values():
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def go_on(self) -> None:
        """Compute what is asked for from now on. Harmless when repeated."""
        with self._lock:
            if self._stop.is_open:
                self._stop = Latch()

    def _begun(self, name: str, identity: Identity, opened: Callable[[], OpenFile]) -> _Awaited | None:
        """Have a thread compute a digest; None if it rests, too many wait for its disk, or there is no thread."""
        device = identity.device
        with self._lock:
            if self._stop.is_open:
                return None
            awaited = self._awaited.get(identity)
            if awaited is None:
                if len(self._awaited_of(device)) >= MOST_AWAITED:
                    return None
                awaited = self._awaited[identity] = _Awaited(name, identity, opened)
            if device not in self._threads:
                thread = threading.Thread(
                    target=self._run, args=(device, self._stop), name="httpserve-digests", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # no more threads
                    del self._awaited[identity]
                    return None
                self._threads[device] = thread
            return awaited

    def _awaited_of(self, device: int) -> list[_Awaited]:
        return [one for one in self._awaited.values() if one.identity.device == device]

    # In its own thread

    def _run(self, device: int, stop: Latch) -> None:
        block_signals()
        while True:
            with self._lock:
                if stop.is_open:
                    return
                awaited = next(iter(self._awaited_of(device)), None)
                if awaited is None:
                    self._threads.pop(device, None)
                    return
            try:
                self._compute(awaited, stop)
            except BaseException as error:  # noqa: BLE001 - it is raised where the digest was asked for
                awaited.error = error
                say(log, logging.DEBUG, "no digest of %r: %s", awaited.name, error)
            with self._lock:
                if self._awaited.get(awaited.identity) is awaited:
                    del self._awaited[awaited.identity]
            awaited.is_over.open()

    def _compute(self, awaited: _Awaited, stop: Latch) -> None:
        # Else all of it would have to be read again: a digest is kept only for what had rested when it was read.
        stop.wait(_seconds_to_rest(awaited.identity))
        self._read(awaited.identity, awaited.opened, stop, has_rested=True)

    # In any thread

    def _read_here(self, identity: Identity, opened: Callable[[], OpenFile], stop: Latch) -> str | None:
        return self._read(identity, opened, stop, has_rested=_seconds_to_rest(identity) <= 0)

    def _read(self, identity: Identity, opened: Callable[[], OpenFile], stop: Latch, *, has_rested: bool) -> str | None:
        """Return the digest of a version, and keep it if the file *has_rested*; None if it has changed."""
        with contextlib.closing(opened()) as file, translating("read", file.name):
            if file.identity != identity:
                return None
            sha256 = _hashed(file.fd, stop)
            if sha256 is None or Identity.of(os.fstat(file.fd)) != identity:
                return None
        if has_rested:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[identity] = sha256
        return sha256


def _seconds_to_rest(identity: Identity) -> float:
    """Return for how long a change may still leave the same times behind; 0 or less: it would show.

    It also shows if the clock was set back since the last change.
    """
    return SETTLED_SECONDS - abs(time.time() - identity.ctime_ns / 1e9)


def _hashed(fd: int, stop: Latch) -> str | None:
    """Return the digest of everything from the position to the end; None when told to stop."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with io.FileIO(fd, closefd=False) as reader:
        while count := reader.readinto(buffer):
            digest.update(buffer[:count])
            if stop.is_open:
                return None
    return digest.hexdigest()
