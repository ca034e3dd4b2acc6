"""What changes a store, and the record of it: puts, copies, moves, removals.

Knows what the service can do, and looks at objects. Does not know who asks, nor how a new version comes in. Each method
blocks for the store, and in the main thread a signal ends the wait.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from httpserve.base.log import logger
from httpserve.base.threads import Latch
from httpserve.errors import AlreadyExists, IsADirectory, NotADirectory, NotFound, StorageError, StoreUnavailable
from httpserve.storage.copying.ends import temporary_beside
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS
from httpserve.storage.served import Fields, Listeners, VersionGone
from httpserve.storage.store.calls import Calls, interruptible, interruptibly, is_gone
from httpserve.storage.store.reading import BLOCK_BYTES, Reads
from httpserve.storage.store.spool import Spool, closing_number, pieces
from httpserve.storage.store.versions import FIELDS, SHA256, WRITE, Facts, Found, Note, Versions

if TYPE_CHECKING:
    from opendal.options import OpenKwargs, WriteKwargs

log = logger("httpserve.storage")

WHOLE_BYTES = 8 * 1024 * 1024  # up to which an object is written by one request
PARTS_AT_ONCE = 4
NO_METADATA = "PROPPATCH failed"  # what opendal says where a WebDAV server keeps none
MOST_PARTS = 9_000  # S3 takes 10,000
MOST_COPIED = 5 * 1024**3  # by one request, as S3 has it
MOST_FIELDS = 1500  # characters; S3 takes 2 KB of metadata in all
PARENT_SECONDS = 10.0  # for which a directory is taken to be none of the store's objects
MOST_PARENTS = 4096  # that are remembered so


class Sent(NamedTuple):
    """What tells an object that was just written from one that another host has written since.

    Attributes:
        size: In bytes.
        sha256: The digest that the store keeps with it; None: it keeps none.
        facts: What the store has said of it under the name that it had at first; None: it had none.
    """

    size: int
    sha256: str | None
    facts: Facts | None = None

    def is_it(self, facts: Facts, sha256: str | None) -> bool:
        """Tell whether the store says this of an object."""
        return (facts.size, sha256) == (self.size, self.sha256) and self.facts in (None, facts)


class StoreChanges:
    """Changes of one store. Safe from any number of threads."""

    def __init__(
        self,
        calls: Calls,
        versions: Versions,
        reads: Reads,
        listeners: Listeners,
        directory: Callable[[], str],
        adopt: Callable[[Found, int], object],
        make_room: Callable[[int], bool],
    ) -> None:
        """Change nothing yet.

        Args:
            calls: The store.
            versions: What is known of it, which changes are told to.
            reads: Its reads, for what the service cannot copy.
            listeners: What is called at changes.
            directory: Returns where new versions lie until they are whole.
            adopt: Called with a version that was put, and a descriptor of a file that has its bytes.
            make_room: Called where their disk is full; tells whether so many bytes are gone.
        """
        self._calls = calls
        self._versions = versions
        self._reads = reads
        self._listeners = listeners
        self._directory = directory
        self._adopt = adopt
        self._make_room = make_room
        self.renew_locks()
        self._created: dict[str, Facts | None] = {}  # files with their version, directories with None
        self._keeps_metadata = True  # as far as is known
        self._parents: dict[str, float] = {}  # names that were no objects, and when

    def renew_locks(self) -> None:
        """Go on in a forked child."""
        self._lock = threading.RLock()  # guards the fields; a finalizer may come in the middle of it
        self._underway: weakref.WeakSet[Spool] = weakref.WeakSet()

    def created(self) -> set[str]:
        """Return the names of files and directories that were created, without `/` at either end."""
        with self._lock:
            return set(self._created)

    def came_in(self, name: str) -> bool:
        """Tell whether what has that name came in through us."""
        with self._lock:
            return self._versions.note(name) is not None or any(_is_within(one, name) for one in self._created)

    # In

    def incoming(self, name: str) -> Spool:
        """Begin a new version of an object. Raises IsADirectory, NotADirectory, Unsupported, StoreUnavailable."""
        self._calls.needs("write", name, "write")
        interruptibly(partial(self._check_place, "write", name))
        spool = Spool(name, self._directory(), self)
        with self._lock:
            self._underway.add(spool)
        return spool

    def note_of(self, name: str) -> tuple[object, str | None]:
        """Do what `Accessor.note_of` says."""
        note = self._versions.note(name)
        return (None, None) if note is None else (note.source, note.sha256)

    @interruptible
    def renew(self, name: str, source: object) -> int | None:
        """Do what `Accessor.renew` says: one look at the object."""
        note = self._versions.note(name)
        if note is None or note.source is not source or note.facts.validator is None:
            return None
        try:
            found = self._versions.look(name, anew=True)
        except (NotFound, IsADirectory):
            return None
        if found.facts != note.facts:
            return None
        self._listeners.before_publish(name)
        return found.facts.size

    def made_room(self, count: int) -> bool:
        """Do what `spool.Owner.made_room` says."""
        return self._make_room(count)

    def settled(self, spool: Spool) -> None:
        """Do what `spool.Owner.settled` says."""
        with self._lock:
            self._underway.discard(spool)

    @interruptible
    def publish(self, spool: Spool, sha256: str) -> None:
        """Do what `spool.Owner.publish` says."""
        name = spool.name
        with closing_number(spool.reader()) as fd:
            is_ours = self._is_ours(name, os.fstat(fd).st_size)
            if not spool.may_replace and self._is_there(name):
                raise AlreadyExists(f"write {name!r}: {self._calls.label} has an object of that name", name)
            try:
                sent = self._upload(spool, fd, sha256)
            except VersionGone:  # another host was quicker
                text = f"write {name!r}: {self._calls.label} has an object of that name by now"
                raise AlreadyExists(text, name) from None
            finally:
                self._versions.changed(name)
            found = self._noted(name, sha256, spool.fields, is_ours=is_ours, source=spool.note, sent=sent)
            if found is not None:
                self._adopt(found, fd)

    def _upload(self, spool: Spool, fd: int, sha256: str) -> Sent:
        """Write all of a spool, and return what tells the object."""
        name, can = spool.name, self._calls.capability
        options = self._options(spool, sha256)
        # A store of objects shows an upload when it is whole. Where there is a move, there are files, which grow.
        path = temporary_beside(name) if can.rename else name
        try:
            with self._calls.asking("write", name):
                try:
                    self._send(spool, fd, path, options)
                except OPENDAL_ERRORS as error:
                    if NO_METADATA in str(error):
                        self._keeps_metadata = False
                        options.pop("user_metadata", None)
                        self._send(spool, fd, path, options)
                    elif not (is_gone(error) and self._has_arrived(path, options)):
                        raise
                sent = Sent(os.fstat(fd).st_size, sha256 if "user_metadata" in options else None)
                if path != name:
                    sent = sent._replace(facts=Facts.of(self._calls.looking.stat(path)))
                    self._listeners.before_publish(name)
                    self._calls.writing.rename(path, name)
                return sent
        except BaseException:
            if path != name:
                self._drop(path)
            raise

    def _has_arrived(self, path: str, options: WriteKwargs) -> bool:
        """Tell whether an object is what these options came with: where the store's answer is lost, the next try meets
        what the one before it has made.
        """
        write = options.get("user_metadata", {}).get(WRITE)
        try:
            kept = self._calls.looking.stat(path).user_metadata or {}
        except OPENDAL_ERRORS:
            return False
        return write is not None and kept.get(WRITE) == write

    def _send(self, spool: Spool, fd: int, path: str, options: WriteKwargs) -> None:
        """Write all of a spool. Nothing shows before the last step."""
        parts = pieces(fd, WHOLE_BYTES)
        first, second = next(parts, b""), next(parts, b"")
        if not second or not self._calls.capability.write_can_multi:
            whole = b"".join((first, second, *parts)) if second else first
            self._before(spool, path)
            self._calls.writing.write(path, whole, **options)
            return
        chunk = max(WHOLE_BYTES, os.fstat(fd).st_size // MOST_PARTS)
        how: OpenKwargs = {**options, "chunk": chunk, "concurrent": PARTS_AT_ONCE}  # type: ignore[typeddict-item]  # a union of both
        file = self._calls.writing.open(path, "wb", **how)
        # It is closed only when all is well: that would publish a part. What is left open is dropped, and the parts
        # that the store has by then stay there until a rule of its own removes them, as the binding cannot.
        for part in chain((first, second), parts):
            self._check_wanted(spool)
            file.write(part)
        self._before(spool, path)
        file.close()

    def _before(self, spool: Spool, path: str) -> None:
        self._check_wanted(spool)
        if path == spool.name:
            self._listeners.before_publish(spool.name)

    def _check_wanted(self, spool: Spool) -> None:
        if spool.is_given_up:
            raise StorageError(f"write {spool.name!r}: this new version was discarded", spool.name)

    def _options(self, spool: Spool, sha256: str) -> WriteKwargs:
        options: WriteKwargs = {}
        can = self._calls.capability
        if can.write_with_user_metadata and self._keeps_metadata:
            options["user_metadata"] = {SHA256: sha256, WRITE: secrets.token_hex(8)}
            kept = json.dumps(spool.fields)
            if spool.fields and len(kept) <= MOST_FIELDS:
                options["user_metadata"][FIELDS] = kept
        kind = next((value for name, value in spool.fields if name.lower() == "content-type"), None)
        if kind is not None and can.write_with_content_type:
            options["content_type"] = kind
        if not spool.may_replace and can.write_with_if_not_exists and not can.rename:
            options["if_not_exists"] = True
        return options

    def _noted(
        self,
        name: str,
        sha256: str | None,
        fields: Fields,
        *,
        is_ours: bool,
        source: object = None,
        sent: Sent | None = None,
    ) -> Found | None:
        """Put on record what was just written; None if it is another's version by now, or the store does not say."""
        try:
            with self._calls.asking("stat", name):
                metadata = self._calls.looking.stat(name)
        except StorageError as error:
            log.debug("%r was put, and cannot be looked at: %s", name, error)
            return None
        facts, kept = Facts.of(metadata), (metadata.user_metadata or {}).get(SHA256)
        if sent is not None and not sent.is_it(facts, kept):
            log.info("%r was put, and is another's version on %s by now", name, self._calls.label)
            return None
        self._versions.changed(name, Note(facts, sha256 or kept, fields, source))
        with self._lock:
            self._created.pop(name, None)
            if is_ours:
                self._created[name] = facts
        return self._versions.found(name, metadata)

    def _noted_as(self, found: Found, target: str, *, is_ours: bool, source: object) -> None:
        """Put on record what the store has copied or moved itself, which may have been another version by then."""
        made = self._noted(target, None, found.status.fields, is_ours=is_ours)
        if made is not None and made.status.sha256 is not None and made.status.sha256 == found.status.sha256:
            self._versions.changed(target, Note(made.facts, made.status.sha256, found.status.fields, source))

    # Where it goes

    def _check_place(self, operation: str, name: str) -> None:
        """Raise IsADirectory or NotADirectory where a directory could not have a file of that name."""
        if self._versions.is_directory(name):
            raise IsADirectory(f"{operation} {name!r}: there is a directory of that name", name)
        self._check_parents(operation, name)

    def _check_parents(self, operation: str, name: str) -> None:
        now = time.monotonic()
        looked_at = []
        above = name.rpartition("/")[0]
        while above and now - self._parents.get(above, -PARENT_SECONDS) >= PARENT_SECONDS:
            if self._is_there(above):
                raise NotADirectory(f"{operation} {name!r}: {above!r} is a file", name)
            looked_at.append(above)
            above = above.rpartition("/")[0]
        if len(self._parents) >= MOST_PARENTS:
            self._parents.clear()
        # Not before all above are looked at: other threads look no further up than the first that is noted.
        self._parents.update(dict.fromkeys(looked_at, now))

    def _is_ours(self, name: str, size: int) -> bool:
        """Tell whether there is no object of that name, or one that was created here.

        Another of the same *size* is about to come: wait until the two cannot have the same ETag.
        """
        try:
            found = self._versions.look(name, anew=True)
        except (NotFound, IsADirectory):
            return True
        facts = found.facts
        if facts.size == size and SHA256 not in (found.metadata.user_metadata or {}):
            Latch().wait(facts.seconds_to_last)
        with self._lock:
            return facts == self._created.get(name)

    def _is_there(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        try:
            self._versions.look(name, anew=True)
        except (NotFound, IsADirectory):
            return False
        return True

    # From here to there

    @interruptible
    def copy(self, source: str, target: str) -> None:
        """Copy an object over whatever is at *target*, in one step."""
        found = self._versions.look(source, anew=True)
        self._check_place(f"copy {source!r} to", target)
        self._copy("copy", found, target)

    def _copy(self, operation: str, found: Found, target: str, note: object = None) -> None:
        """Copy a version, by the store itself if it can."""
        source, is_ours = found.status.name, self._is_ours(target, found.facts.size)
        if self._calls.capability.copy and found.facts.size <= MOST_COPIED:
            self._listeners.before_publish(target)
            with self._calls.asking(operation, source):
                self._calls.writing.copy(source, target)
            self._versions.changed(target)
            self._noted_as(found, target, is_ours=is_ours, source=note)
            return
        spool = Spool(target, self._directory(), self)
        spool.fields, spool.note = found.status.fields, note
        try:
            reader = self._reads.reader(found, 0, found.facts.size)
            buffer = memoryview(bytearray(BLOCK_BYTES))
            while count := reader.readinto(buffer):
                spool.write(buffer[:count])
            reader.finish()
            spool.commit(found.status.sha256)
        finally:
            spool.discard()

    @interruptible
    def rename(self, source: str, target: str) -> None:
        """Move an object, or one by one all that is below a directory: nobody sees a part of an object."""
        try:
            self._versions.look(source, anew=True)
        except IsADirectory:
            self._rename_directory(source, target)
        else:
            self._check_place(f"rename {source!r} to", target)
            self._move(source, target)
        self._listeners.after_removal()

    def _rename_directory(self, source: str, target: str) -> None:
        if _is_within(target, source):
            raise StorageError(f"rename {source!r} to {target!r}: a directory cannot be moved into itself", source)
        if self._is_there(target):
            raise NotADirectory(f"rename {source!r} to {target!r}: there is a file of that name", target)
        if self._calls.below(target, most=1):
            text = f"rename {source!r} to {target!r}: there is a directory of that name, which is not empty"
            raise _numbered(StorageError(text, target), errno.ENOTEMPTY)
        self._check_parents(f"rename {source!r} to", target)
        within = self._calls.below(source, recursive=True)
        was_created = source in self.created()
        if was_created or not within:
            self._create_dir(target)
        for one in within:
            path = one.path.rstrip("/")
            if one.is_dir:
                self._create_dir(target + path[len(source) :])
            else:
                self._move(path, target + path[len(source) :])
        self._delete_below(source)

    def _move(self, source: str, target: str) -> None:
        found = self._versions.look(source, anew=True)
        known = self._versions.note(source)
        note = known.source if known is not None and known.facts == found.facts else None
        if self._calls.capability.rename:
            is_ours = self._is_ours(target, found.facts.size)
            self._listeners.before_publish(target)
            with self._calls.asking("rename", source):
                self._calls.writing.rename(source, target)
            self._versions.changed(target)
            self._noted_as(found, target, is_ours=is_ours, source=note)
        else:
            self._copy("rename", found, target, note)
            with self._calls.asking("rename", source):
                self._calls.writing.delete(source)
        self._forget(source)

    # Directories and removals

    @interruptible
    def create_dir(self, name: str) -> None:
        """Make a directory. Harmless when it exists. Raises AlreadyExists for a file of that name."""
        self._calls.needs("create_dir", name, "create_dir")
        if self._versions.is_directory(name):
            return
        if self._is_there(name):
            raise AlreadyExists(f"create_dir {name!r}: there is a file of that name", name)
        self._check_parents("create_dir", name)
        self._create_dir(name)

    def _create_dir(self, name: str) -> None:
        with self._calls.asking("create_dir", name):
            self._calls.writing.create_dir(f"{name}/")
        with self._lock:
            self._created.setdefault(name, None)

    @interruptible
    def delete(self, name: str) -> None:
        """Remove an object or an empty directory. Harmless when there is none."""
        self._calls.needs("delete", name, "delete")
        self._delete(name)
        self._listeners.after_removal()

    def _delete(self, name: str) -> None:
        try:
            self._versions.look(name, anew=True)
            path = name
        except NotFound:
            self._forget(name)
            if not self._calls.capability.rename:  # SeaweedFS lists what was emptied until it is deleted
                self._drop(f"{name}/")
            return
        except IsADirectory:
            if self._calls.below(name, most=1):
                text = f"delete {name!r}: the directory is not empty; remove_all removes it with what is in it"
                raise _numbered(StorageError(text, name), errno.ENOTEMPTY) from None
            path = f"{name}/"
        with self._calls.asking("delete", name):
            self._calls.writing.delete(path)
        self._forget(name)

    @interruptible
    def remove_all(self, name: str) -> None:
        """Remove an object, or all that is below a directory; for the root, all that is in it."""
        self._calls.needs("remove_all", name, "delete")
        if name and self._is_there(name):  # some WebDAV servers refuse to delete a directory as if it were a file
            with self._calls.asking("remove_all", name):
                self._calls.writing.delete(name)
        self._delete_below(name)
        self._listeners.after_removal()

    def _delete_below(self, name: str) -> None:
        # With the slash: without it all goes whose name begins so.
        with self._calls.asking("remove_all", name):
            self._calls.writing.remove_all(f"{name}/")
        self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            for one in [one for one in self._created if _is_within(one, name)]:
                del self._created[one]
        self._versions.forget_below(name)

    # The end

    def close(self, *, remove_created: bool) -> None:
        """Discard what is on its way in; remove what was created, as far as it is still that version. Never raises."""
        with self._lock:
            underway = list(self._underway)
            created, self._created = self._created, {}
        for spool in underway:
            spool.discard()
        if not remove_created or self._calls.is_inherited:
            return
        try:
            for name in sorted(created, key=len, reverse=True):  # what is in a directory before that
                self._remove_created(name, created[name])
        except StorageError as error:
            log.warning("left what was put into %s: %s", self._calls.label, error)

    def _remove_created(self, name: str, facts: Facts | None) -> None:
        if facts is None:
            if not self._calls.below(name, most=1):
                self._drop(f"{name}/")
            return
        try:
            found = self._versions.look(name, anew=True)
        except (NotFound, IsADirectory):
            return
        if found.facts == facts and facts.is_known_by_them:
            with self._calls.asking("delete", name):
                self._calls.looking.delete(name)
        else:
            log.info("left %r in %s: it was replaced since", name, self._calls.label)

    def _drop(self, path: str) -> None:
        """Delete what is of no use; log it if the store does not."""
        try:
            with self._calls.asking("delete", path):
                self._calls.looking.delete(path)
        except StoreUnavailable as error:
            log.warning("%s", error)


def _is_within(name: str, directory: str) -> bool:
    return not directory or name == directory or name.startswith(f"{directory}/")


def _numbered(error: StorageError, number: int) -> StorageError:
    error.errno = number
    return error
