"""The command `httpserve`, as a person or a script runs it: a process, its streams, signals and exit code."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
import urllib.error
from functools import partial
from pathlib import Path

import pytest

import httpserve
from httpserve.cli.main import main
from httpserve.cli.signals import Signals
from tests.cases import each
from tests.interfaces.command import END_SECONDS, end, fetch, first_line
from tests.interfaces.conftest import Run, Start
from tests.server.wire import eventually, script, sleeps


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_directory_is_served_once_its_url_is_printed(start: Start, folder: Path) -> None:
    url = first_line(start(folder, "-b", "127.0.0.1"))

    assert fetch(f"{url.rstrip('/')}/boot/zImage") == b"kernel" * 1000


def test_current_directory_is_the_default(start: Start, folder: Path) -> None:
    url = first_line(start("--bind", "127.0.0.1", cwd=folder))

    assert fetch(f"{url.rstrip('/')}/a%20file.txt") == b"text"


def test_file_is_served_under_its_name(start: Start, folder: Path) -> None:
    url = first_line(start(folder / "a file.txt", "-b", "127.0.0.1"))

    assert url.endswith("/a%20file.txt")
    assert fetch(url) == b"text"


def test_beside_a_served_file_nothing_can_be_reached(start: Start, folder: Path) -> None:
    url = first_line(start(folder / "a file.txt", "-b", "127.0.0.1"))

    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(url.replace("a%20file.txt", "boot/zImage"))

    assert refused.value.code == 404
    refused.value.close()


def test_port_is_the_one_asked_for(start: Start, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    url = first_line(start(folder, "-b", "127.0.0.1", "-p", str(port)))

    assert url.rstrip("/") == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_signal_ends_it_with_success_and_a_silent_stderr(start: Start, folder: Path, number: signal.Signals) -> None:
    process = start(folder, "-b", "127.0.0.1")
    first_line(process)

    process.send_signal(number)
    rest, errors = process.communicate(timeout=END_SECONDS)

    assert (process.returncode, rest, errors) == (0, "", "")


def test_serving_a_directory_leaves_it_as_it_was(start: Start, folder: Path) -> None:
    before = everything_in(folder)
    process = start(folder, "-b", "127.0.0.1")
    url = first_line(process)
    fetch(f"{url.rstrip('/')}/boot/zImage")
    during = everything_in(folder)

    process.terminate()
    process.communicate(timeout=END_SECONDS)

    assert during == before
    assert everything_in(folder) == before


def test_verbose_logs_requests_to_stderr_and_stdout_stays_one_url(start: Start, folder: Path) -> None:
    process = start(folder, "-b", "127.0.0.1", "-v")
    url = first_line(process)
    fetch(f"{url.rstrip('/')}/boot/zImage")

    process.terminate()
    rest, errors = process.communicate(timeout=END_SECONDS)

    assert rest == ""
    assert "/boot/zImage" in errors


def test_port_in_use_is_one_line_on_stderr_and_exit_1(start: Start, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        code, output, errors = end(start(folder, "-b", "127.0.0.1", "-p", port), told=False)

    assert (code, output) == (1, "")
    assert errors.startswith("httpserve: ")
    assert errors.count("\n") == 1
    assert port in errors


def test_port_in_use_on_loopback_where_the_board_is_is_no_warning_first(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, output, errors = run(folder, "--peer", "127.0.0.1", "-p", str(other.getsockname()[1]))

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "is taken" in errors


def test_missing_path_is_an_error_and_is_not_made(run: Run, tmp_path: Path) -> None:
    code, output, errors = run(tmp_path / "nothing")

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert not (tmp_path / "nothing").exists()


def test_what_is_no_file_is_refused(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it is to wait for who writes

    code, output, errors = run(tmp_path / "pipe")

    assert (code, output) == (1, "")
    assert "neither a directory nor a regular file" in errors


@each("arguments", [["-p", "65536"], ["-p", "-1"], ["-p", "http"], ["--nonsense"]])
def test_usage_error_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: httpserve" in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"httpserve {httpserve.__version__}\n"


def test_sigterm_handler_of_the_caller_is_put_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    code = main([str(tmp_path / "nothing")])

    assert code == 1
    assert signal.getsignal(signal.SIGTERM) is before
    assert "nothing" in capsys.readouterr().err


# Where it listens, and what it says


def test_peer_and_advertise_decide_what_the_url_says(start: Start, folder: Path) -> None:
    facing = first_line(start(folder, "--peer", "127.0.0.1"))
    behind = first_line(start(folder / "a file.txt", "-b", "127.0.0.1", "--advertise", "bench.example:8080/files"))

    assert facing.startswith("http://127.0.0.1:")
    assert behind == "http://bench.example:8080/files/a%20file.txt"


def test_directory_named_like_a_command_is_served_by_its_path(start: Start, tmp_path: Path) -> None:
    (tmp_path / "doctor").mkdir()
    (tmp_path / "doctor" / "file").write_bytes(b"healthy")

    url = first_line(start("./doctor", "-b", "127.0.0.1", cwd=tmp_path))

    assert fetch(f"{url}/file") == b"healthy"


def test_quiet_leaves_errors_alone_on_stderr(start: Start, run: Run, folder: Path) -> None:
    process = start(folder, "-b", "127.0.0.1", "-q", "--progress")
    fetch(f"{first_line(process)}/boot/zImage")

    assert end(process) == (0, "", "")
    assert "no file or directory" in run(folder / "none", "-q")[2]


def test_quiet_leaves_what_was_asked_for(start: Start, folder: Path) -> None:
    process = start(folder / "a file.txt", "-b", "127.0.0.1", "-q", "--command", "curl")
    url = first_line(process)

    digest = hashlib.sha256((folder / "a file.txt").read_bytes()).hexdigest()
    checked = f"curl -f -o 'a file.txt' {url} && echo '{digest}  a file.txt' | sha256sum -c -"
    assert end(process) == (0, "", f"{checked}\n")


@pytest.mark.parametrize("words", [[], ["doctor"], ["put", "a", "b"]], ids=["serve", "doctor", "put"])
def test_directory_that_is_gone_is_one_line_and_exit_1(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    code, output, errors = run(*words)

    assert (code, output, errors.count("\n")) == (1, "", 1)


def test_loud_and_quiet_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["-v", "-q"])

    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_command_that_does_not_come_first_is_told_where_it_belongs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code, _, errors = run("-v", "doctor")

    assert code == 1
    assert "the command comes first: httpserve doctor" in errors


# The port file


def test_port_file_is_there_when_the_url_is_and_gone_at_the_end(start: Start, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "port"
    process = start(folder, "-b", "127.0.0.1", "--port-file", file)
    url = first_line(process)
    during = file.read_text()

    code, _, _ = end(process)

    assert during == f"{url.rpartition(':')[2]}\n"
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


def test_port_file_of_a_killed_server_is_gone_before_anything_that_takes_time(
    start: Start, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "port"
    file.write_text("12345\n")
    with socket.create_server(("127.0.0.1", 0)) as source:  # which never answers
        origin = f"http://127.0.0.1:{source.getsockname()[1]}/x"

        process = start("put", origin, "x", "-b", "127.0.0.1", "--port-file", file)

        eventually(lambda: not file.exists(), "the removal")
        source.settimeout(END_SECONDS)
        asking, _ = source.accept()
        with asking:
            assert not file.exists()
            eventually(lambda: sleeps(process, 5), "it waits")  # a signal just before that would be felt after it
            assert end(process) == (1, "", "httpserve: ended by a signal before SRC was copied\n")


def test_port_file_comes_whole_where_an_old_one_was(start: Start, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("an old one")
    seen = {"an old one"}

    def changed() -> bool:
        try:
            seen.add(file.read_text())
        except FileNotFoundError:
            return False
        return len(seen) > 1

    process = start(folder, "-b", "127.0.0.1", "--port-file", file)
    eventually(changed, "the port")

    assert seen == {"an old one", f"{first_line(process).rpartition(':')[2]}\n"}


def test_symlink_that_is_given_as_port_file_is_replaced_when_ready(start: Start, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    (tmp_path / "port").symlink_to(elsewhere)

    url = first_line(start(folder, "-b", "127.0.0.1", "--port-file", tmp_path / "port"))

    assert (tmp_path / "port").read_text() == f"{url.rpartition(':')[2]}\n"
    assert elsewhere.read_text() == "kept"


def test_port_file_that_another_server_has_replaced_stays(start: Start, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "port"
    first = start(folder, "-b", "127.0.0.1", "--port-file", file)
    first_line(first)
    second = start(folder, "-b", "127.0.0.1", "--port-file", file)
    url = first_line(second)

    end(first)

    assert file.read_text() == f"{url.rpartition(':')[2]}\n"


def test_port_file_can_be_a_named_pipe(start: Start, folder: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(folder, "-b", "127.0.0.1", "--port-file", pipe)

    port = pipe.read_text()

    assert port == f"{first_line(process).rpartition(':')[2]}\n"
    end(process)
    assert pipe.is_fifo()


def test_port_file_that_cannot_be_written_ends_it_with_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    code, output, errors = run(folder, "-b", "127.0.0.1", "--port-file", tmp_path / "no" / "port")

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "the port could not be written to" in errors


# Streams that break, and signals


def test_url_that_nobody_can_read_ends_it_with_one_line(start: Start, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(folder, "-b", "127.0.0.1", stdout=writer)
    os.close(writer)

    _, errors = process.communicate(timeout=END_SECONDS)

    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert errors.startswith("httpserve: the URL http://127.0.0.1:")


def test_stderr_that_nobody_reads_disturbs_nothing(start: Start, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(folder, "-b", "127.0.0.1", "-vv", "--progress", stderr=writer)
    os.close(writer)
    url = first_line(process)

    assert fetch(f"{url}/boot/zImage") == b"kernel" * 1000
    assert fetch(f"{url}/boot/zImage") == b"kernel" * 1000
    assert end(process)[:2] == (0, "")


@pytest.mark.parametrize("command", [[], ["put"], ["doctor"]], ids=["serve", "put", "doctor"])
def test_help_into_a_closed_pipe_says_nothing_more(start: Start, command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*command, "--help", stdout=writer)
    os.close(writer)

    _, errors = process.communicate(timeout=END_SECONDS)

    assert (process.returncode, errors) == (0, "")


def test_closed_stdout_and_stderr_are_no_error(start: Start, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "port"
    process = start(
        folder, "-b", "127.0.0.1", "--port-file", file, stdout=None, stderr=None, preexec_fn=lambda: os.closerange(1, 3)
    )
    eventually(file.exists, "the port file")

    assert fetch(f"http://127.0.0.1:{file.read_text().strip()}/boot/zImage") == b"kernel" * 1000
    assert end(process)[0] == 0


def test_end_of_the_terminal_ends_it_in_order_but_not_under_nohup(start: Start, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "port"
    default = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup too
    process = start(folder, "-b", "127.0.0.1", "--port-file", file, preexec_fn=default)
    first_line(process)
    kept = start(folder, "-b", "127.0.0.1", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    url = first_line(kept)

    process.send_signal(signal.SIGHUP)
    kept.send_signal(signal.SIGHUP)

    assert end(process, told=False) == (0, "", "")
    assert not file.exists()
    assert fetch(f"{url}/boot/zImage") == b"kernel" * 1000


def test_signal_in_the_middle_of_an_import_is_no_other_end(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many modules do for each namedtuple and dataclass; Python takes such an interrupt for one that nobody caught.
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); list(range(9))"
    (tmp_path / "segno.py").write_text(f"exec({code!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    process = start(folder, "-b", "127.0.0.1", "--qr", measured=False)

    assert end(process, told=False) == (0, "", "")


def test_alarm_clock_of_the_caller_is_put_back(run: Run, folder: Path) -> None:
    before = signal.getsignal(signal.SIGALRM)

    run(folder, "-b", "127.0.0.1", "--exit-after", "boot/zImage", "--timeout", "0.1")

    assert signal.getsignal(signal.SIGALRM) is before


def test_alarm_that_python_drops_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.cli.signals.AGAIN_SECONDS", 0.5)  # long enough to leave the block
    raised = 0

    with Signals(is_last=False) as signals, signals.limited(0.05):
        for _ in range(2):
            try:
                time.sleep(END_SECONDS)
            except KeyboardInterrupt:
                raised += 1

    assert (raised, signals.is_time_over) == (2, True)


def test_impatient_ctrl_c_leaves_no_traceback(start: Start, folder: Path) -> None:
    process = start(folder, "-b", "127.0.0.1", measured=False)
    first_line(process)

    for _ in range(20):
        process.send_signal(signal.SIGINT)
    _, output, errors = end(process, told=False)

    assert (output, errors) == ("", "")


# A signal that comes in a profile function is raised in the function that it was called for.
IMPATIENT = """
import os, signal, sys, threading, time
from httpserve.cli.main import main

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def ended_by_two(calls):
    left = calls

    def profile(frame, event, arg):
        nonlocal left
        if event == "call":
            left -= 1
            if left == 0:
                interrupt()

    def sleep(seconds):
        time.sleep = slept
        sys.setprofile(profile)
        interrupt()

    slept, time.sleep = time.sleep, sleep
    try:
        return main([sys.argv[1], "-b", "127.0.0.1", "--exit-after", "boot/zImage", "-q"])
    finally:
        sys.setprofile(None)

