"""Removing: trees, and at the end what was created, and nothing else.

Knows the disk and the record. Follows no symlink, and touches none of the
temporaries that are on their way in.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterable

from httpserve.created import Kind, Mark, generation_of
from httpserve.errors import InvalidName
from httpserve.inode import Inode
from httpserve.names import is_reserved

log = logging.getLogger(__name__)


def remove_tree(path: str, *, keep: bool = False) -> None:
    """Remove all in a directory, and (unless *keep*) the directory, if no temporary is left in it."""
    directories = [path]
    for directory in directories:  # which grows meanwhile; a tree may be deeper than calls can nest
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            directories += _emptied(list(entries))
    for directory in reversed(directories[1:] if keep else directories):
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise


def _emptied(entries: list[os.DirEntry[str]]) -> list[str]:
    """Remove what is no directory; return the directories."""
    directories = []
    for entry in entries:
        if is_reserved(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            directories.append(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)
    return directories


def remove_private(path: str) -> None:
    """Remove a private directory, with whatever is in it, by its name: where directories have no descriptors."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        log.warning("could not remove all of the temporary directory %s", path)


def remove_created(marks: dict[str, Mark], place_of: Callable[[str], str]) -> None:
    """Remove the files on record, and the directories on record that are empty then."""
    known = marks.copy()  # a change that began before the end may still forget one
    for name in sorted(known, reverse=True):  # what is in a directory sorts after it
        try:
            _remove_one(name, known[name], place_of(name))
        except (OSError, InvalidName) as error:
            log.warning("left %s: %s", name, error)


def _remove_one(name: str, mark: Mark, place: str) -> None:
    try:
        found = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return
    if mark.kind is Kind.OVERWRITTEN:
        log.info("left %s: it was there before, and was overwritten", name)
    elif not mark.is_of(found) or _is_later(mark, place):
        log.info("left %s: somebody else replaced it since", name)
    elif not stat.S_ISDIR(found.st_mode):
        os.unlink(place)
    elif not removed_empty(place):
        log.info("left directory %s: it is not empty", name)


def _is_later(mark: Mark, place: str) -> bool:
    """Say whether a file was made under the number of the one on record after that was removed."""
    if mark.generation is None:
        return False
    fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return generation_of(fd) != mark.generation
    finally:
        os.close(fd)


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
