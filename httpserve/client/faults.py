"""Faults and holds that a script asks for: checks what it says, and hands out what ends them.

Knows rules of the site, and which answers met them. Does not know what a fault does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Self

from httpserve.base.arguments import StrPath, checked_count, checked_seconds, quoted_value
from httpserve.base.names import checked_name
from httpserve.base.tables import Records
from httpserve.base.text import counted, printable
from httpserve.base.threads import Latch, sigint_held
from httpserve.client.lifecycle import Lifecycle
from httpserve.errors import InvalidArgument, ServerNotRunning, WaitTimeout
from httpserve.faults import Fault, Refuse
from httpserve.faults.fault import checked_fault
from httpserve.faults.kinds import checked_at
from httpserve.faults.steps import At
from httpserve.records.exchange import Exchange
from httpserve.records.log import ExchangeLog
from httpserve.records.model import UNDER_WAY, RequestRecord, Transfer
from httpserve.records.terms import address, asked_for, method_named
from httpserve.site.altered import FaultRule, HoldRule, RefusalRule, Stop
from httpserve.site.rules import GLOB, Rule, Rules

FIRST_LOOK_SECONDS = 0.002  # an acknowledgment makes no event
LAST_LOOK_SECONDS = 0.02
MOST_CHARACTERS = 200  # of the faults of an answer, in a message


class Handle:
    """Something that is in force until `clear`, or until it has had its `times`. As a context manager it ends there."""

    def __init__(self, rules: Rules, rule: Rule, log: ExchangeLog) -> None:
        self._rules = rules
        self._rule = rule
        self._log = log

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        rule = self._rule
        left = "" if rule.remaining is None else f", {counted(rule.remaining, 'time')} left"
        return f"{rule} for {'everything' if rule.name is None else rule.name}{left}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other._rule is self._rule

    def __hash__(self) -> int:
        return hash(self._rule)

    @property
    def name(self) -> str | None:
        """Which name it is for, or which pattern of names; None: all."""
        return self._rule.name

    @property
    def remaining(self) -> int | None:
        """How many more answers it is for; None: any number, 0 once it is over."""
        return 0 if self._rule not in self._rules.all else self._rule.remaining

    @property
    def hits(self) -> tuple[RequestRecord, ...]:
        """The requests whose answers it changed, oldest first, of those that the server remembers.

        Blocks for 0.5 s at most, while the acknowledgment of such an answer is due.
        """
        met = self._met()
        self._log.await_acknowledged(met)
        return Records(self._log.records(met))

    def _met(self) -> list[Exchange]:
        with sigint_held(), self._log.lock:
            return [one for one in self._log.from_number(0) if one.met is not None and self._rule in one.met.rules]

    def clear(self) -> None:
        """End it. What is under way goes on as it began. Harmless when repeated."""
        self._rules.remove(self._rule)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.clear()


class FaultHandle(Handle):
    """A fault in force."""

    _rule: FaultRule

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in the order in which they apply."""
        return self._rule.faults

    @property
    def seed(self) -> str:
        """What decides all that is left to chance: give it again, and the same requests meet the same faults."""
        return self._rule.seed


class Hold(Handle):
    """A hold: answers stop at one byte until they are released. Leaving the block releases them."""

    _rule: HoldRule

    def __init__(self, rules: Rules, rule: HoldRule, log: ExchangeLog, life: Lifecycle, released: Latch) -> None:
        super().__init__(rules, rule, log)
        self._life = life
        self._released = released

    @property
    def held(self) -> tuple[Transfer, ...]:
        """The answers that are held now, and whose boards have acknowledged all before it. Blocks for a moment only."""
        now = time.monotonic()
        return Records(one.transfer(now) for one in self._met() if self._is_held(one))

    def _is_held(self, exchange: Exchange) -> bool:
        if exchange.is_over or exchange.met is None:
            return False
        stops = [one for one in exchange.met.rules if isinstance(one, Stop) and one.rule is self._rule]
        is_there = any(one.is_reached for one in stops)
        return is_there and exchange.received() == exchange.handed and not exchange.is_over

    def wait(self, timeout: float = 60.0) -> Transfer:
        """Block until a board has acknowledged every byte before the hold, and no more is on its way to it.

        Returns at once if one already waits there. A Ctrl-C ends it at once.

        Args:
            timeout: Seconds; default 60.

        Returns:
            How far the answer is.

        Raises:
            WaitTimeout: No answer came there in time; the message says what did happen.
            ServerNotRunning: The server was stopped meanwhile.
            InvalidArgument: It was released already.
        """
        until = time.monotonic() + checked_seconds("timeout", timeout)
        look = FIRST_LOOK_SECONDS
        while True:
            if self._released.is_open:
                raise InvalidArgument(f"the hold of {self.name or 'everything'} was released; hold it again")
            is_running = self._life.running() is not None
            held = self.held
            if held:
                return held[0]
            if not is_running:
                raise ServerNotRunning(f"the server does not run, so nothing comes to the hold of {self.name!r}")
            left = until - time.monotonic()
            if left <= 0:
                raise self._timeout(timeout)
            self._released.wait(min(look, left))
            look = min(2 * look, LAST_LOOK_SECONDS)

    def _timeout(self, timeout: float) -> WaitTimeout:
        name = self.name or "any file"
        with sigint_held(), self._log.lock:
            known = [one for one in self._log.from_number(0) if one.subject is not None or one.met is not None]
        client = self._rule.client
        known = [
            one
            for one in known
            if self._rule.is_for(_Of(one)) or (not one.status and client in (None, one.link.client))
        ]
        text = f"no answer about {name!r} came to the hold at {self._rule.at!r} in {timeout:g} s"
        if not known:
            happened = "nothing asked" if self._log.connections() else "nobody connected"
            return WaitTimeout(f"{text}: nobody asked for it", name, timeout, happened=happened)
        last = known[-1]
        got = last.received()
        told = self._log.record(last)
        if told.status:
            happened = UNDER_WAY if told.outcome == UNDER_WAY else "stopped"
            far = f"the last one, {told.method} by {told.client}, has {got} of {last.length} bytes, {told.outcome}"
        else:
            happened, far = "refused", f"{told.client} connected, and was refused"
        faults = (told.fault,) if told.fault else ()
        on_purpose = f"; on purpose: {printable(told.fault, MOST_CHARACTERS)}" if faults else ""
        text = f"{text}: {far}{on_purpose}"
        return WaitTimeout(text, name, timeout, happened=happened, received=got, total=last.length, faults=faults)

    def release(self) -> None:
        """Let what is held go on, and hold nothing any more. Harmless when repeated."""
        self._rules.remove(self._rule)
        self._released.open()

    clear = release


