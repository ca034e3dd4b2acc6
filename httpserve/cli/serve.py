"""`httpserve PATH` and `httpserve put SRC DST`: serve until a signal, or until the boards have what they need.

Knows exit codes and streams. Knows of the package only what it exports.
"""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from httpserve import (
    HttpServeError,
    HttpServerClient,
    NotFound,
    NotPermitted,
    ServerNotRunning,
    StorageError,
    __version__,
)
from httpserve.base.text import printable
from httpserve.cli.arguments import COMMANDS, EXIT_ERROR, Options, explained
from httpserve.cli.events import OF_ALL, OF_TRANSFERS, Event, EventFeed
from httpserve.cli.port_file import port_file, remove_stale
from httpserve.cli.qr import qr_code
from httpserve.cli.screen import Lines, LogTo, Screen, Stream, amount
from httpserve.cli.signals import Signals

LOOK_SECONDS = 0.1  # how often the command looks whether what --exit-after waits for is over
FOREVER_SECONDS = 86400.0  # a signal ends it
TELLING_SHARE = 8  # telling takes at most one part in so many of the time of a processor; the boards have the others
MOST_REST_SECONDS = 0.25
COPYING_SECONDS = 0.1  # between two texts about the progress of a copy


class ServeCommand:
    """One run of `httpserve PATH` or `httpserve put SRC DST`: URLs or events go to `out`, all else to `err`."""

    def __init__(self, options: Options, out: Stream, err: Stream, signals: Signals) -> None:
        self._options = options
        self._signals = signals
        self._out = out
        self._err = err
        wanted = options.progress if options.progress is not None else err.is_terminal and not options.json
        self._shows_progress = wanted and not options.quiet
        self._lines = Screen(err) if err.is_terminal else Lines(err)
        self._feed: EventFeed | None = None
        self._copying_at = 0.0
        self._doing = "waiting for an address"  # nothing else takes long in the beginning
        self._began = time.monotonic()

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
            reason, awaited = "signal", self._options.exit_after
            if self._signals.is_time_over:
                code, reason = EXIT_ERROR, "error"
                message = f"ended after {self._options.timeout:g} s (--timeout), while {self._doing}"
            elif awaited is not None:  # exit code 0 says that a board has it
                code, message = EXIT_ERROR, f"ended by a signal before {awaited.name!r} was downloaded"
        except HttpServeError as error:
            code, reason, message = EXIT_ERROR, "error", explained(error)
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
        return code

    def _serve(self) -> None:
        options = self._options
        remove_stale(options.port_file)
        client, name = self._client()
        with ThreadPoolExecutor(1, "httpserve-cli") as pool, closing(client):
            with self._signals.limited(options.timeout):
                self._begin(client)
            url = client.get_url(name)
            notes = self._what_to_type(client, name)
            picture = qr_code(url, self._err.encoding) if options.qr else ""
            if options.json or self._shows_progress:
                self._feed = EventFeed(client, OF_ALL if options.json else OF_TRANSFERS)
            with port_file(options.port_file, client.get_port()):
                for text in (*(note.fields["text"] for note in notes), picture):
                    if text:
                        self._lines.say(text)
                self._say_ready(client, url)  # the last line, so that its reader has all others
                for note in notes:
                    self._tell(note)
                self._until_the_end(client, pool)

    def _client(self) -> tuple[HttpServerClient, str]:
        """Return a client that is not started, and the name that its URL has."""
        options = self._options
        if options.src is not None:
            return client_for(None, options), options.dst
        directory, name = what_to_serve(options.path)
        return client_for(directory, options, only=name or None), name

    def _begin(self, client: HttpServerClient) -> None:
        """Start the server, and put what it has to serve: all that may take long before a board can ask."""
        options = self._options
        client.start(options.wait_for_address)
        if options.src is not None:
            self._copying(0, None)
            client.put_file(options.dst, options.src, sha256=options.sha256, progress=self._copying)
            self._lines.busy("")

    def _copying(self, done: int, total: int | None) -> None:
        self._doing = f"copying SRC to {self._options.dst!r}: {done} bytes of it were copied"
        now = time.monotonic()
        if not self._shows_progress or now < self._copying_at + COPYING_SECONDS:
            return
        self._copying_at = now
        of = "" if total is None else f" of {amount(total)}"
        self._lines.busy(f"copying {printable(self._options.dst)}: {amount(done)}{of}")

    def _what_to_type(self, client: HttpServerClient, name: str) -> list[Event]:
        if not name and self._options.exit_after is not None:
            name = self._options.exit_after.name
        return [
            Event("command", {"tool": tool, "name": name, "text": client.command(name, tool)})
            for tool in self._options.command
        ]

    def _say_ready(self, client: HttpServerClient, url: str) -> None:
        options = self._options
        where = {"url": url, "host": client.get_host(), "port": client.get_port()}
        what = {"path": options.path if options.src is None else options.src, "pid": os.getpid()}
        self._tell(Event("listening", {**where, **what, "version": __version__}))
        if not options.json:
            self._out.write(f"{url}\n")
        if self._out.error is not None:
            raise StorageError(f"the URL {url} could not be written to stdout: {self._out.error.strerror}")

    def _until_the_end(self, client: HttpServerClient, pool: ThreadPoolExecutor) -> None:
        awaited = self._options.exit_after
        end = None
        if awaited is not None:
            end = pool.submit(client.wait_for_download, awaited.name, self._time_left(), clients=awaited.boards)
        while end is None or not end.done():
            is_over = not self._look(None if end is None else LOOK_SECONDS)
            if self._out.error is not None:
                raise StorageError(f"events could not be written to stdout any more: {self._out.error.strerror}")
            if is_over and end is None:
                raise ServerNotRunning("the server has stopped")
        self._look(0)
        end.result()

    def _time_left(self) -> float | None:
        """Return what of --timeout is left, which begins with the command; less than 0.1 s are not worth a word."""
        timeout = self._options.timeout
        return None if timeout is None else max(0.0, round(timeout - round(time.monotonic() - self._began, 1), 3))

    def _look(self, timeout: float | None) -> bool:
        """Wait for what happens next, tell it, and return whether anything happened. A signal loses no event."""
        if self._feed is None:
            time.sleep(FOREVER_SECONDS if timeout is None else timeout)
            return True
        happened = self._feed.wait(timeout)
        spent = time.thread_time()
        for one in happened:
            if self._out.has_much:  # flushing may block, and so it is not for the block below
                self._out.flush()
            with self._signals.held():
                told = self._feed.told(one)
                for event in told:
                    self._write(event)
            if self._shows_progress:
                for event in told:
                    self._lines.tell(event)
        self._out.flush()
        self._lines.refresh()
        if timeout != 0:
            time.sleep(min(MOST_REST_SECONDS, TELLING_SHARE * (time.thread_time() - spent)))
        return bool(happened)

    def _tell(self, event: Event) -> None:
        self._write(event)
        self._out.flush()

    def _write(self, event: Event) -> None:
        if self._options.json:
            self._out.put(f"{event.as_json()}\n")


