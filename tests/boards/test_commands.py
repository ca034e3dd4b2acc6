"""The lines of `client.command`, typed into real shells: they fetch, and they fail when what came is not right."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

import pytest

from httpserve import HttpServerClient
from httpserve.client.board_commands import TEMPLATES
from httpserve.errors import InvalidArgument, InvalidName, ServerNotRunning
from tests.boards.programs import needs, noise, run, type_line

TOOLS = {"wget": "wget", "busybox": "busybox", "curl": "curl", "python": "python3"}
SHELLS = {"sh": ("sh",), "bash": ("bash",), "busybox": ("busybox", "sh")}
NAMES = ["boot/board.img", "disk image.img", 'it\'s "a" $(file); `ls` && x', "-rf", "ü#?%41"]
SIZE = 300_000


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The directory that a board works in."""
    path = tmp_path / "board"
    path.mkdir()
    return path


def put(bench: HttpServerClient, name: str, seed: int = 1, size: int = SIZE) -> bytes:
    content = noise(size, seed)
    bench.storage.write_bytes(name, content)
    return content


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_line_fetches_and_checks(bench: HttpServerClient, board: Path, tool: str, name: str) -> None:
    needs(TOOLS[tool], "sha256sum")
    content = put(bench, name)

    done = type_line(bench.command(name, tool), cwd=board)

    assert done.returncode == 0, done.stderr
    assert [path.name for path in board.iterdir()] == [name.rpartition("/")[2]]
    assert (board / name.rpartition("/")[2]).read_bytes() == content
    assert bench.wait_for_download(name, 20).bytes == SIZE


@pytest.mark.parametrize("tool", TOOLS)
def test_a_line_fails_when_other_bytes_came(bench: HttpServerClient, board: Path, tool: str) -> None:
    needs(TOOLS[tool], "sha256sum")
    put(bench, "board.img")
    line = bench.command("board.img", tool)
    put(bench, "board.img", seed=2)

    done = type_line(line, cwd=board)

    assert done.returncode != 0
    assert bench.wait_for_download("board.img", 20).bytes == SIZE  # it was fetched whole, and is another


@pytest.mark.parametrize("tool", TOOLS)
def test_a_line_without_a_check_takes_what_comes(bench: HttpServerClient, board: Path, tool: str) -> None:
    needs(TOOLS[tool])
    put(bench, "board.img")
    line = bench.command("board.img", tool, sha256=False)
    content = put(bench, "board.img", seed=2)

    done = type_line(line, cwd=board)

    assert done.returncode == 0
    assert (board / "board.img").read_bytes() == content


@pytest.mark.parametrize("tool", TOOLS)
def test_a_line_fails_when_nothing_comes(bench: HttpServerClient, board: Path, tool: str) -> None:
    needs(TOOLS[tool])

    done = type_line(bench.command("missing", tool), cwd=board)

    assert done.returncode != 0
    assert bench.requests[-1].status == 404


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("tool", ["curl", "python"])
def test_a_line_is_the_same_to_each_shell(bench: HttpServerClient, board: Path, tool: str, shell: str) -> None:
    needs(TOOLS[tool], SHELLS[shell][0], "sha256sum")
    name = "it's a file!"
    content = put(bench, name)
    (board / "sub dir").mkdir()

    done = type_line(bench.command(name, tool, output="sub dir/the image"), cwd=board, shell=SHELLS[shell])

    assert done.returncode == 0, done.stderr
    assert (board / "sub dir" / "the image").read_bytes() == content


@pytest.mark.parametrize("tool", ["wget", "busybox", "curl"])
def test_a_device_is_written_and_its_first_bytes_are_checked(bench: HttpServerClient, board: Path, tool: str) -> None:
    needs(tool, "sha256sum")
    put(bench, "board.img")
    device = board / "device"
    line = bench.command("board.img", tool, device=device)
    fetch, check = line.split(" && sync && ")
    longer = f"{fetch} && printf more >>{device} && {check}"  # a file stands for a device, which is longer

    first = type_line(longer, cwd=board)
    put(bench, "board.img", seed=2)
    second = type_line(longer, cwd=board)

    assert first.returncode == 0, first.stderr
    assert second.returncode != 0


