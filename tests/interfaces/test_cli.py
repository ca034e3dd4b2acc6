"""The command `httpserve`, as a person or a script runs it: a process, its streams, signals and exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import httpserve
from httpserve import cli

REPOSITORY = Path(__file__).resolve().parents[2]
END_SECONDS = 20

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `python -m httpserve` with arguments; what a test leaves running is killed."""
    processes: list[subprocess.Popen[str]] = []

    def started(*arguments: str | os.PathLike[str], cwd: Path = REPOSITORY) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "httpserve", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line.removesuffix("\n")


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
    return content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "zImage").write_bytes(b"kernel" * 1000)
    (tmp_path / "a file.txt").write_bytes(b"text")
    return tmp_path


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


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
def test_signal_ends_it_with_success_and_a_silent_stderr(
    start: Start, folder: Path, number: signal.Signals
) -> None:
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

        process = start(folder, "-b", "127.0.0.1", "-p", port)
        output, errors = process.communicate(timeout=END_SECONDS)

    assert (process.returncode, output) == (1, "")
    assert errors.startswith("httpserve: ")
    assert errors.count("\n") == 1
    assert port in errors


def test_missing_path_is_an_error_and_is_not_made(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path / "nothing")

    output, errors = process.communicate(timeout=END_SECONDS)

    assert (process.returncode, output, errors.count("\n")) == (1, "", 1)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "arguments", [["-p", "65536"], ["-p", "-1"], ["-p", "http"], ["a", "b"], ["--nonsense"]]
)
def test_usage_error_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: httpserve" in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"httpserve {httpserve.__version__}\n"


def test_sigterm_handler_of_the_caller_is_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    code = cli.main([str(tmp_path / "nothing")])

    assert code == 1
    assert signal.getsignal(signal.SIGTERM) is before
    assert "nothing" in capsys.readouterr().err
