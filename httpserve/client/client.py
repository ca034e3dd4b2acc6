"""`HttpServerClient`: joins the rooms below into plain blocking calls, and builds URLs.

Knows whether the server runs, and what boards did. Does not know sockets, WSGI or chunks.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, overload

from httpserve.base.arguments import StrPath, checked_count, checked_seconds, checked_since, quoted_value
from httpserve.base.ipython import fold
from httpserve.base.log import logger
from httpserve.base.names import checked_name
from httpserve.base.outcome import TreeReport
from httpserve.base.progress import Progress
from httpserve.base.tables import Records
from httpserve.base.text import in_python, url_path
from httpserve.base.threads import Latch, run_shielded
from httpserve.client.board_commands import Target, Value, command, compares_digest, fetches_directory
from httpserve.client.faults import FaultHandle, Faults, Handle, Hold
from httpserve.client.in_place import ServedInPlace
from httpserve.client.lifecycle import Lifecycle
from httpserve.client.own_answers import OwnAnswers, fields_of_file
from httpserve.client.roots import CACHE_BYTES, StoreTerms, files_of
from httpserve.client.summary import Summary
from httpserve.client.uploads import MAX_BYTES, AcceptedUploads, ExpectedUpload, UploadClient, Uploads
from httpserve.client.wait_arguments import WaitTerms
from httpserve.client.ways import Ways
from httpserve.errors import (
    CopyFailed,
    InvalidArgument,
    InvalidName,
    IsADirectory,
    NotFound,
    NotPermitted,
    PortInUse,
    ServerNotRunning,
    StorageError,
)
from httpserve.network.binding import bind_error, listening
from httpserve.network.choice import advertised, check_peer, listen_host, listen_hosts, validate
from httpserve.network.interfaces import with_zone
from httpserve.records.claims import Claims
from httpserve.records.events import Event, checked_kinds
from httpserve.records.log import MOST_RECORDS, ExchangeLog
from httpserve.records.model import DownloadRecord, Missing, RequestRecord, Transfer, UploadRecord, name_asked
from httpserve.records.terms import IDLE_SECONDS, Client, Clients, RequestFilter, Until, address, boards
from httpserve.records.waits.blocks import ExpectedDownload, ExpectedRequest
from httpserve.records.waits.download import wait_for_download
from httpserve.records.waits.request import wait_for_request
from httpserve.records.waits.stream import next_events
from httpserve.server import tcp
from httpserve.server.limits import Limits, most_connections
from httpserve.server.server import Server
from httpserve.site.app import Site
from httpserve.storage.facade import Storage
from httpserve.storage.joined import Joined
from httpserve.storage.joined_accessor import JoinedAccessor
from httpserve.storage.served import Listeners

if TYPE_CHECKING:
    import opendal
    from _typeshed.wsgi import WSGIApplication

    from httpserve.client.own_answers import FieldsGiven
    from httpserve.doctor import Report
    from httpserve.faults import Fault
    from httpserve.notebook.live_table import Watch
    from httpserve.site.own_answers import Answer

log = logger("httpserve.client")

TIMEOUT_SECONDS = 600.0
STOP_SECONDS = 5.0


_started: weakref.WeakValueDictionary[int, HttpServerClient] = weakref.WeakValueDictionary()  # all


class _Owner:
    """What a client and its storage share. Once nothing holds either of them, everything ends."""


class HttpServerClient:
    """A server for files that boards fetch over HTTP. Every method plainly blocks, and is safe from any thread.

    As a context manager it starts on entering and closes on leaving. An object that nothing holds any more, or that is
    still alive when the interpreter exits, frees its port, threads and temporary directory by itself.
    """

    def __init__(
        self,
        root_dir: StrPath | None = None,
        host: str | None = None,
        port: int = 0,
        timeout: float = TIMEOUT_SECONDS,
        remove_created_on_close: bool | None = None,
        *,
        peer: str | None = None,
        advertise: str | None = None,
        listing: bool = True,
        dot_files: bool = False,
        read_only: bool = False,
        only: str | Collection[str] | None = None,
        digests: bool = True,
        max_records: int = MOST_RECORDS,
        max_connections: int | None = None,
        lost_after: float = 30.0,
        strict_peer: bool = False,
        more_hosts: str | Collection[str] = (),
        root: opendal.Operator | str | None = None,
        cache_dir: StrPath | None = None,
        cache_bytes: int = CACHE_BYTES,
        fresh_for: float = 0.0,
        redirect: bool | str | Collection[str] = False,
        look_timeout: float = 2.0,
        look_tries: int = 2,
        read_timeout: float = 5.0,
        read_tries: int = 3,
    ) -> None:
        """Create a stopped server. This starts nothing, and touches neither the disk nor the network.

        Args:
            root_dir: The directory to serve, created if it is missing; None: a private temporary one, deleted on close.
            host: Where to listen: an address, a name, or an interface such as `eth0`. None: the address that faces
                `peer`, or without a peer that of the default route.
            port: The port to listen on; 0 lets the system choose.
            timeout: Seconds after which a download that makes no progress, or a board or a remote source that sends
                nothing, times out.
            remove_created_on_close: Whether `close` removes what this object created (never anything else). None: it
                does in a directory, and not in a store.
            peer: The board's address: the server listens, and URLs point, on the side that faces it.
            advertise: What URLs contain instead: `http://host:port/prefix`, `host:port` or `host`.
            listing: Whether a directory without an index.html answers with a list of what is in it.
            dot_files: Whether to serve files with a leading dot that others put into the directory.
            read_only: Change nothing in `root_dir`, which must exist and need not be writable.
            only: Serve this one file of `root_dir`, or these files and directories of it, and nothing else.
            digests: Whether `NAME.sha256` answers with the digest of a file, as `sha256sum -c` reads it. It is not
                listed, and a file of that name takes precedence.
            max_records: How many requests `requests` keeps.
            max_connections: The most connections at a time. Beyond it the server closes the one that is idle longest;
                if none is idle, new ones wait. None: what fits the limit of descriptors.
            lost_after: Seconds without a sign of life after which a board counts as lost.
            strict_peer: Whether `start` raises AddressNotFound, rather than warn in the log, if `peer` is on no
                network of this host, or cannot reach the address that the server listens on.
            more_hosts: Where else to listen, on the same port: one address, name or interface, or several. URLs are not
                made of these, and one that `host` already includes changes nothing.
            root: The store to serve in place of a directory: a blocking opendal operator, whose own `root=` says which
                part of the store; or a URL with the service's options, such as `s3://bucket/part?region=eu-central-1`.
                docs/stores.md has recipes.
            cache_dir: Where to keep what is read from the store, for all processes of this user on this host. It must
                be on a local disk. None: a private temporary directory, deleted on close.
            cache_bytes: The most bytes of the store to keep on this host; 0: none. Default: 8 GiB.
            fresh_for: For how many seconds to take an object for unchanged after the store was asked about it; default
                0: the store is asked at each request.
            redirect: Whom to send on to the store, to fetch a file there by a URL that the store has signed. True:
                clients that are known to follow. Or patterns: of names, such as `*.raucb`, or of clients, such as
                `User-Agent: curl/*`. What they fetch there is not on record, and no wait sees it.
            look_timeout: For how many seconds the store may be silent when it is asked about an object; default 2. EDK2
                gives up after 5 without an answer.
            look_tries: How often it is asked then, before a board gets 503; default 2.
            read_timeout: For how many seconds it may send no byte of an object, until the read begins anew where it
                stopped; default 5.
            read_tries: How many times `read_timeout` this goes on, before an answer is cut; default 3, as lwIP of
                U-Boot gives up after 15 seconds.

        Raises:
            InvalidArgument: A value is invalid.
            Unsupported: The service of `root` cannot read, or cannot tell one version from another.
            NotFound: `root_dir` is relative, and the current directory is gone.
        """
        more = (more_hosts,) if isinstance(more_hosts, str) else tuple(more_hosts)
        validate(host, peer, advertise, port, more)
        checked_count("max_records", max_records)
        if max_connections is None:
            max_connections = most_connections()
        lost = checked_seconds("lost_after", lost_after)
        self._host = host
        self._port = port
        self._timeout = checked_seconds("timeout", timeout)
        self._peer = peer
        self._advertise = advertise
        exchanges = ExchangeLog(max_records)
        files = files_of(
            root_dir,
            root,
            Listeners(before_publish=exchanges.new_version, after_removal=exchanges.wake),
            StoreTerms(cache_dir, cache_bytes, fresh_for, redirect, look_timeout, look_tries, read_timeout, read_tries),
            remove_created=remove_created_on_close,
            read_only=read_only,
        )
        names = _only(only)
        site = Site(
            files.root, listing=listing, dot_files=dot_files, only=names, digests=digests, redirects=files.redirects
        )
        limits = Limits(timeout=self._timeout, lost=lost, connections=checked_count("max_connections", max_connections))
        self._log = exchanges
        self._claims = Claims(self._log)
        joined = Joined(files.root)
        self._root = joined
        self._look_at_store = files.look
        self._site = site
        listen = partial(_listen, site, self._log, host, more, peer, strict_peer, port, limits)
        self._life = Lifecycle(joined, self._log, listen)
        ways = Ways(self._life, peer, advertise)
        self._terms = WaitTerms(self._log, joined, site, self._life, ways)
        site.nearest = self._terms.nearest
        owner = _Owner()
        accessor = JoinedAccessor(joined, files.accessor)
        self._storage = Storage(accessor, timeout=self._timeout, owner=owner)
        self._owner = owner
        self._faults = Faults(site.rules, self._log, self._life)
        nearest = self._terms.nearest
        self._uploads = Uploads(site, self._claims, self._life, ways, nearest, joined, accessor, read_only=read_only)
        self._in_place = ServedInPlace(site, joined, exchanges)
        self._own_answers = OwnAnswers(site.rules, self._log, self._timeout)
        self._summary = Summary(self._life, joined, self._log, ways)
        self._watch: Watch | None = None
        weakref.finalize(owner, self._life.dispose)  # must not refer to this object, or it would live for ever

    # Starting and stopping

    def start(self, wait_for_address: float = 0.0) -> None:
        """Start the server. Returns once it answers requests, or at once if it already runs.

        Args:
            wait_for_address: Seconds to wait for an address that no interface has yet: that of `host`, or one on the
                network of `peer`, such as a USB network that is not up; default 0. A Ctrl-C ends the wait at once,
                and so does a `stop` or `close` in another thread.

        Raises:
            PortInUse: Another socket listens there.
            PortNotPermitted: This user may not listen on that port.
            AddressNotFound: No interface has the address, or no route leads to the peer.
            RootUnusable: The directory cannot be created or written, or is not a directory.
            ServerNotRunning: It was stopped while it waited for an address.
        """
        seconds = checked_seconds("wait_for_address", wait_for_address, zero=True)
        _started[id(self)] = self
        try:
            server = self._life.start(seconds)
        except PortInUse as error:
            from httpserve.notebook.reruns import make_room

            if not make_room((client for ref in _started.valuerefs() if (client := ref()) is not None), error):
                raise
            server = self._life.start(seconds)
        if server is not None:
            try:
                log.info("serving at port %d of %s", server.port, server.host)
            except BaseException:  # from a signal handler: a start that raises leaves no server
                self._life.stop(0.0)
                raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop the server and free the port. Blocks for at most `timeout` seconds while downloads finish.

        If it has to wait for downloads, one line of the log says so (INFO). Files stay; the server can be started
        again. If several threads stop it at once, downloads are cut as soon as the timeout of one of them is over.

        Args:
            timeout: Seconds that downloads may take before they are cut; default 5.

        Raises:
            ServerNotRunning: It is stopped already.
        """
        checked_seconds("timeout", timeout, zero=True)
        if not self._life.stop(timeout):
            raise ServerNotRunning(in_python("stop() needs a running server; this one is stopped already"))
        log.info("stopped")

    def close(self) -> None:
        """Stop the server if it runs, and remove what it created. Blocks as `stop` does; harmless when repeated."""
        if self._watch is not None:
            self._watch.server_end = "the server was closed"
        if self._life.close(STOP_SECONDS):
            log.info("stopped")
        self._site.rules.end()
        self._uploads.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    # Where it is

    @property
    def is_running(self) -> bool:
        """Whether the server answers requests."""
        return self._life.running() is not None

    def get_host(self) -> str:
        """Return the address that the server listens on, or would listen on if it were started now.

        Raises:
            AddressNotFound: The server is stopped, and no route leads to the peer or the name does not resolve.
        """
        server = self._life.running()
        return listen_host(self._host, self._peer) if server is None else server.host

    def get_port(self) -> int:
        """Return the port that the server listens on.

        Raises:
            ServerNotRunning: Nothing listens.
        """
        return self._running("get_port").port

    def get_url(self, path: StrPath = "", peer: str | None = None) -> str:
        """Return the URL of a file, or of the root without a `/` at the end.

        Args:
            path: A name on the server, such as `boot/Image`; it need not exist.
            peer: The board that will use the URL; None: that of the constructor.

        Raises:
            ServerNotRunning: Nothing listens.
            InvalidArgument: `peer` is neither a name nor an address.
            InvalidName: No file can have that name.
            AddressNotFound: No route leads to the peer.
        """
        return self._url(self._running("get_url"), path, peer)

    def command(
        self, name: StrPath, tool: str, *, peer: str | None = None, sha256: bool = True, **values: Value
    ) -> str:
        """Return the command line that fetches or sends a file, to type on a board. Blocks only to compute a digest.

        The digest of a file that was put here is known. For a file that others put into the directory it is computed,
        which takes as long as reading the file once; a Ctrl-C ends this. The digest is then kept for that version,
        unless the file had changed less than two seconds before.

        The line fails (in a shell: with a status other than 0) if the file does not arrive, or arrives changed and
        the board's client can see that. docs/boards.md says what each client needs.

        Args:
            name: The name on the server; for ostree that of the repository.
            tool: u-boot, u-boot-lwip, ipxe, grub, wget, busybox, curl, rauc, swupdate, ostree or python; to send a file
                (see `accept_uploads`) curl-upload, wget-upload, busybox-upload or python-upload.
            peer: The board that will use the line; None: that of the constructor.
            sha256: Whether the line compares the digest, where the board's client can and the file is there. False
                reads no file.
            values: `address=` (U-Boot; default `${loadaddr}`), `output=` (wget, busybox, curl, python; default the last
                part of the name), `device=` (wget, busybox, curl; written instead of a file), `use=` (GRUB; default
                `linux`), `ref=`, `remote=` and `repo=` (ostree), `file=` (those that send; default the last part of the
                name).

        Raises:
            ServerNotRunning: Nothing listens.
            InvalidArgument: There is no such tool or value, or the tool cannot use the URL.
            InvalidName: No file can have that name, or it is that of a directory (only ostree fetches those).
            AddressNotFound: No route leads to the peer.
            StorageError: The disk fails.
        """
        server = self._running("command")
        checked = checked_name(name, directory=fetches_directory(tool))
        wanted = Target(checked, self._url(server, name, peer))
        try:
            known = self._site.representation(checked)
            if sha256 and compares_digest(tool):
                stop = Latch()  # shielded, as an exception from a signal may look like a disk error
                read = partial(self._root.digest, checked, known.identity, None, stop)
                digest = known.sha256 or run_shielded(read, stop.open)
                wanted = wanted._replace(sha256=digest, size=known.validators.size)
        except (NotFound, NotPermitted):
            pass  # it need not be there yet
        except IsADirectory:
            if not fetches_directory(tool):
                raise InvalidName(os.fspath(name), f"it is a directory, and {tool} is for a file") from None
        return command(tool, wanted, values)

    def _url(self, server: Server, path: StrPath, peer: str | None) -> str:
        whom = self._peer if peer is None else peer
        base = advertised(server.host, server.port, peer=whom, advertise=self._advertise)
        name = checked_name(path, directory=True)
        if not name:
            return base
        slash = "/" if os.fspath(path).endswith("/") else ""
        return f"{base}/{url_path(name)}{slash}"

    def _running(self, call: str) -> Server:
        server = self._life.running()
        if server is None:
            raise ServerNotRunning(in_python(f"{call}() needs a running server; call start() first"))
        return server

    # What happened

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The latest requests, oldest first. Blocks for 0.5 s at most, while the acknowledgment of an answer is due.

        A client has received what its TCP has acknowledged. TCP may delay an acknowledgment for a moment.
        """
        self._log.await_due()
        return Records(self._log.requests())

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The latest transfers of files' content, those under way included, oldest first. Blocks for a moment only.

        Each is one answer, as it is now: a client that asks for ranges gets many.
        """
        return Records(self._log.transfers())

    @property
    def connections(self) -> dict[str, int]:
        """How many connections each address has made, with or without requests. Blocks for a moment only."""
        return self._log.connections()

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The latest requests for missing files, oldest first, each with the most similar names that exist now.

        Blocks while the disk lists the directory.
        """
        requests = self._log.missing()
        found = self._terms.nearest([name_asked(request.target) for request in reversed(requests)])
        return Records(
            Missing(request.time, request.client, name, found[name])
            for request in requests
            for name in [name_asked(request.target)]
        )

    def requests_for(
        self, name: StrPath | None = None, *, client: str | None = None, wait: bool = True
    ) -> tuple[RequestRecord, ...]:
        """Return the latest requests for a name, from a board, oldest first.

        Blocks for 0.5 s at most, while the acknowledgment of such an answer is due. This does not affect waits, and
        the server may be stopped. Like `requests`, it returns only the latest `max_records`, and may miss older ones.

        Args:
            name: What they ask for, in any spelling, whether such a file exists or not; None: anything.
            client: The address of the board, in any spelling; None: any.
            wait: False: do not block, and return what is acknowledged so far. Use it in a loop.

        Raises:
            InvalidName: No file can have that name.
            InvalidArgument: `client` is not an address.
        """
        checked = None if name is None else checked_name(name, directory=True)
        where = None if client is None else address(client)
        asked = RequestFilter(checked, client=where)
        if wait:
            self._log.await_due(asked.fits)
        return Records(self._claims.requests_for(asked))

    def events(
        self, since: int | None = None, timeout: float | None = None, kinds: str | Collection[str] | None = None
    ) -> tuple[Event, ...]:
        """Block until something happens on the server, and return it: events in order, each with a number.

        To read on, pass the number of the last event as `since`. A Ctrl-C ends it at once. Without a time-out an empty
        tuple means that no more can come: the server does not run. The last event of a run is `stopped`.

        Args:
            since: The number of the last event that was seen: the events after it are returned, at once if there are
                any. 0: all that are remembered. None: those from now on. The server remembers at least three events for
                each of its `max_records`; if more have come, the first one returned is `forgotten`, and says how many
                are gone.
            timeout: Seconds to wait; None: for ever; 0: return what there is.
            kinds: Which events: one kind or several of `started`, `stopped`, `connected`, `begun`, `progress`, `ended`,
                `downloaded`, `uploaded`, `missing`, `version` and `forgotten`; None: all.

        Raises:
            InvalidArgument: There is no such kind, or `since` is not the number of an event.
        """
        wanted = checked_kinds(kinds)
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)
        latest = self._log.latest_event
        if since is None:
            since = latest
        elif isinstance(since, bool) or not isinstance(since, int) or not 0 <= since <= latest:
            raise InvalidArgument(f"since must be the number of an event, up to {latest}, not {quoted_value(since)}")
        return next_events(self._log, since, timeout, wanted, self._terms.nearest)

    # Waiting

    @overload
    def wait_for_download(  # type: ignore[overload-overlap]  # an int may be 1, and is a number of clients then
        self,
        name: StrPath,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = 5.0,
        client: Client | None = None,
        clients: Literal[1] = 1,
        since: float | None = None,
        progress: Progress = None,
    ) -> DownloadRecord: ...
    @overload
    def wait_for_download(
        self,
        name: StrPath,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = 5.0,
        client: None = None,
        clients: Clients,
        since: float | None = None,
        progress: Progress = None,
    ) -> list[DownloadRecord]: ...
    def wait_for_download(
        self,
        name: StrPath,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = IDLE_SECONDS,
        client: Client | None = None,
        clients: Clients = 1,
        since: float | None = None,
        progress: Progress = None,
    ) -> DownloadRecord | list[DownloadRecord]:
        """Block until a client has received the current version of a file, or as much of it as is wanted.

        A byte counts once the client's TCP has acknowledged it; the bytes may come in one response or in many ranges,
        over any number of connections. What came since the last `put_file` of that name counts even if it came before
        this call; what came of older content does not. A wait that returns a board's download uses up what that board
        has fetched of the name until then; what other boards have fetched stays for the next wait. What a wait
        for a part returns still counts for a later wait for more. A `client` function and `since` see only the latest
        `max_records` requests. A Ctrl-C ends the wait at once.

        Args:
            name: The name on the server.
            timeout: Seconds to wait; None: for ever. After that, an answer that the system has in full gets 45 ms more.
            until: `"all"`: every byte; `"started"`: the first one; `"idle"`: some came, and nothing more for `idle`
                seconds, for clients that never take it all (RAUC, SWUpdate's delta, zchunk, sanboot); a fraction (a
                float up to 1.0); a number of bytes (an int).
            idle: Seconds, for `until="idle"`; default 5.
            client: The address of the board that must have it, or a function that is called with each request (a
                `RequestRecord`, its `fields` included) and returns whether it counts; None: any board. The function is
                called in this thread, while an answer is under way and again at its end; its exceptions end the wait.
            clients: How many boards must have it, or a list of their addresses; default 1.
            since: Count requests since this time, in seconds since the epoch, whatever earlier waits returned.
            progress: Called in this thread with the bytes received and those wanted in all, over all boards of the
                wait, when they change; True: a bar.

        Returns:
            The record; a list of records when `clients` is not 1.

        Raises:
            WaitTimeout: It did not happen in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped or closed meanwhile; raised at once.
            InvalidName: No file can have that name, or it is a URL.
            NotFound: There is no such file (any more), or it is never served (`only`, `dot_files`); raised at once, or
                within half a second where others removed it.
        """
        whom = boards(client, clients)
        terms = self._terms.download(name, timeout, until, idle, whom)
        since = checked_since(since)
        records = wait_for_download(self._claims, terms, since=since, progress=progress)
        return records[0] if clients == 1 else records

    def expect_download(
        self,
        name: StrPath,
        timeout: float | None = None,
        *,
        until: Until = "all",
        idle: float = IDLE_SECONDS,
        client: Client | None = None,
        clients: Clients = 1,
        progress: Progress = None,
    ) -> ExpectedDownload:
        """Return a context manager that waits, at the end of its block, for a download that begins inside it.

        Only requests inside the block count. If the block raises, the exception propagates and there is no wait. The
        call itself, and entering, return at once.

        Args:
            name: The name on the server.
            timeout: Seconds to wait at the end of the block; None: for ever.
            until: `"all"`, `"started"`, `"idle"`, a fraction (a float up to 1.0) or a number of bytes (an int).
            idle: Seconds, for `until="idle"`; default 5.
            client: The address of the board that must have it, or a function of its request; None: any board.
            clients: How many boards must have it, or a list of their addresses; default 1.
            progress: Called with the bytes received and those wanted in all while the end of the block waits; True: a
                bar.

        Returns:
            A context manager whose `record` (or `records`) has the result after the block.

        Raises:
            ServerNotRunning: The server does not run.
            InvalidName: No file can have that name, or it is a URL.
            NotFound: There is no such file, or it is never served.
        """
        terms = self._terms.download(name, timeout, until, idle, boards(client, clients))
        terms.current()
        return ExpectedDownload(self._claims, terms, progress, is_one=clients == 1)

    def wait_for_request(
        self,
        name: StrPath | None = None,
        *,
        method: str | None = None,
        status: int | None = None,
        client: Client | None = None,
        timeout: float | None = None,
        since: float | None = None,
    ) -> RequestRecord:
        """Block until a matching request has come. A Ctrl-C ends it at once.

        It returns when the answer begins to leave. If all of the answer leaves at once, it waits for the
        acknowledgment, 0.5 s at most, even beyond `timeout`. A request since the last `put_file` of the name counts.
        A wait that returns a board's request uses up what that board has asked for until then, for waits with the same
        arguments; what other boards have asked for stays for the next wait.

        Args:
            name: What the request asks for, whether such a file exists or not; None: anything.
            method: Its method, such as `GET`; None: any. Methods of HTTP may be written in lower case too; others are
                compared exactly.
            status: The status code of its answer; None: any.
            client: The address of the board, or a function that is called with the `RequestRecord` and returns whether
                it counts. The function is called in this thread, once for each request, when its answer begins.
            timeout: Seconds to wait; None: for ever.
            since: Count requests since this time, in seconds since the epoch.

        Raises:
            InvalidArgument: No request can match.
            InvalidName: Nothing can have that name, or it is a URL.
            WaitTimeout: None came in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped meanwhile.
        """
        terms = self._terms.request(name, method, status, client, timeout)
        return wait_for_request(self._claims, terms, since=checked_since(since))

    def expect_request(
        self,
        name: StrPath | None = None,
        *,
        method: str | None = None,
        status: int | None = None,
        client: Client | None = None,
        timeout: float | None = None,
    ) -> ExpectedRequest:
        """Return a context manager that waits, at the end of its block, for a request that comes inside it.

        Arguments and errors are those of `wait_for_request`. If the block raises, the exception propagates and there is
        no wait.
        """
        return ExpectedRequest(self._claims, self._terms.request(name, method, status, client, timeout))

    # Back from the board

    def accept_uploads(
        self, name: StrPath, max_bytes: int = MAX_BYTES, *, overwrite: bool = False, count: int | None = None
    ) -> AcceptedUploads:
        """Let boards send a file, from now on. Does not block; the server need not run.

        A board sends it by PUT or POST to its URL, or by a form (multipart/form-data). It is stored in one step once
        all of it has come, and is then part of `storage`, served, and removed by `close` like a file that was put.
        Nothing else is accepted. This stays in force over `stop`, until it is closed, has taken `count` uploads, or the
        client is closed. If several fit a name, the latest one counts.

        Args:
            name: A name on the server; or a directory, such as `logs/`, for any file below it. `/` is for any file.
            max_bytes: The most bytes that one request may bring; default 64 MiB.
            overwrite: Whether an upload may replace a file that is there.
            count: How many uploads are taken; None: any number.

        Returns:
            A handle with `close`, which is also a context manager.

        Raises:
            InvalidName: No file can have that name.
            InvalidArgument: A value is invalid, or the name would not be served (`only`).
            NotPermitted: The directory is served read-only.
        """
        return self._uploads.accept(name, max_bytes, overwrite=overwrite, count=count)

    @property
    def accepted_uploads(self) -> tuple[AcceptedUploads, ...]:
        """What boards may send now, the oldest first. Does not block."""
        return self._uploads.in_force()

    def expect_upload(
        self,
        name: StrPath,
        timeout: float | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        overwrite: bool = False,
        client: UploadClient | None = None,
    ) -> ExpectedUpload:
        """Accept a file for a `with` block, and wait at its end until it is there.

        The call itself, and entering, return at once. Only what comes inside the block counts. If the block raises, the
        exception propagates and there is no wait. Afterwards the file is accepted no more.

        Args:
            name: As for `accept_uploads`.
            timeout: Seconds to wait at the end of the block; None: for ever.
            max_bytes: The most bytes that one request may bring; default 64 MiB.
            overwrite: Whether it may replace a file that is there.
            client: The address of the board, or a function of the `UploadRecord` that returns whether it counts; None:
                any board.

        Returns:
            A context manager whose `record` has the upload after the block.

        Raises:
            ServerNotRunning: The server does not run.
            InvalidName: No file can have that name.
            InvalidArgument: A value is invalid, or the name would not be served (`only`).
            NotPermitted: The directory is served read-only.
        """
        return self._uploads.expect(name, timeout, max_bytes, overwrite=overwrite, client=client)

    def wait_for_upload(
        self,
        name: StrPath,
        timeout: float | None = None,
        *,
        client: UploadClient | None = None,
        since: float | None = None,
    ) -> UploadRecord:
        """Block until a board has sent a file that was accepted, and it is in its place. A Ctrl-C ends it at once.

        An upload that came before this call counts. Each is returned by one wait, the oldest first.

        Args:
            name: A name on the server, or a directory, such as `logs/`, for any file below it.
            timeout: Seconds to wait; None: for ever.
            client: The address of the board, or a function that is called with each `UploadRecord` and returns whether
                it counts; None: any board.
            since: Count uploads since this time, in seconds since the epoch, whatever earlier waits returned.

        Raises:
            WaitTimeout: It did not come in time; the message says what did.
            ServerNotRunning: The server does not run, or was stopped meanwhile.
            InvalidName: No file can have that name.
        """
        return self._uploads.wait(name, timeout, client, checked_since(since))

    @property
    def uploads(self) -> tuple[UploadRecord, ...]:
        """The latest uploads, completed or not, oldest first; at most `max_records`. Blocks for a moment only."""
        return Records(self._uploads.records())

    # Wrong on purpose

    def fault(
        self,
        name: StrPath | None,
        *faults: Fault,
        times: int | None = None,
        after: int = 0,
        client: str | None = None,
        method: str | None = None,
        seed: int | str | None = None,
    ) -> FaultHandle:
        """Let answers be wrong on purpose, from now on. Does not block; the server need not run.

        It stays in force over `stop`, until it is cleared, has had its `times`, or the client is closed. If several are
        for the same request, the latest one holds. Only answers that a fault changes count: a `Cut(0.5)` does not
        concern a request for the first quarter.

        Args:
            name: A name, in any spelling, whether there is such a file or not; or a pattern of names, in which `*`, `?`
                and `[...]` stand for other characters; None: every request.
            faults: Faults of `httpserve.faults`. They apply in this order.
            times: How many answers they change; None: all.
            after: How many answers they would change are let through first; default 0.
            client: The address of the board; None: any.
            method: Such as `GET`; None: any.
            seed: Decides what faults leave to chance: with the same one, the same requests meet the same faults. None:
                a new one, which `seed` of the handle tells.

        Returns:
            A handle, which is also a context manager that clears them.

        Raises:
            InvalidArgument: A value is invalid, or `Refuse`, which knows no name, comes with one or with other faults.
            InvalidType: Something is not a fault.
            InvalidName: No file can have that name.
        """
        return self._faults.add(name, faults, times=times, after=after, client=client, method=method, seed=seed)

    @property
    def faults(self) -> tuple[FaultHandle, ...]:
        """The faults in force, the oldest first. Does not block."""
        return self._faults.in_force()

    def clear_faults(self) -> None:
        """End all faults. Does not block; harmless when repeated. What is under way goes on as it began."""
        self._faults.clear()

    def hold(self, name: StrPath | None, at: int | float = 0.5, client: str | None = None) -> Hold:
        """Let answers stop before one byte until they are released, from now on. Does not block.

        What is held takes no thread. The server does not give it up, but a board that leaves, or is lost, ends it. The
        board's own time-outs go on.

        Args:
            name: As for `fault`.
            at: Before which byte of the file: its number, a fraction (a float from 0.0 to 1.0; default 0.5), or,
                negative, counted from the end. 0: before the head.
            client: The address of the board; None: any.

        Returns:
            A handle with `wait` and `release`. Used with `with`, it releases at the end of the block.

        Raises:
            InvalidArgument: A value is invalid.
            InvalidName: No file can have that name.
        """
        return self._faults.hold(name, at, client)

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The holds in force, the oldest first. Does not block."""
        return self._faults.holds()

    # Answers of your own

    def respond(
        self,
        path: StrPath | None,
        answer: Answer,
        *,
        method: str | None = None,
        status: int = 200,
        headers: FieldsGiven | None = None,
        times: int | None = None,
        timeout: float | None = None,
    ) -> Handle:
        """Answer requests for a path with this instead of a file, from now on. Does not block; the server need not run.

        It stays in force over `stop`, until it is cleared, has had its `times`, or the client is closed; then the file
        of that name shows again, or 404. Of several for the same request the latest holds. Faults and holds apply to
        these answers as to any other. A request may have content, 16 MiB at most; its record has the first 16 KiB.

        Args:
            path: The path as text, such as `/api/status`, without a query; or a pattern, in which `*` and `[...]` stand
                for other characters. A `/` at its end matters, one at its beginning does not. None: every request.
            answer: Bytes, text, a dict (sent as JSON), None (204, no content); or a function, which is called with
                werkzeug's `Request` in a thread of its own, and returns one of these, a list (sent as JSON) or a
                werkzeug `Response`. A list or tuple is one of these after the other: each client gets the first one
                first, and the last one stays. So a list as JSON is in a list of its own: `[[1, 2]]`.
            method: Such as `POST`; None: any.
            status: The status of the answer, unless a function returns a `Response`; default 200.
            headers: Further fields, by name, likewise.
            times: How many requests it is for; None: all.
            timeout: Seconds that the function may take, before the client gets 504; None: as in the constructor.

        Returns:
            A handle, which is also a context manager that ends it. Its `hits` are the records of the requests.

        Raises:
            InvalidArgument: A value is invalid, or a path has a query.
            InvalidType: Something cannot be an answer.
        """
        return self._own_answers.respond(
            path, answer, method=method, status=status, headers=headers, times=times, timeout=timeout
        )

    def mount(self, prefix: StrPath, wsgi_app: WSGIApplication, *, timeout: float | None = None) -> Handle:
        """Let a WSGI app (one of Flask, for example) answer for a path and all below it. Does not block.

        The app runs in a thread of its own for each request. It gets the prefix as SCRIPT_NAME, and the rest of the
        path as PATH_INFO. All else is as for `respond`.

        Args:
            prefix: The path, such as `/api`; `/`: everything.
            wsgi_app: The app.
            timeout: Seconds that it may take until its answer begins, before the client gets 504, and then for each
                piece of it; None: as in the constructor.

        Returns:
            A handle, which is also a context manager that ends it.

        Raises:
            InvalidArgument: The prefix is no path.
            InvalidType: That is no app.
        """
        return self._own_answers.mount(prefix, wsgi_app, timeout=timeout)

    @property
    def own_answers(self) -> tuple[Handle, ...]:
        """What `respond` and `mount` have put in force, the oldest first. Does not block."""
        return self._own_answers.in_force()

    # Why nothing arrives

    def doctor(self) -> Report:
        """Examine the server, this host and the route to the board; say what may be wrong and what to do.

        Blocks for some milliseconds, at most about 2 s where the server does not answer, and 10 s where a store does
        not. Changes nothing, sends nothing beyond this host but to the store that is served, and needs no rights; the
        server may be stopped. Its request to the server has no record.

        Returns:
            The findings: whether the server listens and answers, which URL is for which network, the route to `peer`
            and whether the board was ever seen, containers and virtual machines, firewalls, missing names, connections;
            whether the store answers, lets this user in, lists, holds a read to one version, and agrees about the time,
            and whether its cache has room.
        """
        from httpserve.doctor import Situation, examine  # on first use: most scripts never ask

        server = self._life.running()
        return examine(
            Situation(
                host=self._host,
                peer=self._peer,
                advertise=self._advertise,
                port=self._port if server is None else server.port,
                bound=None if server is None else with_zone(server.host),
                since=self._life.started_at,
                requests=self.requests,
                missing=self.missing,
                connections=self._log.connections(),
                probe=self._site.probe,
                faults=tuple(map(str, (*self.faults, *self.holds))),
                lost=self._in_place.lost(),
                store=None if self._look_at_store is None else self._look_at_store(),
            )
        )

    # Files

    def put_file(
        self,
        dst: StrPath,
        src: StrPath,
        operator: opendal.Operator | None = None,
        *,
        sha256: str | None = None,
        progress: Progress = None,
        timeout: float | None = None,
        headers: FieldsGiven | None = None,
        content_type: str | None = None,
        decompress: bool | Literal["auto"] = False,
        max_bytes: int | None = None,
        always: bool = False,
        overwrite: bool = True,
    ) -> str:
        """Put a file where boards can fetch it, in one step. Blocks until the copy is complete.

        A board gets the whole old file or the whole new one. If the copy fails or is interrupted, the old one stays.

        What is unchanged since it was put under this name is not copied again: the same file, which had not changed for
        two seconds when it was read; or an object or a URL with the same strong ETag. It counts as put anew, for waits
        too. The log says whether it was copied (INFO).

        Args:
            dst: The name on the server; a leading `/` makes no difference.
            src: A local path, an http(s) URL, or a path on `operator`. With a whole URL the operator is not used.
            operator: A blocking OpenDAL operator of any service, with any layers.
            sha256: The digest that the bytes must have: 64 hexadecimal digits, also with `sha256:` before them or a
                file's name after them, as `sha256sum` prints it.
            progress: Called with the bytes so far and the total (None when unknown) at each chunk; True: a bar.
            timeout: Seconds after which a remote source that sends nothing times out; default: as in the constructor.
            headers: Further fields of answers with this file, by name, or others in place of what is said otherwise
                (`Cache-Control`). They hold until the file is put again, or changed.
            content_type: What Content-Type says; None: what the name tells.
            decompress: True: the source is compressed by gzip, xz, bzip2 or zstd, and boards get what is in it; the
                digest is of that. "auto": one that is not compressed is taken as it is. zstd needs the extra `[zstd]`
                before Python 3.14.
            max_bytes: The most that may come out of a compressed source; default: 16 GiB.
            always: Copy it although it is unchanged.
            overwrite: Whether it may replace what has that name. If not, and something has, nothing is copied; another
                host or program may still come first, which the disk, or the store, then tells.

        Returns:
            The URL of the file.

        Raises:
            ServerNotRunning: Nothing listens; no byte was copied.
            InvalidName: No file can have that name.
            InvalidArgument: A field cannot be sent, or is the server's to say, such as Content-Length or ETag.
            AlreadyExists: There is something of that name, and it may not be replaced.
            SourceNotFound: The source does not exist.
            SourceStalled: The source sent nothing for `timeout` seconds.
            DigestMismatch: The bytes do not have the digest `sha256`.
            CopyFailed: The source failed in another way, or what is compressed is damaged, incomplete, larger than
                `max_bytes`, or has something else behind it.
            StorageError: The served directory failed.
        """
        server = self._running("put_file")
        fields = fields_of_file(headers, content_type)
        with self._putting(server, dst):
            self._storage.store(
                dst,
                src,
                operator,
                sha256=sha256,
                progress=progress,
                timeout=timeout,
                fields=fields,
                decompress=decompress,
                max_bytes=max_bytes,
                always=always,
                overwrite=overwrite,
            )
        return self._url(server, dst, None)

    def put_tree(
        self,
        dst: StrPath,
        src: StrPath,
        operator: opendal.Operator | None = None,
        *,
        include: str | Collection[str] = (),
        exclude: str | Collection[str] = (),
        delete: bool = False,
        always: bool = False,
        threads: int | None = None,
        progress: Progress = None,
        timeout: float | None = None,
    ) -> TreeReport:
        """Put all files below a directory where boards can fetch them, each in one step. Blocks until all were tried.

        What is unchanged since it was last put there is not copied again, as with `put_file`. If one file fails, the
        others are put all the same. A Ctrl-C ends the call at once: each file is then the old one or the new one.

        Symlinks are followed as long as they stay below `src`; one that leads elsewhere fails. Empty directories are
        not made. A file where the server has a directory fails, and so does one below what is a file there.

        Args:
            dst: The directory on the server; `/` is the root.
            src: A local directory, the http(s) URL of a directory that httpserve lists, or a path on `operator`.
            operator: A blocking OpenDAL operator of a service that can list.
            include: Only these files: one pattern, or several, as a shell has them (`*`, `?`, `[...]`, and `**/` for
                any directories). One with a `/` is for the path below `src`, one without is for any part of it, and one
                that fits a directory means all in it. Default: all.
            exclude: Not these, likewise.
            delete: Remove what else lies below `dst` once all files are there, whoever put it there, and names with a
                leading dot too. What `include` and `exclude` leave out stays.
            always: Copy what is unchanged, too.
            threads: How many files at a time; default: 1 from a local directory, else 8.
            progress: Called with the bytes so far and the total (None when unknown), some ten times a second; True: a
                bar.
            timeout: As for `put_file`.

        Returns:
            What became of each file.

        Raises:
            ServerNotRunning: Nothing listens; no byte was copied.
            SourceNotFound: There is no such directory.
            TreeFailed: Some files failed; its `report` says what became of each one, and its `errors` why.
            CopyFailed: The source cannot be listed.
            InvalidName: No directory can have that name.
            InvalidArgument, InvalidType: A pattern or a number is none.
            StorageError: What `delete` was to remove could not be removed.
        """
        server = self._running("put_tree")
        with self._putting(server, dst):
            return self._storage.store_tree(
                dst,
                src,
                operator,
                include=include,
                exclude=exclude,
                delete=delete,
                always=always,
                threads=threads,
                progress=progress,
                timeout=timeout,
            )

    def put_files(
        self,
        files: Mapping[str, StrPath],
        operator: opendal.Operator | None = None,
        *,
        always: bool = False,
        threads: int | None = None,
        progress: Progress = None,
        timeout: float | None = None,
    ) -> TreeReport:
        """Put several files where boards can fetch them, each in one step. Blocks until all were tried.

        Args:
            files: The source of each by its name on the server; a source is what `put_file` takes.
            operator: As for `put_file`, for all of them.
            always: As for `put_tree`, and so are all below.
            threads: How many files at a time; default: 1 if all are local, else 8.
            progress: Called with the bytes so far and the total, which is None until the end; True: a bar.
            timeout: As for `put_file`.

        Returns:
            What became of each file.

        Raises:
            ServerNotRunning: Nothing listens; no byte was copied.
            TreeFailed: Some files failed; its `report` says what became of each one, and its `errors` why.
            InvalidName: No file can have one of the names; no byte was copied.
        """
        server = self._running("put_files")
        with self._putting(server, "files"):
            return self._storage.store_files(
                files, operator, always=always, threads=threads, progress=progress, timeout=timeout
            )

    @contextlib.contextmanager
    def _putting(self, server: Server, dst: StrPath) -> Iterator[None]:
        """Tell an end of the server from an error of the copy, and fold what a notebook shows of a Ctrl-C."""
        try:
            yield
        except (StorageError, CopyFailed) as error:
            if self._life.running() is not server:
                raise ServerNotRunning(f"the server was stopped before {os.fspath(dst)!r} was put") from error
            raise
        except KeyboardInterrupt as error:
            fold(error)
            raise

    def serve(self, name: StrPath, path: StrPath) -> str:
        """Serve a local file or directory under a name, where it lies: nothing is copied, and nothing written there.

        Blocks for the disk, and for the root, for one look at each. Boards get what is there when they ask: a file that
        others replace is a new version, and one that they remove is missing. All else is as for files of the root:
        ranges, `NAME.sha256`, lists, waits, `only` and `dot_files`. Below a directory, a symlink that leads out of it
        is not followed. A `path` that is a symlink is followed now; if it leads to a file in its own directory, or
        below that, at each request.

        It stays in force over `stop`, until `unserve`, or until the client is closed. Called again with another path,
        this replaces it; with the same path it is harmless. A file that others put into the root later, under this name
        or below it, is hidden; `storage` and uploads refuse to write there.

        Args:
            name: The name on the server, such as `boot/Image` for a file, or `boot` for a directory.
            path: A file or directory of this host.

        Returns:
            The URL of the name.

        Raises:
            ServerNotRunning: Nothing listens.
            NotFound: There is nothing at `path`.
            NotPermitted: This user may not read it, or it is a device, a fifo or the like.
            AlreadyExists: The root has a file or directory of that name.
            NotADirectory: A part of the name is a file.
            InvalidName: No file can have that name.
            InvalidArgument: `only` does not name it, or `path` is a URL: `put_file` serves a copy of what it has.
        """
        server = self._running("serve")
        self._in_place.serve(name, path)
        return self._url(server, name, None)

    def unserve(self, name: StrPath) -> None:
        """End what `serve` has begun under a name. Does not block; harmless when nothing is served in place there.

        Downloads under way go on to their end. Nothing is removed from the disk.

        Raises:
            InvalidName: No file can have that name.
        """
        self._in_place.unserve(name)

    @property
    def served_in_place(self) -> dict[str, str]:
        """What `serve` serves now: the path of each name. Does not block."""
        return self._in_place.paths()

    @property
    def storage(self) -> Storage:
        """The served files, with the methods of Jumpstarter's OpenDAL client."""
        return self._storage

    @property
    def children(self) -> dict[str, Storage]:
        """The storage, where users of Jumpstarter's composite client expect it: `children["storage"]`."""
        return {"storage": self._storage}

    # How it shows itself

    def watch(self) -> Watch:
        """Show transfers below this cell of a notebook, as they happen. Returns at once.

        It ends with the server, at its `close()`, or at the next `watch()`. A notebook is saved with what
        it shows then.

        Raises:
            ServerNotRunning: Nothing listens.
            HttpServeError: This is not a Jupyter notebook; the message says what to do instead.
        """
        from httpserve.notebook.live_table import Watch

        self._running("watch")
        if self._watch is not None:
            self._watch.close()
        watch = self._watch = Watch(self)  # set before it starts: the next call closes it whatever a signal raises
        watch.start()
        return watch

    def __repr__(self) -> str:
        return self._summary.line()

    def _repr_html_(self) -> str:
        return self._summary.page()


def _only(given: str | Collection[str] | None) -> list[str]:
    """Return the checked names that `only` gives; none of them: everything is served."""
    if given is None:
        return []
    names = [checked_name(given)] if isinstance(given, str) else [checked_name(name.rstrip("/")) for name in given]
    if not names:
        raise InvalidArgument("only names nothing; give a name, or leave it out to serve all of root_dir")
    return names


def _listen(
    site: Site,
    exchanges: ExchangeLog,
    host: str | None,
    more_hosts: Collection[str],
    peer: str | None,
    strict_peer: bool,
    port: int,
    limits: Limits,
    is_awaited: bool,
) -> Server:
    hosts = listen_hosts(host, more_hosts, peer, is_awaited=is_awaited)
    if peer is not None:
        check_peer(hosts[0], peer, is_strict=strict_peer)
    sockets = listening(hosts, port, partial(tcp.listen, lost_seconds=limits.lost))
    bound = sockets[0].getsockname()[1]
    try:
        server = Server(sockets, site, exchanges, limits)
        site.rules.follow(server)
        return server
    except OSError as error:  # out of descriptors
        raise bind_error(error, hosts[0], bound) from error
