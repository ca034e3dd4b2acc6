"""Messages on the command line: with its options, where the package names arguments."""

from __future__ import annotations

import ast
import re
import socket
from pathlib import Path

from httpserve.base.text import Hint, Message, worded
from httpserve.cli.arguments import option
from tests.cases import each
from tests.interfaces.conftest import REPOSITORY, Run

PACKAGE = REPOSITORY / "httpserve"
SPEAKING = sorted([*PACKAGE.glob("network/*.py"), *PACKAGE.glob("doctor/*.py")])
ARGUMENT = r"(?<![\w-])(host|port|peer|advertise|wait_for_address)="
FOR_PYTHON = re.compile(ARGUMENT + r"|\w\(\w*=?\w*\)|\w\.\w+\(|None")


@each("module", SPEAKING, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_messages_about_where_to_listen_name_arguments_as_hints(module: Path) -> None:
    source = re.sub(r'InPython\("[^"]*"\)', "''", module.read_text(encoding="utf-8"))

    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]

    assert [text for text in texts if isinstance(text, str) and re.search(ARGUMENT, text)] == []


@each(
    ("hint", "written"),
    [
        (Hint("host", "0.0.0.0"), "-b 0.0.0.0"),
        (Hint("port", 80), "-p 80"),
        (Hint("advertise", "B:80"), "--advertise B:80"),
        (Hint("peer", "a b"), "--peer 'a b'"),
        (Hint("host", "it's\n"), "-b 'it'\"'\"'s\\n'"),
        (Hint("host", ""), "-b ''"),
        (Hint("host", None), "no -b"),
        (Hint("peer"), "--peer"),
        (Hint("doctor"), "httpserve doctor"),
        (Hint("wait_for_address", 30), "--wait-for-address 30"),
        (Hint("wait_for_address", None), "leave --wait-for-address out"),
    ],
)
def test_hint_is_written_as_an_option(hint: Hint, written: str) -> None:
    assert worded(Message("pass {}", hint), option) == f"pass {written}"


def test_errors_name_the_options_that_help(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = run(folder, "-b", "127.0.0.1", "-p", str(taken.getsockname()[1]))[2]
    absent = run(folder, "-b", "203.0.113.7")[2]
    waiting = run(folder, "-b", "203.0.113.7", "--wait-for-address", "0.01")[2]
    doctors = run("doctor", folder, "-b", "203.0.113.7")[1]

    assert "pass -p 0 to let the system choose" in in_use
    assert "--wait-for-address 30 waits for it, and -b 0.0.0.0 takes addresses as they come" in absent
    assert waiting.startswith("httpserve: waited 0.01 s: no interface has 203.0.113.7 yet; a longer --wait")
    assert "or use --wait-for-address 30" in doctors
    assert not FOR_PYTHON.search(in_use + absent + waiting + doctors)


def test_names_of_files_are_told_as_they_are(run: Run, tmp_path: Path) -> None:
    errors = run(tmp_path / "port=80")[2]

    assert f"'{tmp_path}/port=80'" in errors