def what_to_serve(path: str) -> tuple[str, str]:
    """Return the directory to serve, and the name of the one file in it that is meant; empty for all of it."""
    if not os.path.exists(path):  # a client would make the directory
        hint = f"; the command comes first: httpserve {path} [OPTION]..." if path in COMMANDS else ""
        raise NotFound(f"there is no file or directory {path!r} to serve{hint}", path)
    return (path, "") if os.path.isdir(path) else checked_file(path)


def checked_file(path: str) -> tuple[str, str]:
    """Return the directory and the name of a file that can be served, wherever symlinks lead."""
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        raise NotPermitted(f"{path!r} is neither a directory nor a regular file", path)
    try:
        with open(real, "rb"):
            pass
    except OSError as error:
        raise NotPermitted(f"{path!r} cannot be read: {(error.strerror or '').lower()}", path) from error
    directory, name = os.path.split(real)
    return directory, name


def client_for(directory: str | None, options: Options, only: str | None = None) -> HttpServerClient:
    """Return a client that is not started, for a directory as it lies or for a private one."""
    return HttpServerClient(
        directory,
        options.bind,
        options.port,
        peer=options.peer,
        advertise=options.advertise,
        read_only=directory is not None,
        only=only,
    )


def log_to(lines: Lines, options: Options) -> None:
    """Send the log to stderr: warnings; requests and each step with -v; everything with -vv; errors alone with -q."""
    level = logging.ERROR if options.quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(options.verbose, 2)]
    logging.basicConfig(handlers=[LogTo(lines)], level=level)