for calls in range(1, 60):
    assert ended_by_two(calls) == 1
    for thread in threading.enumerate():
        if thread.name.startswith("httpserve"):  # one that a signal has kept from being waited for, as it ends
            thread.join(10)
            assert not thread.is_alive(), (calls, thread.name)
"""


def test_second_ctrl_c_ends_it_wherever_the_first_has_led(folder: Path) -> None:
    with script(IMPATIENT, str(folder), measured=False) as process:
        try:
            _, errors = process.communicate(timeout=END_SECONDS)
        finally:
            process.kill()

    assert process.returncode == 0, errors
    assert set(errors.splitlines()) == {"httpserve: ended by a signal before 'boot/zImage' was downloaded"}


IN_A_FINALIZER = """
import os, signal, sys, time, weakref
from httpserve.cli.signals import Signals

class Key:
    pass

key, known = Key(), weakref.WeakKeyDictionary()
known[key] = 1

def profile(frame, event, arg):
    if event == "call" and frame.f_code.co_name == "remove":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

with Signals(is_last=False):
    try:
        sys.setprofile(profile)
        del key
        time.sleep(20)
    except KeyboardInterrupt:
        print("felt", len(known))
"""


def test_ctrl_c_in_a_finalizer_is_felt_after_it() -> None:
    with script(IN_A_FINALIZER, measured=False) as process:
        said, errors = process.communicate(timeout=END_SECONDS)

    assert (said, errors) == ("felt 0\n", "")


INTERRUPTED = """
import os, signal, sys, threading, urllib.request
from httpserve.cli.main import main
from httpserve.cli.screen import Lines

def interrupted(self, event):
    Lines.tell = tell
    os.kill(os.getpid(), signal.SIGINT)
    tell(self, event)

tell, Lines.tell = Lines.tell, interrupted
reader, writer = os.pipe()
sys.stdout = open(writer, "w")

def fetch():
    with open(reader) as lines:
        urllib.request.urlopen(lines.readline().strip() + "/boot/zImage").read()

threading.Thread(target=fetch).start()
with sys.stdout:
    code = main([sys.argv[1], "-b", "127.0.0.1", "--progress"])
sys.exit(code)
"""


def test_what_is_not_shown_yet_at_a_signal_is_shown_after_it(folder: Path) -> None:
    with script(INTERRUPTED, str(folder), measured=False) as process:
        code, _, errors = end(process, told=False)

    assert code == 0
    assert "zImage to 127.0.0.1: started" in errors
