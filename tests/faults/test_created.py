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
import shutil, stat, subprocess
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
for name in os.listdir(root):
    (shutil.rmtree if os.path.isdir(path(name)) else os.unlink)(path(name))
"""
CHANGED = """
def append():
    with open(path("f"), "ab") as file:
        file.write(b"more")
storage.write_bytes("f", b"ours")
"""
MADE_ANEW = """
for number in range(10):
    storage.write_bytes(f"f{{number}}", b"ours")
    anew(f"f{{number}}", lambda: write(f"f{{number}}", {}))
"""
TEN = str([f"f{number}" for number in range(10)])
# What others do, and what is left of it after close().
CLAIMS = {
    "what nobody touched goes": (
        """
for number in range(40):
    storage.write_bytes(f"d{number}/e/f", b"x")
    storage.create_dir(f"made{number}/")
storage.write_bytes("f", b"first")
storage.write_bytes("f", b"second")
storage.write_bytes("g", b"x" * 3_000_000)
storage.rename("g", "h")
storage.rename("d0/", "moved/")
""",
        "[]",
    ),
    "a longer file that the user made anew stays": (MADE_ANEW.format("b'theirs, longer'"), TEN),
    "one with the same bytes stays": (MADE_ANEW.format("b'ours'"), TEN),
    "one of the same size stays": (MADE_ANEW.format("b'same'"), TEN),
    "a directory that the user made anew stays": (
        """
storage.create_dir("asked/")
storage.write_bytes("made/f", b"ours")
os.unlink(path("made/f"))
for name in ("asked", "made"):
    anew(name, lambda: os.mkdir(path(name)))
""",
        "['asked', 'made']",
    ),
    "a file in the place of one that was moved away stays, and so does that": (
        """
storage.write_bytes("f", b"ours")
os.rename(path("f"), path("mine"))
write("f", b"ours")
""",
        "['f', 'mine']",
    ),
    "a hard link keeps the bytes": (
        """
storage.write_bytes("f", b"ours")
os.link(path("f"), path("kept"))
""",
        "['f', 'kept']",
    ),
    "a special file under the number of ours stays and is not opened": (
        """
storage.write_bytes("f", b"ours")
anew("f", lambda: os.mkfifo(path("f")))
""",
        "['f']",
    ),
    "a file that goes over one that the user made anew is left as overwritten": (
        """
storage.write_bytes("f", b"ours")
anew("f", lambda: write("f", b"theirs"))
storage.write_bytes("f", b"ours again")
""",
        "['f']",
    ),
    # Where generations tell it.
    "a file of another mode goes": (CHANGED + "os.chmod(path('f'), 0o600)\n", "[]"),
    "a file of another time goes": (CHANGED + "os.utime(path('f'), (1, 1))\n", "[]"),
    "a file that got longer goes": (CHANGED + "append()\n", "[]"),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_ours_goes_and_what_is_a_users_stays(system: str, tmp_path: Path) -> None:
    script = PRELUDE + SYSTEMS[system] + "".join(OPENED + code + CLOSED for code, _ in CLAIMS.values())

    lines = dict(zip(CLAIMS, ran(script, tmp_path, under=own_mounts() or ()), strict=True))

    if "overlay" in system:  # has no generations before Linux 6.6
        lines = {
            claim: "[]" if claim.startswith("a file") and claim.endswith(" goes") and left == "['f']" else left
            for claim, left in lines.items()
        }
    # On some systems the other name of a hard link goes.
    lines = {claim: "['f', 'kept']" if left == "['kept']" else left for claim, left in lines.items()}
    assert lines == {claim: left for claim, (_, left) in CLAIMS.items()}


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
