"""The servers of a run of Robot: by alias, the current one, and which suite or test each belongs to.

Knows when a server is to end. Knows nothing of keywords, and of Robot no more than the names of suites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from httpserve import HttpServerClient, InvalidArgument, ServerNotRunning
from httpserve.robot.types import AutoClose

DEFAULT_ALIAS = "default"

Settings = dict[str, Any]  # Any: arguments of the client's constructor, each of its own type


class NoServer(ServerNotRunning):
    """None was started yet."""


@dataclass
class Kept:
    """A server, what it was made with, and where: `test` is None for one of a suite's setup."""

    alias: str
    client: HttpServerClient
    settings: Settings
    suite: str
    test: str | None


class Servers:
    """All servers of a run.

    Args:
        defaults: The settings of the library's import.
        auto_close: When servers end by themselves.
    """

    def __init__(self, defaults: Settings, auto_close: AutoClose) -> None:
        self._defaults = defaults
        self._auto_close = auto_close
        self._kept: dict[str, Kept] = {}
        self._current: str | None = None

    def start(self, alias: str, settings: Settings, wait_for_address: float, suite: str, test: str | None) -> Kept:
        """Start a server, or the one of that alias again, and make it the current one.

        Blocks until it answers, and before that up to `wait_for_address` seconds for its address.

        Raises:
            InvalidArgument: There is one of that alias, and it was made with other settings.
        """
        kept = self._kept.get(alias)
        merged = {**(self._defaults if kept is None else kept.settings), **settings}
        if kept is not None and kept.settings != merged:
            raise InvalidArgument(_other_settings(kept, merged))
        if kept is not None:
            kept.client.start(wait_for_address=wait_for_address)
        else:
            # A timeout of Robot's or a Ctrl-C may come between any two steps: what was begun is known all the time.
            kept = self._kept[alias] = Kept(alias, HttpServerClient(**merged), merged, suite, test)
            try:
                kept.client.start(wait_for_address=wait_for_address)
            except BaseException:
                self._close(kept)  # it has never run, so it may be given other settings
                raise
        self._current = alias
        return kept

    def get(self, alias: str | None) -> Kept:
        """Return a server by its alias, or the current one.

        Raises:
            NoServer: There is none at all.
            InvalidArgument: There is none of that alias; the message lists those that there are.
        """
        wanted = self._current if alias is None else alias
        if wanted is None:
            raise NoServer("there is no server yet: use Start HTTP Server first")
        kept = self._kept.get(wanted)
        if kept is None:
            there = ", ".join(map(repr, self._kept)) or "none"
            raise InvalidArgument(f"there is no server {wanted!r}; there are: {there}")
        return kept

    def switch(self, alias: str) -> str | None:
        """Make a server the current one, and return the alias of the one before."""
        self.get(alias)
        before, self._current = self._current, alias
        return before

    def all(self) -> list[Kept]:
        """Return all servers, in the order of their first start."""
        return list(self._kept.values())

    def close_all(self) -> None:
        """Close every server and forget it."""
        self._close_those(self.all())

    def test_ended(self) -> None:
        """Close what the test started, where that was asked for."""
        if self._auto_close is AutoClose.TEST:
            self._close_those([kept for kept in self.all() if kept.test is not None])

    def suite_ended(self, suite: str) -> None:
        """Close what the suite and its tests started, unless all is left to the user."""
        if self._auto_close is not AutoClose.MANUAL:
            self._close_those([kept for kept in self.all() if kept.suite == suite])

    def _close_those(self, those: list[Kept]) -> None:
        for kept in those:
            self._close(kept)

    def _close(self, kept: Kept) -> None:
        kept.client.close()  # first: one that is interrupted here can be closed again, or ends with its suite
        if self._current == kept.alias:
            others = [alias for alias in self._kept if alias != kept.alias]
            self._current = others[-1] if others else None
        del self._kept[kept.alias]


def _other_settings(kept: Kept, merged: Settings) -> str:
    """Say that a server does not become another one: its files and what it knows of boards would be lost."""
    others = ", ".join(f"{name}=" for name, value in merged.items() if kept.settings[name] != value)
    if kept.client.is_running:
        what = f"server {kept.alias!r} runs already with other settings ({others})"
    else:
        what = f"server {kept.alias!r} was stopped with its files, and has other settings ({others})"
    return f"{what}: leave them out, or give this one another alias=; Stop All HTTP Servers removes every server"
