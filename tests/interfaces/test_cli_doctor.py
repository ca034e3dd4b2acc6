"""`httpserve doctor`: what the client's doctor finds, as lines or as JSON, and an exit code."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.command import END_SECONDS, end, event, events
from tests.interfaces.conftest import Run, Start


def test_findings_are_lines_with_a_mark_and_a_next_step(run: Run, folder: Path) -> None:
    before = sorted(os.listdir(folder))

    code, output, errors = run("doctor", folder, "-b", "127.0.0.1", "--peer", "127.0.0.1")

    assert (code, errors) == (0, "")
    assert re.search(r"^ok    url: http://127\.0\.0\.1:\d+", output, re.MULTILINE)
    assert all(re.match(r"(ok  |warn|fail)  \S+: |      -> ", line) for line in output.splitlines())
    assert sorted(os.listdir(folder)) == before


def test_json_is_one_object_with_the_same_findings(run: Run, folder: Path) -> None:
    code, output, errors = run("doctor", "--json", "-b", "127.0.0.1", folder / "a file.txt")

    report = json.loads(output)
    assert (code, errors, output.count("\n")) == (0, "", 1)
    assert report["ok"] is True
    assert {finding["status"] for finding in report["findings"]} <= {"ok", "warn"}
    assert "self-test" in {finding["check"] for finding in report["findings"]}


def test_server_that_cannot_start_is_a_finding_and_exit_1(run: Run, folder: Path) -> None:
    code, output, errors = run("doctor", folder, "-b", "203.0.113.7", "-p", "8000")

    assert (code, errors) == (1, "")
    assert output.startswith("fail  start: no interface has 203.0.113.7 yet\n      -> ")
    assert "call start()" not in output


def findings(output: str) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in json.loads(output)["findings"]}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_server_that_runs_is_no_failure_but_what_is_looked_at(
    start: Start, run: Run, folder: Path, address: str
) -> None:
    running = start(folder, "-b", address, "--json", plain=True)
    listening = event(events(running), "listening")

    code, output, errors = run(
        *("doctor", folder, "-b", address, "-p", str(listening["port"]), "--peer", "127.0.0.1", "--json")
    )

    found = findings(output)
    assert (code, errors) == (0, "")
    assert found["start"]["status"] == "ok"
    assert found["start"]["data"] == {
        "host": listening["host"],
        "port": listening["port"],
        "pid": running.pid,
        "program": "httpserve",
    }
    assert found["bind"]["data"] == {"host": listening["host"], "port": listening["port"]}
    assert {"route", "machine", "firewall"} <= set(found)
    assert {"server", "self-test", "connections"}.isdisjoint(found)
    rest = end(running)[1]
    assert '"event": "request"' not in rest  # which would count as a board's


def test_server_on_every_address_is_in_the_way_of_one(start: Start, run: Run, folder: Path) -> None:
    port = event(events(start(folder, "-b", "0.0.0.0", "--json")), "listening")["port"]

    code, output, _ = run("doctor", "-b", "127.0.0.1", "-p", str(port), "--json")

    assert code == 0
    assert findings(output)["bind"]["data"] == {"host": "0.0.0.0", "port": port}


def test_any_program_that_has_the_port_is_named(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, output, errors = run("doctor", folder, "-b", "127.0.0.1", "-p", str(port))

    assert (code, errors) == (0, "")
    assert output.startswith(f"ok    start: port {port} of 127.0.0.1 is in use by process {os.getpid()} (")


def test_path_that_is_not_there_is_one_line_and_exit_1(run: Run, folder: Path) -> None:
    code, output, errors = run("doctor", folder / "none")

    assert (code, output, errors.count("\n")) == (1, "", 1)


def test_report_that_nobody_reads_is_no_traceback(start: Start, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("doctor", folder, "-b", "127.0.0.1", stdout=writer)
    os.close(writer)

    _, errors = process.communicate(timeout=END_SECONDS)

    assert (process.returncode, errors) == (0, "")
