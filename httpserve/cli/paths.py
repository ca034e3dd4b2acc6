"""What the paths of a command line are on the server: a directory, and the names in it that are served.

Knows files and directories. Does not know the server.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from httpserve import NotFound, NotPermitted

COMMANDS = ("put", "doctor")  # as the first word
URLS = ("http://", "https://")


class Served(NamedTuple):
    """A directory, and the names in it that are served; none: all that is in it."""

    directory: str
    names: tuple[str, ...] = ()

    def path_of(self, name: str) -> str:
        """Return where a name lies."""
        return os.path.join(self.directory, name)

    def files(self) -> list[str]:
        """Return the names that are files."""
        return [name for name in self.names if os.path.isfile(self.path_of(name))]

    def name_of(self, text: str) -> str:
        """Return the name that a text means, which may also be the path of what is served, as a shell completes it."""
        if not os.path.exists(self.path_of(text.lstrip("/"))) and os.path.exists(text):
            name = os.path.relpath(_place(text), os.path.realpath(self.directory))
            if name.partition("/")[0] != "..":
                return name
        return text

    def beginning_with(self, prefix: str) -> Iterator[str]:
        """Give the names that a shell may go on with: a directory ends in a slash."""
        above, _, begun = prefix.rpartition("/")
        try:
            entries = sorted(os.scandir(self.path_of(above)), key=lambda entry: entry.name)
        except OSError:  # there is no such directory
            return
        for entry in entries:
            name = f"{above}/{entry.name}" if above else entry.name
            is_hidden = entry.name.startswith(".") and not begun
            if entry.name.startswith(begun) and not is_hidden and self._has(name):
                yield f"{name}/" if entry.is_dir() else name

    def _has(self, name: str) -> bool:
        """Tell whether a name is served, or lies on the way to one that is."""
        pairs = ((f"{name}/", f"{one}/") for one in self.names)
        return not self.names or any(ours.startswith(one) or one.startswith(ours) for ours, one in pairs)


def what_to_serve(paths: Sequence[str]) -> Served:
    """Return what paths mean: a directory as it lies, one file alone, or several of both.

    Several lie in the nearest directory that holds all of them, of which nothing else is served.

    Raises:
        NotFound: One of them does not exist.
        NotPermitted: One of them is neither a directory nor a file that can be read.
    """
    for path in paths:
        _check(path, paths)
    if len(paths) == 1 and os.path.isdir(paths[0]):
        return Served(paths[0])
    places = [_place(path) for path in paths]
    directory = os.path.commonpath([os.path.dirname(place) for place in places])
    return Served(directory, tuple(dict.fromkeys(os.path.relpath(place, directory) for place in places)))


def _place(path: str) -> str:
    """Return the real path; of a symlink to something in its own directory that of the symlink."""
    real = os.path.realpath(path)
    above, name = os.path.split(path.rstrip("/"))
    above = os.path.realpath(above)
    is_within = name not in ("", ".", "..") and real.startswith(f"{above.rstrip('/')}/")
    return os.path.join(above, name) if is_within else real


def _check(path: str, paths: Sequence[str]) -> None:
    if not os.path.exists(path):  # a client would make the directory
        raise NotFound(f"there is no file or directory {path!r} to serve{_right_form(path, paths)}", path)
    if os.path.isdir(path):
        return
    if not os.path.isfile(path):
        raise NotPermitted(f"{path!r} is neither a directory nor a regular file", path)
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise NotPermitted(f"{path!r} cannot be read: {(error.strerror or '').lower()}", path) from error


def _right_form(path: str, paths: Sequence[str]) -> str:
    """Return the form of the command that somebody may have meant who gave a path that is not there."""
    if path in COMMANDS:
        return f"; the command comes first: httpserve {path} [OPTION]..."
    if path == paths[0] and (meant := _command_like(path)):
        return f"; there is the command {meant}"
    if path.lower().startswith(URLS):
        return f"; to serve a copy of what a URL has: httpserve put {shlex.quote(path)} NAME"
    if len(paths) == 2 and path == paths[1] and os.path.isfile(paths[0]):
        return f"; to serve a file under another name: httpserve put {shlex.join(paths)}"
    near = _nearest(path)
    return f"; there is {near!r}" if near else ""


def _command_like(word: str) -> str:
    """Return the command that a word is like; empty where it is none."""
    import difflib  # only where something is wrong

    return next(iter(difflib.get_close_matches(word.lower(), COMMANDS, 1)), "")


def _nearest(path: str) -> str:
    """Return the path beside this one that is most like it; empty where there is none."""
    import difflib  # only where something is wrong

    above, name = os.path.split(path.rstrip("/"))
    try:
        there = {one.lower(): one for one in os.listdir(above or ".")}
    except OSError:
        return ""
    alike = difflib.get_close_matches(name.lower(), there, 1)
    return os.path.join(above, there[alike[0]]) if alike else ""
