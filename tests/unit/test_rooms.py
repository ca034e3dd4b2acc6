"""Holds every import inside httpserve to the table of rooms, by reading the sources.

The same table stands in docs/architecture.md. It is one of packages: a new module belongs to its folder's room.
Imports under TYPE_CHECKING and inside functions count: they are knowledge too.
"""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "httpserve"
MOST_NAMES = 18  # in the package's own folder

# room -> the rooms that it may import from, besides itself. A room is a folder, or a module at the top; one with a dot
# is a part of another, with a row of its own. A longer name as an entry is that module alone.
PUBLIC = "httpserve"
FOR_PEOPLE = {PUBLIC, "faults", "base.paths", "base.text", "base.tables"}
TABLE: dict[str, set[str]] = {
    "errors": {"base.text", "base.tables", "base.outcome", "base.ipython"},  # which know nothing
    "plan": set(),
    "base": {"errors"},
    "faults": {"errors", "base", "plan"},
    "network": {"errors", "base"},
    "records": {"errors", "base", "plan"},
    "records.waits": {"errors", "base", "plan", "records"},
    "storage.served": {"errors", "base", "plan"},
    "storage.metadata": {"base"},
    "storage.accessor": {"errors", "base", "storage.served", "storage.metadata"},
    "storage.received": {"base", "storage.accessor"},
    "storage.directory": {"errors", "base", "storage.served", "storage.received"},
    "storage.copying": {"errors", "base"},
    "storage.operators": {"errors", "base"},
    "storage.cache": {"errors", "base", "plan", "storage.served", "storage.directory.private_root"},
    "storage.store": {
        *("errors", "base", "plan", "storage.served", "storage.metadata", "storage.accessor", "storage.copying"),
        *("storage.received", "storage.cache"),
    },
    "storage": {
        *("errors", "base", "plan", "storage.served", "storage.metadata", "storage.accessor"),
        *("storage.directory", "storage.copying"),
    },
    "site": {"errors", "base", "plan", "faults", "storage.served"},
    "server": {"errors", "base", "plan", "records"},
    "doctor": {"errors", "base", "network", "records"},
    "notebook": {"errors", "base", "records"},
    "client": {
        *("errors", "base", "plan", "faults", "network", "records", "records.waits", "storage", "storage.served"),
        *("storage.accessor", "storage.directory", "storage.store", "storage.cache", "storage.operators", "site"),
        *("server", "doctor", "notebook"),
    },
    PUBLIC: {"errors", "base", "client", "faults", "records", "records.waits", "storage", "storage.metadata", "doctor"}
    | {"notebook"},
    "cli": FOR_PEOPLE | {"storage.cache"},
    "robot": FOR_PEOPLE | {"storage.operators"},
    "pytest_plugin": FOR_PEOPLE,
    "__main__": {"cli"},
}

# what only these rooms know
OUTSIDE = {
    "opendal": {
        "client",
        "storage",
        "storage.metadata",
        "storage.accessor",
        "storage.copying",
        "storage.store",
        "storage.operators",
        "robot",
    },
    "requests": {"storage.copying", "storage.store"},
    "urllib3": {"storage.copying"},
    "tqdm": {"base"},
    "rich": {"cli"},
    "werkzeug": {"site", "server"},
    "socket": {"server", "network", "doctor"},
    "select": {"server"},
    "selectors": {"server"},
    "argparse": {"cli"},
    "pytest": {"pytest_plugin"},
}


def module_name(file: Path) -> str:
    """Return the name below `httpserve`, which itself is `httpserve`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or PUBLIC


@functools.cache
def imported(file: Path) -> list[str]:
    """Return the full name of each module that *file* imports, or of what may be one."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import, where all others name the whole module"
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in within if name.removeprefix(f"{PUBLIC}.") in MODULES]
            found += modules
            if len(modules) < len(within):
                found.append(str(node.module))
    return found


def imported_of_ours(file: Path) -> set[str]:
    return {name.removeprefix(f"{PUBLIC}.") for name in imported(file) if name.split(".")[0] == PUBLIC}


def room_of(module: str) -> str:
    """Return the longest row of the table that a module lies below, or its folder."""
    rows = [row for row in TABLE if module == row or module.startswith(f"{row}.")]
    return max(rows, key=len, default=module)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def test_each_module_lies_in_a_room() -> None:
    missing = {module for module in MODULES if room_of(module) not in TABLE}

    assert not missing, "give each a room here and in docs/architecture.md"


def test_modules_import_only_from_their_room_and_those_below() -> None:
    beyond = [
        f"{module} imports {name}"
        for module, file in MODULES.items()
        for name in imported_of_ours(file)
        if not {name, room_of(name)} & {room_of(module), *TABLE[room_of(module)]}
    ]

    assert not beyond


def test_modules_know_only_the_dependencies_of_their_room() -> None:
    unknown = [
        f"{module} imports {top}"
        for module, file in MODULES.items()
        for top in {name.split(".")[0] for name in imported(file)} & OUTSIDE.keys()
        if room_of(module) not in OUTSIDE[top]
    ]

    assert not unknown


def test_modules_have_no_circle_inside_their_rooms_either() -> None:
    order = TopologicalSorter({name: imported_of_ours(file) - {name} for name, file in MODULES.items()})

    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_every_row_of_the_table_is_a_room() -> None:
    assert {row for row in TABLE if not any(room_of(module) == row for module in MODULES)} == set()


def test_package_has_few_names_at_its_top() -> None:
    names = sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")

    assert len(names) <= MOST_NAMES, names


def test_public_module_is_a_list_and_holds_no_logic() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))

    (loading,) = [node for node in tree.body if isinstance(node, ast.If)]
    statements = {type(node) for node in [*tree.body, *loading.body, *loading.orelse]}

    assert ast.unparse(loading.test) == "TYPE_CHECKING"
    assert statements <= {ast.Expr, ast.ImportFrom, ast.Import, ast.Assign, ast.If}
