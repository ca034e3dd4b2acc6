"""Puts one file: copies it from where it is, unless the version that is there already came from the very same bytes.

Knows items of a tree, notes, and the accessor. Knows nothing of threads, nor of how users write names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from httpserve.base.progress import Progress, reporter
from httpserve.errors import CopyFailed
from httpserve.storage.accessor import Accessor, Writable
from httpserve.storage.copying.copy import checked_digest, copy_in
from httpserve.storage.copying.ends import TracedSource
from httpserve.storage.copying.local import whole_file
from httpserve.storage.copying.opening import Item
from httpserve.storage.copying.unchanged import Manner, Note, Origin

# What the log says of a file
COPIED, UNCHANGED = "was copied", "is unchanged, and was not copied again"


class Put(NamedTuple):
    """What became of one file: the hexadecimal SHA-256 of what is there, and whether it is `COPIED` or `UNCHANGED`."""

    sha256: str
    said: str


def put(
    accessor: Accessor,
    name: str,
    item: Item,
    manner: Manner,
    *,
    begin: Callable[[str], Writable],
    sha256: str | None = None,
    always: bool = False,
    overwrite: bool = True,
    progress: Progress = None,
) -> Put:
    """Put *item*, unless `renewed` has, as *name*, as *manner* says. Blocks until it is there; *begin* makes it.

    Whatever is *always* copied is copied although it is unchanged. `HttpServerClient.put_file` says what the others
    are, and what is raised.
    """
    note, digest = (None, None) if always else accessor.note_of(name)
    known: Origin | None = None
    if digest is not None and isinstance(note, Note) and note.manner == manner:
        known = note.origin if checked_digest(sha256) in (None, digest) else None
    source = _opened(item, manner, known)
    try:
        if known is not None and digest is not None and source.origin == known:
            if _is_renewed(accessor, name, note, progress):
                return Put(digest, UNCHANGED)
            source.close()
            source = _opened(item, manner, None)
        new = begin(name)
        new.may_replace = overwrite
        new.fields = manner.fields
        new.note = note = Note(manner)
        # No `with`: a copy discards what it does not commit.
        digest = copy_in(source, new, sha256=sha256, progress=progress)
        note.origin = source.origin
        return Put(digest, COPIED)
    except CopyFailed as error:
        error.name = error.name or name
        raise
    finally:
        source.close()


def put_whole(name: str, item: Item, manner: Manner, begin: Callable[[str], Writable]) -> bool:
    """Put a small local file that nothing is done to, if it still is the version that was told without opening it.

    Blocks until it is there. False: nothing has changed, and `put` is to do it. Raises what `put` raises.
    """
    whole = whole_file(item.path, item.origin)
    if whole is None:
        return False
    data, origin = whole
    new = begin(name)
    try:
        new.note = Note(manner, origin)
        new.write(data)
        new.commit(hashlib.sha256(data).hexdigest())
    except BaseException:  # a Ctrl-C too: half a file must not stay
        new.discard()
        raise
    return True


def _opened(item: Item, manner: Manner, known: Origin | None) -> TracedSource:
    source = item.open(known)
    if manner.decompress is False and manner.max_bytes is None:
        return source
    from httpserve.storage.copying.decompression import decompressed  # on first use: it loads four formats

    return decompressed(source, manner.decompress, manner.max_bytes)


def renewed(accessor: Accessor, name: str, item: Item, manner: Manner) -> int | None:
    """Let a file count as put anew if its source is told without opening it, and is unchanged. Return its size.

    None: it is to be put.
    """
    if item.origin is None:
        return None
    note, _ = accessor.note_of(name)
    is_known = isinstance(note, Note) and note.origin == item.origin and note.manner == manner
    return accessor.renew(name, note) if is_known else None


def _is_renewed(accessor: Accessor, name: str, note: object, progress: Progress) -> bool:
    """Let the version that is there count as put anew, and report so. False where it is another by now."""
    size = accessor.renew(name, note)
    if size is not None and progress is not None:
        with reporter(progress) as report:
            report(size, size)
    return size is not None
