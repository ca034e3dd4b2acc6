"""What the paths of a command line are on the server: a directory as it lies, or names of files and directories.

Knows files and directories. Does not know the server.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from httpserve import InvalidArgument, NotFound, NotPermitted
from httpserve.base.paths import nearest_path, place_of, scheme_of

COMMANDS = ("put", "doctor", "cache")  # as the first word
URLS = ("http://", "https://")


class Served(NamedTuple):
    """What is served: a directory as it lies, or files and directories, each under its own last name.

    Attributes:
        paths: Where each name lies; of a directory as it lies, the name is empty.
        directory: The directory that holds all of them, or is it; None: they lie in several.
    """

    paths: Mapping[str, str]
    directory: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are served; none: all that is in the directory."""
        return tuple(name for name in self.paths if name)

    def path_of(self, name: str) -> str:
        """Return where a name lies, or would lie; empty for one that cannot be served."""
        top, _, rest = ("", "", name) if "" in self.paths else name.partition("/")
        path = self.paths.get(top, "")
        return os.path.join(path, rest) if path and rest else path

    def files(self) -> list[str]:
        """Return the names that are files."""
        return [name for name in self.names if os.path.isfile(self.path_of(name))]

    def name_of(self, text: str) -> str:
        """Return the name that a text means, which may also be the path of what is served, as a shell completes it."""
        if not os.path.exists(self.path_of(text.lstrip("/"))) and os.path.exists(text):
            for top, path in self.paths.items():
                rest = os.path.relpath(place_of(text), place_of(path))
                if rest.partition("/")[0] != "..":
                    return os.path.normpath(os.path.join(top, rest))
        return text

    def beginning_with(self, prefix: str) -> Iterator[str]:
        """Give the names that a shell may go on with: a directory ends in a slash."""
        above, _, begun = prefix.rpartition("/")
        try:
            lasts = sorted(os.listdir(self.path_of(above)) if above or "" in self.paths else self.names)
        except OSError:  # there is no such directory
            return
        for last in lasts:
            name = f"{above}/{last}" if above else last
            if last.startswith(begun) and (begun or not last.startswith(".")):
                yield f"{name}/" if os.path.isdir(self.path_of(name)) else name


def is_store(path: str) -> bool:
    """Tell whether a path is the URL of a store: of http and https one that ends in `/`, as a directory does."""
    is_file = path.lower().startswith(URLS) and not path.endswith("/")
    return scheme_of(path) != "" and not is_file and not os.path.exists(path)


def what_to_serve(paths: Sequence[str], *, is_beside: bool = False) -> Served:
    """Return what paths mean: a directory as it lies, one file alone, or several of both.

    Where they are served beside something else (*is_beside*), each of them has its last name.

    Raises:
        NotFound: One of them does not exist.
        NotPermitted: One of them is neither a directory nor a file that can be read.
        InvalidArgument: Two of them have the same last name.
    """
    for path in paths:
        _check(path, paths)
    if len(paths) == 1 and os.path.isdir(paths[0]) and not is_beside:
        return Served({"": paths[0]}, paths[0])
    places: dict[str, str] = {}
    for path in paths:
        place = place_of(path)
        name = os.path.basename(os.path.normpath(path))
        name = os.path.basename(place) if name in (".", "..") else name
        if not name:
            raise InvalidArgument(f"{path!r} has no name to be served under beside others; give it alone")
        if places.setdefault(name, place) != place:
            way = "serve the directory that holds both, or rename one"
            raise InvalidArgument(f"{places[name]!r} and {place!r} would both be served as {name!r}; {way}")
    directories = {os.path.dirname(place) for place in places.values()}
    is_one = (
        not is_beside
        and len(directories) == 1
        and all(os.path.basename(place) == name for name, place in places.items())
    )
    return Served(places, directories.pop() if is_one else None)


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
    near = nearest_path(path)
    return f"; there is {near!r}" if near else ""


def _command_like(word: str) -> str:
    """Return the command that a word is like; empty where it is none."""
    import difflib  # only where something is wrong

    return next(iter(difflib.get_close_matches(word.lower(), COMMANDS, 1)), "")
