"""Removes at the end what was created, and nothing else. Knows the disk and the record. Follows no symlink."""

from __future__ import annotations

import os
from collections.abc import Iterable

from httpserve.base.log import logger
from httpserve.errors import InvalidName
from httpserve.storage.directory.created import Created, Mark, Origin, Sure, Version
from httpserve.storage.directory.inode import Inode
from httpserve.storage.directory.places import Ground, Place
from httpserve.storage.served import Identity

log = logger("httpserve.storage")


def remove_created(created: Created, ground: Ground) -> None:
    """Remove the files on record, and the directories on record that are then empty."""
    known = created.marks.copy()  # a change that began before the end may still forget one
    for name in sorted(known, reverse=True):  # what is in a directory sorts after it
        try:
            with Place(ground, name) as place:
                _remove_one(name, known[name], created.versions.get(name), place)
        except (FileNotFoundError, NotADirectoryError):
            pass  # others removed it
        except (OSError, InvalidName) as error:
            log.warning("left %s: %s", name, error)


def _remove_one(name: str, mark: Mark, version: Version | None, place: Place) -> None:
    found = place.found
    if found is None:
        return
    if mark.kind is Origin.OVERWRITTEN:
        log.info("left %s: it was there before, and was overwritten", name)
        return
    sure = mark.is_of(place, found, version)
    if sure is not Sure.OURS:
        log.info("left %s: %s", name, sure.value)
    elif mark.is_directory:
        try:
            place.check_stays()
            os.rmdir(place.last, dir_fd=place.fd)
        except FileNotFoundError:
            raise
        except OSError:
            log.info("left directory %s: it is not empty", name)
    else:
        now = place.look()  # as close to the removal as possible
        if now is not None and Identity.of(now) == Identity.of(found):
            place.check_stays()
            os.unlink(place.last, dir_fd=place.fd)
        elif now is not None:
            log.info("left %s: %s", name, Sure.THEIRS.value)


def remove_empty(made: Iterable[tuple[str, Inode]]) -> None:
    """Remove directories, the last one first, up to the first that is not empty, or not the one made there."""
    for path, inode in reversed(list(made)):
        try:
            is_ours = Inode.at(path) == inode
        except FileNotFoundError:
            continue
        except OSError as error:  # a symlink by now, or out of reach
            log.info("left %s: %s", path, error)
            return
        if not is_ours:
            log.info("left %s: somebody else made it anew since", path)
            return
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return
