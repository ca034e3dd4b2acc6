"""The SHA-256 of objects that have none in their metadata: computed when it is first asked for, and kept.

Knows versions, and threads that read them. Does not know who asks.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from contextlib import closing

from httpserve.base.log import logger, say
from httpserve.base.threads import JOIN_SECONDS, Latch, block_signals
from httpserve.storage.served import SETTLED_SECONDS, AnyIdentity, VersionGone
from httpserve.storage.store.reading import BLOCK_BYTES, Reads
from httpserve.storage.store.versions import SECOND_NS, Versions

log = logger("httpserve.storage")

_Version = tuple[str, AnyIdentity]  # with the name: many servers make an ETag of size and time alone

MOST_KEPT = 4096
MOST_AT_ONCE = 4


class _Awaited:
    """A digest that a thread computes."""

    def __init__(self) -> None:
        self.is_over = Latch()
        self.error: BaseException | None = None


class StoreDigests:
    """Digests by the version. Safe from any number of threads."""

    def __init__(self, versions: Versions, reads: Reads) -> None:
        self._versions = versions
        self._reads = reads
        self._known: dict[_Version, str] = {}  # each touch is one step of the interpreter
        self.begin_anew()

    def begin_anew(self) -> None:
        """Go on in a forked child, which does not have the threads."""
        self._lock = threading.Lock()  # guards the fields below
        self._awaited: dict[_Version, _Awaited] = {}
        self._threads: set[threading.Thread] = set()
        self._stop = Latch()

    def of(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None) -> str | None:
        """Do what `Served.digest` says. If *seconds* is None, this gives up once *stop* is open."""
        known = self._known.get((name, identity))
        if known is not None:
            return known
        if seconds is None or identity.size <= BLOCK_BYTES:
            return self._computed(name, identity, stop or Latch())
        awaited = self._begun(name, identity)
        if awaited is not None and awaited.is_over.wait(seconds) and awaited.error is not None:
            raise awaited.error
        return self._known.get((name, identity))

    def rest(self) -> None:
        """Give up what is being computed, and begin nothing before `go_on`. Blocks for a moment."""
        with self._lock:
            threads = set(self._threads)
            self._stop.open()
        until = time.monotonic() + JOIN_SECONDS
        for thread in threads - {threading.current_thread()}:
            thread.join(max(0.0, until - time.monotonic()))

    def go_on(self) -> None:
        """Compute what is asked for from now on. Harmless when repeated."""
        with self._lock:
            if self._stop.is_open:
                self._stop = Latch()

    def _begun(self, name: str, identity: AnyIdentity) -> _Awaited | None:
        """Have a thread compute a digest; None if it rests, there are many, or there is no thread."""
        with self._lock:
            awaited = self._awaited.get((name, identity))
            if awaited is not None:
                return awaited
            if self._stop.is_open or len(self._threads) >= MOST_AT_ONCE:
                return None
            awaited = _Awaited()
            work = (name, identity, awaited, self._stop)
            thread = threading.Thread(target=self._run, args=work, name="httpserve:digests", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads
                return None
            self._threads.add(thread)
            self._awaited[name, identity] = awaited
            return awaited

    def _run(self, name: str, identity: AnyIdentity, awaited: _Awaited, stop: Latch) -> None:
        block_signals()
        try:
            self._computed(name, identity, stop)
        except BaseException as error:  # noqa: BLE001 - it is raised where the digest was asked for
            awaited.error = error
            say(log, logging.DEBUG, "no digest of %r: %s", name, error)
        with self._lock:
            self._threads.discard(threading.current_thread())
            self._awaited.pop((name, identity), None)
        awaited.is_over.open()

    def _computed(self, name: str, identity: AnyIdentity, stop: Latch) -> str | None:
        found = self._versions.look(name)
        if found.status.identity != identity:
            return None
        modified = found.facts.modified_ns
        # Then a later version has another time, or another ETag.
        had_rested = self._reads.is_known(found) or (
            modified is not None and time.time_ns() - modified > SETTLED_SECONDS * SECOND_NS
        )
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(BLOCK_BYTES))
        try:
            with closing(self._reads.reader(found, 0, identity.size)) as reader:
                while count := reader.readinto(buffer):
                    digest.update(buffer[:count])
                    if stop.is_open:
                        return None
                reader.finish()
        except VersionGone:
            return None
        if had_rested:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[name, identity] = digest.hexdigest()
        return digest.hexdigest()
