"""Empties a directory that is open, and nothing else, whatever others do to names and symlinks meanwhile.

Knows directories by their descriptors. Follows no symlink. Does not know whose they are.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Container

from httpserve.base.descriptors import Descriptors
from httpserve.base.threads import sigint_held

_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


InUse = Callable[[int, list[str]], bool]


class Emptying:
    """How a tree is emptied: what stays, and what becomes of errors. This one is for a tree that can go completely."""

    def kept(self, fd: int, names: list[str]) -> Container[str]:
        """Return which of the *names* in an open directory stay."""
        return ()

    def is_entered(self, fd: int, name: str) -> bool:
        """Say whether a directory, in an open one, is emptied too."""
        return True

    def check(self, fd: int) -> None:
        """Raise OSError if nothing may be removed in an open directory by now."""

    def fail(self, error: OSError) -> None:
        """Raise what keeps something from being removed."""
        raise error

    def run(self, name: str, within: int) -> None:
        """Remove what is in a directory, except what others put there meanwhile. Raises OSError."""
        fds = Descriptors()  # where we are
        # The directories above: which, and what is left to do there after the one of that name in it. None of them is
        # open, as a tree may be deeper than there are descriptors.
        above: list[tuple[os.stat_result, str, list[str]]] = []
        try:
            fds.take(name, _LIST, within)
            left = self._directories(fds[0])
            while left or above:
                if left:
                    name = left.pop()
                    if self._enter(fds, name):
                        above.append((os.fstat(fds[0]), name, left))
                        fds.drop()
                        left = self._directories(fds[0])
                else:
                    found, name, left = above.pop()
                    fds.take("..", _LIST, fds[0])
                    fds.drop()
                    if not os.path.samestat(os.fstat(fds[0]), found):
                        raise OSError(errno.ESTALE, "a directory was moved meanwhile")
                    self.remove(os.rmdir, name, fds[0])
        finally:
            fds.close()

    def _directories(self, fd: int) -> list[str]:
        """Remove what is not a directory; return the directories."""
        with sigint_held(), os.scandir(fd) as entries:
            found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        kept = self.kept(fd, list(found))
        for name, is_directory in found.items():
            if not is_directory and name not in kept:
                self.remove(os.unlink, name, fd)
        return [name for name, is_dir in found.items() if is_dir and name not in kept and self.is_entered(fd, name)]

    def _enter(self, fds: Descriptors, name: str) -> bool:
        """Open a directory in the first one; if something else has taken its place, remove that."""
        try:
            fds.take(name, _LIST, fds[0])
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
                self.remove(os.unlink, name, fds[0])
            else:
                self.fail(error)
            return False
        return True

    def remove(self, remove: Callable[..., None], name: str, fd: int) -> None:
        """Remove one entry of an open directory, unless something is in it. *remove*: `os.rmdir` or `os.unlink`."""
        self.check(fd)
        try:
            remove(name, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                self.fail(error)


class _AsFarAsPossible(Emptying):
    """Leaves what cannot be removed, or is in use, and does not look into other file systems."""

    def __init__(self, top: int, keep: str, is_in_use: InUse) -> None:
        self._top = os.fstat(top)
        self._keep = keep
        self._is_in_use = is_in_use

    def kept(self, fd: int, names: list[str]) -> Container[str]:
        found = os.fstat(fd)
        if found.st_dev != self._top.st_dev or self._is_in_use(fd, names):
            return set(names)
        return (self._keep,) if os.path.samestat(found, self._top) else ()

    def is_entered(self, fd: int, name: str) -> bool:
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:  # a mount point is busy, even one of the same file system
            return error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        return False

    def fail(self, error: OSError) -> None:
        """Go on with what is left."""


def emptied(top: int, keep: str = "", is_in_use: InUse = lambda fd, names: False) -> bool:
    """Remove all that can be from the open directory *top*; return whether nothing is left in it. Raises no OSError.

    The name *keep* in *top* is left. *is_in_use* is asked about each directory and the names in it; what is in use is
    left with all that is in it.
    """
    with contextlib.suppress(OSError):  # the file system is gone, or what we are in may not be read
        _AsFarAsPossible(top, keep, is_in_use).run(".", top)
        return set(os.listdir(top)) <= {keep}
    return False
