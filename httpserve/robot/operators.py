"""What `operator=s3  bucket=…` in a suite means: an operator of OpenDAL.

Knows how OpenDAL makes one and how it refuses. Knows nothing of what is copied from it.
"""

from __future__ import annotations

import re

import opendal
from opendal import exceptions as theirs

from httpserve import InvalidArgument
from httpserve.robot.conversions import Service

# What the constructor can raise; opendal's classes share no base.
_REFUSALS = (theirs.ConfigInvalid, theirs.Unsupported, theirs.Unexpected, theirs.Error)

_LACKS = re.compile(r"(\w+) is (?:misconfigured|empty|required|not specified)|missing field `(\w+)`")


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


def new_operator(service: str, options: dict[str, str]) -> opendal.Operator:
    """Make an operator of an OpenDAL service, asking nothing of it yet. Raises InvalidArgument if that fails."""
    try:
        return opendal.Operator(service, **options)
    except _REFUSALS as error:
        reason = _reason(str(error), options)
        # The values may hold a password.
        given = f" with {_named(options)}" if options else ""
        raise InvalidArgument(f"OpenDAL makes no operator of {service!r}{given}: {reason}") from error


def _reason(text: str, options: dict[str, str]) -> str:
    """Return why OpenDAL refuses, with the name of an option that is missing."""
    reason = " ".join((text.partition("=> ")[2] or text).partition("Context:")[0].split())
    lacks = _LACKS.search(reason)
    option = lacks and (lacks[1] or lacks[2])
    return reason if not option or option in options else f"{option}= is missing"


def _named(options: dict[str, str]) -> str:
    return ", ".join(f"{name}=" for name in options)
