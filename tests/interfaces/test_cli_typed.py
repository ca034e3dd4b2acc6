"""The command line as people type it: several paths, a bare port, variables, and forms of other servers."""

from __future__ import annotations

import json
import os
import urllib.error
from pathlib import Path
from socket import AF_INET

import pytest

from httpserve.cli.arguments import VARIABLES, Options, parse
from httpserve.network.interfaces import interfaces
from tests.cases import each
from tests.interfaces.command import end, event, events, fetch, first_line
from tests.interfaces.conftest import Run, Start


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Be in the directory above the served one, with none of our variables."""
    monkeypatch.chdir(folder.parent)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def status(url: str) -> int:
    try:
        fetch(url)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
    return 200


# Paths


def test_several_paths_are_served_and_nothing_beside_them(start: Start, folder: Path) -> None:
    (folder / "boot" / "dtb").mkdir()
    (folder / "boot" / "dtb" / "a.dtb").write_bytes(b"tree")
    (folder / "boot" / "latest").symlink_to("zImage")
    words = [folder / "boot" / "latest", folder / "boot" / "dtb", "--command", "curl"]
    process = start(*words, "-b", "127.0.0.1")
    latest, dtb = (first_line(process) for _ in range(2))
    base = latest.removesuffix("/latest")

    assert dtb == f"{base}/dtb"
    assert [fetch(url) for url in (latest, f"{dtb}/a.dtb")] == [b"kernel" * 1000, b"tree"]
    assert status(f"{base}/zImage") == 404
    _, _, errors = end(process)
    assert [line.partition(" && ")[0] for line in errors.splitlines()] == [f"curl -f -o latest {latest}"]


def test_distant_paths_are_served_under_their_last_names(start: Start, run: Run, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "dtb").mkdir(parents=True)
    (other / "dtb" / "a.dtb").write_bytes(b"tree")
    (other / "dtb" / ".hidden").write_bytes(b"hidden")
    (other / "link").symlink_to(folder / "a file.txt")
    zimage = folder / "boot" / "zImage"
    words = [zimage, other / "dtb", other / "link", "--exit-after", zimage, "--command", "wget"]
    process = start(*words, "-b", "127.0.0.1")
    urls = [first_line(process) for _ in range(3)]
    base = urls[0].removesuffix("/zImage")

    assert urls[1:] == [f"{base}/dtb", f"{base}/link"]
    assert [fetch(url) for url in (f"{urls[1]}/a.dtb", urls[2])] == [b"tree", b"text"]
    assert [status(f"{base}/{name}") for name in ("boot/zImage", "dtb/.hidden", "other")] == [404, 404, 404]
    (other / "dtb" / "a.dtb").write_bytes(b"another tree")
    assert fetch(f"{urls[1]}/a.dtb") == b"another tree"
    assert fetch(urls[0]) == b"kernel" * 1000
    code, _, errors = end(process, told=False)
    assert code == 0
    assert [line.split(" ")[0] for line in errors.splitlines()] == ["wget", "wget"]
    (tmp_path / "zImage").touch()
    refused: list[tuple[list[Path | str], str]] = [
        ([zimage, tmp_path / "zImage"], "would both be served as 'zImage'; serve the directory that holds both"),
        ([zimage, "/"], "'/' has no name to be served under beside others"),
        ([zimage, other / "dtb", "--upload", "logs"], "--upload needs a directory to store them in, and the paths lie"),
    ]
    for paths, message in refused:
        code, _, errors = run(*paths)
        assert (code, message in errors) == (1, True), errors


def test_what_is_missing_of_several_paths_has_the_nearest_of_them(start: Start, folder: Path) -> None:
    coming = events(start("-d", folder, "boot", "a file.txt", "boot/zImage", "-b", "127.0.0.1", "--json"))
    listening = event(coming, "listening")

    assert status(f"{listening['url']}/boot/zimage") == 404

    assert listening["path"] == [f"{folder}/boot", f"{folder}/a file.txt", f"{folder}/boot/zImage"]
    assert event(coming, "missing")["nearest"] == ["boot/zImage", "zImage"]


def test_a_number_is_the_port_where_no_such_path_is(run: Run, folder: Path) -> None:
    (folder / "8000").touch()

    def meant(*words: str) -> tuple[list[str], int]:
        options = parse(words)[1]
        return options.paths, options.port

    assert meant("8000") == (["."], 8000)
    assert meant("served", "-b", "127.0.0.1", "8000") == (["served"], 8000)
    assert meant("-d", "served", "8000") == (["served/8000"], 0)
    assert meant("-d", "served") == (["served"], 0)
    assert meant("-p", "80", "8000") == (["8000"], 80)
    assert "httpserve: serving '.' at port 1\n" in run("-b", "203.0.113.7", "1")[2]


def test_directories_are_not_listed_and_dot_files_are_served_where_that_is_said(start: Start, folder: Path) -> None:
    (folder / ".config").write_bytes(b"set")

    url = first_line(start(folder, "-b", "127.0.0.1", "--no-listing", "--dot-files"))

    assert (status(url), fetch(f"{url}/.config")) == (404, b"set")


def test_put_reads_standard_input(start: Start, folder: Path) -> None:
    with open(folder / "boot" / "zImage", "rb") as file:
        url = first_line(start("put", "-", "kernel", "-b", "127.0.0.1", stdin=file))
    reader, writer = os.pipe()
    process = start("put", "-", "x", "-b", "127.0.0.1", stdin=reader)
    os.close(reader)
    os.write(writer, b"from a pipe")
    os.close(writer)

    assert fetch(url) == b"kernel" * 1000
    assert fetch(first_line(process)) == b"from a pipe"


# Until boards have it


def test_it_ends_once_boards_have_all_that_it_is_to_wait_for(start: Start, folder: Path) -> None:
    awaited = ["--exit-after", "served/boot/zImage", "--exit-after", "a file.txt"]  # one as a shell completes it
    process = start("served", "-b", "127.0.0.1", *awaited, cwd=folder.parent)
    url = first_line(process)

    fetch(f"{url}/a%20file.txt")
    still_runs = process.poll() is None
    fetch(f"{url}/boot/zImage")

    assert still_runs
    assert end(process, told=False) == (0, "", "")


def test_each_name_that_no_board_has_in_the_end_is_named(run: Run) -> None:
    awaited = ["--exit-after", "boot/zImage", "--exit-after", "a file.txt,2", "--timeout", "0.5"]

    code, _, errors = run("served", "-b", "127.0.0.1", *awaited)

    assert (code, errors.count("\n")) == (1, 1)
    is_late = "(--timeout)" in errors  # a busy machine has not even begun to wait
    assert is_late or all(name in errors for name in ("'boot/zImage'", "'a file.txt'"))


# Variables


@each(
    ("words", "expected"),
    [
        ([], ("0.0.0.0", "192.168.7.2", 8000)),
        (["-p", "0"], ("0.0.0.0", "192.168.7.2", 0)),
        (["80"], ("0.0.0.0", "192.168.7.2", 80)),
        (["-b", "::1"], ("::1", None, 8000)),
        (["--peer", "192.168.8.2"], (None, "192.168.8.2", 8000)),
        (["doctor"], ("0.0.0.0", "192.168.7.2", 8000)),
        (["put", "a", "b"], ("0.0.0.0", "192.168.7.2", 8000)),
    ],
)
def test_variables_say_where_to_listen_where_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, words: list[str], expected: tuple[str | None, str | None, int]
) -> None:
    for name, value in zip(VARIABLES, ("0.0.0.0", "192.168.7.2", "8000"), strict=True):
        monkeypatch.setenv(name, value)

    options: Options = parse(words)[1]

    assert (options.bind, options.peer, options.port) == expected


def test_error_names_the_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPSERVE_PORT", "http")
    wrong = run("served")
    monkeypatch.setenv("HTTPSERVE_PORT", "")
    monkeypatch.setenv("HTTPSERVE_HOST", "203.0.113.7")
    absent = run("served")
    examined = run("doctor", "served", "--json")

    assert (wrong[0], absent[0]) == (2, 1)
    assert "HTTPSERVE_PORT: 'http' is not a port" in wrong[2]
    assert absent[2].endswith(" (the environment has HTTPSERVE_HOST=203.0.113.7)\n")
    assert "HTTPSERVE_HOST=203.0.113.7" in json.loads(examined[1])["findings"][0]["next_step"]


# Wrong forms


@each(
    ("words", "code", "said"),
    [
        (["-b", "10.0.0.1", "-b", "0.0.0.0"], 1, "-b 0.0.0.0 includes the addresses that it stands beside; pass -b"),
        (["--host", "10.0.0.1"], 2, "unrecognized arguments: --host; there is --bind"),
        (["served", "--prot=80"], 2, "unrecognized arguments: --prot=80; there is --port"),
        (["served", "--exit-after-download"], 2, "without put it is --exit-after NAME"),
        (["served", "--wait", "5"], 2, "unrecognized arguments: --wait 5; there is --wait-for-address"),
        (["served", "--cors"], 2, "unrecognized arguments: --cors\n"),
        (["served", "--listen", "x"], 2, "; there is --bind"),
        (["dcotor"], 1, "; there is the command doctor"),
        (["putt", "a", "b"], 1, "; there is the command put"),
        (["put", "x", "served/a file.txt"], 1, "; the source comes first: httpserve put 'served/a file.txt' x"),
        (["put", "served", "x"], 1, "; to serve a directory: httpserve served; to copy what is in it: --tree"),
        (["put", "--tree", "served/a file.txt", "x"], 1, "cannot read 'served/a file.txt': it is not a directory"),
        (
            ["put", "--tree", "served", "x", "--decompress"],
            2,
            "--decompress is for one file, and --tree for a directory",
        ),
        (["put", "--tree", "served", "x", "--command", "wget"], 2, "--command needs to know the file"),
        (["put", "ftp://x/y", "x"], 1, "of URLs only http:// and https:// are fetched\n"),
        (["served", "--exit-after", "boot"], 1, "--exit-after: 'boot' is a directory; give a file in it"),
        (["served", "--exit-after", ".hid"], 1, "and others put it here; --dot-files serves it"),
        (["served", "--exit-after", "xyzzy"], 1, "--exit-after: no file 'xyzzy' is on the server\n"),
        (["served", "--peer", "10.300.1.1"], 1, "--peer 10.300.1.1 is no address: IPv4 has four numbers of 0 to 255"),
        (["put", "a", "b", "c"], 2, "unrecognized arguments: c"),
        (["served/a file.txt", "x"], 1, "to serve a file under another name: httpserve put 'served/a file.txt' x"),
        (["https://ci.example/x"], 1, "to serve a copy of what a URL has: httpserve put https://ci.example/x NAME"),
        (["-d", "none", "x"], 1, "there is no file or directory 'none/x' to serve"),
        (["serevd/"], 1, "there is no file or directory 'serevd/' to serve; there is 'served'"),
        (["served/A File.txt"], 1, "'served/A File.txt' to serve; there is 'served/a file.txt'"),
        (["served", "--exit-after", "zimage"], 1, "--exit-after: no file 'zimage' is on the server: there is 'boot/zI"),
    ],
)
def test_wrong_form_is_an_error_that_says_the_right_one(
    run: Run, folder: Path, words: list[str], code: int, said: str
) -> None:
    (folder / ".hid").touch()
    ended, output, errors = run(*words)

    assert (ended, output) == (code, "")
    assert said in errors


def test_peer_that_will_hardly_reach_the_server_is_one_line_on_stderr(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPSERVE_HOST", "127.0.0.1")
    monkeypatch.setenv("HTTPSERVE_PEER", "10.99.99.9")
    process = start("served", cwd=Path.cwd())
    url = first_line(process)

    code, _, errors = end(process)

    assert url.startswith("http://127.0.0.1:")
    assert (code, errors.count("\n")) == (0, 1)
    assert "  warning: --peer 10.99.99.9" in errors
    assert "HTTPSERVE_PEER=10.99.99.9" in errors


def test_peer_that_is_this_host_itself_is_one_line_on_stderr(start: Start) -> None:
    own = next((here.address for here in interfaces() if here.family == AF_INET and not here.is_loopback), None)
    if own is None:
        pytest.skip("this host has no address but loopback")

    process = start("served", "--peer", own, cwd=Path.cwd())
    first_line(process)
    code, _, errors = end(process)

    assert (code, errors.count("\n")) == (0, 1)
    assert f"--peer {own} is this host's own address; a board has one of its own\n" in errors
