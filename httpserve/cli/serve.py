"""`httpserve PATH` and `httpserve put SRC DST`: serve until a signal, or until the boards have what they need.

Knows exit codes and streams. Knows of the package only what it exports.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count, takewhile
from typing import Any

from httpserve import (
    CopyFailed,
    DownloadRecord,
    HttpServeError,
    HttpServerClient,
    InvalidArgument,
    IsADirectory,
    NotFound,
    PortInUse,
    ServerNotRunning,
    SourceNotFound,
    StorageError,
    WaitTimeout,
    __version__,
)
from httpserve.base.paths import shown_url
from httpserve.base.text import counted, printable
from httpserve.cli.arguments import EXIT_ERROR, Options, explained, explained_here
from httpserve.cli.json_events import UNDER_WAY, Event, EventFeed
from httpserve.cli.paths import Served, what_to_serve
from httpserve.cli.port_file import port_file, remove_stale
from httpserve.cli.qr import qr_code
from httpserve.cli.screen import Lines, LogTo, amount, amounts
from httpserve.cli.signals import Signals
from httpserve.cli.stream import Stream

LOOK_SECONDS = 0.1  # how often the command looks whether what --exit-after waits for is over
SCREEN_SECONDS = 1.0  # until a screen on which nothing happens notices that its size has changed
STOP_SECONDS = 5.0  # that a client which is closed gives to downloads under way
END_SECONDS, LOOKS_BEFORE_WORDS = 0.02, 5  # how often it looks whether they are over, before it says that it waits
TELLING_SHARE = 8  # telling takes at most one part in so many of the time of a processor; the boards have the others
MOST_REST_SECONDS = 0.25
COPYING_SECONDS = 0.1  # between two texts about the progress of a copy
STANDARD_INPUT = "/dev/stdin"
MAX_UPLOAD_BYTES = 64 * 1024 * 1024
LOOPBACK = "127.0.0.1"

Ends = dict[str, Future[list[DownloadRecord]]]  # of the waits for names


class ServeCommand:
    """One run of `httpserve PATH` or `httpserve put SRC DST`: URLs or events go to `out`, all else to `err`."""

    def __init__(self, options: Options, out: Stream, err: Stream, signals: Signals) -> None:
        self._options = options
        self._signals = signals
        self._out = out
        self._err = err
        wanted = options.progress if options.progress is not None else err.is_terminal and not options.json
        self._shows_progress = wanted and not options.quiet
        self._lines = _screen(err, tells_ends=not options.verbose) if self._shows_progress else Lines(err)
        self._feed: EventFeed | None = None
        self._unshown: list[Event] = []
        self._copying_at = 0.0
        self._is_copied = options.src is None
        self._is_typed = False  # whether SRC is what somebody types, below which no live line may be
        self._doing = "waiting for an address"  # nothing else takes long in the beginning
        self._began = time.monotonic()
        self._awaited: dict[str, int] = {}  # how many boards must have each name that some do not have yet
        self._ends: Ends = {}
        for name, boards in options.exit_after:
            self._awaited[name] = max(boards, self._awaited.get(name, 1))

    def run(self) -> int:
        """Serve until a signal or the end that was asked for, and return the exit code."""
        log_to(self._lines, self._options)
        code, reason, message = 0, "downloaded", ""
        try:
            try:
                self._serve()
            finally:
                self._signals.is_held = True
        except KeyboardInterrupt:
            reason = "signal"
            self._forget_what_boards_have()  # a download under way may have ended well after the signal
            if self._signals.latest == signal.SIGINT:
                self._lines.end_typed()
            if self._signals.is_time_over:
                code, reason = EXIT_ERROR, "error"
                message = f"ended after {self._options.timeout:g} s (--timeout), while {self._doing}"
            elif self._awaited:  # exit code 0 says that a board has it
                names = " and ".join(map(repr, self._awaited))
                was = "was" if len(self._awaited) == 1 else "were"
                code, message = EXIT_ERROR, f"ended by a signal before {names} {was} downloaded"
            elif not self._is_copied:
                code, message = EXIT_ERROR, "ended by a signal before SRC was copied"
        except HttpServeError as error:
            code, reason, message = EXIT_ERROR, "error", explained_here(error, self._options)
        self._signals.release()
        try:
            self._look(0)
            self._lines.close()
            self._tell(Event("stopped", {"reason": reason, "code": code, "message": message}))
            if message:
                self._lines.say(f"httpserve: {printable(message)}")
        except KeyboardInterrupt:  # the user does not wait for a slow reader
            self._out.give_up()
        finally:
            self._signals.is_held = True
            self._lines.leave()
        return code

    def _serve(self) -> None:
        options = self._options
        remove_stale(options.port_file)
        served = self._what_to_serve()
        if options.bind is None:
            options.more_hosts = (LOOPBACK,)  # for who tries the URL's port on this host
        try:
            self._serve_what(served)
        except PortInUse as error:
            if options.bind is not None or error.host != LOOPBACK:
                raise
            options.more_hosts = ()
            warning = f"httpserve: another program has port {options.port} on {LOOPBACK}, and answers there"
            self._serve_what(served, "" if options.quiet else warning)

    def _serve_what(self, served: Served | None, warning: str = "") -> None:
        """Serve until the end, and close. A warning is said once a server has the port."""
        client = client_for(served, self._options)
        with ThreadPoolExecutor(len(self._awaited) + 1, "httpserve-cli") as pool:
            # No context manager has the end: a signal that came on the way into it would leave the client open.
            try:
                self._serve_by(client, pool, served, warning)
            finally:
                try:
                    self._close(client, pool)
                except KeyboardInterrupt:  # it says to hurry, and nothing else of how the command has ended
                    self._signals.is_held = True  # what is left takes no time
                    with suppress(ServerNotRunning):
                        client.stop(0)
                    client.close()

    def _serve_by(
        self, client: HttpServerClient, pool: ThreadPoolExecutor, served: Served | None, warning: str
    ) -> None:
        options = self._options
        names: Sequence[str] = [options.dst.strip("/")] if served is None else served.names
        files: Sequence[str] = ([] if options.tree else names) if served is None else served.files()
        with self._signals.limited(options.timeout):
            self._begin(client, served)
            notes = self._what_to_type(client, files)
        names = ("", *names) if options.store else names
        urls = [client.get_url(name) for name in names] or [client.get_url()]
        url = urls[0] if len(urls) == 1 else client.get_url()
        picture = qr_code(url, self._err.encoding) if options.qr else ""
        if options.json or self._shows_progress:
            self._feed = EventFeed(client)
        with port_file(options.port_file, client.get_port()):
            for text in (warning, *(note.fields["text"] for note in notes), picture):
                if text:
                    self._lines.say(text)
            self._wait_for_boards(client, pool)
            self._say_ready(client, url, urls)  # the last lines, so that their reader has all others
            for note in notes:
                self._tell(note)
            self._until_the_end(client)

    def _what_to_serve(self) -> Served | None:
        """Return what the paths mean, and say where a bare port is used; None for `put`."""
        options = self._options
        if options.src is not None:
            return None
        served = what_to_serve(options.paths, is_beside=bool(options.store))
        self._awaited = {served.name_of(name): boards for name, boards in self._awaited.items()}
        options.faults = [said._replace(name=said.name and served.name_of(said.name)) for said in options.faults]
        if options.is_port_bare and not options.quiet:
            what = served.directory or shown_url(options.store) or " ".join(served.names)
            self._lines.say(f"httpserve: serving {printable(what)!r} at port {options.port}")
        return served

    def _begin(self, client: HttpServerClient, served: Served | None) -> None:
        """Start the server, and put what it has to serve: all that may take long before a board can ask."""
        options = self._options
        for said in options.faults:
            client.fault(said.name, *said.faults, **said.terms)
        if options.wait_for_address and self._err.is_terminal and not options.quiet:
            where = options.bind or (options.peer and f"the network of {options.peer}") or "an address"
            self._lines.begin(f"waiting up to {options.wait_for_address:g} s for {printable(where)}")
        client.start(options.wait_for_address)
        if options.src is not None:
            self._put(client, options.src)
        elif served is not None and served.directory is None:
            for name, path in served.paths.items():
                client.serve(name, path)
        try:
            for name in self._awaited:
                client.expect_download(name)  # which looks whether it is there
        except IsADirectory as error:
            raise IsADirectory(f"--exit-after: {error.name!r} is a directory; give a file in it", error.name) from error
        except NotFound as error:
            raise NotFound(f"--exit-after: {explained(error)}", error.name) from error

    def _put(self, client: HttpServerClient, src: str) -> None:
        options = self._options
        self._is_typed = src == "-" and sys.stdin is not None and sys.stdin.isatty()
        if self._is_typed and not options.quiet:
            self._lines.say("reading standard input; Ctrl-D ends it")
        self._copying(0, None)
        try:
            if options.tree:
                client.put_tree(options.dst, src, progress=self._copying)
            else:
                source = STANDARD_INPUT if src == "-" else src
                client.put_file(
                    options.dst,
                    source,
                    sha256=options.sha256,
                    decompress=options.decompress,
                    progress=self._copying,
                )
        except SourceNotFound as error:
            if not os.path.exists(options.dst):
                raise
            right = f"the source comes first: httpserve put {shlex.join((options.dst, src))}"
            raise SourceNotFound(f"{explained(error)}; {right}", error.source) from error
        except CopyFailed as error:
            if options.tree or not os.path.isdir(src):
                raise
            way = f"to serve a directory: httpserve {shlex.quote(src)}; to copy what is in it: --tree"
            raise CopyFailed(f"{explained(error)}; {way}") from error
        self._is_copied = True
        self._lines.busy("")

    def _copying(self, done: int, total: int | None) -> None:
        self._doing = f"copying SRC to {self._options.dst!r}: {amount(done)} of it were copied"
        now = time.monotonic()
        if not self._shows_progress or self._is_typed or now < self._copying_at + COPYING_SECONDS:
            return
        self._copying_at = now
        done_of_all = amount(done) if total is None else amounts(done, total)
        self._lines.busy(f"copying {printable(self._options.dst)}: {done_of_all}")

    def _what_to_type(self, client: HttpServerClient, files: Sequence[str]) -> list[Event]:
        """Return what --command shows. Takes as long as reading the files, where their digests are not known."""
        self._doing = "reading files for the digests that --command shows"
        if self._options.command and self._shows_progress:
            self._lines.busy("reading files for their digests")
        notes = [
            Event("command", {"tool": tool, "name": name, "text": client.command(name, tool)})
            for name in files or self._awaited
            for tool in self._options.command
        ]
        self._lines.busy("")
        return notes

    def _say_ready(self, client: HttpServerClient, url: str, urls: list[str]) -> None:
        options = self._options
        path: str | list[str] = options.src or ""
        if not path:
            paths = [shown_url(options.store), *options.paths] if options.store else options.paths
            path = paths if len(paths) > 1 else paths[0]
        where = {"url": url, "host": client.get_host(), "port": client.get_port()}
        self._tell(Event("listening", {**where, "path": path, "pid": os.getpid(), "version": __version__}))
        if not options.json:
            self._out.write("".join(f"{one}\n" for one in urls))
        if self._out.error is not None:
            raise StorageError(f"the URL {url} could not be written to stdout: {self._out.error.strerror}")

    def _wait_for_boards(self, client: HttpServerClient, pool: ThreadPoolExecutor) -> None:
        """Begin to wait, before anybody knows the URL: a signal may come as soon as a board has begun."""
        left = self._time_left()
        with self._signals.held():
            for name, boards in self._awaited.items():
                self._ends[name] = pool.submit(client.wait_for_download, name, left, clients=boards)

    def _until_the_end(self, client: HttpServerClient) -> None:
        ends = self._ends
        while not ends or self._awaits(ends):
            self._look(LOOK_SECONDS if ends else SCREEN_SECONDS)
            if self._out.error is not None:
                raise StorageError(f"events could not be written to stdout any more: {self._out.error.strerror}")
            if not ends and not client.is_running:
                raise ServerNotRunning("the server has stopped")
        self._look(0)
        with self._signals.held():
            failed = _failures(ends)
        late = [error for error in failed if isinstance(error, WaitTimeout)]
        if len(late) == len(failed) > 1:
            raise HttpServeError("; ".join(map(explained, late)))
        for error in failed:
            raise error

    def _awaits(self, ends: Ends) -> bool:
        """Tell whether to wait on: a wait is under way, and none has failed but by its timeout, which all have."""
        with self._signals.held():
            self._forget_what_boards_have()
            is_lost = any(not isinstance(error, WaitTimeout) for error in _failures(ends))
            return not is_lost and not all(end.done() for end in ends.values())

    def _forget_what_boards_have(self) -> None:
        for name, end in self._ends.items():
            if end.done() and end.exception() is None:
                self._awaited.pop(name, None)

    def _time_left(self) -> float | None:
        """Return what of --timeout is left, which begins with the command; less than 0.1 s are not worth a word."""
        timeout = self._options.timeout
        return None if timeout is None else max(0.0, round(timeout - round(time.monotonic() - self._began, 1), 3))

    def _close(self, client: HttpServerClient, pool: ThreadPoolExecutor) -> None:
        """Close the client, in another thread: what is under way may end meanwhile, and is shown."""
        with self._signals.held():
            end = pool.submit(client.close)
        for looks in takewhile(lambda _: not self._is_over(end), count()):
            if looks == LOOKS_BEFORE_WORDS:
                self._say_what_ends(client)
            self._look(END_SECONDS)
        end.result()

    def _is_over(self, end: Future[None]) -> bool:
        with self._signals.held():  # in a future's method, what a signal raises may leave its lock taken
            return end.done()

    def _say_what_ends(self, client: HttpServerClient) -> None:
        ending = sum(transfer.state == UNDER_WAY for transfer in client.transfers)
        if not ending or self._options.quiet:
            return
        waiting = f"waiting up to {STOP_SECONDS:g} s for"
        if self._signals.latest == signal.SIGINT:
            self._lines.say(f"{waiting} {counted(ending, 'download')}; again to cut {'it' if ending == 1 else 'them'}")
        elif self._options.exit_after and not self._awaited:
            names = " and ".join(dict.fromkeys(printable(name) for name, _ in self._options.exit_after))
            is_there = "is" if len(self._options.exit_after) == 1 else "are"
            self._lines.say(f"{names} {is_there} downloaded; {waiting} {counted(ending, 'other download')}")
        else:
            self._lines.say(f"{waiting} {counted(ending, 'download')}")

    def _look(self, timeout: float) -> None:
        """Wait for what happens next, and tell it. A signal loses no event."""
        if self._feed is None:
            time.sleep(timeout)  # only a signal ends it
            return
        happened = self._feed.wait(timeout)
        spent = time.thread_time()
        for one in happened:
            if self._out.has_much:  # flushing may block, and so it is not for the block below
                self._out.flush()
            with self._signals.held():
                told = self._feed.told(one)
                for event in told:
                    self._write(event)
                self._unshown += told
            self._show()
        self._show()
        self._out.flush()
        self._lines.refresh()
        if timeout != 0:
            # Leaves the boards the processor.
            time.sleep(min(MOST_REST_SECONDS, TELLING_SHARE * (time.thread_time() - spent)))

    def _show(self) -> None:
        """Show people what a signal has kept from being shown, too. It may block, so signals are not held."""
        while self._unshown:
            if self._shows_progress:
                self._lines.tell(self._unshown[0])
            del self._unshown[0]

    def _tell(self, event: Event) -> None:
        self._write(event)
        self._out.flush()

    def _write(self, event: Event) -> None:
        if self._options.json:
            self._out.put(f"{event.as_json()}\n")


def _failures(ends: Ends) -> list[BaseException]:
    """Return what waits have failed with so far, timeouts last."""
    failed = [error for end in ends.values() if end.done() and (error := end.exception()) is not None]
    return sorted(failed, key=lambda error: isinstance(error, WaitTimeout))


def _screen(stream: Stream, *, tells_ends: bool) -> Lines:
    """Return a live screen on a terminal, else plain lines."""
    if stream.can_redraw:
        try:
            from httpserve.cli.live_screen import Screen
        except ImportError:  # it takes rich, of the extra `terminal`
            pass
        else:
            return Screen(stream, tells_ends=tells_ends)
    return Lines(stream, tells_ends=tells_ends)


def client_for(served: Served | None, options: Options) -> HttpServerClient:
    """Return a client that is not started, for what is served as it lies or for a private directory.

    Raises InvalidArgument or InvalidName where nothing can be uploaded to what --upload says.
    """
    upload = options.upload
    root = None if served is None else served.directory
    only = () if served is None or root is None else served.names
    if upload is not None:
        if root is None and not options.store:
            raise InvalidArgument("--upload needs a directory to store them in, and the paths lie in several")
        if only and not upload.strip("/"):
            raise InvalidArgument("--upload needs a SUBDIR where not all of a directory is served")
        only = (*only, upload.strip("/")) if only else ()
    client = HttpServerClient(
        root,
        options.bind,
        options.port,
        peer=options.peer,
        strict_peer=options.strict_peer,
        more_hosts=options.more_hosts,
        advertise=options.advertise,
        listing=options.listing,
        dot_files=options.dot_files,
        read_only=(root is not None or bool(options.store)) and upload is None,
        remove_created_on_close=upload is None,
        only=only or None,
        **_store_of(options),
    )
    if upload is not None:
        client.accept_uploads(f"{upload}/", options.max_upload or MAX_UPLOAD_BYTES)
    return client


def _store_of(options: Options) -> dict[str, Any]:  # Any: of the constructor's arguments
    """Return what the client is to know about the store that it serves."""
    if not options.store:
        return {}
    mark = "&" if "?" in options.store else "?"
    url = mark.join((options.store, "&".join(options.store_options))) if options.store_options else options.store
    terms = {"cache_dir": options.cache_dir, "cache_bytes": options.cache_bytes, "fresh_for": options.fresh_for}
    return {"root": url, **{name: value for name, value in terms.items() if value is not None}}


def log_to(lines: Lines, options: Options) -> None:
    """Send the log to stderr: warnings; requests and each step with -v; everything with -vv; errors alone with -q."""
    level = logging.ERROR if options.quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(options.verbose, 2)]
    logging.basicConfig(handlers=[LogTo(lines, options)], level=level)
