"""Removing: trees, and at the end what was created, and nothing else.

Knows the disk and the record. Follows no symlink, and touches none of the
temporaries that are on their way in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable
from typing import NamedTuple

from httpserve.base.descriptors import Descriptors
from httpserve.base.log import logger
from httpserve.base.names import is_reserved
from httpserve.base.threads import sigint_held
from httpserve.errors import InvalidName
from httpserve.storage.directory.created import Created, Mark, Origin, Sure, Version
from httpserve.storage.directory.generations import generation_at
from httpserve.storage.directory.inode import Inode
from httpserve.storage.directory.places import LIST, Place
from httpserve.storage.served import Identity

log = logger("httpserve.storage")


def remove_tree(place: Place, check: Callable[[int], None]) -> None:
    """Remove all in a directory but temporaries, and the directories that hold them. The directory itself stays.

    Goes by descriptors alone, two at a time, as a tree may be deeper than a process may open files.

    Args:
        place: The directory.
        check: Called with an open directory before each removal in it; raises if it is out of the root by now.
    """
    fds = Descriptors()  # where we are
    above: list[_Level] = []
    try:
        fds.take(place.last or ".", LIST, place.fd)
        left = _emptied(fds[0], check)
        while left or above:
            if left:
                name = left.pop()
                if not _entered(fds, name, check):
                    continue
                above.append(_Level(os.fstat(fds[0]), name, left))
                fds.drop()
                left = _emptied(fds[0], check)
            else:
                number, name, left = above.pop()
                fds.take("..", LIST, fds[0])
                fds.drop()
                if not os.path.samestat(os.fstat(fds[0]), number):
                    raise OSError(errno.ESTALE, "a directory was moved meanwhile")
                check(fds[0])
                remove_directory(name, fds[0])
    finally:
        fds.close()


class _Level(NamedTuple):
    """A directory that is being emptied, in which another is: which, and what is left to do after that."""

    number: os.stat_result
    name: str
    left: list[str]


def _emptied(directory: int, check: Callable[[int], None]) -> list[str]:
    """Remove what is no directory; return the directories."""
    with sigint_held(), os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    directories = []
    for name, is_directory in found:
        if is_reserved(name):
            continue
        if is_directory:
            directories.append(name)
        else:
            check(directory)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
    return directories


def _entered(fds: Descriptors, name: str, check: Callable[[int], None]) -> bool:
    """Open a directory in the first one; remove what has come in its place, which is none."""
    try:
        fds.take(name, LIST, fds[0])
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
            raise
    else:
        return True
    check(fds[0])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=fds[0])
    return False


def remove_directory(name: str, directory: int) -> None:
    """Remove a directory in another, unless something is in it."""
    try:
        rmdir(name, directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def rmdir(name: str, directory: int) -> None:
    """Remove an empty directory in an open one."""
    if os.rmdir in os.supports_dir_fd:
        os.rmdir(name, dir_fd=directory)
    else:  # a C library without unlinkat
        os.rmdir(f"/dev/fd/{directory}/{name}")


def remove_private(path: str) -> None:
    """Remove a private directory, with whatever is in it, by its name: where directories have no descriptors."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        log.warning("could not remove all of the temporary directory %s", path)


def remove_created(created: Created, place_of: Callable[[str], Place]) -> None:
    """Remove the files on record, and the directories on record that are empty then."""
    known = created.marks.copy()  # a change that began before the end may still forget one
    for name in sorted(known, reverse=True):  # what is in a directory sorts after it
        try:
            with place_of(name) as place:
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
    sure = how_sure(mark, version, place, found)
    if sure is not Sure.OURS:
        log.info("left %s: %s", name, sure.value)
    elif mark.is_directory:
        if not _removed_empty_in(place):
            log.info("left directory %s: it is not empty", name)
    else:
        now = place.look()  # as short before the removal as can be
        if now is not None and Identity.of(now) == Identity.of(found):
            place.check_stays()
            os.unlink(place.last, dir_fd=place.fd)
        elif now is not None:
            log.info("left %s: %s", name, Sure.THEIRS.value)


def how_sure(mark: Mark, version: Version | None, place: Place, found: os.stat_result) -> Sure:
    """Say whether *found*, which is at *place*, is what a mark records."""
    return mark.is_of(found, version, lambda: generation_at(place.last, place.fd, found))


def _removed_empty_in(place: Place) -> bool:
    try:
        place.check_stays()
        rmdir(place.last, place.fd)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_empty(made: Iterable[tuple[str, Inode]]) -> None:
    """Remove directories, the last one first, up to the first that is not empty, or not what was made there."""
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
        if not removed_empty(path):
            return


def removed_empty(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
