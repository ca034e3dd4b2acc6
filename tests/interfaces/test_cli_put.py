"""`httpserve put`, `--exit-after` and `--command`: what a script in any language builds on."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from httpserve.cli.arguments import TOOLS, exit_after
from httpserve.client.board_commands import TEMPLATES
from tests.interfaces.command import END_SECONDS, end, event, events, fetch, first_line, is_refused
from tests.interfaces.conftest import REPOSITORY, Run, Start
from tests.netns.nets import Place, skip_where_not_allowed
from tests.server.wire import BIG_BYTES, Wire, eventually

SCRIPT = """
set -eu
httpserve() { "$PYTHON" -m httpserve "$@"; }
httpserve put "$1" boot/zImage -b 127.0.0.1 --exit-after-download --port-file port --timeout 30 >url &
until [ -s port ]; do sleep 0.05; done
curl -sSf -o fetched "http://127.0.0.1:$(cat port)/boot/zImage"
wait $!
echo "the board has it"
"""


# One file under a name


def test_put_serves_a_file_under_its_new_name_and_ends_once_a_board_has_it(start: Start, folder: Path) -> None:
    process = start("put", folder / "a file.txt", "/boot/image", "-b", "127.0.0.1", "--exit-after-download")
    url = first_line(process)

    content = fetch(url)

    assert url.endswith("/boot/image")
    assert content == b"text"
    assert end(process, told=False) == (0, "", "")


def test_put_tree_serves_what_is_in_a_directory_and_ends_with_a_file_of_it(start: Start, folder: Path) -> None:
    process = start("put", "--tree", folder, "/copy/", "-b", "127.0.0.1", "--exit-after", "copy/a file.txt")
    url = first_line(process)

    content = fetch(f"{url}/a%20file.txt")

    assert url.endswith("/copy")
    assert content == b"text"
    assert end(process, told=False) == (0, "", "")


def test_put_without_an_end_serves_until_a_signal(start: Start, folder: Path) -> None:
    process = start("put", folder / "a file.txt", "x", "-b", "127.0.0.1")
    url = first_line(process)

    for _ in range(2):
        assert fetch(url) == b"text"

    assert end(process) == (0, "", "")


def test_put_takes_an_url(start: Start, folder: Path) -> None:
    origin = first_line(start(folder, "-b", "127.0.0.1"))

    url = first_line(start("put", f"{origin}/boot/zImage", "again", "-b", "127.0.0.1"))

    assert fetch(url) == b"kernel" * 1000


def test_put_refuses_what_has_another_digest(start: Start, run: Run, folder: Path) -> None:
    right = hashlib.sha256(b"text").hexdigest()
    wrong = hashlib.sha256(b"test").hexdigest()

    process = start("put", folder / "a file.txt", "x", "-b", "127.0.0.1", "--sha256", right)
    code, output, errors = run("put", folder / "a file.txt", "x", "-b", "127.0.0.1", "--sha256", wrong)

    assert fetch(first_line(process)) == b"text"
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert wrong in errors


def test_put_of_nothing_is_one_line_and_exit_1(run: Run, tmp_path: Path) -> None:
    code, output, errors = run("put", tmp_path / "none", "x", "-b", "127.0.0.1")

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("httpserve: ")


def test_shell_script_can_wait_for_the_board(folder: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        ["sh", "-c", SCRIPT, "sh", folder / "boot" / "zImage"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "the board has it\n", "")
    assert (tmp_path / "fetched").read_bytes() == b"kernel" * 1000
    assert not (tmp_path / "port").exists()


# Until the boards have it


def test_two_boards_are_two_addresses(start: Start, folder: Path) -> None:
    process = start(folder, "-b", "127.0.0.1", "--exit-after", "boot/zImage,2", "--json")
    coming = events(process)
    port = event(coming, "listening")["port"]

    for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2"):
        with Wire(port, source=source) as board:
            board.ask("/boot/zImage")
        assert event(coming, "download")["client"] == source

    last = event(coming, "stopped")
    assert (last["reason"], last["code"]) == ("downloaded", 0)
    assert end(process, told=False)[0] == 0


def out_of_time(run: Run, *words: str | Path, meanwhile: str) -> str:
    """Run with as much time as a busy machine needs to come so far, and return what is said when it is over."""
    for timeout in ("0.3", "2", "10"):
        code, _, errors = run(*words, "-b", "127.0.0.1", "--timeout", timeout)
        assert (code, errors.count("\n")) == (1, 1)
        if meanwhile in errors:
            break
    return errors


def test_timeout_is_exit_1_and_says_what_happened_instead(run: Run, folder: Path) -> None:
    errors = out_of_time(run, folder, "--exit-after", "boot/zImage", meanwhile="nobody")

    assert re.search(r"within [\d.]+ s: nobody", errors)


@pytest.mark.parametrize("gap", [30.0, 0.05], ids=["a source that sends no more", "a source that drips"])
def test_timeout_bounds_the_copying_of_the_source(run: Run, gap: float) -> None:
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as source:
        source.settimeout(END_SECONDS)
        serving = threading.Thread(target=drip, args=(source, gap, is_over))
        serving.start()

        importlib.import_module("requests")  # first: an import that is interrupted leaves its file open
        origin = f"http://127.0.0.1:{source.getsockname()[1]}/x"
        errors = out_of_time(run, "put", origin, "x", "--exit-after-download", meanwhile="copying")

        is_over.set()
        socket.create_connection(source.getsockname()).close()  # where the time was over before the source was asked
        serving.join()
    assert re.match(r"httpserve: ended after [\d.]+ s \(--timeout\), while copying SRC to 'x': ", errors)


def drip(source: socket.socket, gap: float, is_over: threading.Event) -> None:
    """Answer one request with a head and a few bytes, and a further one at each gap."""
    asking, _ = source.accept()
    with asking, contextlib.suppress(OSError):  # which has gone
        asking.recv(65536)
        asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")
        while not is_over.wait(gap):
            asking.sendall(b"d")


def test_address_that_does_not_come_in_time_is_exit_1(run: Run, folder: Path) -> None:
    code, output, errors = run(folder, "-b", "203.0.113.7", "--wait-for-address", "0.2")

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("httpserve: waited 0.2 s: no interface has 203.0.113.7 yet")


def test_address_that_comes_late_is_waited_for(folder: Path) -> None:
    skip_where_not_allowed()
    with Place("late") as place:
        place.ip("link set lo up")  # where there is no address at all, Linux lets any be bound
        process = place.start(
            *(sys.executable, "-m", "httpserve", str(folder), "-v", "-b", "10.3.3.1", "--wait-for-address", "30")
        )
        assert process.stderr is not None
        waiting = process.stderr.readline()

        place.ip("addr add 10.3.3.1/32 dev lo")

        assert first_line(process).startswith("http://10.3.3.1:")
        # `ip netns exec` has become the command itself.
        assert end(process)[0] == 0
    assert "waiting up to 30 s for an address: no interface has 10.3.3.1 yet; a longer --wait" in waiting


def test_timeout_bounds_the_wait_for_an_address(run: Run, folder: Path) -> None:
    code, output, errors = run(
        *(folder, "-b", "203.0.113.7", "--wait-for-address", "60", "--exit-after", "boot/zImage", "--timeout", "0.3")
    )

    assert (code, output) == (1, "")
    assert errors == "httpserve: ended after 0.3 s (--timeout), while waiting for an address\n"


def test_download_that_ends_well_after_the_signal_is_a_success(start: Start, folder: Path) -> None:
    (folder / "board.img").write_bytes(bytes(BIG_BYTES))
    process = start(folder, "-b", "127.0.0.1", "--exit-after", "board.img", "--json")
    port = json.loads(first_line(process))["port"]
    with Wire(port, receive_bytes=64 << 10) as board:
        board.get("/board.img")
        board.read_head()
        process.terminate()
        eventually(lambda: is_refused(port), "the end of listening")

        board.read_exactly(BIG_BYTES)
        code, output, _ = end(process, told=False)

    stopped = json.loads(output.splitlines()[-1])
    assert (code, stopped["reason"], stopped["code"], stopped["message"]) == (0, "signal", 0, "")


def test_name_that_is_not_there_ends_it_at_once(run: Run, folder: Path) -> None:
    code, output, errors = run(folder, "-b", "127.0.0.1", "--exit-after", "boot/image")

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "boot/image" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_signal_before_the_download_is_no_success(start: Start, folder: Path, number: signal.Signals) -> None:
    process = start(folder, "-b", "127.0.0.1", "--exit-after", "boot/zImage", "--json")
    first_line(process)

    process.send_signal(number)
    code, output, errors = end(process, told=False)

    assert code == 1
    assert errors == "httpserve: ended by a signal before 'boot/zImage' was downloaded\n"
    assert json.loads(output.splitlines()[-1])["reason"] == "signal"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([".", "--timeout", "5"], "--timeout needs --exit-after"),
        ([".", "--exit-after", "x", "--timeout", "0"], "'0' is not a number of seconds"),
        ([".", "--exit-after", "x", "--timeout", "soon"], "'soon' is not a number of seconds"),
        ([".", "--exit-after", "x,0"], "'x,0' is not a file's name"),
        ([".", "--exit-after", ""], "'' is not a file's name"),
        ([".", "--exit-after", "x", "--timeout", "99999999999999"], "is not a number of seconds above 0 and up to"),
        ([".", "--exit-after", "x", "--timeout", "1e400"], "'1e400' is not a number of seconds"),
        (["put", "a", "b", "--exit-after", "b", "--exit-after-download"], "exclude each other"),
        ([".", "--command", "wget"], "--command needs to know the file"),
    ],
)
def test_end_that_makes_no_sense_is_a_usage_error(run: Run, words: list[str], said: str) -> None:
    code, output, errors = run(*words)

    assert (code, output) == (2, "")
    assert said in errors


@pytest.mark.parametrize(
    ("text", "awaited"), [("a", ("a", 1)), ("a,3", ("a", 3)), ("a,3,1", ("a,3", 1)), ("a,b", ("a,b", 1))]
)
def test_number_of_boards_stands_behind_the_last_comma(text: str, awaited: tuple[str, int]) -> None:
    assert exit_after(text) == awaited


# What to type


def test_command_is_printed_to_stderr_and_fetches(start: Start, folder: Path, tmp_path: Path) -> None:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    process = start("put", folder / "boot" / "zImage", "zImage", "-b", "127.0.0.1", "--command", "busybox")
    first_line(process)
    assert process.stderr is not None
    command = process.stderr.readline()

    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=END_SECONDS)

    assert (tmp_path / "zImage").read_bytes() == b"kernel" * 1000


def test_commands_of_several_clients_are_events_too(start: Start, folder: Path) -> None:
    process = start(
        folder,
        "-b",
        "127.0.0.1",
        "--json",
        *("--command", "u-boot", "--command", "curl", "--exit-after", "boot/zImage"),
    )
    coming = events(process)
    port = event(coming, "listening")["port"]

    told = [event(coming, "command") for _ in range(2)]

    assert [(one["tool"], one["name"]) for one in told] == [("u-boot", "boot/zImage"), ("curl", "boot/zImage")]
    assert f"setenv httpdstp {port}" in told[0]["text"]


@pytest.mark.parametrize("tool", ["telnet", "", "ostree", "U-Boot"])
def test_client_that_is_unknown_or_needs_more_is_a_usage_error_that_lists_the_others(
    run: Run, folder: Path, tool: str
) -> None:
    code, output, errors = run(folder / "a file.txt", "-b", "127.0.0.1", "--command", tool)

    assert (code, output) == (2, "")
    near = " (did you mean u-boot?)" if tool == "U-Boot" else ""
    assert f"there is no command for '{tool}'{near}; " in errors
    assert errors.endswith(f"there is one for {', '.join(TOOLS)}\n")
    assert ("ref=" in errors) == (tool == "ostree")


def test_clients_that_the_command_line_knows_are_those_that_need_no_further_value() -> None:
    fetching = {name: template for name, template in TEMPLATES.items() if not template.sends}

    assert [name for name, template in fetching.items() if None not in template.values.values()] == list(TOOLS)
