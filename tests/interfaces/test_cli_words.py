"""Messages on the command line: in its own words, whatever the package says to Python."""

from __future__ import annotations

import ast
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.cli.wording import in_words_of_the_shell
from tests.interfaces.conftest import REPOSITORY, Run

PACKAGE = REPOSITORY / "httpserve"
NETWORK = ("network/choice", "network/binding", "network/hosts", "network/urls")
SPEAKING = (*NETWORK, "doctor/boards", "doctor/listening", "doctor/obstacles")
ARGUMENT = r"(?<![\w-])(host|port|peer|advertise|what|wait_for_address)=(?!=)"
FOR_PYTHON = re.compile(ARGUMENT + r"|\w\(\w*=?\w*\)|\w\.\w+\(|None")
NEVER_SHOWN = {"call start()", ", or get_url(peer=)"}  # the command line leaves out what helps in Python only


def messages(path: Path) -> Iterator[str]:
    """Give the texts of a module that are no docstrings, each with something in place of its values."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part != node}
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)} | parts
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(filled, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    if isinstance(part.value, ast.Name) and part.value.id == "what":
        return "peer"
    return "'value'" if part.conversion == ord("r") else "8000"


@pytest.mark.parametrize("module", SPEAKING)
def test_no_message_about_where_to_listen_speaks_python(module: str) -> None:
    told = {in_words_of_the_shell(text) for text in messages(PACKAGE / f"{module}.py")} - NEVER_SHOWN

    assert [text for text in told if FOR_PYTHON.search(text)] == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("pass host='0.0.0.0', port=80 and advertise='B:80'", "pass -b 0.0.0.0, -p 80 and --advertise B:80"),
        ("peer='a b' is no host", "--peer 'a b' is no host"),
        ('host="it\'s" is no host', "-b 'it'\"'\"'s' is no host"),
        ("host='' names nothing; host=None chooses", "-b '' names nothing; no -b chooses"),
        ("host='peer=x' does not resolve", "-b peer=x does not resolve"),
        ("sudo firewall-cmd --add-port=80/tcp; listenport=80", "sudo firewall-cmd --add-port=80/tcp; listenport=80"),
    ],
)
def test_arguments_are_told_as_options(said: str, told: str) -> None:
    assert in_words_of_the_shell(said) == told


def test_errors_name_the_options_that_help(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = run(folder, "-b", "127.0.0.1", "-p", str(taken.getsockname()[1]))[2]
    absent = run(folder, "-b", "203.0.113.7")[2]
    doctors = run("doctor", folder, "-b", "203.0.113.7")[1]

    assert "pass -p 0 to let the system choose" in in_use
    assert "--wait-for-address 30 waits for it, and -b 0.0.0.0 takes addresses as they come" in absent
    assert "or use --wait-for-address 30" in doctors
    assert not FOR_PYTHON.search(in_use + absent + doctors)


def test_names_of_files_are_told_as_they_are(run: Run, tmp_path: Path) -> None:
    errors = run(tmp_path / "port=80")[2]

    assert f"'{tmp_path}/port=80'" in errors
