"""Holds every import inside httpserve to the table of rooms, by reading the sources.

The same table stands in docs/architecture.md. Imports under TYPE_CHECKING and
inside functions count: they are knowledge too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "httpserve"

# room -> its modules at the top of the package; a folder of the same name belongs to it as a whole
MODULES = {
    "interfaces": {
        "cli",
        "cli_arguments",
        "cli_doctor",
        "cli_events",
        "cli_ready",
        "cli_screen",
        "cli_serving",
        "cli_signals",
        "cli_words",
        "__main__",
        "pytest_plugin",
        "robot",
    },
    "public": {"__init__", "first_use"},
    "client": {"client", "commands", "observed", "expecting", "shown", "lifecycle"},
    "doctor": set[str](),
    "storage": {"storage", "storage_entries", "storage_file"},
    "staging": set[str](),
    "site": set[str](),
    "serving": set[str](),
    "root": {
        "root",
        "incoming",
        "created",
        "generations",
        "places",
        "journal",
        "private",
        "lock_file",
        "inode",
        "emptying",
        "cleanup",
        "opened",
        "standing",
        "names",
        "disk_errors",
        "disks",
        "tree",
        "nearest",
    },
    "records": {
        "records",
        "coverage",
        "downloads",
        "exchange",
        "exchanges",
        "ledger",
        "requested",
        "turns",
        "verdict",
        "waiting",
        "wanted",
        "watching",
    },
    "plan": {"plan"},
    "faults": {"faults"},
    "address": {"address", "binding", "hosts", "interfaces", "routes", "asking", "listeners", "surroundings"},
    "display": {"display", "watch", "variables"},
    "errors": {"errors"},
    "base": set[str](),
    "text": {"printable", "logs"},
}

# room -> the rooms that it may import from, besides itself; each stands below it
BELOW = {
    "interfaces": {"interfaces", "public", "text"},
    "public": {"client", "doctor", "storage", "staging", "records", "faults", "errors", "text"},
    "client": {
        "doctor",
        "storage",
        "staging",
        "site",
        "serving",
        "root",
        "records",
        "plan",
        "faults",
        "address",
        "display",
        "errors",
        "text",
    },
    "doctor": {"records", "address", "display", "errors", "text"},
    "storage": {"staging", "root", "display", "errors", "text"},
    "staging": {"errors", "text"},
    "site": {"root", "records", "plan", "faults", "address", "errors", "text"},
    "serving": {"root", "records", "plan", "faults", "errors", "text"},
    "root": {"errors", "text"},
    "records": {"plan", "display", "errors", "text"},
    "plan": {"faults", "errors", "text"},
    "faults": {"errors", "text"},
    "address": {"errors", "text"},
    "display": {"errors", "text"},
    "errors": {"text"},
    "text": set[str](),
}

# what only these rooms know
OUTSIDE = {
    "opendal": {"client", "storage", "staging", "interfaces"},
    "requests": {"staging"},
    "urllib3": {"staging"},
    "tqdm": {"staging"},
    "werkzeug": {"site", "serving"},
    "socket": {"serving", "address"},
    "select": {"serving"},
    "selectors": {"serving"},
    "argparse": {"interfaces"},
    "pytest": {"interfaces"},
}


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> Iterator[str]:
    """Give the full name of each module that *file* imports, or of what may be one."""
    package = module_name(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            if origin == "httpserve" and is_inside(file):
                yield from (f"httpserve.{alias.name}" for alias in node.names)
            else:
                yield origin


def is_inside(file: Path) -> bool:
    """Tell whether *file* is below the public names, so that what it takes from httpserve are modules."""
    return room_of(module_name(file)) != "interfaces"


def room_of(module: str) -> str | None:
    if module == "httpserve":
        return "public"
    top = module.split(".")[1]
    named = next((room for room, modules in MODULES.items() if top in modules), None)
    return top if named is None and (PACKAGE / top).is_dir() else named


FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(file.relative_to(PACKAGE)) for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_module_stands_in_a_room(file: Path) -> None:
    room = room_of(module_name(file))

    assert room in BELOW, f"{file.name} has no room: give it one in this table and in docs/architecture.md"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_module_imports_only_from_its_room_and_those_below(file: Path) -> None:
    room = room_of(module_name(file))
    assert room is not None
    inside = [name for name in imported(file) if name.split(".")[0] == "httpserve"]

    outside_of_its_reach = {name for name in inside if room_of(name) not in {room, *BELOW[room]}}

    assert not outside_of_its_reach


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_module_knows_only_the_dependencies_of_its_room(file: Path) -> None:
    room = room_of(module_name(file))
    tops = {name.split(".")[0] for name in imported(file)}

    unknown_here = {top for top in tops if top in OUTSIDE and room not in OUTSIDE[top]}

    assert not unknown_here


def test_rooms_have_no_circle() -> None:
    order: list[str] = []
    for room in reversed(BELOW):
        assert BELOW[room] - {room} <= set(order), f"{room} reaches up or across"
        order.append(room)

    assert len(order) == len(MODULES)


def test_public_module_is_a_list_and_holds_no_logic() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))

    (loading,) = [node for node in tree.body if isinstance(node, ast.If)]
    statements = {type(node) for node in [*tree.body, *loading.body, *loading.orelse]}

    assert ast.unparse(loading.test) == "TYPE_CHECKING"
    assert statements <= {ast.Expr, ast.ImportFrom, ast.Import, ast.Assign, ast.If}
