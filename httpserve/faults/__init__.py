"""Wrong on purpose: the faults that `HttpServerClient.fault` puts into answers. Each is a frozen dataclass.

A place in a file (`at`, `to`) is a byte number, a fraction (a float from 0.0 to 1.0), or, negative, counted from the
end. It is always a place in the whole file, so that a cut at 0.5 comes at the same byte whichever ranges are asked.
`parse` reads them as the shell and Robot write them.
"""

from httpserve.faults.fault import Chance, Fault, Sequence
from httpserve.faults.grammar import Said, parse, parse_named
from httpserve.faults.kinds import (
    Corrupt,
    Cut,
    Headers,
    IgnoreRange,
    NoLength,
    Redirect,
    Refuse,
    Slow,
    Stale,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
)

__all__ = [
    "Chance",
    "Corrupt",
    "Cut",
    "Fault",
    "Headers",
    "IgnoreRange",
    "NoLength",
    "Redirect",
    "Refuse",
    "Said",
    "Sequence",
    "Slow",
    "Stale",
    "Stall",
    "Status",
    "Truncate",
    "WrongLength",
    "WrongRange",
    "parse",
    "parse_named",
]
