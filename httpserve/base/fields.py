"""Header fields that a script gives: checked, so that they are one line each, and none of those that are ours to say.

Knows their grammar (RFC 9110 5.5). Does not know which answer they are for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from httpserve.errors import InvalidArgument, InvalidType

Fields = tuple[tuple[str, str], ...]  # each a name and a value

# What only the server can say, as it knows how an answer leaves.
FRAMING = frozenset(("connection", "content-length", "date", "keep-alive", "transfer-encoding"))
# What it says of each file as well.
OF_FILES = FRAMING | {"accept-ranges", "content-range", "etag", "last-modified", "repr-digest"}
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def checked_fields(
    what: str, given: Mapping[str, str] | Iterable[tuple[str, str]] | None, ours: Collection[str] = FRAMING
) -> Fields:
    """Return fields as pairs. Raises InvalidType or InvalidArgument.

    Args:
        what: The argument that they are, for messages.
        given: By name, or as pairs where a name comes twice; None: none.
        ours: Names, in lower case, that cannot be given.
    """
    pairs = () if given is None else given.items() if isinstance(given, Mapping) else given
    checked = []
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise InvalidType(f"{what} takes names and values as text, such as {{'X-Version': '2'}}, not {pair!r}")
        name, value = pair
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"{what}: {name!r} is no name of a field")
        if name.lower() in ours:
            raise InvalidArgument(f"{what}: {name!r} cannot be set, as the server says it of each answer itself")
        if not _VALUE.fullmatch(value):
            raise InvalidArgument(
                f"{what}: the value of {name!r} must be one line of characters up to U+00FF, not {value!r}"
            )
        checked.append((name, value.strip(" \t")))
    return tuple(checked)
