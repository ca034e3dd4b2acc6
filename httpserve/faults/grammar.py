"""Faults as people write them: `cut@50%,times=2`. The shell and Robot read them with this.

Pure. Knows each fault's arguments, and how their values are written. Does not know whose answers are to meet them.

    KIND[@VALUE][,KEY=VALUE]...     `@` is the first argument; any fault may have `chance=`
    FAULT;FAULT;none                one after the other, as a Sequence; `none` is an answer without one
    FAULT+FAULT                     at once; `+` binds less than `;`

A value with `,`, `;` or `+` in it stands in double quotes. `times=`, `after=`, `client=`, `method=` and `seed=` are
those of `HttpServerClient.fault`, for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, NamedTuple

from httpserve.base.text import bytes_of
from httpserve.errors import HttpServeError, InvalidArgument
from httpserve.faults import kinds
from httpserve.faults.fault import Chance, Fault, Sequence

FORM = "KIND[@VALUE][,KEY=VALUE]..., such as cut@50%,times=2"
NONE = "none"  # in a sequence
FOR_EVER = ("ever", "forever", "for ever")
LEAST_LIKE = 0.6  # how much a word is like one that it may mean, for difflib

_OF = (
    *(kinds.Slow, kinds.Stall, kinds.Cut, kinds.Corrupt, kinds.Truncate, kinds.WrongLength, kinds.IgnoreRange),
    *(kinds.WrongRange, kinds.NoLength, kinds.Status, kinds.Redirect, kinds.Stale, kinds.Refuse, kinds.Headers),
)
KINDS = {re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in _OF}  # as they are written

_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^",;+]*)'
_WORD = r"[A-Za-z][A-Za-z _-]*"
_ONE = re.compile(
    rf"\s*(?P<kind>{_WORD})(?:@(?P<first>{_VALUE}))?(?P<more>(?:\s*,\s*{_WORD}={_VALUE})*)\s*(?P<then>[;+]|$)",
    re.DOTALL,
)
_MORE = re.compile(rf",\s*({_WORD})=({_VALUE})", re.DOTALL)
_KIND = re.compile(rf"\s*({_WORD})(?=[@,;+]|$)")
_SECONDS = re.compile(r"([0-9]*\.?[0-9]+) *(ms|millis\w*|s|sec\w*|m|min\w*|h|hours?)?", re.IGNORECASE)
_UNITS = {"mi": 0.001, "ms": 0.001, "mn": 60.0, "m": 60.0, "s": 1.0, "h": 3600.0}


class Said(NamedTuple):
    """What a text asks for: `client.fault(said.name, *said.faults, **said.terms)`.

    Attributes:
        name: Whose answers: a name or a pattern; None: those to every request.
        faults: The faults, in the order in which they apply.
        terms: The further arguments that were given: `times`, `after`, `client`, `method` and `seed`.
    """

    name: str | None
    faults: tuple[Fault, ...]
    terms: dict[str, Any]  # Any: each of its own type


def parse_named(text: str) -> Said:
    """Return what a text such as `fw.bin=cut@50%,times=2` asks for; without `NAME=`, of every request.

    A name may have a `=` itself: it ends where a fault follows. Raises InvalidArgument as `parse` does.
    """
    for begin in (0, *(equals.end() for equals in re.finditer("=", text))):
        kind = _KIND.match(text, begin)
        if kind is not None and _hyphened(kind[1]) in (*KINDS, NONE):
            return parse(text[begin:])._replace(name=text[: begin - 1] or None if begin else None)
    return parse(text.partition("=")[2] or text)  # which says what is wrong


def parse(text: str, **values: object) -> Said:
    """Return what a text such as `cut@50%,times=2` asks for, of every request. Does not block.

    Args:
        text: One fault, or several; docs/faults.md has the grammar.
        values: Further values by their keys, as text or as what Python has: those of a fault go with one fault only.

    Raises:
        InvalidArgument: There is no such fault, or it has no such value; the message says the right form.
    """
    terms = {key: values.pop(key) for key in TERMS if key in values}
    at_once: list[Fault] = []
    in_turn: list[Fault | None] = []
    place, then = 0, ";"
    while then:
        found = _ONE.match(text, place)
        if found is None:
            raise InvalidArgument(f"cannot read the fault {text!r}{_from(text, place)}; write {FORM}")
        place, then = found.end(), found["then"]
        given = _given(found)
        terms = _together(terms, {key: given.pop(key) for key in TERMS if key in given})
        if values and (in_turn or at_once or then):
            raise InvalidArgument(f"{next(iter(values))}= goes with one fault: write it beside its own in {text!r}")
        in_turn.append(_fault(found["kind"], _together(values, given)))
        if then != ";":
            at_once.append(_one_of(in_turn, text))
            in_turn = []
    return Said(None, tuple(at_once), {key: _read(TERMS[key], key, value) for key, value in terms.items()})


def _from(text: str, place: int) -> str:
    return f" from {text[place:]!r} on" if place else ""


def _given(found: re.Match[str]) -> dict[str, object]:
    """Return the values of one fault, by their keys, that of `@` by an empty one. What repeats is in one text."""
    first = found["first"]
    given: dict[str, object] = {} if first is None else {"": _unquoted(first)}
    for key, value in _MORE.findall(found["more"]):
        given = _together(given, {_hyphened(key).replace("-", "_"): _unquoted(value)})
    return given


def _together(some: Mapping[str, object], others: Mapping[str, object]) -> dict[str, object]:
    twice = some.keys() & others.keys() - _REPEATED
    if twice:
        raise InvalidArgument(f"{min(twice)}= is given twice")
    return {**some, **{key: f"{some[key]}\n{value}" if key in some else value for key, value in others.items()}}


def _unquoted(value: str) -> str:
    value = value.strip()
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL) if value.startswith('"') else value


def _hyphened(word: str) -> str:
    """Return a word as it is written here, whether it is from here, from Python or from Robot."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", word.strip())
    return re.sub(r"[\s_-]+", "-", parted).lower()


