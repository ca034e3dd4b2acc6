"""`HttpServerClient`: joins the rooms below into plain blocking calls, and builds URLs.

Knows when the server runs. Does not know sockets, WSGI or chunks.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from httpserve.base.arguments import checked_count, checked_seconds
from httpserve.base.log import logger
from httpserve.base.text import url_path
from httpserve.client.commands import Target, Value, command, fetches_directory
from httpserve.client.lifecycle import Lifecycle
from httpserve.client.observed import Observed
from httpserve.client.summary import Summary
from httpserve.errors import (
    CopyFailed,
    InvalidArgument,
    InvalidName,
    IsADirectory,
    NotFound,
    NotPermitted,
    ServerNotRunning,
    StorageError,
)
from httpserve.network.binding import bind, bind_error
from httpserve.network.choice import advertised, listen_host, validate
from httpserve.network.interfaces import with_zone
from httpserve.records.claims import Claims
from httpserve.records.log import MOST_RECORDS
from httpserve.server.limits import Limits, most_connections
from httpserve.server.server import Server
from httpserve.site.app import Site
from httpserve.storage.directory.changes import Listeners
from httpserve.storage.directory.names import checked_name
from httpserve.storage.directory.root import Root
from httpserve.storage.facade import Storage

if TYPE_CHECKING:
    import opendal

    from httpserve.doctor import Report
    from httpserve.notebook.live_table import Watch

log = logger("httpserve.client")

TIMEOUT_SECONDS = 600.0
STOP_SECONDS = 5.0

Path = str | os.PathLike[str]


class _Owner:
    """What the client and its storage hold in common: when both are forgotten, everything ends."""


class HttpServerClient(Observed):
    """A server for files that boards fetch over HTTP. Every method plainly blocks, and is safe from any thread.

    As a context manager it starts on entering, and is closed on leaving. An object that is forgotten, or alive
    when the interpreter exits, frees its port, threads and temporary directory by itself.
    """

    def __init__(
        self,
        root_dir: Path | None = None,
        host: str | None = None,
        port: int = 0,
        timeout: float = TIMEOUT_SECONDS,
        remove_created_on_close: bool = True,
        *,
        peer: str | None = None,
        advertise: str | None = None,
        listing: bool = True,
        dot_files: bool = False,
        read_only: bool = False,
        only: str | None = None,
        digests: bool = True,
        max_records: int = MOST_RECORDS,
        max_connections: int | None = None,
        lost_after: float = 30.0,
    ) -> None:
        """Remember the settings. Touches neither the disk nor the network.

        Args:
            root_dir: The directory to serve, made when missing; None: a private temporary one, gone on close.
            host: Where to listen, an address or a name. None: the address that faces `peer`, or without a peer
                the one that other hosts reach.
            port: The port to listen on; 0 lets the system choose.
            timeout: Seconds after which a download that makes no progress, or a remote source that sends
                nothing, is given up.
            remove_created_on_close: Remove on close what was created through this object, and nothing else.
            peer: The board's address: the server listens, and URLs point, on the side that faces it.
            advertise: What URLs say instead: `http://host:port/prefix`, `host:port` or `host`.
            listing: Whether a directory without an index.html answers with a list of what is in it.
            dot_files: Whether files with a leading dot are served that others put into the directory.
            read_only: Change nothing in `root_dir`, which must be there and need not be writable.
            only: Serve this one file of `root_dir`, and nothing beside it.
            digests: Whether `NAME.sha256` answers with the digest of a file that was put here, as `sha256sum -c`
                reads it. It is not listed, and a file of that name goes first.
            max_records: How many requests `requests` keeps.
            max_connections: The most connections at a time; beyond it the longest idle one makes room, else new
                ones wait. None: what fits the limit of descriptors.
            lost_after: Seconds without a sign of life after which a board is taken for lost.

        Raises:
            InvalidArgument: A value that nothing could be done with.
            NotFound: `root_dir` is relative, and the current directory is gone.
        """
        validate(host, peer, advertise, port)
        checked_count("max_records", max_records)
        if max_connections is None:
            max_connections = most_connections()
        lost = checked_seconds("lost_after", lost_after)
        self._host = host
        self._port = port
        self._timeout = checked_seconds("timeout", timeout)
        self._peer = peer
        self._advertise = advertise
        ledger = Claims(max_records)
        if read_only and root_dir is None:
            raise InvalidArgument("read_only=True needs a root_dir: a private directory would stay empty")
        root = Root(
            root_dir,
            remove_created=remove_created_on_close,
            read_only=read_only,
            told=Listeners(before_publish=ledger.new_version, after_removal=ledger.wake),
        )
        name = None if only is None else checked_name(only)
        site = Site(root, listing=listing, dot_files=dot_files, only=name, digests=digests)
        limits = Limits(timeout=self._timeout, lost=lost, connections=checked_count("max_connections", max_connections))
        life = Lifecycle(root, ledger, partial(_listen, site, ledger, host, peer, port, limits))
        super().__init__(ledger, root, site, life)
        owner = _Owner()
        self._storage = Storage(self._root, timeout=self._timeout, owner=owner)
        self._owner = owner
        self._shown = Summary(self._life, self._root, self._ledger, peer, advertise)
        self._watch: Watch | None = None
        weakref.finalize(owner, self._life.dispose)  # which must not know this object: it would live for ever

    # Starting and stopping

    def start(self, wait_for_address: float = 0.0) -> None:
        """Start the server. Returns when a request would be answered; on a running server at once.

        Args:
            wait_for_address: Seconds to wait for an address that no interface has yet: that of `host`, or one on the
                network of `peer`, such as that of a USB network which is not up; default 0. A Ctrl-C ends the wait
                at once, and so does a `stop` or `close` in another thread.

        Raises:
            PortInUse: Another socket listens there.
            PortNotPermitted: This user may not listen on that port.
            AddressNotFound: No interface has the address, or no route leads to the peer.
            RootUnusable: The directory cannot be made, or is not one that can be written.
            ServerNotRunning: It was stopped while it waited for an address.
        """
        if "IPython" in sys.modules and not self.is_running:
            from httpserve.notebook.reruns import before_start

            before_start(self, self._port)
        server = self._life.start(checked_seconds("wait_for_address", wait_for_address, zero=True))
        if server is not None:
            try:
                log.info("serving at port %d of %s", server.port, server.host)
            except BaseException:  # of a signal's handler: a start that raises leaves no server
                self._life.stop(0.0)
                raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop the server and free the port. Blocks while downloads under way finish, at most `timeout`.

        Files stay; the server can be started again. Where several threads stop it at once, downloads are cut as soon as
        the timeout of one of them is over.

        Args:
            timeout: Seconds that downloads may take before they are cut; default 5.

        Raises:
            ServerNotRunning: It does not run.
        """
        checked_seconds("timeout", timeout, zero=True)
        if not self._life.stop(timeout):
            raise ServerNotRunning("stop() needs a running server; this one is stopped already")
        log.info("stopped")

    def close(self) -> None:
        """Stop the server if it runs, and remove what was created. Blocks as `stop` does; harmless when repeated."""
        if self._life.close(STOP_SECONDS):
            log.info("stopped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Where it is

    def get_host(self) -> str:
        """Return the address that the server listens on, or would listen on if it were started now.

        Raises:
            AddressNotFound: It is stopped, and no route leads to the peer or the host's name does not resolve.
        """
        server = self._life.running()
        return listen_host(self._host, self._peer) if server is None else server.host

    def get_port(self) -> int:
        """Return the port that the server listens on.

        Raises:
            ServerNotRunning: Nothing listens.
        """
        return self._running("get_port").port

    def get_url(self, path: Path = "", peer: str | None = None) -> str:
        """Return the URL of a file, or of the root without a `/` at the end.

        Args:
            path: A name on the server, such as `boot/Image`; it need not exist.
            peer: The board that will use the URL; None: that of the constructor.

        Raises:
            ServerNotRunning: Nothing listens.
            InvalidArgument: That can be no board's name or address, such as an empty one.
            InvalidName: No file can have that name.
            AddressNotFound: No route leads to the peer.
        """
        return self._url(self._running("get_url"), path, peer)

    def command(self, name: Path, tool: str, *, peer: str | None = None, sha256: bool = True, **values: Value) -> str:
        """Return the line to type on a board so that it fetches a file. Reads no file, and does not block.

        The line fails (in a shell: with a status that is not 0) when the file does not come, or comes changed as far
        as the client can see: docs/boards.md has what each one needs.

        Args:
            name: The name on the server; for ostree that of the repository.
            tool: u-boot, u-boot-lwip, ipxe, grub, wget, busybox, curl, rauc, swupdate, ostree or python.
            peer: The board that will use the line; None: that of the constructor.
            sha256: Whether the line compares the digest of what came, where the client can and the file was put here.
            values: `address=` (U-Boot; default `${loadaddr}`), `output=` (wget, busybox, curl, python; default the last
                part of the name), `device=` (wget, busybox, curl; written instead of a file), `use=` (GRUB; default
                `linux`), `ref=`, `remote=` and `repo=` (ostree).

        Raises:
            ServerNotRunning: Nothing listens.
            InvalidArgument: There is no such tool or value, or that client cannot use the URL.
            InvalidName: No file can have that name, or it is a directory's (which ostree alone fetches).
            AddressNotFound: No route leads to the peer.
        """
        server = self._running("command")
        checked = checked_name(name, directory=fetches_directory(tool))
        wanted = Target(checked, self._url(server, name, peer))
        try:
            known = self._site.representation(checked)
        except (NotFound, NotPermitted):
            pass  # it need not be there yet
        except IsADirectory:
            if not fetches_directory(tool):
                raise InvalidName(os.fspath(name), f"it is a directory, and {tool} fetches a file") from None
        else:
            if sha256:
                wanted = wanted._replace(sha256=known.sha256, size=known.validators.size)
        return command(tool, wanted, values)

    def _url(self, server: Server, path: Path, peer: str | None) -> str:
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
            raise ServerNotRunning(f"{call}() needs a running server; call start() first")
        return server

    # Why nothing arrives

    def doctor(self) -> Report:
        """Look at the server, this host and the way to the board, and say what may be wrong and what to do.

        Blocks for some milliseconds, at most about 2 s where the server does not answer itself. Changes nothing,
        sends nothing beyond this host, and needs no rights; the server may be stopped. It asks itself for content of
        its own, of which no record is made.

        Returns:
            The findings: whether it listens and answers, which URL is for whom, the route to `peer` and whether that
            was ever seen, containers and virtual machines, firewalls, names that were missing, who has connected.
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
                connections=self._ledger.connections(),
                probe=self._site.probe,
            )
        )

    # Files

    def put_file(
        self,
        dst: Path,
        src: Path,
        operator: opendal.Operator | None = None,
        *,
        sha256: str | None = None,
        progress: Callable[[int, int | None], object] | bool | None = None,
        timeout: float | None = None,
    ) -> str:
        """Put a file where boards can fetch it, in one step. Blocks until the copy is complete.

        A board sees the old file whole or the new file whole. Whatever fails or interrupts leaves the old one.

        Args:
            dst: The name on the server; a leading `/` means the root.
            src: A local path, an http(s) URL, or a path on `operator`. A whole URL wins over an operator.
            operator: A blocking OpenDAL operator of any service, with any layers.
            sha256: The digest that the bytes must have, 64 hexadecimal digits.
            progress: Called with the bytes so far and the total (None when unknown) at each chunk; True: a bar.
            timeout: Seconds that a remote source may send nothing; default: that of the constructor.

        Returns:
            The URL of the file.

        Raises:
            ServerNotRunning: Nothing listens; no byte was copied.
            InvalidName: No file can have that name.
            SourceNotFound: There is no such source.
            SourceStalled: The source sent nothing for `timeout` seconds.
            DigestMismatch: The bytes are not those that `sha256` promised.
            CopyFailed: Anything else that went wrong with the source.
            StorageError: Anything that went wrong with the served directory.
        """
        server = self._running("put_file")
        try:
            self._storage.store(dst, src, operator, sha256=sha256, progress=progress, timeout=timeout)
        except (StorageError, CopyFailed) as error:
            if self._life.running() is not server:
                raise ServerNotRunning(f"the server was stopped before {os.fspath(dst)!r} was put") from error
            raise
        return self._url(server, dst, None)

    @property
    def storage(self) -> Storage:
        """The served files, with the methods of Jumpstarter's OpenDAL client."""
        return self._storage

    @property
    def children(self) -> dict[str, Storage]:
        """The storage as users of Jumpstarter's composite client reach it: `children["storage"]`."""
        return {"storage": self._storage}

    # How it shows itself

    def watch(self) -> Watch:
        """Show transfers below this cell of a notebook, as they happen. Returns at once.

        It ends with the server, when it is closed, or at the next `watch()`. Summary with ipywidgets where they are
        installed, else by an output that changes.

        Raises:
            ServerNotRunning: Nothing listens.
            HttpServeError: This is no Jupyter notebook; the message says what to do instead.
        """
        from httpserve.notebook.live_table import Watch

        self._running("watch")
        if self._watch is not None:
            self._watch.close()
        watch = self._watch = Watch(self)  # known before it starts: the next call closes it whatever a signal raises
        watch.start()
        return watch

    def __repr__(self) -> str:
        return self._shown.line()

    def _repr_html_(self) -> str:
        return self._shown.page()


def _listen(
    site: Site, ledger: Claims, host: str | None, peer: str | None, port: int, limits: Limits, is_awaited: bool
) -> Server:
    where = listen_host(host, peer, is_awaited=is_awaited)
    sock = bind(where, port)
    bound = sock.getsockname()[1]
    try:
        return Server(sock, site, ledger, limits)
    except OSError as error:
        raise bind_error(error, where, bound) from error
