"""The tests hold to rules: each asserts something, none reads what is private to the package, each mark says why."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cases import each

HERE = Path(__file__).resolve()
TESTS = HERE.parents[1]
MODULES = {"strangers"}  # of helpers, which tests call by the name of their module
FILES = sorted(TESTS.rglob("*.py"))
SOURCES = ["httpserve", "benchmarks", "examples"]
PUBLIC_ALL_THE_SAME = {
    "_repr_html_",  # notebooks call it
    "_asdict", "_fields", "_replace",  # named tuples have no other names for them
    "_exit", "_current_frames", "_is_gil_enabled",  # of os and sys
    "_actions",  # of argparse, which has no other list of its options
    "_execute_child", "_close_pipe_fds", "_run_exitfuncs",  # of subprocess and atexit, see tests/warm.py
}  # fmt: skip
PRIVATE = "_{1,2}[A-Za-z][A-Za-z0-9_]*(?<!__)"  # names with two underscores at each end are Python's
BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "attrgetter", "patch", "object"}  # take an attribute as text
NAMING = (ast.Attribute, ast.ImportFrom, ast.Constant, ast.Call, ast.Subscript, ast.FunctionDef, ast.AnnAssign)
WHY_NOT_SAID = re.compile(r"#\s*(?:type: ignore|noqa|pragma: no)\b[^#\n-]*$", re.MULTILINE)  # for mypy, ruff, coverage
WITHOUT_CALLS = (ast.Name, ast.expr_context, ast.operator, ast.cmpop)  # half of what a tree has
FAIL = {"raises", "warns", "fail", "assert_outcomes", "fnmatch_lines", "check_call"}  # of pytest and others


@dataclass
class Function:
    """A function of the tests: what it calls, and whether it fails by itself where something is wrong."""

    name: str
    calls: set[str]
    fails: bool = False


@functools.cache
def read() -> tuple[list[Function], list[str]]:
    """Return the functions of the tests, and where they name what is private to the package."""
    functions: list[Function] = []
    private = []
    for path in FILES:
        nodes: list[ast.AST] = []
        todo: list[tuple[ast.AST, tuple[Function, ...]]] = [(ast.parse(path.read_text(encoding="utf-8")), ())]
        while todo:
            node, inside = todo.pop()
            nodes.append(node)
            if isinstance(node, ast.FunctionDef):
                functions.append(Function(node.name, set()))
                inside = (*inside, functions[-1])
            for function in inside:
                if isinstance(node, ast.Call):
                    function.calls |= called(node.func)
                elif isinstance(node, (ast.Assert, ast.Raise)):
                    function.fails = True
            todo += [(child, inside) for child in ast.iter_child_nodes(node) if not isinstance(child, WITHOUT_CALLS)]
        if path != HERE:  # whose examples are to be found
            private += [f"{path.relative_to(TESTS.parent)}:{line}: {name}" for line, name in private_names(nodes)]
    return functions, private


def private_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield each line of a module, and the private name in it, that the module has not given itself."""
    of_self: list[ast.Attribute] = []
    own = set()
    for node in nodes:
        if not isinstance(node, NAMING):
            continue
        names: list[str] = []
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=context):
                if isinstance(context, ast.Store):
                    own.add(node.attr)
                else:
                    of_self.append(node)
            case ast.Attribute(attr=name):
                names = [name]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] == "httpserve":
                names = [*module.split("."), *(alias.name for alias in node.names)]
            case ast.Constant(value=str(text)) if "._" in text:  # a script, or what a patch takes
                names = re.findall(rf"(?<!\bself)(?<!\bcls)\.({PRIVATE})\b", text)
            case ast.Call() if getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_NAME:
                names = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            case ast.Subscript(value=ast.Attribute(attr="__dict__") | ast.Call(func=ast.Name(id="vars"))):
                names = [ast.unparse(node.slice).strip("'")]
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                own.add(name)
        yield from ((node.lineno, name) for name in names if is_private(name))
    # A class of a test that has one of ours as its base sees what is private to that as its own.
    yield from ((node.lineno, node.attr) for node in of_self if is_private(node.attr) and node.attr not in own)


def called(function: ast.expr) -> set[str]:
    """Return the name of a function that is called; of a method only where it is known to fail."""
    match function:
        case ast.Name(id=name):
            return {name}
        case ast.Attribute(attr=name) if name in FAIL:
            return {name}
        case ast.Attribute(attr=name, value=ast.Name(id=module)) if module in MODULES:
            return {name}
    return set()


def is_private(name: str) -> bool:
    return bool(re.fullmatch(PRIVATE, name)) and name not in PUBLIC_ALL_THE_SAME


def test_no_test_reads_what_is_private_to_the_package() -> None:
    _, private = read()

    assert private == []


@each(
    "line",
    [
        "from httpserve.records.log import _Line",
        "from httpserve._records import log",
        "client._state",
        "client._Client__state",
        "client.site.rules._rules = ()",
        "super()._state",
        "monkeypatch.setattr(client, '_state', 1)",
        "monkeypatch.setattr('httpserve.network.binding._FIRST', 1)",
        "getattr(client, '_state')",
        "vars(client)['_state']",
        "script('print(client._state)')",
        "class Own(Client):\n def read(self): return self._state",
    ],
)
def test_each_way_to_what_is_private_is_found(line: str) -> None:
    assert list(private_names(ast.walk(ast.parse(line))))


@each(
    "line",
    [
        "from httpserve.records.log import Line",
        "client.requests._repr_html_()",
        "client.__class__",
        "os._exit(0)",
        "class Own:\n def write(self): self._file = 1\n def read(self): return self._file",
    ],
)
def test_what_is_public_or_of_the_test_itself_may_be_named(line: str) -> None:
    assert not list(private_names(ast.walk(ast.parse(line))))


def test_each_test_asserts_something() -> None:
    functions, _ = read()
    asserting = FAIL | {function.name for function in functions if function.fails}
    while more := {function.name for function in functions if function.calls & asserting} - asserting:
        asserting |= more

    tests = {function.name for function in functions if function.name.startswith("test_")}

    assert tests - asserting == set()


def test_each_mark_that_silences_a_tool_says_why() -> None:
    files = {*FILES, *(path for top in SOURCES for path in (TESTS.parent / top).rglob("*.py"))} - {HERE}

    marks = [
        f"{path.relative_to(TESTS.parent)}:{text.count(chr(10), 0, mark.start()) + 1}: {mark[0]}"
        for path, text in ((path, path.read_text(encoding="utf-8")) for path in files)
        for mark in WHY_NOT_SAID.finditer(text)
    ]

    assert marks == []
    for line, is_bare in (("x = 1  # type: ignore[misc]\n", True), ("x = 1  # noqa: F401 - read below\n", False)):
        assert bool(WHY_NOT_SAID.search(line)) is is_bare
