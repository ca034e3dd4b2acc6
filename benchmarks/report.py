"""Results as tables: medians, ratios, and whether the targets are reached.

Pure but for `write_into`. Knows cases and samples, not how they were made.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cases import Case, Target
from benchmarks.load import Sample

Results = Mapping[str, Mapping[str, Sequence[Sample]]]  # case -> who -> samples

BEGIN = "<!-- results: written by python -m benchmarks --write -->"
STORES_BEGIN = "<!-- results: written by python -m benchmarks.stores --write -->"
END = "<!-- end of results -->"
NOT_MEASURED = "–"


def median(samples: Sequence[Sample]) -> float | None:
    return statistics.median(sample.value for sample in samples) if samples else None


def ratio(case: Case, who: str, reference: str, results: Results) -> float | None:
    """Say how many times as fast as *reference* *who* is."""
    samples = results.get(case.key, {})
    mine, theirs = median(samples.get(who, ())), median(samples.get(reference, ()))
    if not mine or not theirs:
        return None
    return mine / theirs if case.more_is_faster else theirs / mine


def table(cases: Sequence[Case], results: Results, large: str) -> str:
    """Make the Markdown tables: one of medians for each set of names, then one of targets."""
    parts = []
    for names in dict.fromkeys(case.names for case in cases):
        parts.append(median_table([case for case in cases if case.names == names], results, large))
    parts.append(target_table(cases, results, large))
    return "\n\n".join(parts)


def median_table(cases: Sequence[Case], results: Results, large: str) -> str:
    names = [name for name in cases[0].names if any(results.get(case.key, {}).get(name) for case in cases)]
    rows = [["median of", "unit", *names]]
    for case in cases:
        samples = results.get(case.key, {})
        cells = [cell(samples.get(name, ()), case.unit) for name in names]
        rows.append([case.title.format(size=large), case.unit, *cells])
    return markdown(rows)


def cell(samples: Sequence[Sample], unit: str) -> str:
    value = median(samples)
    if value is None:
        return NOT_MEASURED
    failed = sum(sample.errors for sample in samples)
    return number(value, unit) + (f" ({failed} failed)" if failed else "")


def number(value: float, unit: str) -> str:
    return f"{value:,.0f}" if unit.endswith("/s") else f"{value:.3f}" if unit == "s" else f"{value:.2f}"


def target_table(cases: Sequence[Case], results: Results, large: str) -> str:
    rows = [["ours against theirs", "is", "to reach", ""]]
    for case in cases:
        title = case.title.format(size=large)
        rows.extend([f"{title}: {what}", *rest] for what, *rest in target_rows(case, results))
    return markdown(rows)


def target_rows(case: Case, results: Results) -> list[list[str]]:
    rows = [target_row(case, target, results) for target in case.targets]
    judged = {target.reference for target in case.targets}
    rows.extend(
        target_row(case, Target(reference), results)
        for reference in ("aiohttp", "nginx")
        if reference in case.names and reference not in judged
    )
    return rows


def target_row(case: Case, target: Target, results: Results) -> list[str]:
    if target.limit is not None:
        value = median(results.get(case.key, {}).get(target.ours, ()))
        reached = None if value is None else value < target.limit
        shown = NOT_MEASURED if value is None else f"{value:.2f} {case.unit}"
        return [target.ours, shown, f"< {target.limit:g} {case.unit}", verdict(reached)]
    factor = ratio(case, target.ours, target.reference, results)
    shown = NOT_MEASURED if factor is None else f"{factor:.2f}x"
    what = f"{target.ours} / {target.reference}"
    if not target.factor:
        return [what, shown, "", ""]
    reached = None if factor is None else factor >= target.factor
    return [what, shown, f">= {target.factor:g}x", verdict(reached)]


def verdict(reached: bool | None) -> str:
    return {None: "", True: "yes", False: "**no**"}[reached]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Lay *rows* out as a Markdown table that is also readable as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def write_into(page: Path, text: str, begin: str = BEGIN) -> None:
    """Replace what stands between the two marks of *page* by *text*."""
    before = page.read_text(encoding="utf-8")
    marked = re.compile(f"{re.escape(begin)}.*?{re.escape(END)}", re.DOTALL)
    if not marked.search(before):
        raise ValueError(f"{page} has no place for results: it needs the lines {begin} and {END}")
    after = marked.sub(lambda _: f"{begin}\n\n{text}\n\n{END}", before)
    page.write_text(after, encoding="utf-8")