class _Of:
    """An exchange as a rule looks at a request."""

    def __init__(self, exchange: Exchange) -> None:
        self.name = self.path = asked_for(exchange)
        self.client = exchange.link.client
        self.method = exchange.head.method


class Faults:
    """The faults and holds of one server."""

    def __init__(self, rules: Rules, log: ExchangeLog, life: Lifecycle) -> None:
        self._rules = rules
        self._log = log
        self._life = life
        self._held: tuple[Hold, ...] = ()

    def add(
        self,
        name: StrPath | None,
        faults: Iterable[Fault],
        *,
        times: int | None,
        after: int,
        client: str | None,
        method: str | None,
        seed: object,
    ) -> FaultHandle:
        """Do what `HttpServerClient.fault` does."""
        checked = tuple(checked_fault(fault, "fault()") for fault in faults)
        if not checked:
            raise InvalidArgument("fault() needs a fault, such as Cut(0.5) of httpserve.faults")
        kind = _kind(name, checked)
        if isinstance(after, bool) or not isinstance(after, int) or after < 0:
            raise InvalidArgument(f"after must be a whole number from 0 on, not {quoted_value(after)}")
        rule = kind(
            self._rules,
            pattern(name),
            checked,
            client=None if client is None else address(client),
            method=None if method is None else method_named(method),
            times=None if times is None else checked_count("times", times),
            after=after,
            **({} if seed is None else {"seed": str(seed)}),
        )
        self._rules.add(rule)
        return FaultHandle(self._rules, rule, self._log)

    def hold(self, name: StrPath | None, at: At, client: str | None) -> Hold:
        """Do what `HttpServerClient.hold` does."""
        released = Latch()
        where = None if client is None else address(client)
        rule = HoldRule(self._rules, pattern(name), checked_at("at", at), lambda: released.is_open, client=where)
        hold = Hold(self._rules, rule, self._log, self._life, released)
        self._rules.add(rule)
        with sigint_held(), self._rules.lock:
            self._held = (*self.holds(), hold)
        return hold

    def holds(self) -> tuple[Hold, ...]:
        """Return the holds in force, the oldest first."""
        return tuple(one for one in self._held if one.remaining != 0)

    def in_force(self) -> tuple[FaultHandle, ...]:
        """Return the faults in force, the oldest first."""
        return tuple(FaultHandle(self._rules, one, self._log) for one in self._rules.all if isinstance(one, FaultRule))

    def clear(self) -> None:
        """End all faults."""
        self._rules.remove(*(one for one in self._rules.all if isinstance(one, FaultRule)))


def pattern(name: StrPath | None) -> str | None:
    """Return which names a rule is for. Raises InvalidName for what no file can be called."""
    if name is None or (isinstance(name, str) and not GLOB.isdisjoint(name)):
        return name if name is None else name.lstrip("/")
    return checked_name(name)


def _kind(name: StrPath | None, faults: tuple[Fault, ...]) -> type[FaultRule]:
    refusals = [isinstance(leaf, Refuse) for fault in faults for leaf in fault.leaves() if leaf is not None]
    if not any(refusals):
        return FaultRule
    if name is not None:
        raise InvalidArgument(
            f"Refuse resets connections before anything is read, so it cannot know the name {name!r}: give no "
            "name, and client= for one board"
        )
    if not all(refusals):
        raise InvalidArgument("Refuse reads no request, so it goes with no other fault: ask for each by itself")
    return RefusalRule
