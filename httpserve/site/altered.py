"""Answers that are wrong on purpose, or held: which rule a request meets, and what becomes of its answer.

Knows rules and faults. Does not know how a request is answered without them, nor who asked for the rules.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from httpserve.faults import Fault, Redirect, Refuse, Slow, Status
from httpserve.faults.fault import RANGES, About, Ask, Draw
from httpserve.faults.kinds import paused
from httpserve.faults.steps import At, changed, position, replaced, split
from httpserve.plan import Intake, Met, Piece, Plan, Response, Wait
from httpserve.site.answers import status_line
from httpserve.site.digest_file import probe_file
from httpserve.site.representation import Representation
from httpserve.site.rules import Asked, Rule, Rules
from httpserve.storage.served import MemoryFile

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

SHORTENED = "httpserve.shortened"  # in the environ: where the file is to end

Environ = dict[str, Any]


class Request(NamedTuple):
    """What a rule chooses a request by."""

    name: str | None
    client: str
    method: str
    path: str = ""


@dataclass(eq=False)
class FaultRule(Rule):
    """Faults that answers are to meet, in this order. What is left to chance depends on the seed."""

    faults: tuple[Fault, ...]
    _: KW_ONLY
    seed: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made = time.time_ns()

    def __str__(self) -> str:
        return ", ".join(map(repr, self.faults))

    def drawn(self, asked: Request, key: str) -> list[Fault]:
        """Return the faults that a request meets; `key` makes it the same request again."""
        turn = self.turn(asked.client, asked.name or "")
        draw = Draw(turn, f"{key}|{self.turn(asked.client, key, 'again')}", self.seed)
        drawn = (fault.drawn(draw, str(index)) for index, fault in enumerate(self.faults))
        return [fault for fault in drawn if fault is not None]


class RefusalRule(FaultRule):
    """Connections that are to be refused: nothing is known of them but the client."""

    def is_for(self, asked: Asked) -> bool:
        """Tell whether a connection is one to refuse. A request is none: its connection was taken."""
        return not asked.method and super().is_for(asked)


@dataclass(eq=False)
class HoldRule(Rule):
    """Where answers are to wait until they are released."""

    at: At
    is_released: Callable[[], bool]

    def __str__(self) -> str:
        return f"Hold({self.at!r})"


class Stop:
    """Where a hold keeps one answer. Its wait asks it, so it knows when the answer has come there."""

    def __init__(self, rule: HoldRule) -> None:
        self.rule = rule
        self.is_reached = False
        self.wait = Wait(float("inf"), self.ask)

    def ask(self) -> bool:
        """Tell whether the answer may go on."""
        self.is_reached = True
        return self.rule.is_released()


class Answers(Protocol):
    """How requests are answered without rules."""

    def answer(self, environ: Environ) -> Response:
        """Return the answer to a request."""

    def answer_with(self, file: MemoryFile, environ: Environ) -> Response:
        """Return the answer to a request for this file."""


class Meeting:
    """What one request meets: the faults of the latest rule for it, and all holds. Drawn once, when it is made.

    Args:
        rules: What is in force.
        answers: Who answers.
        asked: The request.
        environ: The same.
    """

    def __init__(self, rules: Rules, answers: Answers, asked: Request, environ: Environ) -> None:
        found = rules.find(asked, FaultRule)
        self._altering = _Altering(found[0], answers, asked, environ) if found else None
        self._holds = rules.find(asked, HoldRule)

    @property
    def comes_instead(self) -> bool:
        """Whether another answer is to come in place of the one that there would be, which nobody need make then."""
        return self._altering is not None and any(isinstance(one, Status | Redirect) for one in self._altering.drawn)

    def altered(self, response: Response, own: Response | None = None) -> Response:
        """Return an answer with what it meets. `own`: it is the user's own, and nothing else can be asked for."""
        altering = self._altering
        if altering is not None:
            response = altering.done(response, own)
        for hold in self._holds:
            assert isinstance(hold, HoldRule)
            stop = Stop(hold)
            held = paused(response, hold.at, stop.wait)
            if held is not None:
                response = _noted(held, str(hold), hold, stop)
        return response if altering is None else altering.slowed(response)


