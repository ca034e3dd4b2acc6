"""Rules of the user about answers, as long as they are in force: which requests each is for, and how often it holds.

Knows names, clients and numbers. Does not know what a rule does to an answer. Safe from any thread.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Protocol

from httpserve.base.threads import renew_in_child, sigint_held

GLOB = frozenset("*?[")
MOST_TURNS = 4096  # clients and names whose requests are counted; the one that rests longest is forgotten


class Asked(Protocol):
    """What a rule chooses requests by."""

    @property
    def name(self) -> str | None: ...
    @property
    def client(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


@dataclass(eq=False)
class Rule:
    """Something that is asked for to happen to some answers.

    Args:
        rules: Where it is in force.
        name: A name, or a pattern in which `*`, `?` and `[...]` stand for other characters; None: every request.
        client: The address of the board; None: any.
        method: None: any.
        times: How many answers it is for; None: all.
        after: How many it lets through first.
    """

    word: ClassVar = "rule"  # for people

    rules: Rules
    name: str | None
    _: KW_ONLY
    client: str | None = None
    method: str | None = None
    times: int | None = None
    after: int = 0

    def __post_init__(self) -> None:
        self.since = time.monotonic()
        self.remaining = self.times
        self._to_pass = self.after
        self._turns: dict[tuple[str, ...], int] = {}

    def __str__(self) -> str:
        return self.word

    def is_for(self, asked: Asked) -> bool:
        """Tell whether a request is one that the rule is for, as far as that shows before the answer."""
        return self.client in (None, asked.client) and self.method in (None, asked.method) and self.is_for_name(asked)

    def is_for_name(self, asked: Asked) -> bool:
        """Tell whether a request is for a name that the rule is for."""
        return self.name is None or (asked.name is not None and fits(asked.name, self.name))

    def turn(self, *key: str) -> int:
        """Return how many requests with this key came before this one."""
        turns = self._turns
        with self.rules.lock:
            turn = turns.pop(key, 0)
            turns[key] = turn + 1
            if len(turns) > MOST_TURNS:
                del turns[next(iter(turns))]
        return turn

    def take(self) -> bool:
        """Count an answer that the rule is to change. False: it lets this one through, or is no longer in force."""
        with self.rules.lock:
            if self not in self.rules.all or self.remaining == 0:
                return False
            if self._to_pass:
                self._to_pass -= 1
                return False
            if self.remaining is not None:
                self.remaining -= 1
        if self.remaining == 0:
            self.rules.remove(self)
        return True


def fits(name: str, pattern: str) -> bool:
    """Tell whether a name is a pattern, or one of those that it stands for."""
    return name == pattern or (not GLOB.isdisjoint(pattern) and fnmatchcase(name, pattern))


class Pausable(Protocol):
    """What gives answers again without asking the site."""

    def pause_repeats(self, is_paused: bool) -> None:
        """Ask the site for each answer as long as this is so."""


class Rules:
    """The rules in force, the oldest first.

    Attributes:
        all: The rules.
        lock: Guards them, and what they count.
    """

    def __init__(self) -> None:
        self.all: tuple[Rule, ...] = ()
        self.lock = threading.RLock()
        self._servers: weakref.WeakSet[Pausable] = weakref.WeakSet()
        renew_in_child(self, Rules._begin_anew)

    def _begin_anew(self) -> None:
        self.lock = threading.RLock()

    def follow(self, server: Pausable) -> None:
        """Have a server ask for each answer while there are rules."""
        with sigint_held(), self.lock:
            self._servers.add(server)
            server.pause_repeats(bool(self.all))

    def add(self, rule: Rule) -> None:
        """Put a rule in force: it holds for every request that is answered from now on."""
        self._change(lambda rules: (*rules, rule))

    def remove(self, *gone: Rule) -> None:
        """End rules. Harmless when repeated. What is under way goes on as it began."""
        self._change(lambda rules: tuple(rule for rule in rules if rule not in gone))

    def end(self) -> None:
        """End all rules."""
        if self.all:
            self._change(lambda rules: ())

    def _change(self, change: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> None:
        with sigint_held(), self.lock:
            self.all = change(self.all)
            for server in self._servers:
                server.pause_repeats(bool(self.all))

    def find(self, asked: Asked, kind: type[Rule]) -> list[Rule]:
        """Return the rules of one kind for a request, the latest first."""
        return [rule for rule in reversed(self.all) if isinstance(rule, kind) and rule.is_for(asked)]
