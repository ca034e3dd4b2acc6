"""What boards did, as a user asks for it: requests, transfers, waits. The half of the client that changes nothing.

Knows the ledger, and which version of a file stands. Does not know how a server is started, nor how files get in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, overload

from httpserve.arguments import checked_seconds
from httpserve.display import Records
from httpserve.errors import InvalidArgument, InvalidType, ServerNotRunning
from httpserve.ledger import Ledger
from httpserve.lifecycle import Life
from httpserve.names import checked_name
from httpserve.nearest import names_in, nearest
from httpserve.records import DownloadRecord, Missing, RequestRecord, Transfer, name_asked
from httpserve.root import Root
from httpserve.site.app import Site
from httpserve.staging.progress import reporter
from httpserve.waiting import Terms, Version, wait_for_download, wait_for_request
from httpserve.wanted import IDLE_SECONDS, Asked, Client, Clients, Until, Who, address, amount, who

if TYPE_CHECKING:
    import os

    from httpserve.watching import Watch

    Path = str | os.PathLike[str]

MOST_COMPARED = 20_000  # names with each other, for one look at what was missing

Progress = Callable[[int, int | None], object] | bool | None


class Observed:
    """What happened on a server, and waiting for what will."""

    def __init__(self, ledger: Ledger, root: Root, site: Site, life: Life) -> None:
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
        """The latest requests, oldest first. Blocks for a moment only."""
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
        names = self._names() if requests else []
        found: dict[str, tuple[str, ...]] = {}
        for request in reversed(requests):
            name = name_asked(request.target)
            if name not in found:
                within = len(found) * len(names) <= MOST_COMPARED
                found[name] = nearest(name, names) if within else ()
        return Records(
            Missing(request.time, request.client, name, found[name])
            for request in requests
            for name in [name_asked(request.target)]
        )

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
        part leaves what came to a later wait for more. A Ctrl-C ends it at once.

        Args:
            name: The name on the server.
            timeout: Seconds to wait; None: for ever. Kept within 50 ms.
            until: `"all"`: every byte; `"started"`: the first one; `"idle"`: some came, and nothing more for `idle`
                seconds, for clients that never take the whole (RAUC, SWUpdate's delta, zchunk, sanboot); a fraction (a
                float up to 1.0); a number of bytes (an int).
            idle: Seconds, for `until="idle"`; default 5.
            client: The address of the board that must have it, or a function of its request (a `RequestRecord`, its
                `fields` included) that tells whether it counts; None: any. A function sees the latest requests only
                (`max_records`), and is called in this thread.
            clients: How many boards must have it, or a list of their addresses; default 1.
            since: Count what was asked for since then, in seconds since the epoch, whatever waits came in between.
            progress: Called in this thread with the bytes received and the total when they change; True: a bar.

        Returns:
            The record; a list of records when `clients` is not 1.

        Raises:
            WaitTimeout: It did not happen in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped meanwhile.
            NotFound: There is no such file (any more).
        """
        whom = who(client, clients)
        terms = self._terms(name, timeout, until, idle, whom)
        with reporter(progress) as report:
            report_to = None if progress is None or progress is False else report
            records = wait_for_download(self._ledger, terms._replace(report=report_to), since=_checked_since(since))
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
            NotFound: There is no such file.
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

        One that came since the last `put_file` of the name counts, unless a wait for the same has returned it or a
        later one.

        Args:
            name: What it asks for, whether there is such a file or not; None: anything.
            method: Its method, such as `GET`; None: any.
            status: The status code of its answer; None: any.
            client: The address of the board, or a function of the `RequestRecord` that tells whether it counts.
            timeout: Seconds to wait; None: for ever.
            since: Count what came since then, in seconds since the epoch.

        Raises:
            WaitTimeout: None came in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped meanwhile.
        """
        asked, predicate = self._asked(name, method, status, client, timeout)
        since = _checked_since(since)
        return wait_for_request(self._ledger, asked, predicate, self._is_running, timeout, since=since)

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
        asked, predicate = self._asked(name, method, status, client, timeout)
        return ExpectedRequest(self._ledger, asked, predicate, self._is_running, timeout)

    def _terms(self, name: Path, timeout: float | None, until: Until, idle: float, whom: Who) -> Terms:
        self._check_running("a wait")
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)
        checked = checked_name(name)
        self._root.open()
        return Terms(
            name=checked,
            current=partial(_version, self._site, checked),
            is_running=self._is_running,
            nearest=self._nearest,
            who=whom,
            amount=amount(until, idle),
            timeout=timeout,
        )

    def _asked(
        self, name: Path | None, method: str | None, status: int | None, client: Client | None, timeout: float | None
    ) -> tuple[Asked, Callable[[RequestRecord], object] | None]:
        self._check_running("a wait")
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)
        if method is not None and not isinstance(method, str):
            raise InvalidType(f"method must be a str such as 'GET', not {method!r}")
        if status is not None and (not isinstance(status, int) or not 100 <= status <= 599):
            raise InvalidArgument(f"status must be a status code such as 200, not {status!r}")
        predicate = client if callable(client) else None
        where = None if client is None or callable(client) else address(client)
        return Asked(None if name is None else checked_name(name), method, status, where), predicate

    def _check_running(self, call: str) -> None:
        if not self.is_running:
            raise ServerNotRunning(f"{call} needs a running server; call start() first")

    def _is_running(self) -> bool:
        return self.is_running

    def _nearest(self, name: str) -> tuple[str, ...]:
        return nearest(name, self._names())


class ExpectedDownload:
    """A download that has to begin inside a `with` block. `record` and `records` have it afterwards."""

    def __init__(self, ledger: Ledger, terms: Terms, progress: Progress, *, is_one: bool) -> None:
        self._ledger = ledger
        self._terms = terms
        self._progress = progress
        self._is_one = is_one
        self._watch: Watch | None = ledger.watch_from_now(terms.name, terms.who)
        self._records: list[DownloadRecord] | None = None

    @property
    def record(self) -> DownloadRecord:
        """The download; of several, the first. Raises InvalidArgument before it has been waited for."""
        return self.records[0]

    @property
    def records(self) -> list[DownloadRecord]:
        """The downloads, one of each client. Raises InvalidArgument before they have been waited for."""
        if self._records is None:
            raise InvalidArgument(f"the download of {self._terms.name!r} has not been waited for yet; leave the block")
        return self._records

    def wait(self) -> DownloadRecord | list[DownloadRecord]:
        """Block until the download is there, and return what `wait_for_download` returns. For use without `with`.

        Raises:
            WaitTimeout: It did not happen in time; the message says what did.
            ServerNotRunning: The server was stopped meanwhile.
            NotFound: The file was removed meanwhile.
        """
        if self._records is None:
            if self._watch is None:
                raise InvalidArgument(f"the wait for {self._terms.name!r} is over; expect the download again")
            try:
                with reporter(self._progress) as report:
                    report_to = None if self._progress is None or self._progress is False else report
                    self._records = wait_for_download(
                        self._ledger, self._terms._replace(report=report_to), self._watch
                    )
            finally:
                self.close()
        return self.record if self._is_one else self.records

    def close(self) -> None:
        """Wait no longer. Harmless when repeated; done at the end of the block."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._ledger.unwatch(watch)

    def __enter__(self) -> Self:
        if self._watch is not None:  # what came between the call and the block does not count
            self._ledger.unwatch(self._watch)
        self._watch = self._ledger.watch_from_now(self._terms.name, self._terms.who)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        else:
            self.close()


