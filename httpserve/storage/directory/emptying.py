"""Empties a directory that is open, and nothing else, whatever others do to names and symlinks meanwhile.

Knows directories by their descriptors. Follows no symlink and crosses no mount point. Does not know whose they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from httpserve.storage.directory.lock_file import DIRECTORY, NOFOLLOW


class _Level(NamedTuple):
    """A directory on the way down. Only the last one is open, as a tree may be deeper than descriptors last."""

    name: str
    device: int
    number: int
    below: list[str]


def emptied(top: int, keep: str = "", is_in_use: Callable[[int, list[str]], bool] = lambda fd, names: False) -> bool:
    """Remove all in the directory *top*; return whether nothing is left in it. Raises no OSError.

    Args:
        top: a descriptor, which stays open.
        keep: a name in *top* that is left.
        is_in_use: asked with each directory and the names in it; what is in use is left with all in it.
    """
    walk = _Walk(os.dup(top), keep, is_in_use)
    try:
        while walk.goes_on():
            pass
    except OSError:  # the file system is gone, or what we are in may not be read
        return False
    finally:
        os.close(walk.here)
    return walk.is_complete


class _Walk:
    """One pass over a tree, deepest directories first."""

    def __init__(self, here: int, keep: str, is_in_use: Callable[[int, list[str]], bool]) -> None:
        self.here = here  # the directory that we are in; `emptied` closes it
        self.is_complete = True
        self._keep = keep
        self._is_in_use = is_in_use
        self._levels: list[_Level] = []

    def goes_on(self) -> bool:
        """Do one step: into a directory, or back to the one above. Return whether there is another."""
        if not self._levels:
            self._enter("")
        elif self._levels[-1].below:
            self._go_down(self._levels[-1].below.pop())
        else:
            self._go_up(self._levels.pop())
        return bool(self._levels)

    def _go_down(self, name: str) -> None:
        try:
            self._go_to(os.open(name, DIRECTORY | NOFOLLOW, dir_fd=self.here))
        except OSError:  # it may not be read, or is a symlink by now
            self.is_complete = False
        else:
            self._enter(name)

    def _go_up(self, level: _Level) -> None:
        if not self._levels:
            return
        self._go_to(os.open("..", DIRECTORY, dir_fd=self.here))
        status = os.fstat(self.here)
        if (status.st_dev, status.st_ino) == (self._levels[-1].device, self._levels[-1].number):
            self._attempt(os.rmdir, level.name)
        else:  # it was moved away meanwhile: what is above it now is none of ours
            self._levels.clear()
            self.is_complete = False

    def _go_to(self, fd: int) -> None:
        before, self.here = self.here, fd
        os.close(before)

    def _enter(self, name: str) -> None:
        """Remove what is no directory from where we are, and the empty ones; note the others."""
        status = os.fstat(self.here)
        self._levels.append(_Level(name, status.st_dev, status.st_ino, []))
        if status.st_dev != self._levels[0].device or self._is_in_use(self.here, os.listdir(self.here)):
            self.is_complete = False
            return
        with os.scandir(self.here) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for entry, is_directory in found:
            if len(self._levels) == 1 and entry == self._keep:
                continue
            if not is_directory:
                self._attempt(os.unlink, entry)
            elif self._is_full(entry):
                self._levels[-1].below.append(entry)

    def _is_full(self, name: str) -> bool:
        """Remove a directory if it is empty. A mount point is busy, and is not looked into."""
        try:
            os.rmdir(name, dir_fd=self.here)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return True
            self.is_complete = False
        return False

    def _attempt(self, remove: Callable[..., None], name: str) -> None:
        try:
            remove(name, dir_fd=self.here)
        except FileNotFoundError:
            pass
        except OSError:
            self.is_complete = False
