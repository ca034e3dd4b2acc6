"""What the text of a suite becomes: addresses, sources, digests, amounts, and when servers end.

Knows how people write these in a table, and tells libdoc. Leaves it to the client to refuse values. Durations are
Robot's own `timedelta`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from inspect import Parameter, signature
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints, overload

import opendal
from robot.api import TypeInfo
from robot.running.arguments import ArgumentSpec

from httpserve import AcceptedUploads, ExpectedDownload, ExpectedUpload, Hold, InvalidArgument, UploadRecord
from httpserve.base.text import bytes_of, size
from httpserve.faults.grammar import place_of
from httpserve.storage.operators import new_operator

T = TypeVar("T")

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *%")
_NAMED = re.compile(r"([A-Za-z]\w*)=")
_WORDS = ("all", "started", "idle")


class AutoClose(Enum):
    """When servers end by themselves.

    ``SUITE``: at the end of the suite that started them. ``TEST``: at the end of the test that started them, and those
    of a suite setup at the end of the suite. ``MANUAL``: by `Stop All HTTP Servers`, or when Robot ends.
    """

    SUITE = "SUITE"
    TEST = "TEST"
    MANUAL = "MANUAL"


class Address(str):
    """An IP address or a host name, such as ``192.168.7.2``, ``fd00::2`` or ``board.lab``; brackets are taken off."""

    __slots__ = ()


class Addresses(tuple[Address, ...]):
    """Addresses or host names: a list, or text such as ``127.0.0.1, 10.0.0.1``."""

    __slots__ = ()


class Names(list[str]):
    """The name of a file or a directory, several with commas between them, or a list of names."""

    __slots__ = ()


class Source(str):
    """A local path, an ``http://`` or ``https://`` URL, or a path on the operator that goes with it.

    Relative paths are relative to where Robot was started: write ``${CURDIR}/Image`` for a file beside the suite.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Until:
    """What to wait for.

    ``all`` (every byte), ``started`` (the first byte), ``idle`` (some bytes, then none for ``idle=``: for clients that
    never take the whole file), a part such as ``50 %`` or ``0.5``, or an amount such as ``4096`` or ``10 MiB``.
    """

    value: str | float | int

    def __repr__(self) -> str:  # as libdoc shows a default
        return str(self.value)


@dataclass(frozen=True)
class Clients:
    """How many boards, such as ``3``, or which: a list of addresses, or text such as ``10.0.0.2, 10.0.0.3``."""

    value: int | list[str]

    def __repr__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Service:
    """An OpenDAL service, such as ``s3`` or ``s3://bucket/prefix``, or an operator that `Create Operator` made."""

    value: str | opendal.Operator


@dataclass(frozen=True)
class Awaited:
    """The name of a file on the server, or what `Expect Download` returned."""

    value: str | ExpectedDownload


@dataclass(frozen=True)
class Place:
    """A place in a file.

    A part such as ``50%`` or ``0.5``, a byte such as ``4096`` or ``64 KiB``, or ``-1`` from the end.
    """

    value: float | int

    def __repr__(self) -> str:  # as libdoc shows a default
        return f"{self.value:.0%}" if isinstance(self.value, float) else str(self.value)


@dataclass(frozen=True)
class Held:
    """What `Hold Download` returned, or the name that it was given."""

    value: str | Hold


@dataclass(frozen=True)
class Size:
    """A number of bytes, also with a unit: ``64 MiB``."""

    value: int

    def __repr__(self) -> str:  # as libdoc shows a default
        return size(self.value)


@dataclass(frozen=True)
class Upload:
    """A name on the server, or what `Accept Uploads`, `Expect Upload` or `Wait For Upload` returned."""

    value: str | AcceptedUploads | ExpectedUpload | UploadRecord


def to_address(value: object) -> Address:
    text = str(value).strip()
    return Address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def to_addresses(value: object) -> Addresses:
    parts = re.split(r"[,\s]+", value) if isinstance(value, str) else value
    if isinstance(parts, list | tuple):
        return Addresses(to_address(part) for part in parts if part)
    raise ValueError("write addresses with commas, or give a list")


def to_source(value: str | os.PathLike[str]) -> Source:
    return Source(os.fspath(value))


