"""How a person learns what the command can do: `--help`, the man page, and completion in a real shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from httpserve.cli.arguments import EXAMPLES, PARSERS, invocation, parse
from httpserve.cli.json_events import KINDS
from httpserve.cli.paths import COMMANDS
from tests import warm
from tests.cases import each
from tests.interfaces.command import END_SECONDS, end
from tests.interfaces.conftest import REPOSITORY, Run, Start

MAN_PAGE = REPOSITORY / "docs" / "httpserve.1"
SHELL_PAGE = REPOSITORY / "docs" / "shell.md"
SCREEN_ROWS, SCREEN_COLUMNS = 45, 80

Completed = Callable[[str], set[str]]


# --help


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_on_a_screen_and_has_examples(run: Run, command: str) -> None:
    code, output, errors = run(*filter(None, [command]), "--help")

    lines = output.splitlines()
    assert (code, errors) == (0, "")
    assert len(lines) <= SCREEN_ROWS
    assert max(map(len, lines)) < SCREEN_COLUMNS
    assert "examples:" in lines


EXAMPLE_LINES = [line for examples in EXAMPLES.values() for line in examples]


@pytest.mark.parametrize("line", EXAMPLE_LINES)
def test_example_of_the_help_is_a_command_line(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a file that is not there is no error yet
    program, *words = shlex.split(re.sub(r"  +\(.*\)$", "", line.replace("\\\n", " ")))

    parse(words)

    assert program == "httpserve"


# The man page


def made() -> str:
    return subprocess.run(
        [sys.executable, REPOSITORY / "docs" / "manpage.py"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_man_page_is_what_its_script_makes() -> None:
    assert MAN_PAGE.read_text(encoding="ascii") == made(), "run: python docs/manpage.py > docs/httpserve.1"


def test_man_page_has_every_option_and_event() -> None:
    text = MAN_PAGE.read_text(encoding="ascii").replace("\\-", "-")

    options = {name for parser in PARSERS.values() for action in parser()._actions for name in action.option_strings}
    assert not [name for name in (*options, *KINDS) if f"\\fB{name}\\fR" not in text]


def test_man_page_is_shown_without_a_warning() -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    shown = subprocess.run(
        ["man", "--warnings", "-l", MAN_PAGE],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
        check=True,
        capture_output=True,
        text=True,
    )

    assert shown.stderr == ""
    assert "--exit-after NAME[,N]" in re.sub(r".\x08", "", shown.stdout)


# docs/shell.md


def test_page_on_the_shell_tells_every_option() -> None:
    page = SHELL_PAGE.read_text(encoding="utf-8")

    actions = [action for parser in PARSERS.values() for action in parser()._actions if action.option_strings]
    assert not sorted(written for action in actions if f"`{(written := invocation(action))}`" not in page)


def test_page_on_the_shell_tells_every_event_and_its_fields() -> None:
    page = SHELL_PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]*) \|$", page, re.MULTILINE))

    told = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows.items()}

    assert told == {name: kind.fields for name, kind in KINDS.items()}


# Completion

BASH = """
eval "$1"
COMP_LINE=$2
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9
read -ra COMP_WORDS <<<"$COMP_LINE"
case $COMP_LINE in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
spec=$(complete -p httpserve)
function=${spec##*-F }
"${function%% *}" httpserve
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def completed(tmp_path: Path) -> Completed:
    """Ask a real bash how it completes a line, in a directory with two files and a directory."""
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    register = [sys.executable, str(Path(sys.executable).with_name("register-python-argcomplete")), "httpserve"]
    registered = warm.run(register, timeout=END_SECONDS).stdout
    (tmp_path / "board.img").touch()
    (tmp_path / "pump.img").touch()
    (tmp_path / "build" / "boot").mkdir(parents=True)
    for name in ("zImage", ".git", "boot/a.dtb"):
        (tmp_path / "build" / name).touch()
    tools = tmp_path / "bin"
    tools.mkdir()
    command = tools / "httpserve"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m httpserve "$@"\n')
    command.chmod(0o755)

    def completed(line: str) -> set[str]:
        path = os.pathsep.join((str(tools), str(Path(sys.executable).parent), os.environ["PATH"]))
        shell = subprocess.run(
            ["bash", "--norc", "-c", BASH, "bash", registered, line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
        )
        assert (shell.returncode, shell.stderr) == (0, "")
        return {word.strip() for word in shell.stdout.splitlines()} - {""}

    return completed


@each(
    ("line", "expected"),
    [
        ("httpserve --p", {"--peer", "--port", "--port-file", "--progress"}),
        ("httpserve pu", {"put", "pump.img"}),
        ("httpserve ", {"put", "doctor", "cache", "board.img", "pump.img", "build/", "bin/"}),
        ("httpserve --command u", {"u-boot", "u-boot-lwip"}),
        ("httpserve put bo", {"board.img"}),
        ("httpserve put board.img board.img --exit-after-", {"--exit-after-download"}),
        ("httpserve doctor --j", {"--json"}),
        ("httpserve build --exit-after ", {"boot/", "zImage"}),
        ("httpserve -d build --exit-after boot/", {"boot/a.dtb"}),
        ("httpserve build/zImage board.img --exit-after ", {"zImage", "board.img"}),
        ("httpserve build/boot board.img --exit-after boot/", {"boot/a.dtb"}),
        ("httpserve put board.img x/y --exit-after ", {"x/y"}),
        ("httpserve build --fault z", {"zImage"}),
        ("httpserve build --fault zImage=c", {"cut", "corrupt"}),
    ],
)
def test_shell_completes(completed: Completed, line: str, expected: set[str]) -> None:
    assert completed(line) == expected


def test_module_is_marked_for_global_completion() -> None:
    for name in ("cli/main.py", "__main__.py"):
        assert "PYTHON_ARGCOMPLETE_OK" in (REPOSITORY / "httpserve" / name).read_text(encoding="utf-8")[:1024]


def test_completion_is_no_matter_without_its_package(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['argcomplete'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("_ARGCOMPLETE", "1")

    assert end(start("--version", plain=True), told=False)[0] == 0
