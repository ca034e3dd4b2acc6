"""Makes the terms of a wait from the arguments of a user.

Knows names, files and whether the server runs. Does not know what has arrived, nor how to wait.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial

from httpserve.base.arguments import StrPath, checked_seconds
from httpserve.base.names import checked_name
from httpserve.base.text import InPython, Message, in_python
from httpserve.client.lifecycle import Lifecycle, State
from httpserve.client.ways import Ways
from httpserve.errors import InvalidArgument, InvalidName, NotFound, ServerNotRunning, StorageError
from httpserve.records.log import ExchangeLog
from httpserve.records.model import name_asked
from httpserve.records.terms import Boards, Client, RequestFilter, Until, address, amount, method_named
from httpserve.records.waits.download import DownloadTerms, Version
from httpserve.records.waits.request import RequestTerms
from httpserve.site.app import Site
from httpserve.storage.directory.similar import SimilarNames
from httpserve.storage.served import ServedRoot

MOST_COMPARED = 20_000  # pairs of names, for one look at what was missing
_ORIGIN = re.compile(r"https?:/+[^/]*", re.IGNORECASE)  # of a URL; a Path keeps one of its two slashes


class WaitTerms:
    """The terms of waits on one server."""

    def __init__(self, exchanges: ExchangeLog, root: ServedRoot, site: Site, life: Lifecycle, ways: Ways) -> None:
        self._exchanges = exchanges
        self._root = root
        self._site = site
        self._life = life
        self._ways = ways

    def download(
        self, name: StrPath, timeout: float | None, until: Until, idle: float, boards: Boards
    ) -> DownloadTerms:
        """Return the terms of a wait for a download. Raises what `wait_for_download` raises at once."""
        self._check(timeout)
        checked = self._checked(name)
        return DownloadTerms(
            name=checked,
            current=partial(self._version, checked, is_path=os.fspath(name).startswith("/")),
            can_come=partial(self._can_come, checked),
            nearest=self.nearest,
            way=partial(self._ways.to, checked),
            boards=boards,
            amount=amount(until, idle),
            timeout=timeout,
        )

    def request(
        self, name: StrPath | None, method: str | None, status: int | None, client: Client | None, timeout: float | None
    ) -> RequestTerms:
        """Return the terms of a wait for a request. Raises what `wait_for_request` raises at once."""
        self._check(timeout)
        if status is not None and (not isinstance(status, int) or not 100 <= status <= 599):
            raise InvalidArgument(f"status must be a status code such as 200, not {status!r}")
        predicate, where = (client, None) if callable(client) else (None, None if client is None else address(client))
        checked = None if name is None else self._checked(name, directory=True)
        method = None if method is None else method_named(method)
        asked = RequestFilter(checked, method, status, where, by_function=predicate is not None)
        way = partial(self._ways.to, checked or "")
        return RequestTerms(asked, self._is_running, self.nearest, predicate, timeout, way)

    def nearest(self, missing: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return, for names that do not exist, the similar ones that do; for all but the first few names nothing."""
        if not missing:
            return {}
        try:
            names = SimilarNames(self._root.names(self._site.only))
        except StorageError:  # a private directory is gone with its server
            names = SimilarNames([])
        return {
            name: names.nearest(name) if number * len(names) <= MOST_COMPARED else ()
            for number, name in enumerate(dict.fromkeys(missing))
        }

    def _check(self, timeout: float | None) -> None:
        if self._life.state is not State.RUNNING:
            raise ServerNotRunning(in_python("a wait needs a running server; call start() first"))
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)

    def _checked(self, name: StrPath, *, directory: bool = False) -> str:
        """Return a name in its normal form; refuse a URL, and say which name is in it."""
        text = os.fspath(name) if isinstance(name, os.PathLike) else name
        origin = _ORIGIN.match(text) if isinstance(text, str) else None
        if origin is None:
            return checked_name(name, directory=directory)
        server = self._life.running()
        base = (server and self._ways.url(server)) or origin[0]  # our URL may have a path in front of the name
        meant = name_asked(text.removeprefix(base) if text.startswith(base) else text[origin.end() :])
        raise InvalidName(text, f"it is a URL, and a wait takes the name on the server{meant and f', {meant!r}'}")

    def _is_running(self) -> bool:
        return self._life.state is State.RUNNING

    def _can_come(self, name: str) -> bool:
        """Tell whether more of a file can arrive: a server that stops finishes what is under way."""
        state = self._life.state
        return state is State.RUNNING or (state is State.STOPPING and self._exchanges.is_underway(name))

    def _version(self, name: str, *, is_path: bool) -> Version:
        try:
            validators = self._site.representation(name).validators
        except NotFound as error:
            raise self._not_found(name, error, is_path=is_path) from None
        return Version(validators.etag, validators.size)

    def _not_found(self, name: str, error: NotFound, *, is_path: bool) -> NotFound:
        """Return an error that says what there is instead; for a file that exists but is never served, the same one."""
        try:
            self._root.status(name)
        except StorageError:
            found = self.nearest([name])[name]
            near = f": there is {', '.join(map(repr, found))}" if found else InPython(": put it there first")
            path = "; a wait takes the name on the server, not a path of this computer" if is_path else ""
            return NotFound(Message("no file {} is on the server{}{}", repr(name), near, path), name)
        return error
