"""What close() removes is what came in through the client: on each file system, whatever others did there meanwhile."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.faults.scripts import own_mounts, ran
from tests.fuse import FaultyDisk
from tests.server.wire import eventually

pytestmark = pytest.mark.skipif(own_mounts() is None, reason="nothing may be mounted here")

OVERLAY = """
base = os.path.join(where, "overlay")
for name in ("lower", "upper", "work"):
    os.makedirs(os.path.join(base, name))
layers = ",".join(f"{name}dir={base}/{name}" for name in ("lower", "upper", "work"))
mount("-t", "overlay", "overlay", "-o", layers, root)
"""
SYSTEMS = {
    "as it is": "",
    "tmpfs": 'mount("-t", "tmpfs", "none", root)\n',
    "overlay": 'mount("-t", "tmpfs", "none", where)\nos.mkdir(root)\n' + OVERLAY,
    "overlay on the disk": OVERLAY,
}
PRELUDE = """
import stat, subprocess
def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)
def path(name):
    return os.path.join(root, name)
def write(name, content):
    with open(path(name), "wb") as file:
        file.write(content)
def anew(name, make):
    # Until it has the number that it had before, where numbers are given anew.
    number = os.lstat(path(name)).st_ino
    remove = os.rmdir if os.path.isdir(path(name)) else os.unlink
    for attempt in range(20):
        remove(path(name))
        make()
        if os.lstat(path(name)).st_ino == number:
            break
os.mkdir(root)
"""
OPENED = """
tempfile.tempdir = os.path.join(root, "..", "tmp")
os.makedirs(tempfile.tempdir, exist_ok=True)
client = HttpServerClient(root, host="127.0.0.1")
client.start()
storage = client.storage
"""
CLOSED = """
client.close()
tell(names(root))
"""


def left(system: str, code: str, where: Path) -> str:
    text = PRELUDE + SYSTEMS[system] + OPENED + code + CLOSED
    (line,) = ran(text, where, under=own_mounts() or ())
    return line


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_nobody_touched_goes(system: str, tmp_path: Path) -> None:
    code = """
for number in range(40):
    storage.write_bytes(f"d{number}/e/f", b"x")
    storage.create_dir(f"made{number}/")
storage.write_bytes("f", b"first")
storage.write_bytes("f", b"second")
storage.write_bytes("g", b"x" * 3_000_000)
storage.rename("g", "h")
storage.rename("d0/", "moved/")
"""
    assert left(system, code, tmp_path) == "[]"


@pytest.mark.parametrize("content", ["b'theirs, longer'", "b'ours'", "b'same'"])
def test_a_file_that_the_user_made_anew_stays_whatever_its_number_and_size(
    system: str, tmp_path: Path, content: str
) -> None:
    code = f"""
for number in range(10):
    storage.write_bytes(f"f{{number}}", b"ours")
    anew(f"f{{number}}", lambda: write(f"f{{number}}", {content}))
"""
    assert left(system, code, tmp_path) == str([f"f{number}" for number in range(10)])


def test_a_directory_that_the_user_made_anew_stays(system: str, tmp_path: Path) -> None:
    code = """
storage.create_dir("asked/")
storage.write_bytes("made/f", b"ours")
os.unlink(path("made/f"))
for name in ("asked", "made"):
    anew(name, lambda: os.mkdir(path(name)))
"""
    assert left(system, code, tmp_path) == "['asked', 'made']"


def test_a_file_of_the_users_in_the_place_of_one_that_he_moved_away_stays_and_so_does_that(
    system: str, tmp_path: Path
) -> None:
    code = """
storage.write_bytes("f", b"ours")
os.rename(path("f"), path("mine"))
write("f", b"ours")
"""
    assert left(system, code, tmp_path) == "['f', 'mine']"


def test_a_hard_link_of_the_users_keeps_the_bytes(system: str, tmp_path: Path) -> None:
    code = """
storage.write_bytes("f", b"ours")
os.link(path("f"), path("kept"))
"""
    assert "'kept'" in left(system, code, tmp_path)


def test_a_special_file_under_the_number_of_ours_stays_and_is_not_opened(system: str, tmp_path: Path) -> None:
    code = """
storage.write_bytes("f", b"ours")
anew("f", lambda: os.mkfifo(path("f")))
"""
    assert left(system, code, tmp_path) == "['f']"


def test_a_file_that_goes_over_one_that_the_user_made_anew_is_left_as_overwritten(system: str, tmp_path: Path) -> None:
    code = """
storage.write_bytes("f", b"ours")
anew("f", lambda: write("f", b"theirs"))
storage.write_bytes("f", b"ours again")
"""
    assert left(system, code, tmp_path) == "['f']"


@pytest.mark.parametrize("change", ["os.chmod(path('f'), 0o600)", "os.utime(path('f'), (1, 1))", "append()"])
def test_a_file_that_others_changed_in_its_place_goes_where_generations_tell_it(
    system: str, tmp_path: Path, change: str
) -> None:
    code = f"""
def append():
    with open(path("f"), "ab") as file:
        file.write(b"more")
storage.write_bytes("f", b"ours")
{change}
"""
    assert left(system, code, tmp_path) in ("[]", "['f']" if "overlay" in system else "[]")  # before Linux 6.6


# Where nothing tells a file from a later one under its number


def test_on_a_disk_without_generations_what_nobody_touched_goes(faulty_disk: FaultyDisk) -> None:
    with HttpServerClient(faulty_disk.path, host="127.0.0.1") as client:
        client.storage.write_bytes("d/e/f", b"ours")
        client.storage.write_bytes("f", b"ours")
        client.storage.write_bytes("f", b"ours again")
        client.storage.create_dir("made/")

    # FUSE keeps what is removed while it is open under another name until a moment after its close.
    eventually(lambda: os.listdir(faulty_disk.beneath) == [])


def test_on_a_disk_without_generations_what_was_changed_is_left_with_a_line(
    faulty_disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "httpserve")
    with HttpServerClient(faulty_disk.path, host="127.0.0.1") as client:
        client.storage.write_bytes("f", b"ours")
        client.storage.write_bytes("g", b"ours")
        with open(faulty_disk.path / "f", "ab") as file:
            file.write(b", or somebody's by now")

    eventually(lambda: os.listdir(faulty_disk.beneath) == ["f"])
    assert "left f: nothing tells whether it is still what was put there" in caplog.messages
