"""What a script serves in place: checks what it says, and tells the site and those who wait.

Knows names and paths. Does not know how any of them is read.
"""

from __future__ import annotations

import os

from httpserve.base.arguments import StrPath
from httpserve.base.names import checked_name
from httpserve.errors import InvalidArgument, InvalidName
from httpserve.records.log import ExchangeLog
from httpserve.site.app import Site
from httpserve.storage.joined import Joined


class ServedInPlace:
    """The local files and directories that one server serves in place."""

    def __init__(self, site: Site, joined: Joined, exchanges: ExchangeLog) -> None:
        self._site = site
        self._joined = joined
        self._exchanges = exchanges

    def serve(self, name: StrPath, path: StrPath) -> None:
        """Do what `HttpServerClient.serve` does."""
        checked = _checked(name)
        if not self._site.may_serve(checked):
            only = ", ".join(map(repr, self._site.only))
            raise InvalidArgument(f"{checked!r} would not be served: only= names {only}")
        is_directory = os.fspath(name).endswith("/")
        made = self._joined.serve(checked, path, is_directory=is_directory)
        self._site.serve(self._joined)  # until now the site spoke to the root itself, which takes less time
        if made is not None and not made.is_directory:
            self._exchanges.new_version(checked)
        else:
            self._exchanges.wake()

    def unserve(self, name: StrPath) -> None:
        """Do what `HttpServerClient.unserve` does."""
        if self._joined.unserve(_checked(name)):
            self._exchanges.wake()

    def paths(self) -> dict[str, str]:
        """Return the names, and the path of each."""
        return {name: one.path for name, one in self._joined.in_place.items()}

    def lost(self) -> tuple[tuple[str, str], ...]:
        """Return the names, each with its path, where nothing is now. Blocks for the disk."""
        return tuple((name, path) for name, path in self.paths().items() if not os.path.exists(path))


def _checked(name: StrPath) -> str:
    checked = checked_name(name, directory=True)
    if not checked:
        raise InvalidName(os.fspath(name), "it is the root itself; to serve a directory as the root, pass root_dir")
    return checked
