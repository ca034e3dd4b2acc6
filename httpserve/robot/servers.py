"""The servers of a run of Robot: by alias, the current one, and which suite or test each belongs to.

Knows when a server ends, and what was asked of it for a while. Knows nothing of keywords; of Robot, only its cache of
connections and the names of suites.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, NamedTuple

from robot.utils import ConnectionCache, eq

from httpserve import HttpServeError, HttpServerClient, InvalidArgument, ServerNotRunning
from httpserve.base.paths import scheme_of
from httpserve.robot.conversions import AutoClose, Service, Size, operator_of, seconds

DEFAULT_ALIAS = "default"

Settings = dict[str, Any]  # Any: arguments of the client's constructor, each of its own type


class NoServer(ServerNotRunning):
    """None was started yet."""


@dataclass(eq=False)
class NamedServer:
    """A server, its settings, and what started it: `test` is None for a suite's setup.

    `since` is the number of its last event that is in Robot's log.
    """

    alias: str
    client: HttpServerClient
    settings: Settings
    suite: str
    test: str | None
    since: int = 0


class Lasting(NamedTuple):
    """What was asked of a server in a suite or a test, and how it ends: `test` is None for a suite's setup."""

    end: Callable[[], None]
    suite: str
    test: str | None


class Servers:
    """All servers of a run. Aliases ignore case and spaces, as in Robot's other libraries."""

    def __init__(self, defaults: Settings, auto_close: AutoClose) -> None:
        self._defaults = defaults
        self._auto_close = auto_close
        self._cache: ConnectionCache[NamedServer] = ConnectionCache()
        self._lasting: list[Lasting] = []

    def start(
        self, alias: str, settings: Settings, wait_for_address: float, suite: str, test: str | None
    ) -> NamedServer:
        """Start a server, or the one of that alias again, and make it the current one.

        Blocks until it answers. Raises InvalidArgument if the server of that alias has other settings.
        """
        server, before = self._find(alias), self._cache.current
        merged = {**(self._defaults_for(settings) if server is None else server.settings), **settings}
        if server is not None:
            if server.settings != merged:
                raise InvalidArgument(_other_settings(server, merged))
            server.client.start(wait_for_address=wait_for_address)
            self._cache.current = server
            return server
        server = NamedServer(alias, HttpServerClient(**merged), merged, suite, test)
        try:
            # A timeout of Robot's or a Ctrl-C may come between any two steps, so it is registered before it starts.
            self._cache.register(server, alias)
            server.client.start(wait_for_address=wait_for_address)
        except BaseException:  # a time-out of Robot's too
            self._cache.current = before
            self._close(server)  # it has never run, so the next start may have other settings
            raise
        return server

    def _defaults_for(self, settings: Settings) -> Settings:
        """Return the defaults of a new server, whose files are where these settings say, if they say that."""
        others = {"root_dir": ("root", "redirect"), "root": ("root_dir",)}
        left_out = {other for name in settings for other in others.get(name, ())}
        return {name: value for name, value in self._defaults.items() if name not in left_out}

    def get(self, alias: str | None) -> NamedServer:
        """Return a server by its alias, or the current one.

        Raises:
            NoServer: There is none at all.
            InvalidArgument: There is none of that alias; the message lists the aliases.
        """
        if alias is None and not self._cache:
            raise NoServer("there is no server yet: use Start HTTP Server first")
        server: NamedServer | None = self._cache.current if alias is None else self._find(alias)
        if server is None:
            there = ", ".join(repr(server.alias) for server in self._cache) or "none"
            raise InvalidArgument(f"there is no server {alias!r}; there are: {there}")
        return server

    def note(self, alias: str | None, name: str) -> str:
        """Return which server a failure about a file is of, and which others have the file if this one has not."""
        this, others = self.get(alias), []
        with suppress(HttpServeError):  # a name that no file can have
            if not this.client.storage.exists(name):
                others = [repr(other.alias) for other in self.all() if other.client.storage.exists(name)]
        there = f"; there is one on {', '.join(others)}" if others else ""
        return f" (on server {this.alias!r}{there})"

    def _find(self, alias: str) -> NamedServer | None:
        """Return the server of an alias. The cache itself would take `1` for its first server, whatever its alias."""
        return next((server for server in self._cache if eq(server.alias, alias)), None)

    def switch(self, alias: str) -> str | None:
        """Make a server the current one, and return the alias of the one before."""
        server, before = self.get(alias), self._cache.current
        self._cache.current = server
        return before.alias if before else None

    def all(self) -> list[NamedServer]:
        """Return all servers, in the order of their first start."""
        return list(self._cache)

    def close_all(self) -> None:
        """Close every server and forget it."""
        for server in self.all():
            self._close(server)

    def end_with(self, end: Callable[[], None], suite: str, test: str | None) -> None:
        """Have something end with the running test, or, outside of one, with the suite."""
        self._lasting.append(Lasting(end, suite, test))

    def _end(self, is_over: Callable[[Lasting], bool]) -> None:
        for one in self._lasting:
            if is_over(one):
                one.end()  # harmless when repeated
        self._lasting = [one for one in self._lasting if not is_over(one)]

    def test_ended(self) -> None:
        """End what was asked for in the test. Close what tests started, with `auto_close=TEST`."""
        self._end(lambda one: one.test is not None)
        for server in self.all():
            if self._auto_close is AutoClose.TEST and server.test is not None:
                self._close(server)

    def suite_ended(self, suite: str) -> None:
        """End what was asked for in the suite. Close what it and its tests started, except with `auto_close=MANUAL`."""
        self._end(lambda one: one.suite == suite)
        for server in self.all():
            if self._auto_close is not AutoClose.MANUAL and server.suite == suite:
                self._close(server)

    def _close(self, server: NamedServer) -> None:
        server.client.close()  # first: if this is interrupted, the server is still known and can be closed again
        others: ConnectionCache[NamedServer] = ConnectionCache()
        for other in self._cache:
            if other is not server:
                others.register(other, other.alias)
        if others and self._cache.current is not server:
            others.current = self._cache.current
        self._cache = others


def settings_of(arguments: dict[str, Any]) -> Settings:
    """Return those of a keyword's arguments that are given, and that the client's constructor takes."""
    given = {name: arguments[name] for name in signature(HttpServerClient).parameters if arguments[name] is not None}
    return {name: _in_python(value) for name, value in given.items()}


def _in_python(value: Any) -> Any:  # Any: of any argument of the constructor
    if isinstance(value, timedelta):
        return seconds(value)
    if isinstance(value, Service):
        # The text of a URL stays one: two operators of the same URL are not equal, and settings are compared.
        is_text = isinstance(value.value, str) and bool(scheme_of(value.value))
        return value.value if is_text else operator_of(value, {})
    return value.value if isinstance(value, Size) else value


def _other_settings(server: NamedServer, merged: Settings) -> str:
    """Say that a server keeps its settings: with new ones it would lose its files and its records."""
    others = ", ".join(f"{name}=" for name, value in merged.items() if server.settings.get(name) != value)
    if server.client.is_running:
        what = f"server {server.alias!r} runs already with other settings ({others})"
    else:
        what = f"server {server.alias!r} was stopped with its files, and has other settings ({others})"
    return f"{what}: leave them out, or give this one another alias=; Stop All HTTP Servers removes every server"
