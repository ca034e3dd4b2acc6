"""What boards did, as a user asks for it: requests, transfers, waits. The half of the client that changes nothing.

Knows the ledger, and which version of a file stands. Does not know how a server is started, nor how files get in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, overload

from httpserve.base.arguments import checked_seconds, quoted_value
from httpserve.base.tables import Records
from httpserve.client.lifecycle import Lifecycle, State
from httpserve.errors import InvalidArgument, ServerNotRunning
from httpserve.records.claims import Claims
from httpserve.records.model import DownloadRecord, Missing, RequestRecord, Transfer, name_asked
from httpserve.records.terms import (
    IDLE_SECONDS,
    Boards,
    Client,
    Clients,
    RequestFilter,
    Until,
    address,
    amount,
    method_named,
    who,
)
from httpserve.records.waits.blocks import ExpectedDownload, ExpectedRequest, Progress, reported
from httpserve.records.waits.download import DownloadTerms, Version, wait_for_download
from httpserve.records.waits.request import RequestTerms, wait_for_request
from httpserve.site.app import Site
from httpserve.storage.directory.names import checked_name
from httpserve.storage.directory.root import Root
from httpserve.storage.directory.similar import SimilarNames, names_in

if TYPE_CHECKING:
    import os

    Path = str | os.PathLike[str]

AHEAD_SECONDS = 86400.0  # of `since`: a clock may be set back after it was read; milliseconds are thousands of years
_SINCE = "in seconds since the epoch, as time.time() gives"
MOST_COMPARED = 20_000  # names with each other, for one look at what was missing


class Observed:
    """What happened on a server, and waiting for what will."""

    def __init__(self, ledger: Claims, root: Root, site: Site, life: Lifecycle) -> None:
        self._ledger = ledger
        self._root = root
        self._site = site
        self._life = life

    @property
    def is_running(self) -> bool:
        """Whether requests are answered."""
        return self._life.running() is not None

    # What happened

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The latest requests, oldest first. Blocks for 0.5 s at most, while the acknowledgment of an answer is due.

        What a client has received is what its TCP has acknowledged, which it may put off for a moment.
        """
        self._ledger.await_due()
        return Records(self._ledger.requests())

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The latest transfers of files' content, those under way included, oldest first. Blocks for a moment only.

        Each is one answer, as it stands: a client that asks for ranges makes many.
        """
        return Records(self._ledger.transfers())

    @property
    def connections(self) -> dict[str, int]:
        """How many connections each address has made, requests or not. Blocks for a moment only."""
        return self._ledger.connections()

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The latest requests for what is not there, oldest first, each with the nearest names that exist by now.

        Blocks while the disk lists the directory.
        """
        requests = self._ledger.missing()
        found = self._nearest([name_asked(request.target) for request in reversed(requests)])
        return Records(
            Missing(request.time, request.client, name, found[name])
            for request in requests
            for name in [name_asked(request.target)]
        )

    def requests_for(
        self, name: Path | None = None, *, client: str | None = None, wait: bool = True
    ) -> tuple[RequestRecord, ...]:
        """Return those of the latest requests that are for a name, by a board, oldest first.

        Blocks for 0.5 s at most, while the acknowledgment of such an answer is due.
        Nothing is taken from waits, and the server may be stopped. As in `requests`, what came before the latest
        `max_records` is forgotten: that nothing is found proves nothing once `requests` has so many.

        Args:
            name: What they ask for, whether there is such a file or not, in any spelling; None: anything.
            client: The address of the board, in any spelling; None: any.
            wait: False: do not block, and return what is acknowledged so far. For who looks again and again.

        Raises:
            InvalidName: No file can have that name.
            InvalidArgument: That is no address.
        """
        checked = None if name is None else checked_name(name, directory=True)
        where = None if client is None else address(client)
        asked = RequestFilter(checked, client=where)
        if wait:
            self._ledger.await_due(asked.fits)
        return Records(self._ledger.requests_for(asked))

    def _names(self) -> list[str]:
        only = self._site.only
        return names_in(self._root.path) if only is None else [only]

    # Waiting

    @overload
    def wait_for_download(  # type: ignore[overload-overlap]  # an int may be 1, and is a number of clients then
        self,
        name: Path,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = IDLE_SECONDS,
        client: Client | None = None,
        clients: Literal[1] = 1,
        since: float | None = None,
        progress: Progress = None,
    ) -> DownloadRecord: ...

    @overload
    def wait_for_download(
        self,
        name: Path,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = IDLE_SECONDS,
        client: None = None,
        clients: Clients,
        since: float | None = None,
        progress: Progress = None,
    ) -> list[DownloadRecord]: ...

    def wait_for_download(
        self,
        name: Path,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = IDLE_SECONDS,
        client: Client | None = None,
        clients: Clients = 1,
        since: float | None = None,
        progress: Progress = None,
    ) -> DownloadRecord | list[DownloadRecord]:
        """Block until a client has received a file as it stands, or as much of it as is wanted.

        A byte counts once the client's TCP has acknowledged it; the bytes may come in one response or in many ranges,
        over any number of connections. What came since the last `put_file` of that name, or since the last wait on it
        that succeeded, counts although it came before this call; what came of older content does not. A wait for a
        part leaves what came to a later wait for more. A function and `since` see the latest requests only, as many as
        `max_records` says. A Ctrl-C ends it at once.

        Args:
            name: The name on the server.
            timeout: Seconds to wait; None: for ever. At its end an answer that the system has whole gets 45 ms more.
            until: `"all"`: every byte; `"started"`: the first one; `"idle"`: some came, and nothing more for `idle`
                seconds, for clients that never take the whole (RAUC, SWUpdate's delta, zchunk, sanboot); a fraction (a
                float up to 1.0); a number of bytes (an int).
            idle: Seconds, for `until="idle"`; default 5.
            client: The address of the board that must have it, or a function of its request (a `RequestRecord`, its
                `fields` included) that tells whether it counts; None: any. It is called in this thread, while an
                answer is under way and again when it is over, and what it raises ends the wait.
            clients: How many boards must have it, or a list of their addresses; default 1.
            since: Count what was asked for since then, in seconds since the epoch, whatever waits came in between.
            progress: Called in this thread with the bytes received and the total (those of all that are waited for)
                when they change; True: a bar.

        Returns:
            The record; a list of records when `clients` is not 1.

        Raises:
            WaitTimeout: It did not happen in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped or closed meanwhile; told at once.
            NotFound: There is no such file (any more), or it is never served (`only`, `dot_files`); told at once, or
                within half a second where others removed it.
        """
        whom = who(client, clients)
        terms = self._terms(name, timeout, until, idle, whom)
        since = _checked_since(since)
        with reported(terms, progress) as told:
            records = wait_for_download(self._ledger, told, since=since)
        return records[0] if clients == 1 else records

    def expect_download(
        self,
        name: Path,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = IDLE_SECONDS,
        client: Client | None = None,
        clients: Clients = 1,
        progress: Progress = None,
    ) -> ExpectedDownload:
        """Return a context manager that waits, at the end of its block, for a download that begins inside it.

        Only what is asked for inside the block counts, whatever came before. An exception in the block passes, and
        nothing is waited for. The call itself, and entering, return at once.

        Args:
            name: The name on the server.
            timeout: Seconds to wait at the end of the block; None: for ever.
            until: As in `wait_for_download`.
            idle: Likewise.
            client: Likewise.
            clients: Likewise.
            progress: Likewise; called while the end of the block waits.

        Raises:
            ServerNotRunning: The server does not run.
            NotFound: There is no such file, or it is never served.
        """
        terms = self._terms(name, timeout, until, idle, who(client, clients))
        terms.current()
        return ExpectedDownload(self._ledger, terms, progress, is_one=clients == 1)

    def wait_for_request(
        self,
        name: Path | None = None,
        *,
        method: str | None = None,
        status: int | None = None,
        client: Client | None = None,
        timeout: float | None = None,
        since: float | None = None,
    ) -> RequestRecord:
        """Block until a request has come that fits. A Ctrl-C ends it at once.

        It returns when the answer begins to leave, or, if all of it leaves at once, when it is acknowledged, for which
        it waits 0.5 s at most, the time-out aside.
        One that came since the last `put_file` of the name counts, unless a wait for the same has returned it or a
        later one.

        Args:
            name: What it asks for, whether there is such a file or not; None: anything.
            method: Its method, such as `GET`; None: any. Methods of HTTP may be written in lower case too, any other
                is compared as it is.
            status: The status code of its answer; None: any.
            client: The address of the board, or a function of the `RequestRecord` that tells whether it counts. It is
                called in this thread, once for each request, when its answer begins.
            timeout: Seconds to wait; None: for ever.
            since: Count what came since then, in seconds since the epoch.

        Raises:
            InvalidArgument: A value that no request has.
            WaitTimeout: None came in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped meanwhile.
        """
        terms = self._request_terms(name, method, status, client, timeout)
        return wait_for_request(self._ledger, terms, since=_checked_since(since))

    def expect_request(
        self,
        name: Path | None = None,
        *,
        method: str | None = None,
        status: int | None = None,
        client: Client | None = None,
        timeout: float | None = None,
    ) -> ExpectedRequest:
        """Return a context manager that waits, at the end of its block, for a request that comes inside it.

        The arguments and errors are those of `wait_for_request`. An exception in the block passes, and nothing is
        waited for.
        """
        return ExpectedRequest(self._ledger, self._request_terms(name, method, status, client, timeout))

    def _terms(self, name: Path, timeout: float | None, until: Until, idle: float, whom: Boards) -> DownloadTerms:
        self._check_running("a wait")
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)
        checked = checked_name(name)
        self._root.open()
        return DownloadTerms(
            name=checked,
            current=partial(_version, self._site, checked),
            can_come=partial(self._can_come, checked),
            nearest=self._nearest,
            who=whom,
            amount=amount(until, idle),
            timeout=timeout,
        )

    def _request_terms(
        self, name: Path | None, method: str | None, status: int | None, client: Client | None, timeout: float | None
    ) -> RequestTerms:
        self._check_running("a wait")
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)
        if status is not None and (not isinstance(status, int) or not 100 <= status <= 599):
            raise InvalidArgument(f"status must be a status code such as 200, not {status!r}")
        where = None if client is None or callable(client) else address(client)
        checked = None if name is None else checked_name(name, directory=True)
        predicate = client if callable(client) else None
        asked = RequestFilter(checked, None if method is None else method_named(method), status, where)
        return RequestTerms(asked, self._is_running, self._nearest, predicate, timeout)

    def _check_running(self, call: str) -> None:
        if not self.is_running:
            raise ServerNotRunning(f"{call} needs a running server; call start() first")

    def _is_running(self) -> bool:
        return self.is_running

    def _can_come(self, name: str) -> bool:
        """Tell whether anything of a file can still arrive; while the server stops, what is under way can."""
        return self.is_running or (self._life.state is State.STOPPING and self._ledger.is_underway(name))

    def _nearest(self, asked: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return for names that are not there those that are and are like them, for the first so many."""
        if not asked:
            return {}
        names = SimilarNames(self._names())
        return {
            name: names.nearest(name) if number * len(names) <= MOST_COMPARED else ()
            for number, name in enumerate(dict.fromkeys(asked))
        }


def _version(site: Site, name: str) -> Version:
    validators = site.representation(name).validators
    return Version(validators.etag, validators.size)


def _checked_since(since: object) -> float | None:
    if since is None:
        return None
    if isinstance(since, bool) or not isinstance(since, int | float) or not since >= 0:
        raise InvalidArgument(f"since must be a time {_SINCE}, not {quoted_value(since)}")
    if since > time.time() + AHEAD_SECONDS:  # before float(), for which an int may be too large
        raise InvalidArgument(f"since must be a time that has come, {_SINCE}, not {quoted_value(since)}: milliseconds?")
    return float(since)
