"""One local file or directory that is served under a name of its own, where it lies.

Knows which path a name means. Never writes there, and knows nothing of the other names on the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from httpserve.base.arguments import checked_local_path
from httpserve.base.paths import nearest_path, place_of
from httpserve.base.text import InPython, Message
from httpserve.base.threads import Latch
from httpserve.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    StorageError,
)
from httpserve.plan import RegionFile, Repeatable
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor, DirectoryReadable
from httpserve.storage.metadata import Metadata, Names
from httpserve.storage.served import AnyIdentity, Entry, FileVersion, Identity, NewVersion, Status


class InPlace:
    """A local file, or a directory with all that is below it: a `ServedRoot` to which nothing is ever written.

    Attributes:
        name: The checked name of the file or directory on the server.
        path: Where it lies: an absolute path. Symlinks in it were followed, except one that leads to something in its
            own directory: that is followed at each request, as symlinks within a directory are.
        is_directory: Whether it was a directory when this was made.
    """

    def __init__(self, name: str, path: str | os.PathLike[str]) -> None:
        """Look at the path. Blocks for the disk.

        Raises:
            NotFound: Nothing is there.
            NotPermitted: It is neither a directory nor a regular file, or this user may not read it.
            InvalidArgument: The text is no path of this computer.
            InvalidType: That is neither text nor a path.
        """
        given = _checked(path)
        self.name = name
        self.path = place_of(given)
        self.is_directory = os.path.isdir(self.path)
        directory, self._own = (self.path, "") if self.is_directory else os.path.split(self.path)
        self._root = Root(directory, read_only=True)
        self._accessor = DirectoryAccessor(self._root)
        self._is_over = False

    @property
    def label(self) -> str:
        return self.path

    def open(self) -> Self:
        self._root.open()
        return self

    def close(self) -> None:
        self._is_over = True
        self._root.close()

    def rest(self) -> None:
        self._root.rest()

    def go_on(self) -> None:
        self._root.go_on()

    def path_of(self, name: str) -> str:
        return self._root.path_of(self._inner(name))

    def names(self, below: Sequence[str]) -> list[str]:
        if self.is_directory:
            return [f"{self.name}/{one}" for one in self._root.names(below)]
        return [self.name] if os.path.isfile(self.path) else []

    def entry(self, last: str) -> Entry:
        """Return what is there now as an entry of a list, in which it is called *last*. Raises what `status` raises."""
        with self._named(self.name):
            return self._root.entry(self._own)._replace(name=last)

    # For `storage`

    def stat(self, operation: str, name: str, *, is_directory: bool) -> Metadata:
        """Do what `Accessor.stat` says."""
        with self._named(name):
            return self._accessor.stat(operation, self._inner(name), is_directory=is_directory)

    def read(self, name: str) -> DirectoryReadable:
        """Do what `Accessor.read` says."""
        with self._named(name):
            file = self._accessor.read(self._inner(name))
        file.name = name
        return file

    def listed(self, operation: str, name: str, *, is_directory: bool, recursive: bool) -> Names:
        """Do what `Accessor.list` says, for a directory and a name in it."""
        with self._named(name):
            found = self._accessor.list(operation, self._inner(name), is_directory=is_directory, recursive=recursive)
        return [f"{self.name}/{one.lstrip('/')}" for one in found]

    # What `Served` says

    def status(self, name: str) -> Status:
        with self._named(name):
            return self._root.status(self._inner(name))._replace(name=name)

    def open_to_serve(self, name: str, *, may_block: bool) -> OpenFile | None:
        with self._named(name):
            file = self._root.open_to_serve(self._inner(name), may_block=may_block)
        if file is not None:
            file.name = name
        return file

    def digest(self, name: str, identity: AnyIdentity, seconds: float | None, stop: Latch | None = None) -> str | None:
        if not isinstance(identity, Identity):  # of what had that name before
            return None
        with self._named(name):
            return self._root.digest(self._inner(name), identity, seconds, stop)

    def again(self, file: FileVersion) -> Repeatable | None:
        inner = self._root.again(
            Status(self._inner(file.name), file.identity, file.sha256, file.shares_second, file.fields)
        )
        return None if inner is None else _Again(inner, file.name, lambda: self._is_over)

    def entries(self, name: str, is_wanted: Callable[[str], bool]) -> list[Entry]:
        if not self.is_directory:
            raise NotADirectory(f"list {name!r}: it is a file, served in place from {self.path}", name)
        with self._named(name):
            return self._root.entries(self._inner(name), is_wanted)

    def came_in(self, name: str) -> bool:
        """Tell whether somebody asked for this very name: a dot in it is no reason to hide it, as one below it is."""
        return "/." not in name[len(self.name) :]

    def receive(self, name: str) -> NewVersion:
        raise AlreadyExists(self.refusal("write", name), name)

    def refusal(self, operation: str, name: str) -> Message:
        """Say why an operation cannot be done with a name of its own."""
        way = InPython(f", or unserve({self.name!r}) first")
        text = f"{operation} {name!r}: {self.name!r} is served in place from {self.path}; change it there"
        return Message("{}{}", text, way)

    def _inner(self, name: str) -> str:
        """Return what the directory that it lies in, or is, calls a name."""
        if self.is_directory:
            return name[len(self.name) + 1 :]
        if name != self.name:
            raise NotFound(f"open {name!r}: {self.name!r} is a file, served in place from {self.path}", name)
        return self._own

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Let an error about a path below out as one about the name on the server."""
        try:
            yield
        except InvalidName as error:
            raise InvalidName(name, f"{error.reason}, of what is served in place from {self.path}") from error
        except StorageError as error:
            kind = type(error)
            if isinstance(error, IsADirectory) and not self.is_directory:  # another one has its path by now
                kind = NotFound
            ours = kind(f"{name!r}, served in place from {self.path}: {error}", name)
            ours.errno = error.errno if kind is type(error) else ours.errno
            raise ours from error


class _Again:
    """How to give a file again, for as long as it is served there."""

    __slots__ = ("_inner", "_is_over", "_name")

    def __init__(self, inner: Repeatable, name: str, is_over: Callable[[], bool]) -> None:
        self._inner = inner
        self._name = name
        self._is_over = is_over

    def read(self, into: memoryview) -> bool:
        return not self._is_over() and self._inner.read(into)

    def open(self) -> tuple[RegionFile | None, int]:
        if self._is_over():
            return None, 0
        file, size = self._inner.open()
        if isinstance(file, OpenFile):
            file.name = self._name
        return file, size

    def is_unchanged(self) -> bool:
        return not self._is_over() and self._inner.is_unchanged()

    def change_would_show(self, since: float) -> bool:
        return self._inner.change_would_show(since)


def _checked(path: str | os.PathLike[str]) -> str:
    """Return the path of a file or directory that is there and can be read."""
    text = checked_local_path("path", path, "put_file(name, src) serves a copy of what a URL has")
    if text.startswith("~") and not os.path.exists(text):
        raise InvalidArgument(f"serve: {text!r}: a ~ is not replaced; pass os.path.expanduser(path)")
    if not os.path.exists(text):
        near = nearest_path(text)
        beside = "" if near is None else f"; there is {near!r}"
        raise NotFound(f"serve: there is no file or directory {text!r}{beside}", text)
    is_directory = os.path.isdir(text)
    if not is_directory and not os.path.isfile(text):
        raise NotPermitted(f"serve: {text!r} is neither a directory nor a regular file", text)
    if not os.access(text, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise NotPermitted(f"serve: this user may not read {text!r}", text)
    return text
