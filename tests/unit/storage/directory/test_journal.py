"""Claims about killed processes: the next start on the same root removes their litter, and nothing else."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from httpserve.storage.directory import journal, private_root
from httpserve.storage.directory.inode import Inode
from httpserve.storage.directory.journal import Journal
from httpserve.storage.directory.root import Root
from tests import warm
from tests.unit.storage.parts import left

WRITER = """
import sys, threading
from httpserve.storage.directory.root import Root

root = Root(sys.argv[1] or None).open()
print(root.path, flush=True)

def write(number):
    while True:
        for directory in ("", "old/", f"new{number}/deep/"):
            with root.incoming(f"{directory}{number}") as incoming:
                for _ in range(50):
                    incoming.write(bytes([65 + number]) * 20_000)
                incoming.commit(None)
        root.changes.remove_all(f"new{number}")

for number in range(4):
    threading.Thread(target=write, args=(number,)).start()
"""

HOLDER = """
import sys
from httpserve.storage.directory.root import Root

root = Root(sys.argv[1] or None).open()
incoming = root.incoming("new/deep/f")
incoming.write(b"part")
print(root.path, flush=True)
sys.stdin.read()
"""


def start(script: str, root: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    process = warm.start(script, root, env=os.environ | environment)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def dead_journal(root: Path, content: bytes, token: str = "0123456789abcdef") -> Path:
    """Make what looks like a journal, and is none: nobody made it there."""
    path = root / f".httpserve-{token}.journal"
    path.write_bytes(content)
    return path


def journal_of_the_dead(root: Path) -> tuple[str, Path]:
    """Make one that nobody has locked any more, and return its token and its path."""
    made = Journal(str(root))
    made.close(remove=False)
    return made.token, root / f".httpserve-{made.token}.journal"


@contextmanager
def immutable(directory: Path) -> Iterator[None]:
    """Have nothing changed in a directory, by a user who may not write there, or by the superuser."""
    if os.geteuid():
        directory.chmod(0o500)
    elif subprocess.run(["chattr", "+i", directory], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows nothing that the superuser may not change")
    try:
        yield
    finally:
        if os.geteuid():
            directory.chmod(0o700)
        else:
            subprocess.run(["chattr", "-i", directory], check=True)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process, _ = start(HOLDER, str(tmp_path))
    yield process
    kill(process)


def test_a_process_killed_in_the_middle_of_writing_leaves_whole_files_and_no_litter(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    theirs = tmp_path / "old" / ".httpserve-not-a-temporary"
    theirs.write_text("x")
    chance, nothing = random.Random(4711), threading.Event()
    for _ in range(6):
        process, _ = start(WRITER, str(tmp_path))
        deadline = time.monotonic() + chance.uniform(0.01, 0.15)
        while time.monotonic() < deadline and process.poll() is None:
            nothing.wait(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()

        root = Root(tmp_path, remove_created=False).open()
        found = [path for path in tmp_path.rglob("*") if path.is_file() and path != theirs]
        whole = all((data := path.read_bytes()) == data[:1] * 1_000_000 for path in found)
        root.close()

        assert [str(path) for path in found if ".httpserve-" in str(path)] == []
        assert whole
    assert theirs.exists()


def test_the_litter_of_a_killed_process_goes_with_the_directories_made_for_it(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    before = left(tmp_path)
    kill(holder)

    root = Root(tmp_path).open()
    after = left(tmp_path)
    root.close()

    assert len(before) == 4
    assert after == []


def test_the_temporaries_of_a_living_process_are_left_alone(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    before = left(tmp_path)

    root = Root(tmp_path).open()
    after = left(tmp_path)
    root.close()

    assert after == before


def test_two_roots_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    first, second = Root(tmp_path), Root(tmp_path)
    first.open()
    with first.incoming("f") as incoming:
        second.open()
        with second.incoming("f") as other:
            other.commit(None)
        incoming.commit(None)

    first.close()
    second.close()

    assert left(tmp_path) == ["f"]  # the first one found the other's file there


def test_a_private_root_of_a_killed_process_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, path = start(HOLDER, "", TMPDIR=str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = Root(None).open()
    was_there = Path(path).exists()
    kill(process)

    root = Root(None).open()
    gone = not Path(path).exists()
    root.close()
    stays = Path(living.path).exists()
    living.close()

    assert was_there
    assert gone
    assert stays
    assert left(tmp_path) == []


def test_a_private_root_is_kept_while_anybody_uses_it(tmp_path: Path) -> None:
    process, path = start(HOLDER, "", TMPDIR=str(tmp_path))
    kill(process)
    living = Journal(path)

    private_root.sweep(str(tmp_path))
    kept = os.path.exists(path)
    living.close(remove=False)
    private_root.sweep(str(tmp_path))

    assert kept
    assert left(tmp_path) == []


def test_other_directories_are_not_taken_for_private_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "httpserve-notes").mkdir()
    (tmp_path / "httpserve-file").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    dead_journal(tmp_path / "elsewhere", b"")
    (tmp_path / "httpserve-link").symlink_to("elsewhere")
    before = left(tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        root = Root(None).open()
        root.close()

    assert left(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files away")
def test_what_other_users_left_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "httpserve-other"
    private.mkdir()
    os.chown(dead_journal(private, b""), 65534, -1)
    os.chown(private, 65534, -1)
    os.chown(dead_journal(tmp_path, b""), 65534, -1)
    before = left(tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        for root in (Root(None), Root(tmp_path)):
            root.open()
            root.close()

    assert left(tmp_path) == before


def test_a_journal_removes_only_what_was_made_by_its_owner_inside_the_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory in (root / "empty", root / "full", root / "theirs", root / "anew", outside):
        directory.mkdir(parents=True)
    (root / "unfinished").mkdir()
    (root / "unfinished").chmod(0o1755)
    (root / "full" / "f").write_text("x")
    (root / "link").symlink_to(outside)
    token, path = journal_of_the_dead(root)
    part = f".httpserve-{token}-1.part"
    for directory in (root, root / "full", outside):
        (directory / part).write_text("x")
    (root / "f").write_text("x")
    (root / ".httpserve-fedcba9876543210-1.part").write_text("x")
    made = {name: " ".join(map(str, Inode.at(str(root / name)))) for name in ("empty", "full", "theirs")}
    records = [
        f"F{part}",
        f"Ffull/{part}",
        f"Flink/{part}",
        f"F../outside/{part}",
        "Ff",
        "F.httpserve-fedcba9876543210-1.part",
        "Fmissing/" + part,
        "Dempty",
        f"M{made['empty']} empty",
        f"M{made['full']} full",
        "Dtheirs",  # nobody knows whether it was made before the kill, or by a user after it
        f"M{made['theirs']} anew",
        "Dunfinished",
        "Dlink",
        "D..",
        "D",
        "D../outside",
        "M1 2 link",
        "Xempty",
    ]
    path.write_bytes(b"".join(record.encode() + b"\0" for record in records) + b"Ff")

    opened = Root(root).open()
    opened.close()

    stays = [".httpserve-fedcba9876543210-1.part", "anew", "f", "full", "full/f", "link", "theirs"]
    assert left(root) == stays
    assert left(outside) == [part]


def test_what_looks_like_a_journal_and_was_not_made_there_removes_nothing(tmp_path: Path) -> None:
    part = ".httpserve-0123456789abcdef-1.part"
    (tmp_path / "images").mkdir()
    (tmp_path / part).write_text("x")
    dead_journal(tmp_path, f"F{part}\0Dimages\0".encode())
    before = left(tmp_path)

    root = Root(tmp_path).open()
    root.close()

    assert left(tmp_path) == before


def test_a_journal_stays_until_what_is_on_record_could_be_removed(tmp_path: Path) -> None:
    token, path = journal_of_the_dead(tmp_path)
    part = tmp_path / "d" / f".httpserve-{token}-1.part"
    part.parent.mkdir()
    part.write_text("x")
    path.write_bytes(f"Fd/{part.name}\0".encode())
    with immutable(part.parent):
        journal.sweep(str(tmp_path))
        kept = path.exists() and part.exists()

    journal.sweep(str(tmp_path))

    assert kept
    assert left(tmp_path) == ["d"]


def test_a_journal_that_is_no_plain_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / ".httpserve-0123456789abcdef.journal").symlink_to("target")
    os.mkfifo(tmp_path / ".httpserve-fedcba9876543210.journal")
    before = left(tmp_path)

    root = Root(tmp_path).open()
    root.close()

    assert left(tmp_path) == before


def test_a_journal_is_empty_while_nothing_is_on_its_way_in(tmp_path: Path) -> None:
    root = Root(tmp_path).open()

    sizes = []
    first, second = root.incoming("a"), root.incoming("b")
    for step in (first.discard, second.discard):
        step()
        (path,) = tmp_path.glob("*.journal")
        sizes.append(path.stat().st_size)
    root.close()

    assert sizes[0] > 0
    assert sizes[1] == 0


def test_a_journal_is_found_by_nobody_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def sweep_first(fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", lock)
            journal.sweep(str(tmp_path))
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)

    taken = Journal(str(tmp_path))
    journal.sweep(str(tmp_path))
    there = left(tmp_path)
    taken.close()
    taken.close()

    assert there == [f".httpserve-{taken.token}.journal"]
    assert left(tmp_path) == []


def test_where_files_cannot_be_locked_nothing_is_swept_and_all_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    dead = dead_journal(tmp_path, b"")
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = Root(tmp_path).open()
    with root.incoming("d/f") as incoming:
        incoming.commit(None)
    there = left(tmp_path)
    root.close()
    private = Root(None).open()
    with private.incoming("d/f") as incoming:
        incoming.commit(None)
    private.close()

    assert there == [dead.name, "d", "d/f"]
    assert left(tmp_path) == [dead.name]


def test_a_journal_that_others_removed_is_no_trouble(tmp_path: Path) -> None:
    root = Root(tmp_path).open()
    with root.incoming("f") as incoming:
        for path in tmp_path.glob("*.journal"):
            path.unlink()
        incoming.commit(None)

    root.close()

    assert left(tmp_path) == []
