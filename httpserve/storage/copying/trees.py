"""What a whole tree has to copy: the files below a local directory, below a path on an operator, or below a URL.

Knows the three kinds, and which files patterns mean. Knows nothing of where they go.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Collection
from fnmatch import translate
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import opendal
from opendal.layers import TimeoutLayer

from httpserve.base.names import is_name
from httpserve.errors import HttpServeError, InvalidArgument, InvalidType
from httpserve.storage.copying.ends import TracedSource
from httpserve.storage.copying.listing import files_below
from httpserve.storage.copying.local import FileSource, origin_of_file
from httpserve.storage.copying.messages import missing, redacted_url, unreadable
from httpserve.storage.copying.opening import Item, checked_source, is_remote, opened
from httpserve.storage.copying.operator import ObjectSource, operator_path
from httpserve.storage.copying.unchanged import Origin, origin_of_object, store_of

OWN_PREFIX = ".httpserve-"  # of what another server of ours keeps in its directory
MOST_LISTING_BYTES = 64 * 1024 * 1024  # of one directory over HTTP, some 500,000 files
_JSON = "application/json"


class Tree(NamedTuple):
    """What is to be put, and what cannot be: the errors by their paths in the tree."""

    items: list[Item]
    errors: dict[str, HttpServeError]
    is_local: bool


def tree_of(src: str | os.PathLike[str], operator: opendal.Operator | None, wanted: Wanted, *, timeout: float) -> Tree:
    """Find the files below a local directory, a path on *operator*, or the URL of a directory that httpserve lists.

    Blocks until all are known; a Ctrl-C ends it.

    Raises:
        InvalidType, InvalidArgument: That cannot be a tree.
        SourceNotFound: There is none.
        CopyFailed: It is a file, or cannot be listed.
    """
    path = checked_source(src, operator, timeout)
    if is_remote(path):
        return _url_tree(path, wanted, timeout)
    if operator is not None:
        return _operator_tree(path, operator, wanted, timeout)
    return _Walk(path, wanted).tree()


# Which files


class Wanted:
    """Which files patterns mean. Called with a path in the tree, it tells whether that file is wanted."""

    def __init__(self, include: object = (), exclude: object = ()) -> None:
        """Raises InvalidType, InvalidArgument for what is no pattern."""
        self._included = _compiled("include", include)
        self._excluded = _compiled("exclude", exclude)

    def __call__(self, name: str) -> bool:
        return (not self._included or _fits(name, self._included)) and not self.leaves_out(name)

    def leaves_out(self, name: str) -> bool:
        """Tell whether a file, or all that is in a directory, is excluded."""
        return bool(self._excluded) and _fits(name, self._excluded)


def _compiled(argument: str, given: Any) -> list[tuple[bool, re.Pattern[str]]]:
    """Return each pattern, and whether it is for a whole path."""
    words = (given,) if isinstance(given, str) else given
    if not isinstance(words, Collection) or not all(isinstance(word, str) for word in words):
        raise InvalidType(f"{argument} must be a pattern, or several, not {given!r}")
    made = []
    for word in words:
        pattern = word.strip("/")
        if not pattern:
            raise InvalidArgument(f"{argument} has the pattern {word!r}, which no file fits")
        # `**/` is any number of directories, also none.
        parts = [translate(part).removesuffix(r"\Z").removesuffix(r"\z") for part in pattern.split("**/")]
        made.append(("/" in word.rstrip("/"), re.compile("(?s:.*/)?".join(parts))))
    return made


def _fits(name: str, given: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Tell whether a pattern fits the path, or that of a directory on it; without `/`, any component of the path."""
    parts = name.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return any(one.fullmatch(path) for is_path, one in given for path in (paths if is_path else parts))


# A local directory

_own_name = attrgetter("name")


class _Walk:
    """The walk through a local directory. Symlinks are followed where they stay in it."""

    def __init__(self, path: str, wanted: Wanted) -> None:
        self._path = path
        self._wanted = wanted
        self._real = os.path.realpath(path)
        self._items: list[Item] = []
        self._errors: dict[str, HttpServeError] = {}

    def tree(self) -> Tree:
        try:
            found = os.stat(self._path)
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "it is not a directory; put_file() puts one file")
            self._walk(self._path, "", {(found.st_dev, found.st_ino)})
        except OSError as error:
            label = repr(redacted_url(self._path))
            if error.errno == errno.ENOENT:
                raise missing(label) from None
            raise unreadable(label, error.strerror or str(error), error.errno) from None
        return Tree(self._items, self._errors, is_local=True)

    def _walk(self, path: str, below: str, within: set[tuple[int, int]]) -> None:
        """Go through one directory; *within* are those on the way to it, so that no symlink leads in a circle."""
        with os.scandir(path) as entries:
            found = sorted(entries, key=_own_name)
        directories = []
        for entry in found:
            if entry.name.startswith(OWN_PREFIX):
                continue
            try:
                if entry.is_dir():
                    if not self._wanted.leaves_out(below + entry.name):
                        directories.append(entry)
                elif self._wanted(name := below + entry.name):
                    self._add(entry, name)
            except OSError as error:
                if self._wanted(below + entry.name):
                    self._fail(below + entry.name, error.strerror or str(error), error.errno)
        for entry in directories:
            self._enter(entry, below + entry.name, within)

    def _enter(self, entry: os.DirEntry[str], name: str, within: set[tuple[int, int]]) -> None:
        try:
            if entry.is_symlink() and not self._stays(entry):
                if self._wanted(name):
                    self._fail(name, "a symlink leads out of the directory; exclude= leaves it out")
                return
            found = entry.stat()
            own = (found.st_dev, found.st_ino)
            if own not in within:  # else all of it is here already
                self._walk(entry.path, f"{name}/", within | {own})
        except OSError as error:  # whatever is wanted may be in it
            self._fail(name, error.strerror or str(error), error.errno)

    def _add(self, entry: os.DirEntry[str], name: str) -> None:
        if entry.is_symlink() and not self._stays(entry):
            raise OSError(None, "a symlink leads nowhere, or out of the directory; exclude= leaves it out")
        found = entry.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, "it is not a file; exclude= leaves it out")
        size = found.st_size
        self._items.append(Item(name, entry.path, size, origin_of_file(found) if size else None, _opened_file))

    def _stays(self, entry: os.DirEntry[str]) -> bool:
        real = os.path.realpath(entry.path)
        return os.path.exists(real) and (real + os.sep).startswith(self._real.rstrip(os.sep) + os.sep)

    def _fail(self, name: str, why: str, number: int | None = None) -> None:
        self._errors[name] = unreadable(repr(os.path.join(self._path, name)), why, number)


