"""Runs suites by Robot itself, and gives what stands in its output.xml.

Knows Robot's result model. Knows nothing of the library's inside. Robot is loaded when the first suite runs: a process
that only hands out the tests, or runs others, needs none.
"""

from __future__ import annotations

import copy
import functools
import html
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests import warm

REPOSITORY = Path(__file__).parents[2]
END_SECONDS = 40
BOARD = """
*** Keywords ***
Type On Board
    [Arguments]    ${command}
    # Not Run Process, which looks ten times a second whether it has ended.
    VAR    &{where}    cwd=${CURDIR}/board    stdin=${-3}    stdout=${-1}    stderr=${-2}    text=${True}
    ${done}=    Evaluate    subprocess.run($command, shell=True, timeout=20, **$where)
    RETURN    ${done.stdout.removesuffix(chr(10))}
Transfers Have Ended
    [Arguments]    ${server}=${None}
    FOR    ${_}    IN RANGE    1000
        ${requests}=    Get Requests    server=${server}
        IF    "under way" not in [request.outcome for request in $requests]    RETURN
        Sleep    10 ms
    END
    Fail    transfers are under way still
"""
SETTINGS = """
*** Settings ***
Library    Process
Library    httpserve.robot.HttpServe    host=127.0.0.1    {arguments}

*** Test Cases ***
"""


@dataclass(frozen=True)
class Case:
    """A test of a suite, as it ended."""

    name: str
    passed: bool
    message: str
    messages: list[Any]  # Any: robot has no types
    table: str

    @property
    def lines(self) -> list[Any]:
        """The lines of transfers, in the order of the log."""
        return [message for message in self.messages if re.match(r"\d\d:\d\d:\d\d\.\d{3} ", message.message)]

    @property
    def rows(self) -> list[list[str]]:
        """The rows of the table, without its titles and its total."""
        return [cells for cells in _cells(self.table) if cells[0] != "total"]

    @property
    def total(self) -> list[str]:
        """The row of the total."""
        (cells,) = [cells for cells in _cells(self.table) if cells[0] == "total"]
        return cells


class Run:
    """What Robot made of suites."""

    def __init__(self, code: int, output: Path, console: str) -> None:
        self.code = code
        self.console = console
        self.result = result_of(output)
        self.cases = {case.name: case for case in map(_case, self.result.suite.all_tests)}

    def __getitem__(self, name: str) -> Case:
        return self.cases[name]

    @property
    def errors(self) -> list[str]:
        """What Robot itself complained about, outside of tests."""
        return [message.message for message in self.result.errors.messages]

    def all_passed(self) -> bool:
        """Tell whether every test passed; fail with their messages where not."""
        failed = [f"{case.name}: {case.message}" for case in self.cases.values() if not case.passed]
        assert not failed, failed
        assert not self.errors, self.errors
        return bool(self.cases) and self.code == 0


@functools.cache
def documentation() -> Any:  # robot has no types
    """Return what libdoc finds in the library."""
    from robot.libdocpkg import LibraryDocumentation

    return LibraryDocumentation("httpserve.robot.HttpServe")


def result_of(output: Path) -> Any:
    """Return what Robot wrote into an output.xml."""
    from robot.api import ExecutionResult

    return ExecutionResult(str(output))


def run(directory: Path, *suites: str | Path, arguments: str = "", **options: Any) -> Run:
    """Run suites in this process. What is given as text is a table of test cases, which has a board."""
    from robot.run import run as robot_run
    from robot.running.arguments import PythonArgumentParser

    console = io.StringIO()
    paths = [suite if isinstance(suite, Path) else write(directory, suite, arguments) for suite in suites]
    output = directory / "out"
    told = {"outputdir": str(output), "stdout": console, "stderr": console, "log": "NONE", "report": "NONE"}
    with mock.patch.object(PythonArgumentParser, "parse", _parsed_once(PythonArgumentParser.parse)):
        code = robot_run(*map(str, paths), **told, **options)
    return Run(code, output / "output.xml", console.getvalue())


_SPECIFICATIONS: dict[tuple[Any, ...], Any] = {}


def _parsed_once(parse: Any) -> Any:
    """Let Robot look once at what a function takes: it does for keywords at each import, for converters at a call."""

    def parsed(parser: Any, method: Any, name: str | None = None) -> Any:
        key = (getattr(method, "__func__", method), hasattr(method, "__self__"), name)
        if key not in _SPECIFICATIONS:
            _SPECIFICATIONS[key] = parse(parser, method, name)
        return copy.copy(_SPECIFICATIONS[key])  # each keyword names its own

    return parsed


def write(directory: Path, cases: str, arguments: str = "", name: str = "suite") -> Path:
    """Write a suite of these test cases, which has a board."""
    if "curl " in cases and shutil.which("curl") is None:
        pytest.skip("the suite's board runs curl, which is not installed")
    (directory / "board").mkdir(exist_ok=True)
    path = directory / f"{name}.robot"
    path.write_text(SETTINGS.format(arguments=arguments) + cases + BOARD, encoding="utf-8")
    return path


def start(directory: Path, suite: Path, *options: str) -> subprocess.Popen[str]:
    """Run a suite in a process of its own, as a user does."""
    return warm.Popen(
        [sys.executable, "-m", "robot", "--outputdir", str(directory / "out"), *options, str(suite)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _cells(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", table)[1:]
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def _case(test: Any) -> Case:
    messages = list(_messages(test))
    tables = [message.message for message in messages if message.html and "<caption>HTTP transfers" in message.message]
    assert len(tables) <= 1, "one table per test"
    return Case(test.name, test.passed, test.message, messages, tables[0] if tables else "")


def _messages(item: Any) -> Iterator[Any]:
    if getattr(item, "type", None) == "MESSAGE":
        yield item
        return
    for setup in (getattr(item, "setup", None), *getattr(item, "body", ()), getattr(item, "teardown", None)):
        if setup:
            yield from _messages(setup)
