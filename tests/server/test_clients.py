"""Programs that boards run, as boards: curl, wget and busybox wget."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern

PROGRAMS = {
    "curl": ["curl", "--silent", "--show-error", "--fail", "--output"],
    "wget": ["wget", "--quiet", "--tries=1", "-O"],
    "busybox": ["busybox", "wget", "-q", "-O"],
}


each_program = pytest.mark.parametrize("program", PROGRAMS)


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program, where it is installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=30)


@pytest.fixture
def got(tmp_path: Path) -> Path:
    """Where a board stores what it fetches."""
    return tmp_path / "got"


@pytest.fixture
def url(bench: HttpServerClient, big: Path) -> str:
    """Where an image is fetched."""
    return bench.put_file("boot/disk image.img", big)


@each_program
def test_a_board_downloads_an_image_and_is_waited_for(
    bench: HttpServerClient, url: str, got: Path, program: str
) -> None:
    done = run(*PROGRAMS[program], got, url)

    record = bench.wait_for_download("boot/disk image.img", 20)
    assert (done.returncode, done.stderr) == (0, "")
    assert got.read_bytes() == pattern(BIG_BYTES)
    assert record.bytes == BIG_BYTES
    assert program == "busybox" or program in record.user_agent.lower()


@each_program
def test_a_board_that_asks_for_a_missing_file_fails(bench: HttpServerClient, got: Path, program: str) -> None:
    done = run(*PROGRAMS[program], got, bench.get_url("missing"))

    assert done.returncode != 0
    assert bench.requests[-1].status == 404


@each_program
def test_a_board_downloads_an_empty_file(bench: HttpServerClient, got: Path, program: str) -> None:
    bench.storage.write_bytes("empty", b"")

    done = run(*PROGRAMS[program], got, bench.get_url("empty"))

    assert done.returncode == 0
    assert got.exists() is (program != "curl") or got.read_bytes() == b""
    assert bench.wait_for_download("empty", 20).bytes == 0


@pytest.mark.parametrize(
    ("program", "resume"),
    [
        ("curl", ["curl", "--silent", "--fail", "--continue-at", "-", "--output", "got"]),
        ("wget", ["wget", "--quiet", "--continue", "-O", "got"]),
        ("busybox", ["busybox", "wget", "-q", "-c", "-O", "got"]),
    ],
)
def test_a_broken_off_download_is_resumed_and_counts_as_one(
    bench: HttpServerClient, url: str, got: Path, program: str, resume: list[str]
) -> None:
    with Wire(bench.get_port(), receive_bytes=65536) as wire:  # else it grows, and may take the rest, too
        wire.get("/boot/disk%20image.img")
        wire.read_head()
        got.write_bytes(wire.read_exactly(5 << 20))
        eventually(lambda: bench.transfers[0].acknowledged >= 5 << 20)  # the last acknowledgment may be delayed
        wire.reset()

    done = run(*resume, url, cwd=got.parent)

    record = bench.wait_for_download("boot/disk image.img", 20)
    assert done.returncode == 0
    assert got.read_bytes() == pattern(BIG_BYTES)
    assert record.ranges == ((5 << 20, BIG_BYTES),)
    assert bench.requests[-1].status == 206


@pytest.mark.parametrize(
    ("options", "status"),
    [(["--continue-at", "-"], 416), (["--range", "0-3,100-103"], 206), (["--http1.0"], 200)],
    ids=["resumes what is whole", "many ranges", "HTTP/1.0"],
)
def test_curl_gets_what_it_asks_for(
    bench: HttpServerClient, url: str, got: Path, big: Path, options: list[str], status: int
) -> None:
    if status == 416:
        shutil.copy(big, got)

    done = run("curl", "--silent", "--show-error", *options, "--output", got, url)

    assert done.returncode == 0
    assert bench.requests[-1].status == status
    if status == 206:
        assert pattern(BIG_BYTES)[100:104] in got.read_bytes()
    else:
        assert got.read_bytes() == pattern(BIG_BYTES)


def test_curl_fetches_again_only_what_has_changed(bench: HttpServerClient, tmp_path: Path) -> None:
    for seed, status in ((1, 200), (1, 304), (2, 200), (2, 304)):
        (tmp_path / "source").write_bytes(pattern(1000, seed))
        url = bench.put_file("f", tmp_path / "source")

        etag = tmp_path / "etag"
        done = run("curl", "-s", "--etag-compare", etag, "--etag-save", etag, "--output", tmp_path / "got", url)

        assert done.returncode == 0
        assert bench.requests[-1].status == status
        assert (tmp_path / "got").read_bytes() == pattern(1000, seed)


def test_curl_uses_one_connection_for_many_files(bench: HttpServerClient, tmp_path: Path) -> None:
    for number in range(5):
        bench.storage.write_bytes(f"f{number}", pattern(1000, number))

    done = run("curl", "--silent", bench.get_url() + "/f[0-4]")

    assert done.returncode == 0
    assert len({record.client_port for record in bench.requests}) == 1
    assert len(bench.requests) == 5


def test_curl_is_told_that_an_upload_is_not_wanted(bench: HttpServerClient, big: Path) -> None:
    done = run("curl", "--silent", "--fail", "--upload-file", big, bench.get_url("f"))

    assert done.returncode == 22  # an HTTP error, and no broken connection
    assert bench.requests[-1].status in (405, 413)


def test_wget_mirrors_the_listing(bench: HttpServerClient, tmp_path: Path) -> None:
    files = {"a": b"1", "d/b c": b"2", "d/e/ü": b"3", "d/#?%": b"4"}
    for name, data in files.items():
        bench.storage.write_bytes(name, data)

    run("wget", "--quiet", "-r", "-np", "-nH", "--restrict-file-names=nocontrol", bench.get_url() + "/", cwd=tmp_path)

    got = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: got.get(name) for name in files} == files


def test_busybox_sees_a_truncated_download(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with open(root / "f", "wb") as file:
        file.truncate(1 << 30)
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    with HttpServerClient(root, host="127.0.0.1") as client:
        board = subprocess.Popen(
            ["busybox", "wget", "-q", "-O", "/dev/stdout", client.get_url("f")], stdout=subprocess.PIPE
        )
        with board:
            assert board.stdout is not None
            board.stdout.read(1 << 20)
            client.stop(timeout=0)
            board.stdout.read()

    assert board.returncode != 0
    assert not client.requests[-1].completed


def test_three_programs_download_at_once(url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        commands = [
            [*command, str(tmp_path / f"{program}{number}"), url]
            for program, command in PROGRAMS.items()
            for number in range(2)
        ]
        done = list(pool.map(lambda command: run(*command), commands))

    assert [one.returncode for one in done] == [0] * 6
    assert {path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {pattern(BIG_BYTES)}