class ExpectedRequest:
    """A request that has to come inside a `with` block. `record` has it afterwards."""

    def __init__(
        self,
        ledger: Ledger,
        asked: Asked,
        predicate: Callable[[RequestRecord], object] | None,
        is_running: Callable[[], bool],
        timeout: float | None,
    ) -> None:
        self._ledger = ledger
        self._asked = asked
        self._predicate = predicate
        self._is_running = is_running
        self._timeout = timeout
        self._first = ledger.next_number
        self._record: RequestRecord | None = None

    @property
    def record(self) -> RequestRecord:
        """The request. Raises InvalidArgument before it has been waited for."""
        if self._record is None:
            raise InvalidArgument(f"the {self._asked} has not been waited for; leave the block first")
        return self._record

    def wait(self) -> RequestRecord:
        """Block until the request is there, and return its record. For use without `with`.

        Raises:
            WaitTimeout: It did not come in time; the message says what did.
            ServerNotRunning: The server was stopped meanwhile.
        """
        if self._record is None:
            self._record = wait_for_request(
                self._ledger, self._asked, self._predicate, self._is_running, self._timeout, self._first
            )
        return self._record

    def __enter__(self) -> Self:
        self._first = self._ledger.next_number
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()


def _version(site: Site, name: str) -> Version:
    validators = site.representation(name).validators
    return Version(validators.etag, validators.size)


def _checked_since(since: object) -> float | None:
    if since is None:
        return None
    if isinstance(since, bool) or not isinstance(since, int | float) or not since >= 0:
        raise InvalidArgument(f"since must be a time in seconds since the epoch, as time.time() gives, not {since!r}")
    return float(since)
