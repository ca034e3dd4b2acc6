"""Which version of an object the store has: one look for all who ask at the same time.

Knows what the store says of an object, and threads. Reads no byte of one.
"""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from httpserve.base.fields import OF_FILES, checked_fields
from httpserve.base.threads import Latch
from httpserve.errors import HttpServeError, IsADirectory, NotFound, StoreUnavailable
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS, kind_of
from httpserve.storage.copying.unchanged import seconds_to_last
from httpserve.storage.served import SETTLED_SECONDS, Fields, ObjectIdentity, Status
from httpserve.storage.store.calls import Calls

if TYPE_CHECKING:
    from opendal.types import Metadata

T = TypeVar("T")

MOST_KNOWN = 4096
SECOND_NS = 1_000_000_000
NEVER_RESTED = (1 << 63) - 1  # the time of a change that may come at any moment: nobody resumes by it
# The names of what we keep in the metadata of an object. Letters and digits only, as Azure has it.
SHA256, FIELDS, WRITE = "sha256", "httpservefields", "httpservewrite"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r'"[!#-~]+"|[!#-~]+')


class Facts(NamedTuple):
    """What the store says of one version of an object, by which two looks are compared."""

    size: int
    etag: str | None
    modified_ns: int | None

    @classmethod
    def of(cls, metadata: Metadata) -> Facts:
        modified = metadata.last_modified
        return cls(metadata.content_length, metadata.etag, None if modified is None else _nanoseconds(modified))

    @property
    def pin(self) -> str | None:
        """The ETag that a read may be held to, as the store has it; None where there is none, or only a weak one."""
        return self.etag if self.etag is not None and _ETAG.fullmatch(self.etag) else None

    @property
    def validator(self) -> str | None:
        """The same where it is one as HTTP has it. Some servers give one without quotes to many versions."""
        return self.pin if self.pin is not None and self.pin.startswith('"') else None

    @property
    def seconds_to_last(self) -> float:
        """In how many seconds the ETag, if there is one, is not that of a later version too."""
        return 0.0 if self.etag is None else seconds_to_last(self.etag, (self.modified_ns or 0) / SECOND_NS)

    @property
    def is_known_by_them(self) -> bool:
        """Whether a version that is written later would show in them."""
        return self.etag is not None or self.modified_ns is not None


class Found(NamedTuple):
    """One version: what the site is told, and what the store said. `metadata` is all of that.

    `is_lasting`: a later version will show in its facts, even one that comes in the same second.
    """

    status: Status
    facts: Facts
    metadata: Metadata
    is_lasting: bool


class Note(NamedTuple):
    """What is known of a version that came in through us, where the store does not keep it.

    `source` is what the copy has noted about where its bytes are from.
    """

    facts: Facts
    sha256: str | None
    fields: Fields
    source: object = None


class _Look:
    """One look at an object, for all who asked for it before it began."""

    __slots__ = ("error", "found", "over")

    def __init__(self) -> None:
        self.over = Latch()
        self.found: Found | None = None
        self.error: BaseException | None = None

    def result(self) -> Found:
        if self.error is not None:
            raise self.error
        assert self.found is not None
        return self.found


