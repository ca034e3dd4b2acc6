"""The tests hold to two rules: each asserts something, and none reads what is private to the package."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(TESTS.rglob("*.py"))
PUBLIC_ALL_THE_SAME = {
    "_repr_html_",  # notebooks call it
    "_asdict", "_fields", "_replace",  # named tuples have no other names for them
    "_exit", "_current_frames", "_is_gil_enabled",  # of os and sys
    "_actions",  # of argparse, which has no other list of its options
    "_execute_child", "_close_pipe_fds", "_run_exitfuncs",  # of subprocess and atexit, see tests/warm.py
}  # fmt: skip
WITHOUT_CALLS = (ast.Name, ast.expr_context, ast.operator, ast.cmpop)  # half of what a tree has
IN_SCRIPT = re.compile(r"\b(?:client|bench|http|storage|root|server)\._[a-z]\w*")
FAIL = {"raises", "warns", "fail", "assert_outcomes", "fnmatch_lines", "check_call"}  # of pytest and others
# Each of them calls what raises where something is wrong.
ASSERT_BY_NOT_RAISING = {
    "test_close_without_a_server_does_nothing",
    "test_arguments_in_order_pass",
    "test_no_arguments_pass",
    "test_checking_arguments_resolves_nothing",
    "test_what_may_still_become_a_head_is_waited_for",
    "test_what_gave_all_it_said_is_whole",
}


@dataclass
class Function:
    """A function of the tests: what it calls, and whether it fails by itself where something is wrong."""

    name: str
    calls: set[str]
    fails: bool = False


@functools.cache
def read() -> tuple[list[Function], list[tuple[str, int, str]]]:
    """Return the functions of the tests, and where they name what is private to the package."""
    functions: list[Function] = []
    private = []
    for path in FILES:
        todo: list[tuple[ast.AST, tuple[Function, ...]]] = [(ast.parse(path.read_text(encoding="utf-8")), ())]
        while todo:
            node, inside = todo.pop()
            if isinstance(node, ast.FunctionDef):
                functions.append(Function(node.name, set()))
                inside = (*inside, functions[-1])
            for function in inside:
                if isinstance(node, ast.Call):
                    function.calls.add(getattr(node.func, "attr", getattr(node.func, "id", "")))
                elif isinstance(node, (ast.Assert, ast.Raise)):
                    function.fails = True
            if isinstance(node, (ast.Attribute, ast.ImportFrom, ast.Constant)):
                private += [(path.name, node.lineno, name) for name in private_names(node)]
            todo += [(child, inside) for child in ast.iter_child_nodes(node) if not isinstance(child, WITHOUT_CALLS)]
    return functions, private


def private_names(node: ast.AST) -> list[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="self" | "cls")):
            pass
        case ast.Attribute(attr=name) if re.match("_[a-z]", name) and name not in PUBLIC_ALL_THE_SAME:
            return [name]
        case ast.ImportFrom(module=str(module), names=aliases) if module.partition(".")[0] == "httpserve":
            return [alias.name for alias in aliases if re.match("_[a-z]", alias.name)]
        case ast.Constant(value=str(text)) if "._" in text:
            return re.findall(r"^httpserve\.[\w.]*\._[a-z]\w*$", text) or IN_SCRIPT.findall(text)
    return []


def test_no_test_reads_what_is_private_to_the_package() -> None:
    _, private = read()

    assert private == []


def test_each_test_asserts_something() -> None:
    functions, _ = read()
    asserting = FAIL | {function.name for function in functions if function.fails}
    while more := {function.name for function in functions if function.calls & asserting} - asserting:
        asserting |= more

    tests = {function.name for function in functions if function.name.startswith("test_")}

    assert tests - asserting <= ASSERT_BY_NOT_RAISING
