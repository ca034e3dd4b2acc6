"""Robot's other programs: dry runs, libdoc, pabot; and a run that leaves its server to the end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.robot.suites import END_SECONDS, REPOSITORY, result_of, start, write

KEYWORDS_PAGE = REPOSITORY / "docs" / "keywords.html"
EXAMPLES = REPOSITORY / "examples" / "robot"


def call(*command: str, **environment: str) -> str:
    """Run a program of Python's, which must say nothing on stderr, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    done = warm.run([sys.executable, "-W", "error", "-m", *command], env=environment, timeout=END_SECONDS)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_dry_run_passes_and_starts_nothing(tmp_path: Path) -> None:
    output = call("robot", "--dryrun", "--outputdir", str(tmp_path), str(EXAMPLES))

    assert re.search(r"[1-9]\d* tests?, [1-9]\d* passed, 0 failed", output)


def test_dry_run_finds_a_wrong_argument(tmp_path: Path) -> None:
    suite = write(tmp_path, "Wrong\n    Put File    only-a-name\nText\n    Stop HTTP Server    timeout=soon\n")

    with start(tmp_path, suite, "--dryrun") as process:
        process.communicate(timeout=END_SECONDS)

    wrong, text = result_of(tmp_path / "out" / "output.xml").suite.tests
    assert "arguments, got 1" in wrong.message
    assert "'soon' that cannot be converted to timedelta" in text.message


def test_libdoc_is_clean_and_its_page_stands_in_the_docs(tmp_path: Path) -> None:
    page = tmp_path / "keywords.html"

    output = call("robot.libdoc", "httpserve.robot.HttpServe", str(page))

    assert output.strip() == str(page)
    assert " object at 0x" not in page.read_text(encoding="utf-8"), "a default that says nothing"
    new, old = _library(page), _library(KEYWORDS_PAGE)
    for part in ("name", "doc", "inits", "keywords"):
        assert _told(new[part]) == _told(old[part]), "make the page anew: python docs/keywords.py"
    assert _sources(old) == {f"httpserve/robot/{Path(source).name}" for source in _sources(new)}  # no directory of ours


def _sources(library: dict[str, Any]) -> set[str]:
    return {library["source"], *(keyword["source"] for keyword in library["keywords"])}


def _library(page: Path) -> dict[str, Any]:
    """Return what a page of libdoc holds."""
    (line,) = re.findall(r"^libdoc = (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    library: dict[str, Any] = json.loads(line.replace("\\x3c", "<").rstrip(";"))
    return library


def _told(part: Any) -> Any:
    """Return what a part says, without where it stands."""
    if isinstance(part, list):
        return [{key: one[key] for key in ("name", "doc", "tags")} | {"args": _names(one)} for one in part]
    return part


def _names(keyword: dict[str, Any]) -> list[str]:
    return [argument["name"] for argument in keyword["args"]]


def test_two_processes_of_pabot_do_not_disturb_each_other(tmp_path: Path) -> None:
    pytest.importorskip("pabot", reason="pabot is not installed")
    for name in ("one", "two"):
        write(
            tmp_path,
            f"""
Serves {name}
    ${{url}}=    Start HTTP Server
    Put Text    which    {name}
    Create File    ${{CURDIR}}/{name}.there
    Wait Until Created    ${{CURDIR}}/one.there    20 s
    Wait Until Created    ${{CURDIR}}/two.there    20 s
    ${{text}}=    Type On Board    curl -s ${{url}}/which
    Should Be Equal    ${{text}}    {name}
    Wait For Download    which    timeout=20 s
    ${{requests}}=    Get Requests
    Length Should Be    ${{requests}}    1
    Create File    ${{CURDIR}}/{name}.done
    Wait Until Created    ${{CURDIR}}/one.done    20 s
    Wait Until Created    ${{CURDIR}}/two.done    20 s

*** Settings ***
Library    OperatingSystem
""",
            name=name,
        )

    options = ["--processes", "2", "--no-pabotlib", "--outputdir", str(tmp_path / "out")]  # one process less to start
    done = subprocess.run(
        [sys.executable, "-m", "pabot.pabot", *options, str(tmp_path)],
        cwd=tmp_path,
        # It starts `robot` by its name, which a virtual environment that was not activated has not in the PATH.
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    result = result_of(tmp_path / "out" / "output.xml")
    assert [test.passed for test in result.suite.all_tests] == [True, True]


def test_robot_is_loaded_only_by_its_own_library() -> None:
    script = "import sys, httpserve; httpserve.HttpServerClient(); assert 'robot' not in sys.modules"

    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, timeout=END_SECONDS)

    assert done.returncode == 0


def test_without_robot_the_error_names_the_extra() -> None:
    script = "import sys; sys.modules['robot'] = None; import httpserve.robot"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=END_SECONDS
    )

    assert done.stderr.splitlines()[-1].endswith("needs an optional package: pip install 'httpserve[robot]'")


def test_server_that_is_left_ends_with_the_run(tmp_path: Path) -> None:
    suite = write(tmp_path, "Left\n    Start HTTP Server\n    Put Text    a    b\n", arguments="auto_close=MANUAL")
    private = tmp_path / "private"
    private.mkdir()

    call("robot", "--outputdir", str(tmp_path / "out"), str(suite), TMPDIR=str(private))

    assert list(private.iterdir()) == []