class Versions:
    """The versions of the objects of one store. Safe from any number of threads."""

    def __init__(self, calls: Calls, fresh_for: float) -> None:
        self._calls = calls
        self._fresh_for = fresh_for
        self.renew_locks()
        self._changes = 0  # of ours: a look that began before one is not kept
        self._puts: dict[str, int] = {}  # which of these was the latest of a name
        self._known: dict[str, tuple[Found, float]] = {}  # and when that look began
        self._seconds: dict[str, tuple[Facts, bool]] = {}  # the latest version seen, and whether it shares its second
        self._notes: dict[str, Note] = {}

    def renew_locks(self) -> None:
        """Go on in a forked child."""
        self._lock = threading.Lock()  # guards the fields; held for a moment only
        self._looks: dict[str, list[_Look]] = {}  # the one under way, and the next

    def fresh(self, name: str) -> Found | None:
        """Return what a look found that is not older than `fresh_for`; None if there is none. Does not block."""
        known = self._known.get(name)
        if known is None or time.monotonic() - known[1] >= self._fresh_for:
            return None
        return known[0]

    def look(self, name: str, *, anew: bool = False) -> Found:
        """Return which version an object is, by a look that begins after this call, unless one is fresh.

        Who is about to change the object looks *anew* in any case. Blocks for the store: in the worst case for two
        looks, if a name is absent.

        Raises:
            NotFound: There is none.
            IsADirectory: There are objects below that name.
            StoreUnavailable: The store does not say.
        """
        found = None if anew else self.fresh(name)
        if found is not None:
            return found
        with self._lock:
            looks = self._looks.setdefault(name, [])
            is_ours = len(looks) < 2
            if is_ours:
                looks.append(_Look())
            first, mine = looks[0], looks[-1]
        if is_ours:
            self._take(name, None if first is mine else first, mine)
        else:
            mine.over.wait()
        return mine.result()

    def _take(self, name: str, before: _Look | None, mine: _Look) -> None:
        """Look, once the one before is over. If the store did not even answer that, it is not asked again."""
        try:
            if before is not None:
                before.over.wait()
            if before is not None and isinstance(before.error, StoreUnavailable):
                mine.error = before.error
            else:
                mine.found = self._asked(name)
        except BaseException as error:  # noqa: BLE001 - each of those who wait raises it
            mine.error = error
        finally:
            with self._lock:
                self._looks[name].remove(mine)
                if not self._looks[name]:
                    del self._looks[name]
            mine.over.open()

    def _asked(self, name: str) -> Found:
        began, changes = time.monotonic(), self._changes
        metadata = self._stat(name)
        if metadata is None:
            with self._lock:
                self._known.pop(name, None)
                self._seconds.pop(name, None)
            raise self._absence(name)
        if metadata.is_dir:
            raise IsADirectory(f"open {name!r}: it is a directory on {self._calls.label}", name)
        found = self.found(name, metadata)
        with self._lock:
            if self._fresh_for and found.is_lasting and changes == self._changes:
                _keep(self._known, name, (found, began))
        return found

    def _stat(self, name: str) -> Metadata | None:
        with self._calls.asking("stat", name):
            try:
                return self._calls.looking.stat(name)
            except OPENDAL_ERRORS as error:
                if kind_of(error) != "NotFound":
                    raise
                return None

    def _absence(self, name: str) -> HttpServeError:
        if self.is_directory(name):
            return IsADirectory(f"open {name!r}: it is a directory on {self._calls.label}", name)
        return NotFound(f"open {name!r}: no such object on {self._calls.label}", name)

    def is_directory(self, name: str) -> bool:
        """Tell whether there are objects below that name; the root always is one. Blocks for the store."""
        if not name:
            return True
        if not self._calls.capability.list:  # then a name with a slash is any other name
            return False
        try:
            with self._calls.asking("stat", f"{name}/"):
                return self._calls.looking.stat(f"{name}/").is_dir
        except NotFound:
            return False

    def found(self, name: str, metadata: Metadata) -> Found:
        """Return what the store says of an object in the words of the site."""
        facts = Facts.of(metadata)
        kept = metadata.user_metadata or {}
        sha256 = kept.get(SHA256, "").lower()
        note = self._notes.get(name)
        fields = _fields(kept.get(FIELDS))
        is_ours = note is not None and note.facts == facts
        if note is not None and is_ours:
            fields = note.fields
            sha256 = sha256 if facts.validator is None else note.sha256 or sha256
        known_sha256 = sha256 if _SHA256.fullmatch(sha256) else None
        # The same bytes with other fields are another version, although all else may be the same.
        modified, tag = facts.modified_ns or 0, f"{facts.etag or ''!a}{fields!a}"
        if not facts.is_known_by_them:  # nothing but a change of ours or another size tells a later version
            modified, tag = NEVER_RESTED, str(self._puts.get(name, 0))
        identity = ObjectIdentity(facts.size, modified, tag)
        is_lasting = is_ours or known_sha256 is not None or not facts.seconds_to_last
        etag = facts.validator if is_lasting else None
        status = Status(name, identity, known_sha256, self._shares_second(name, facts), fields, etag)
        return Found(status, facts, metadata, is_lasting)

    def _shares_second(self, name: str, facts: Facts) -> bool:
        """Tell whether the date of a version may be another's too: the store says it in whole seconds."""
        if facts.modified_ns is None:
            return True
        with self._lock:
            seen = self._seconds.get(name)
            shares = seen is not None and (
                seen[1] if seen[0] == facts else _second(seen[0].modified_ns) == _second(facts.modified_ns)
            )
            _keep(self._seconds, name, (facts, shares))
        return shares or time.time_ns() - facts.modified_ns < SETTLED_SECONDS * SECOND_NS

    def outdated(self, found: Found) -> None:
        """Take note that the store has another version by now: what a look has found is fresh no more."""
        with self._lock:
            known = self._known.get(found.status.name)
            if known is not None and known[0].facts == found.facts:
                del self._known[found.status.name]

    # Changes of ours

    def changed(self, name: str, note: Note | None = None) -> None:
        """Forget what was known of an object, as it is another one from now on, and keep the *note* of that one."""
        with self._lock:
            self._changes += 1
            self._known.pop(name, None)
            self._notes.pop(name, None)
            _keep(self._puts, name, self._changes)
            if note is not None:
                self._notes[name] = note

    def forget_below(self, name: str) -> None:
        """Forget an object that is gone, and all below it."""
        with self._lock:
            self._changes += 1
            self._known.clear()
            for one in [one for one in self._notes if not name or one == name or one.startswith(f"{name}/")]:
                del self._notes[one]

    def note(self, name: str) -> Note | None:
        """Return what is on record of what came in through us under a name."""
        return self._notes.get(name)


def _keep(where: dict[str, T], name: str, value: T) -> None:
    if len(where) >= MOST_KNOWN and name not in where:
        where.clear()
    where[name] = value


def _second(modified_ns: int | None) -> int | None:
    return None if modified_ns is None else modified_ns // SECOND_NS


def _nanoseconds(modified: datetime) -> int:
    return int(modified.timestamp() * 1_000_000) * 1000  # the binding gives microseconds


def _fields(kept: str | None) -> Fields:
    """Return the fields that were put with an object; none if what the store keeps is not of our making."""
    if kept is None:
        return ()
    try:
        return checked_fields(FIELDS, [(name, value) for name, value in json.loads(kept)], OF_FILES)
    except (ValueError, TypeError):  # InvalidArgument and InvalidType among them
        return ()
