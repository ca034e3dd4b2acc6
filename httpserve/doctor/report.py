"""The findings of the doctor, as data and as text. Knows nothing of how they were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from httpserve.base.tables import report_html
from httpserve.base.text import printable


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. Its texts have one line each, and are printable.

    Attributes:
        status: `ok`, `warn` (may be why nothing arrives) or `fail` (nothing can arrive, or not all).
        check: What was examined, one word such as `bind`, `url` or `firewall`. Several findings may have the same.
        message: The result, with its values.
        next_step: What to do; empty if there is nothing to do.
        data: The same values for programs, as JSON types.
    """

    status: str
    check: str
    message: str
    next_step: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)  # Any: of JSON

    def __post_init__(self) -> None:
        for name in ("message", "next_step"):
            object.__setattr__(self, name, printable(getattr(self, name)))  # frozen for all others

    def __str__(self) -> str:
        line = f"{self.status:<4}  {self.check}: {self.message}"
        return f"{line}\n      -> {self.next_step}" if self.next_step else line

    def _repr_html_(self) -> str:
        return report_html([(self.status, self.check, self.message, self.next_step)])


class Findings(tuple[Finding, ...]):
    """A tuple of findings that shows itself as lines, or as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "(nothing found)"

    def _repr_html_(self) -> str:
        return report_html((one.status, one.check, one.message, one.next_step) for one in self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # Any: IPython's printer
        printer.text(repr(self))


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """The findings of `doctor()`, in the order in which to read them. It shows itself as lines, or as a table."""

    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", Findings(self.findings))  # frozen for all others

    @property
    def ok(self) -> bool:
        """Whether no finding has the status `fail`."""
        return all(finding.status != "fail" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:  # Any: of JSON
        """Return a dict for `json.dumps`: `ok`, and `findings` with the fields of `Finding`."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    def __repr__(self) -> str:
        return repr(self.findings)

    def _repr_html_(self) -> str:
        return Findings(self.findings)._repr_html_()
