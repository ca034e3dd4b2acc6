"""Makes an operator of OpenDAL from what people write: a service and its options, or the URL of a store.

Knows how OpenDAL makes one and how it refuses. Asks nothing of the store, and shows no value of an option, which may be
a secret. Knows nothing of what is read from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import opendal
from opendal import exceptions as theirs

from httpserve.base.paths import scheme_of, shown_url
from httpserve.errors import InvalidArgument

LIKENESS = 0.8  # of a misspelt option to the one that is meant

# What the constructor can raise; opendal's classes share no base.
_REFUSALS = (theirs.ConfigInvalid, theirs.Unsupported, theirs.Unexpected, theirs.Error)

_LACKS = re.compile(r"(\w+) is (?:misconfigured|empty|required|not specified|missing)|missing field `(\w+)`")


def new_operator(service: str, options: Mapping[str, str]) -> opendal.Operator:
    """Make an operator of an OpenDAL service, or of the URL of a store. Asks nothing of it, and does not block.

    Args:
        service: Such as `s3`; or a URL such as `s3://bucket/prefix`, whose query may have options too.
        options: Those of the service, by name.

    Raises:
        InvalidArgument: OpenDAL has no such service, or refuses the options; the message names them, without values.
    """
    scheme = scheme_of(service)
    name = scheme.lower() or service
    given = {**dict(parse_qsl(urlsplit(service).query)), **options} if scheme else dict(options)
    if misspelt := _misspelt(name, given):
        raise InvalidArgument(f"{name} has no option {misspelt[0]}=; there is {misspelt[1]}=")
    try:
        return opendal.Operator.from_uri(service, **options) if scheme else opendal.Operator(service, **given)
    except _REFUSALS as error:
        reason = _reason(str(error), given)
        named = f" with {', '.join(f'{option}=' for option in given)}" if given else ""
        raise InvalidArgument(f"OpenDAL makes no operator of {shown_url(service)!r}{named}: {reason}") from error


def _reason(text: str, options: Mapping[str, str]) -> str:
    """Return why OpenDAL refuses, with the name of an option that is missing."""
    reason = " ".join((text.partition("=> ")[2] or text).partition("Context:")[0].split())
    lacks = _LACKS.search(reason)
    option = lacks and (lacks[1] or lacks[2])
    return reason if not option or option in options else f"{option}= is missing"


def _misspelt(service: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    """Return an option that the service does not have, and the one that is meant: OpenDAL says nothing."""
    try:
        from opendal import config  # which OpenDAL has for types; it has no other list of options
    except ImportError:
        return None
    known = getattr(
        getattr(config, f"{service.replace('-', ' ').title().replace(' ', '')}Config", None), "__annotations__", {}
    )
    for option in options:
        if option not in known:
            from difflib import get_close_matches  # only where something may be wrong

            near = get_close_matches(option, known, 1, LIKENESS)
            if near and near[0] not in option:  # aws_region is another name of region
                return option, near[0]
    return None