def _one_of(in_turn: list[Fault | None], text: str) -> Fault:
    fault = Sequence(in_turn) if len(in_turn) > 1 else in_turn[0]
    if fault is None:
        raise InvalidArgument(f"{NONE} is one of several faults, parted by `;`, not all of {text!r}")
    return fault


def _fault(word: str, given: dict[str, object]) -> Fault | None:
    name = _hyphened(word)
    if name == NONE:
        if given:
            raise InvalidArgument(f"{NONE} takes no values, and {', '.join(given)} was given")
        return None
    if name not in KINDS:
        import difflib  # only where something is wrong

        near = difflib.get_close_matches(name, KINDS, 1, LEAST_LIKE)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise InvalidArgument(f"there is no fault {word.strip()!r}{meant}; there are {', '.join(KINDS)}")
    known = {one.name: one.default is MISSING is one.default_factory for one in fields(KINDS[name])}
    if "" in given and known:
        given = _together({next(iter(known)): given.pop("")}, given)
    try:
        chance = given.pop("chance", None)
        unknown = [key for key in given if key not in known]
        missing = [key for key, is_needed in known.items() if is_needed and key not in given]
        if unknown or missing:
            is_no = f"needs {missing[0]}=" if missing else f"takes no {f'{unknown[0]}=' if unknown[0] else '@VALUE'}"
            raise InvalidArgument(f"{name} {is_no}")
        read = {key: _read(_value(name, key), key, value) for key, value in given.items()}
        fault: Fault = KINDS[name](**read)
        return fault if chance is None else Chance(_read(_CHANCE, "chance", chance), fault)
    except HttpServeError as error:
        raise InvalidArgument(f"{error}; write {form(name)}") from None


def form(name: str) -> str:
    """Return how a fault is written, such as `cut@AT[,how=fin|reset]`, and examples of what that takes."""
    written, such = name, ""
    for number, one in enumerate(fields(KINDS[name])):
        value = _value(name, one.name)
        text = f",{one.name.replace('_', '-')}={value.written}" if number else f"@{value.written}"
        written += text if one.default is MISSING is one.default_factory else f"[{text}]"
        such += f"; {value.written} is {value.such}" if value.such else ""
    return written + such


def _value(name: str, key: str) -> _Value:
    return VALUES.get(f"{name} {key}") or VALUES[key]


# Values


class _Value(NamedTuple):
    written: str  # what stands for it in a form
    read: Callable[[str], Any]  # Any: what the fault takes. Raises ValueError for what it cannot read
    such: str = ""  # examples


def _read(value: _Value, key: str, given: object) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return value.read(given)
    except ValueError:
        raise InvalidArgument(f"cannot read {key.replace('_', '-')}={given!r} as {value.written}") from None


def place_of(text: str) -> int | float:
    """Return a place in a file, such as `50%`, `0.5`, `64KiB` or `-1`. Raises ValueError for what is none."""
    text = text.strip()
    percent = re.fullmatch(r"([0-9.]+) *%", text)
    if percent:
        return float(percent[1]) / 100
    return float(text) if re.fullmatch(r"[0-9]*\.[0-9]+", text) else _signed(text)


def _signed(text: str) -> int:
    return -bytes_of(text[1:]) if text.startswith("-") else bytes_of(text)


def _duration(text: str) -> float:
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise ValueError
    unit = (found[2] or "s").lower()
    return float(found[1]) * (0.001 if unit.startswith(("ms", "milli")) else _UNITS[unit[0]])


def _duration_or_for_ever(text: str) -> float | None:
    return None if text.lower() in FOR_EVER else _duration(text)


def _is_yes(text: str) -> bool:
    if text.lower() not in _YES_OR_NO:
        raise ValueError
    return _YES_OR_NO[text.lower()]


def _fields_set(text: str) -> dict[str, str]:
    parts = [line.partition(":") for line in text.split("\n")]
    if not all(colon for _, colon, _ in parts):
        raise ValueError
    return {name.strip(): value.strip() for name, _, value in parts}


_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_AT = _Value("AT", place_of, "4096, 64KiB, 50%, 0.5, or -1 from the end")
_CHANCE = _Value("P, such as 10% or 0.1", lambda text: float(place_of(text)))
_REPEATED = {"set", "drop"}
VALUES = {
    "rate": _Value("RATE", lambda text: bytes_of(text.removesuffix("/s")), "64KiB, for each second"),
    "at": _AT,
    "to": _AT,
    "redirect to": _Value("URL", str),
    "seconds": _Value("S", _duration_or_for_ever, "10, 500ms, 2min, or forever"),
    "how": _Value("fin|reset", str),
    "count": _Value("N", int),
    "by": _Value("BYTES", _signed, "-10 or 1KiB"),
    "chunked": _Value("yes|no", _is_yes),
    "code": _Value("CODE", int),
    "retry_after": _Value("S", _duration),
    "body": _Value("TEXT", str),
    "version": _Value("NAME", str),
    "set": _Value("FIELD:VALUE", _fields_set),
    "drop": _Value("FIELD", str.split),
}
TERMS = {
    "times": _Value("N", int),
    "after": _Value("N", int),
    "client": _Value("ADDRESS", str),
    "method": _Value("METHOD", str),
    "seed": _Value("TEXT", str),
}