class FaultyIntake:
    """The intake of an upload whose answer meets something."""

    def __init__(self, intake: Intake, meeting: Meeting) -> None:
        self.write = intake.write
        self.cut = intake.cut
        self._intake = intake
        self._meeting = meeting

    def answer(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as the intake does, but for what the answer meets."""
        said: list[Any] = []

        def note(status: str, fields: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            said[:] = int(status[:3]), fields
            return said.append  # nobody writes

        plan = self._intake.answer(note)
        assert isinstance(plan, Plan)
        response = self._meeting.altered(Response(said[0], said[1], plan))
        start_response(status_line(response.status), list(response.fields))
        return response.plan


def refusal(rules: Rules, client: str) -> Met | None:
    """Return by which rule a connection of a client is to be refused; None if it is not."""
    asked = Request(None, client, "")
    for rule in rules.find(asked, RefusalRule):
        assert isinstance(rule, RefusalRule)
        drawn = rule.drawn(asked, "")
        is_refused = any(isinstance(fault, Refuse) for fault in drawn)
        return Met(repr(Refuse()), (rule,)) if is_refused and rule.take() else None
    return None


def shortened(representation: Representation, to: At) -> Representation:
    """Return what is known about a file as if it ended earlier. Its digest is not told: nothing may tell."""
    size = position(to, representation.validators.size)
    if size >= representation.validators.size:
        return representation
    told = {"Content-Length": str(size)}
    common = tuple(one for one in representation.common if one[0] != "Repr-Digest")
    whole = tuple((name, told.get(name, value)) for name, value in representation.whole if name != "Repr-Digest")
    return representation._replace(
        validators=representation.validators._replace(size=size),
        common=common,
        whole=whole,
        raw="".join(map("%s: %s\r\n".__mod__, whole)).encode("latin-1"),
        subject=representation.subject._replace(pieces=(Piece(0, 0, size),)),
    )


def _ended(response: Response, to: At | None) -> Response:
    """Return an answer that ends earlier, and says so, if its length is known; else the same."""
    length = response.plan.length
    size = None if to is None or length is None else min(length, position(to, length))
    if size is None or size == length:
        return response
    before, _ = split(response.plan.steps, size)
    ended = changed(response, before, length=size)
    return ended._replace(fields=replaced(ended, "content-length", str(size)))


class _Altering:
    """The faults of one rule on the way into one answer."""

    def __init__(self, rule: Rule, answers: Answers, asked: Request, environ: Environ) -> None:
        assert isinstance(rule, FaultRule)
        self._own: Response | None = None
        self._rule = rule
        self._answers = answers
        self._asked = asked
        self._environ = environ
        self._about = About(
            asked.method,
            asked.name or "",
            "HTTP_RANGE" in environ,
            environ.get("SERVER_PROTOCOL") == "HTTP/1.0",
            f"{rule.seed}|{asked.name}",
        )
        key = f"{asked.method} {environ.get('PATH_INFO')} {environ.get('HTTP_RANGE')}"
        self.drawn = rule.drawn(asked, key)
        self._met: list[Fault] = []
        self._slow: list[Slow] = []

    def done(self, response: Response, own: Response | None) -> Response:
        """Return the answer with the faults, or as it is if they make no difference, or the rule lets it through."""
        self._own = own
        made = self._answered_otherwise(self.drawn, response)
        for fault in self.drawn:
            other = fault.altered(made, self._about)
            if other is not None:
                made = made if isinstance(fault, Slow) else other
                self._met.append(fault)
        is_new = made.plan.sources is not response.plan.sources
        if not self._met or not self._rule.take():
            if is_new:
                made.plan.close()
            return response
        if is_new:
            response.plan.close()
            made.plan.met = response.plan.met
        made.plan.repeatable = None
        self._slow = [fault for fault in self._met if isinstance(fault, Slow)]
        return _noted(made, ", ".join(map(repr, self._met)), self._rule)

    def slowed(self, response: Response) -> Response:
        """Return the answer at the rate of its faults. Last: the steps are so many that nobody else looks at them."""
        if not self._slow:
            return response
        slowest = min(self._slow, key=lambda fault: fault.rate)
        return slowest.altered(response, self._about) or response

    def _answered_otherwise(self, drawn: list[Fault], response: Response) -> Response:
        """Return the answer to what the request is taken to ask for."""
        ask, asking = Ask(), []
        for fault in drawn:
            other = fault.asked(ask, self._about)
            if other is not None:
                ask = other
                asking.append(fault)
        # What is not read is not asked for twice: it would be an upload once more, and a file is no answer to it.
        is_file = self._own is None or ask.stale is not None
        if not asking or (is_file and self._asked.method not in ("GET", "HEAD")):
            return response
        made = self._answer_to(ask)
        if made is response:
            return response
        if (made.status, made.fields) == (response.status, response.fields):
            made.plan.close()
            return response
        self._met += asking
        return made

    def _answer_to(self, ask: Ask) -> Response:
        environ = {name: value for name, value in self._environ.items() if not (ask.ignores_range and name in RANGES)}
        if ask.shortened is not None:
            environ[SHORTENED] = ask.shortened
        if ask.stale is None:
            return self._answers.answer(environ) if self._own is None else _ended(self._own, ask.shortened)
        if isinstance(ask.stale, bytes):
            file = probe_file(self._asked.name or "", ask.stale, self._rule.made)
            return self._answers.answer_with(file, environ)
        environ["PATH_INFO"] = f"/{ask.stale}".encode().decode("latin-1")
        made = self._answers.answer(environ)
        subject = made.plan.subject
        made.plan.subject = subject and subject._replace(name=self._asked.name or "")
        return made


def _noted(response: Response, fault: str, *by: object) -> Response:
    """Note in an answer what it has met, after what it had met before."""
    met = response.plan.met or Met("", ())
    response.plan.met = Met(", ".join(filter(None, (met.fault, fault))), (*met.rules, *by), met.own)
    return response
