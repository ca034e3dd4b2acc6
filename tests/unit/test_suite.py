"""The tests hold to two rules: each asserts something, and none reads what is private to the package."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(TESTS.rglob("*.py"))
PUBLIC_ALL_THE_SAME = {
    "_repr_html_",  # notebooks call it
    "_asdict", "_fields", "_replace",  # named tuples have no other names for them
    "_exit", "_current_frames", "_is_gil_enabled",  # of os and sys
    "_actions",  # of argparse, which has no other list of its options
    "_execute_child", "_close_pipe_fds",  # of subprocess, see tests/warm.py
}  # fmt: skip
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


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]


@functools.cache
def called(function: ast.FunctionDef) -> set[str]:
    """Return the last names of what a function calls."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


@functools.cache
def asserting() -> set[str]:
    """Return the names of the functions of tests that fail where something is wrong, by themselves or by another."""
    bodies = [function for path in FILES for function in functions(path)]
    names = FAIL | {
        function.name
        for function in bodies
        if any(isinstance(node, (ast.Assert, ast.Raise)) for node in ast.walk(function))
    }
    while more := {function.name for function in bodies if called(function) & names} - names:
        names |= more
    return names


def private_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if re.match("_[a-z]", name) and name not in PUBLIC_ALL_THE_SAME:
                yield node.lineno, name
            case ast.ImportFrom(module=str(module), names=aliases) if module.partition(".")[0] == "httpserve":
                yield from ((node.lineno, alias.name) for alias in aliases if re.match("_[a-z]", alias.name))
            case ast.Constant(value=str(text)):
                found = re.findall(r"^httpserve\.[\w.]*\._[a-z]\w*$", text) or IN_SCRIPT.findall(text)
                yield from ((node.lineno, name) for name in found)


def test_no_test_reads_what_is_private_to_the_package() -> None:
    assert [(path.name, *found) for path in FILES for found in private_names(parsed(path))] == []


def test_each_test_asserts_something() -> None:
    tests = {function.name for path in FILES for function in functions(path) if function.name.startswith("test_")}

    assert tests - asserting() <= ASSERT_BY_NOT_RAISING
