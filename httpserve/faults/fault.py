"""What a fault is, and how one is chosen for a request: in turn, or by chance with a seed.

Pure: the same draw gives the same fault. Does not know how often a fault was met, nor by whom.
"""

from __future__ import annotations

import random
from collections.abc import Sequence as _Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple

from httpserve.errors import InvalidArgument, InvalidType
from httpserve.faults.steps import At
from httpserve.plan import Response

MOST_SHOWN = 100  # characters, or bytes, of a value
RANGES = ("HTTP_RANGE", "HTTP_IF_RANGE")


class Ask(NamedTuple):
    """What a request is taken to ask for in place of what it asks for.

    Attributes:
        ignores_range: All of the file, whichever ranges are asked for.
        shortened: A file that ends there.
        stale: Another file, by its name, or other bytes.
    """

    ignores_range: bool = False
    shortened: At | None = None
    stale: str | bytes | None = None


class About(NamedTuple):
    """What a fault knows of the request.

    Attributes:
        method: The request's method.
        name: What it asks for.
        has_range: Whether it asks for ranges.
        is_http_10: Whether it is of HTTP/1.0, which knows no chunks.
        seed: Decides what is left to chance, the same for each request.
    """

    method: str
    name: str
    has_range: bool
    is_http_10: bool
    seed: str


class Draw(NamedTuple):
    """Which request it is, for faults that are not the same for each.

    Attributes:
        turn: How many requests of this client for this name came before it.
        key: What makes it the same request again, and how often it has come before.
        seed: The seed of the rule.
    """

    turn: int
    key: str
    seed: str

    def fraction(self, path: str) -> float:
        """Return a number from 0.0 up to 1.0, always the same for the same request."""
        return random.Random(f"{self.seed}|{path}|{self.key}").random()


class Fault:
    """Something wrong with an answer on purpose. A fault is data: one object may be used any number of times."""

    def drawn(self, draw: Draw, path: str = "") -> Fault | None:
        """Return the fault that this request meets; None: none."""
        return self

    def asked(self, ask: Ask, about: About) -> Ask | None:
        """Return what the request is taken to ask for; None: what it does ask for."""
        return None

    def altered(self, response: Response, about: About) -> Response | None:
        """Return the answer with this fault; None if it makes no difference to this answer."""
        return None

    def leaves(self) -> list[Fault | None]:
        """Return the faults that it may turn out to be."""
        return [self]

    def __repr__(self) -> str:
        """Return the call that makes it, without what has its default."""
        shown = []
        for one in fields(self):  # type: ignore[arg-type]  # each fault is a dataclass
            value = getattr(self, one.name)
            default = one.default if one.default_factory is MISSING else one.default_factory()
            if default is MISSING:
                shown.append(_shown(value))
            elif value != default:
                shown.append(f"{one.name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    """Return a value as records show it: a version of a file may have millions of bytes."""
    is_long = isinstance(value, bytes | str) and len(value) > MOST_SHOWN
    return f"<{len(value)} {'bytes' if isinstance(value, bytes) else 'characters'}>" if is_long else repr(value)


def checked_fault(fault: Any, what: str) -> Fault:
    """Return a fault. Raises InvalidType for anything else."""
    if not isinstance(fault, Fault):
        hint = f"; {fault.__name__} is one when it is called: {fault.__name__}(...)" if isinstance(fault, type) else ""
        raise InvalidType(f"{what} takes faults of httpserve.faults, such as Cut(0.5), not {fault!r}{hint}")
    return fault


@dataclass(frozen=True, repr=False)
class Sequence(Fault):
    """One fault after the other: the first for a client's first request for a name, and so on. The last one stays.

    Reproduces a server that recovers: nginx answers 502 until hawkBit behind it is up, then all is well.

    Args:
        faults: The faults, None for an answer without one: `Sequence([Status(500), Status(500), None])`.
    """

    faults: _Sequence[Fault | None]

    def __post_init__(self) -> None:
        if isinstance(self.faults, Fault | str | bytes) or not isinstance(self.faults, _Sequence) or not self.faults:
            raise InvalidArgument(f"Sequence takes a list of faults, with None for none, not {self.faults!r}")
        kept = tuple(fault if fault is None else checked_fault(fault, "Sequence") for fault in self.faults)
        object.__setattr__(self, "faults", kept)

    def drawn(self, draw: Draw, path: str = "") -> Fault | None:
        """Return the one whose turn it is."""
        index = min(draw.turn, len(self.faults) - 1)
        fault = self.faults[index]
        return None if fault is None else fault.drawn(draw, f"{path}/{index}")

    def leaves(self) -> list[Fault | None]:
        """Return those of each fault."""
        return [leaf for fault in self.faults for leaf in (fault.leaves() if fault is not None else [None])]


@dataclass(frozen=True, repr=False)
class Chance(Fault):
    """A fault that only some requests meet.

    Reproduces LTE at the edge of its cell: one download in ten breaks, and no two runs are alike. Here the same seed
    means the same requests.

    Args:
        p: How likely it is, from 0.0 to 1.0.
        fault: The fault.
    """

    p: float
    fault: Fault

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, int | float) or not 0 <= self.p <= 1:
            raise InvalidArgument(f"the p of Chance must be from 0.0 to 1.0, not {self.p!r}")
        checked_fault(self.fault, "Chance")

    def drawn(self, draw: Draw, path: str = "") -> Fault | None:
        """Return the fault, if chance has it so."""
        return self.fault.drawn(draw, f"{path}/p") if draw.fraction(path) < self.p else None

    def leaves(self) -> list[Fault | None]:
        """Return the fault's, and None."""
        return [*self.fault.leaves(), None]