def to_names(value: object) -> Names:
    if isinstance(value, str | os.PathLike):
        value = [part.strip() for part in os.fspath(value).split(",")]
    if isinstance(value, list | tuple) and value and all(isinstance(name, str | os.PathLike) for name in value):
        return Names(map(os.fspath, value))
    raise ValueError("write a name, several with commas, or give a list of names")


def to_until(value: str | float | int) -> Until:
    found = _until(value.strip()) if isinstance(value, str) else value
    if isinstance(found, float) and not 0 < found <= 1:
        raise ValueError("a part is more than 0 % and at most 100 %; an amount has a unit, such as 10 MiB")
    if isinstance(found, int) and found < 1:
        raise ValueError("an amount is at least 1 byte")
    return Until(found)


def _until(text: str) -> str | float | int:
    if text.lower() in _WORDS:
        return text.lower()
    percent = _PERCENT.fullmatch(text)
    if percent:
        return float(percent[1]) / 100
    if re.fullmatch(r"[0-9]*\.[0-9]+", text):
        return float(text)
    try:
        return bytes_of(text)
    except ValueError:
        raise ValueError("write all, started, idle, a part such as 50 %, or an amount such as 10 MiB") from None


def to_clients(value: object) -> Clients:
    if isinstance(value, int):
        return Clients(value)
    if isinstance(value, str) and value.strip().isdigit():
        return Clients(int(value))
    if isinstance(value, str | list | tuple) and (addresses := to_addresses(value)):
        return Clients(list(addresses))
    raise ValueError("write a number of boards, or their addresses with commas")


def operator_of(service: Service | None, options: dict[str, str]) -> opendal.Operator | None:
    """Return the operator that a keyword's arguments describe, if any. Raises InvalidArgument if they are invalid."""
    if service is None:
        if options:
            raise InvalidArgument(f"{_named(options)} is not an argument; a service's options go with operator=NAME")
        return None
    if isinstance(service.value, str):
        return new_operator(service.value, options)
    if options:
        raise InvalidArgument(f"{_named(options)} comes too late for an operator: give it to Create Operator")
    return service.value


def _named(options: dict[str, str]) -> str:
    return ", ".join(f"{name}=" for name in options)


def to_place(value: str | float | int) -> Place:
    try:
        return Place(place_of(value) if isinstance(value, str) else value)
    except ValueError:
        raise ValueError("write a part such as 50%, a byte such as 4096 or 64 KiB, or -1 from the end") from None


def to_size(value: str | int) -> Size:
    return Size(bytes_of(value) if isinstance(value, str) else value)


def _named_or(kind: Callable[[Any], T], given: type | UnionType, otherwise: str) -> Callable[[object], T]:
    """Return what reads a name, or takes what another keyword has returned; *otherwise* says what to write."""

    def read(value: object) -> T:
        if isinstance(value, str | os.PathLike):
            return kind(os.fspath(value))
        if isinstance(value, given):
            return kind(value)
        raise ValueError(otherwise)

    return read


# What `@library` takes. Each converter's text for libdoc is that of its class.
Converter = Callable[[Any], Any] | Callable[[Any, Any], Any]  # Any: as Robot has it

CONVERTERS: dict[type, Converter] = {
    Address: to_address,
    Addresses: to_addresses,
    Names: to_names,
    Source: to_source,
    Until: to_until,
    Clients: to_clients,
    Service: _named_or(
        Service,
        opendal.Operator,
        "write the name of an OpenDAL service such as s3, or give what Create Operator returned",
    ),
    Awaited: _named_or(Awaited, ExpectedDownload, "write a name on the server, or give what Expect Download returned"),
    Place: to_place,
    Held: _named_or(Held, Hold, "give what Hold Download returned, or the name that it was given"),
    Size: to_size,
    Upload: _named_or(
        Upload,
        AcceptedUploads | ExpectedUpload | UploadRecord,
        "write a name on the server, or give what the keyword for the upload returned",
    ),
}


# Misspelt arguments

_NEAR = 0.6
_NEAR_FOR_OPTIONS = 0.8  # of two names, one of which may be meant as it is