def test_a_file_that_others_put_there_is_read_for_its_digest_where_the_client_compares_one(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(noise(3_000_000, 1))
    with HttpServerClient(tmp_path, host="127.0.0.1", read_only=True) as client:
        assert f"echo '{hashlib.sha256(path.read_bytes()).hexdigest()}  mine'" in client.command("mine", "curl")
        assert "sha256" not in client.command("missing", "curl")
        path.write_bytes(b"another version")
        assert hashlib.sha256(b"another version").hexdigest() in client.command("mine", "u-boot")
        assert client.requests == ()


def test_no_file_is_read_where_no_digest_is_compared(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.truncate(1 << 40)  # which nobody reads in the time of a test
    with HttpServerClient(tmp_path, host="127.0.0.1", read_only=True) as client:
        for tool in ("grub", "rauc", "swupdate"):
            assert f"{client.get_port()}" in client.command("f", tool)
        assert "sha256" not in client.command("f", "wget", sha256=False)


def test_a_line_leads_to_where_the_board_sees_us() -> None:
    with HttpServerClient(host="0.0.0.0", advertise="http://bench.example:8000/files") as client:
        assert "http://bench.example:8000/files/f" in client.command("f", "wget")
        assert " bench.example:/files/f" in client.command("f", "u-boot")
    with HttpServerClient(host="0.0.0.0") as client:
        assert "wget ${loadaddr} 127.0.0.1:/f" in client.command("f", "u-boot", peer="127.0.0.1")
        assert f" http://127.0.0.1:{client.get_port()}/f" in client.command("f", "wget", peer="127.0.0.1")


SENDERS = {"curl-upload": "curl", "wget-upload": "wget", "busybox-upload": "busybox", "python-upload": "python3"}


@pytest.mark.parametrize("tool", SENDERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_line_sends_a_file(bench: HttpServerClient, board: Path, tool: str, name: str) -> None:
    needs(SENDERS[tool])
    content = noise(SIZE, 1).replace(b"\0", b"1")
    (board / name.rpartition("/")[2]).write_bytes(content)

    with bench.expect_upload(name, 5) as up:
        done = type_line(bench.command(name, tool), cwd=board)
        assert done.returncode == 0, done.stderr
    again = type_line(bench.command(name, tool), cwd=board)

    assert up.read() == content
    assert again.returncode != 0


def test_busybox_sends_no_part_of_a_file(bench: HttpServerClient, board: Path) -> None:
    needs("busybox")
    (board / "core").write_bytes(b"1\0002")
    bench.accept_uploads("logs/")

    done = type_line(bench.command("logs/core.1", "busybox-upload", file="core"), cwd=board)

    assert done.returncode != 0
    assert [one.status for one in bench.uploads] == [422]


def test_what_no_line_can_be_made_for_is_refused(bench: HttpServerClient) -> None:
    with pytest.raises(InvalidArgument, match="u-boot-lwip"):
        bench.command("f", "tftp")
    with pytest.raises(InvalidArgument, match="takes address="):
        bench.command("f", "u-boot", output="f")
    with pytest.raises(InvalidName):
        bench.command("../f", "curl")
    bench.stop()
    with pytest.raises(ServerNotRunning):
        bench.command("f", "curl")


@pytest.mark.parametrize("tool", sorted(set(TEMPLATES) - {"ostree"}))
def test_a_line_for_a_directory_is_refused_as_a_file_is_meant(bench: HttpServerClient, tool: str) -> None:
    put(bench, "boot/board.img", size=1)

    for name in ("", "/", "boot/", "boot/.", "boot", PurePath("boot")):
        for sha256 in (True, False):
            with pytest.raises(InvalidName, match="a file"):
                bench.command(name, tool, sha256=sha256)


def test_ostree_is_given_a_directory(bench: HttpServerClient) -> None:
    put(bench, "repo/config", size=1)

    for name, ends in {"": "", "/": "", "repo": "/repo", "repo/": "/repo/"}.items():
        assert f" {bench.get_url()}{ends} " in bench.command(name, "ostree", ref="main")


@pytest.mark.parametrize("name", NAMES)
def test_grub_finds_no_fault_in_its_lines(bench: HttpServerClient, board: Path, name: str) -> None:
    needs("grub-script-check")
    lines = [bench.command(name, "grub", use=use) for use in ("linux", "initrd", "source")]
    (board / "grub.cfg").write_text("\n".join([*lines, ""]))

    run("grub-script-check", "-v", "grub.cfg", cwd=board)
