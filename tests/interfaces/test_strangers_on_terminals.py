"""What strangers send, and call files and processes, on the command line's terminal."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest

from tests import strangers, warm
from tests.cases import each
from tests.copying.raw_server import Answer, RawServer
from tests.interfaces.command import end, first_line
from tests.interfaces.conftest import Run, Start
from tests.interfaces.terminal import Terminal
from tests.server.wire import PATIENCE_SECONDS

LAST = b"GET /the-last HTTP/1.0\r\n\r\n"
OURS = r"\d\d:\d\d:\d\d  |.+ 127\.0\.0\.1  |\d+ in all  "
RENAMED = """
import ctypes, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


def ask(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as sock:
        sock.sendall(head)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def all_that_strangers_send(folder: Path) -> list[bytes]:
    """Return requests with each text wherever there is room for one, and for the files that are called so."""
    heads = [head for text in strangers.TEXTS.values() for head in strangers.requests(text)]
    names = [os.path.basename(path) for path in strangers.names(os.fsencode(folder))]
    return heads + [b"GET /" + quote_from_bytes(name).encode() + b" HTTP/1.0\r\n\r\n" for name in names]


@pytest.fixture
def odd(folder: Path) -> Path:
    """A folder in which somebody else has put files."""
    for path in strangers.names(os.fsencode(folder)):
        Path(os.fsdecode(path)).write_bytes(b"x" * 300_000)
    return folder


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with closing(Terminal(columns=200, rows=50)) as terminal:
        yield terminal


@pytest.mark.parametrize("options", [["-vv"], ["-v", "--no-progress"], ["--json", "-v"]])
def test_nothing_that_strangers_send_moves_a_terminal(
    start: Start, odd: Path, terminal: Terminal, options: list[str]
) -> None:
    process = start(odd, "-b", "127.0.0.1", *options, stderr=terminal.theirs)
    line = first_line(process)
    port = json.loads(line)["port"] if "--json" in options else int(line.rpartition(":")[2])

    assert process.stdout is not None
    rest = threading.Thread(target=process.stdout.read)  # a pipe that nobody reads holds up the end
    rest.start()
    for head in (*all_that_strangers_send(odd), LAST):
        ask(port, head)
        terminal.read()  # one that nobody reads holds up who logs
    if "-v" in options or "-vv" in options:
        terminal.until(lambda lines: "the-last" in "".join(lines))
    terminal.finish(process)
    rest.join()

    shown = strangers.without_our_own(terminal.raw)
    strangers.check(shown)
    for line in filter(None, shown.split("\n")):
        assert re.match(OURS, line), line
    assert process.stdout is not None
    for event in process.stdout.read().splitlines():
        assert event.isascii()
        assert event.isprintable()
        json.loads(event)


@each("kind", strangers.TEXTS)
def test_what_is_wrong_is_told_in_one_line(run: Run, tmp_path: Path, kind: str) -> None:
    text = os.fsdecode(strangers.TEXTS[kind].replace(b"\0", b""))
    asked = [
        (f"{tmp_path}/{text}",),
        ("put", f"{tmp_path}/{text}", "x", "-b", "127.0.0.1"),
        ("put", __file__, f"../{text}", "-b", "127.0.0.1"),
        (tmp_path, "-b", text),
        (tmp_path, "--peer", text),
        (tmp_path, f"--{text}"),
        (tmp_path, text, "another"),
        (tmp_path, "-p", text),
        (tmp_path, "--command", text),
        (tmp_path, "-b", "127.0.0.1", "--port-file", f"{tmp_path}/no/{text}"),
        ("doctor", f"{tmp_path}/{text}"),
        ("doctor", tmp_path, "--peer", text),
        ("doctor", tmp_path, "-b", text),
    ]
    for words in asked:
        code, output, errors = run(*words)

        assert code != 0 or words[0] == "doctor"
        strangers.check(output + errors)
        told = [line for line in errors.splitlines() if not re.match(r"usage: | {7}", line)]
        assert len(told) <= 1, errors


@each("kind", ["escapes", "C1", "turned round", "no text"])
def test_what_a_source_server_says_is_told_in_one_line(start: Start, kind: str) -> None:
    text = strangers.TEXTS[kind]
    reply = Answer(b"HTTP/1.1 500 " + text + b"\r\nLocation: " + text + b"\r\nContent-Length: 0\r\n\r\n")
    with RawServer(reply) as source:
        _, _, errors = end(start("put", source.url(), "x", "-b", "127.0.0.1", "-vv"), told=False)

    strangers.check(errors)
    assert errors.count("httpserve: cannot read") == 1


def test_the_log_of_others_is_one_line_each() -> None:
    script = (
        "import logging\n"
        "from httpserve.cli.arguments import parse\n"
        "from httpserve.cli.screen import Lines, LogTo\n"
        "from httpserve.cli.stream import Stream\n"
        "import sys\n"
        "logging.basicConfig(handlers=[LogTo(Lines(Stream(sys.stderr)), parse(['.'])[1])], level=10)\n"
        "log = logging.getLogger('urllib3')\n"
        "log.warning('redirected to %s', 'a\\n1999-12-31 \\x1b[2J')\n"
        "try:\n"
        "    raise ValueError('a\\n1999-12-31 \\x1b[2J')\n"
        "except ValueError:\n"
        "    log.exception('failed')\n"
    )

    errors = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr

    strangers.check(errors)
    assert next(line for line in errors.splitlines() if not line.startswith("  ")).endswith("\\n1999-12-31 \\x1b[2J")
    assert sum(not line.startswith("  ") for line in errors.splitlines()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="processes give themselves names by prctl")
@each("options", [[], ["--json"]])
@each("kind", strangers.TEXTS)
def test_the_doctor_names_a_process_as_it_may_stand_on_a_terminal(
    run: Run, folder: Path, kind: str, options: list[str]
) -> None:
    name = strangers.TEXTS[kind].replace(b"\0", b"")[:15]
    other = warm.start(RENAMED, name.hex())
    try:
        assert other.stdout is not None
        port = other.stdout.readline().strip()

        _, output, errors = run("doctor", folder, "-b", "127.0.0.1", "-p", port, *options)
    finally:
        other.communicate()

    strangers.check(output + errors)
    (line,) = [line for line in output.splitlines() if f"process {other.pid}" in line]
    if options:
        (found,) = [one for one in json.loads(line)["findings"] if one["check"] == "start"]
        assert found["message"].isprintable()
        assert found["data"]["program"].isprintable()
    else:
        assert all(re.match(r"(ok|warn|fail) +\w|      -> ", one) for one in output.splitlines())
