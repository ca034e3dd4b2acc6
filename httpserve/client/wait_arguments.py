"""Makes the terms of a wait from the arguments of a user.

Knows names, files and whether the server runs. Does not know what has arrived, nor how to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from httpserve.base.arguments import StrPath, checked_seconds
from httpserve.base.names import checked_name
from httpserve.client.lifecycle import Lifecycle, State
from httpserve.errors import InvalidArgument, ServerNotRunning
from httpserve.records.log import ExchangeLog
from httpserve.records.terms import Boards, Client, RequestFilter, Until, address, amount, method_named
from httpserve.records.waits.download import DownloadTerms, Version
from httpserve.records.waits.request import RequestTerms
from httpserve.site.app import Site
from httpserve.storage.directory.root import Root
from httpserve.storage.directory.similar import SimilarNames, names_in

MOST_COMPARED = 20_000  # pairs of names, for one look at what was missing


class WaitTerms:
    """The terms of waits on one server."""

    def __init__(self, exchanges: ExchangeLog, root: Root, site: Site, life: Lifecycle) -> None:
        self._exchanges = exchanges
        self._root = root
        self._site = site
        self._life = life

    def download(
        self, name: StrPath, timeout: float | None, until: Until, idle: float, boards: Boards
    ) -> DownloadTerms:
        """Return the terms of a wait for a download. Raises what `wait_for_download` raises at once."""
        self._check(timeout)
        checked = checked_name(name)
        self._root.open()
        return DownloadTerms(
            name=checked,
            current=partial(self._version, checked),
            can_come=partial(self._can_come, checked),
            nearest=self.nearest,
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
        checked = None if name is None else checked_name(name, directory=True)
        method = None if method is None else method_named(method)
        asked = RequestFilter(checked, method, status, where, by_function=predicate is not None)
        return RequestTerms(asked, self._is_running, self.nearest, predicate, timeout)

    def nearest(self, missing: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return for names that do not exist the similar ones that do; empty for all after the first so many."""
        if not missing:
            return {}
        only = self._site.only
        names = SimilarNames(names_in(self._root.path) if only is None else [only])
        return {
            name: names.nearest(name) if number * len(names) <= MOST_COMPARED else ()
            for number, name in enumerate(dict.fromkeys(missing))
        }

    def _check(self, timeout: float | None) -> None:
        if not self._is_running():
            raise ServerNotRunning("a wait needs a running server; call start() first")
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)

    def _is_running(self) -> bool:
        return self._life.state is State.RUNNING

    def _can_come(self, name: str) -> bool:
        """Tell whether more of a file can arrive: a server that stops finishes what is under way."""
        state = self._life.state
        return state is State.RUNNING or (state is State.STOPPING and self._exchanges.is_underway(name))

    def _version(self, name: str) -> Version:
        validators = self._site.representation(name).validators
        return Version(validators.etag, validators.size)