def refuse_unknown(
    parameters: Mapping[str, Parameter], values: Sequence[object], named: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Refuse `aliass=k`, which Robot passes on as the text of an optional argument. A directory may have that name.

    Where a keyword takes any named arguments, refuse those whose names are like one of its own.
    """
    others = [name for name, one in parameters.items() if name != "self" and one.kind is not Parameter.VAR_KEYWORD]
    for parameter, value in zip(parameters.values(), values, strict=False):
        if parameter.default is parameter.empty or not isinstance(value, str | os.PathLike):
            continue
        found = _NAMED.match(os.fspath(value))
        if found and not (isinstance(value, os.PathLike) and os.path.exists(value)):
            raise InvalidArgument(_unknown(found[1], others))
    for name in named:
        if name not in others and _near(name, others, _NEAR_FOR_OPTIONS):
            raise InvalidArgument(_unknown(name, others))


def misspelt(arguments: Sequence[object], spec: ArgumentSpec) -> str | None:
    """Return what is wrong with the arguments of a call that Robot has refused, if the cause is a misspelt one."""
    others = [*spec.positional, *spec.named_only]
    for text in arguments if spec.var_named else arguments[spec.minargs :]:
        found = _NAMED.match(text) if isinstance(text, str) else None
        if found and found[1] not in others and (not spec.var_named or _near(found[1], others, _NEAR_FOR_OPTIONS)):
            return _unknown(found[1], others)
    return None


def _unknown(name: str, others: Sequence[str]) -> str:
    near = _near(name, others, _NEAR)
    there = f"there is {near[0]}=" if near else f"the arguments are {', '.join(others)}"
    return f"{name}= is not an argument; {there}"


def _near(name: str, others: Sequence[str], cutoff: float) -> list[str]:
    return get_close_matches(name.lower(), others, 1, cutoff)


# The arguments of an import

_WRITTEN = {
    AutoClose: "SUITE, TEST or MANUAL",
    bool: "yes or no",
    int: "a whole number",
    timedelta: "a duration such as 2 min",
}

_LISTS = (list, tuple)

Init = TypeVar("Init", bound=Callable[..., None])


def reads_text(init: Init) -> Init:
    """Have an `__init__` convert its text itself: Robot ends the run with a traceback where it cannot, and no log.

    Nor does it take the converters of a library for that.
    """
    hints = get_type_hints(init)
    ours = _WRITTEN.keys() | CONVERTERS.keys()
    kinds = {name: [kind for kind in (hint, *get_args(hint)) if kind in ours] for name, hint in hints.items()}
    parameters = signature(init)

    @functools.wraps(init)
    def run(*args: object, **kwargs: object) -> None:
        refuse_unknown(parameters.parameters, args)
        given = parameters.bind(*args, **kwargs).arguments
        for name, meant in kinds.items():
            if meant and name in given and not (given[name] is None and NoneType in get_args(hints[name])):
                given[name] = _read(name, given[name], meant)
        init(**given)

    # Robot reads what it takes for one of its own types, and leaves alone what it does not know.
    robots = {
        name for name, meant in kinds.items() if any(kind in _WRITTEN or issubclass(kind, _LISTS) for kind in meant)
    }
    vars(run)["robot_types"] = {name: hint for name, hint in hints.items() if name not in robots}
    return cast(Init, run)


def _read(name: str, value: object, kinds: Sequence[type]) -> object:
    """Return the value of an argument as the first of some kinds that it can be."""
    reason = ""
    for kind in kinds:
        try:
            found = _converted(value, kind)
        except ValueError as error:
            reason = str(error) if kind in CONVERTERS else ""
        else:
            if isinstance(found, kind):
                return found
    written = [_WRITTEN[kind] for kind in kinds if kind in _WRITTEN]
    raise InvalidArgument(f"{name}= takes {written[0]}, not {str(value)!r}" if written else f"{name}=: {reason}")


def _converted(value: object, kind: type) -> object:
    if kind not in CONVERTERS:
        return TypeInfo.from_type_hint(kind).convert(value)
    return value if isinstance(value, kind) else cast("Callable[[object], object]", CONVERTERS[kind])(value)


@overload
def seconds(duration: timedelta) -> float: ...


@overload
def seconds(duration: timedelta | None) -> float | None: ...


def seconds(duration: timedelta | None) -> float | None:
    """Return a duration of Robot's as the client takes it."""
    return None if duration is None else duration.total_seconds()
