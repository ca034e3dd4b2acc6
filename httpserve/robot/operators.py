"""What `operator=s3  bucket=…` in a suite means: an operator of OpenDAL.

Knows the arguments of keywords. Does not know how OpenDAL makes one, nor what is copied from it.
"""

from __future__ import annotations

import opendal

from httpserve import InvalidArgument
from httpserve.robot.conversions import Service
from httpserve.storage.operators import new_operator


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