# A path on an operator


def _operator_tree(path: str, operator: opendal.Operator, wanted: Wanted, timeout: float) -> Tree:
    directory = operator_path(path, "src").strip("/")
    directory = directory and f"{directory}/"
    found = files_below(operator, directory, timeout=timeout)
    timed = operator.layer(TimeoutLayer(timeout=timeout, io_timeout=timeout))
    store, can_pin = store_of(operator), operator.capability().read_with_if_match
    pinned, plain = partial(_opened_object, timed, timeout), partial(opened, operator, timeout)
    items = []
    for whole, size, modified, etag in found:
        name = whole[len(directory) :]
        if name.rpartition("/")[2].startswith(OWN_PREFIX) or not wanted(name):
            continue
        origin = origin_of_object(store, whole, etag, size, modified)
        items.append(Item(name, whole, size, origin, pinned if can_pin and origin is not None else plain))
    return Tree(items, {}, is_local=False)


def _opened_file(path: str, version: Origin | None) -> TracedSource:
    return FileSource(path)


def _opened_object(operator: opendal.Operator, timeout: float, path: str, version: Origin | None) -> TracedSource:
    assert version is not None
    return ObjectSource(path, operator, version, timeout=timeout)


# A directory that httpserve lists


def _url_tree(url: str, wanted: Wanted, timeout: float) -> Tree:
    parts = urlsplit(url)
    base = parts._replace(path=f"{parts.path.rstrip('/')}/", fragment="")
    items: list[Item] = []
    errors: dict[str, HttpServeError] = {}
    opened_url = partial(opened, None, timeout)
    waiting: list[tuple[str, tuple[bytes, ...]]] = [("", ())]
    while waiting:
        directory, above = waiting.pop()
        own_name = directory.rstrip("/")
        address = base._replace(path=base.path + quote(directory)).geturl()
        try:
            entries, mark = _listed(address, timeout)
        except HttpServeError as error:
            if not directory:
                raise
            errors[own_name] = error
            continue
        if mark in above:
            if wanted(own_name):
                why = "it is the same as a directory above it, as a symlink in a circle is; exclude= leaves it out"
                errors[own_name] = unreadable(redacted_url(address), why)
            continue
        for own, is_dir, size in entries:
            name = directory + own
            if not is_dir:
                if wanted(name):
                    items.append(Item(name, f"{address}{quote(own)}", size, None, opened_url))
            elif not wanted.leaves_out(name):
                waiting.append((f"{name}/", (*above, mark) if mark else above))
    return Tree(items, errors, is_local=False)


def _listed(url: str, timeout: float) -> tuple[list[tuple[str, bool, int | None]], bytes]:
    """Return what is in a directory, as `GET` with `Accept: application/json` tells, and what tells it from others.

    Of each: name, kind and size. Directories differ by the times of what is in them; without any, nothing tells.
    """
    from httpserve.storage.copying.url import HttpSource  # on first use, as in opening.py

    source = HttpSource(url, timeout=timeout, accept=_JSON)
    try:
        data, buffer = bytearray(), memoryview(bytearray(64 * 1024))
        while count := source.readinto(buffer):
            data += buffer[:count]
            if len(data) > MOST_LISTING_BYTES:
                raise unreadable(source.label, "its list is too long")
        source.finish()
        said = json.loads(data)
        entries = [_entry(one) for one in said]
        has_times = any(one.get("mtime") is not None for one in said)
        return entries, hashlib.sha256(data).digest() if has_times else b""
    except (ValueError, TypeError, KeyError, RecursionError):
        why = "it is not a list of a directory, as httpserve gives one where there is no index.html"
        raise unreadable(source.label, why) from None
    finally:
        source.close()


def _entry(said: Any) -> tuple[str, bool, int | None]:  # Any: what a server sends
    name, kind, size = said["name"], said["type"], said["size"]
    if "/" in name or not is_name(name) or kind not in ("file", "directory"):
        raise ValueError
    return name, kind == "directory", size if isinstance(size, int) else None
