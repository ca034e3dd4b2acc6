"""What is a user's is never removed, whatever its name and whatever lies in it; what a killed process made, is.

In the directory for temporary files: private roots, copies and look-alikes of them, what is mounted in them. In roots:
what a killed process left, and copies of that. A process is killed before each single step that it takes on the disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.storage.directory.root import Root
from tests import warm
from tests.faults.scripts import go_on, own_mounts, ran
from tests.server.wire import unmeasured

needs_mounts = pytest.mark.skipif(own_mounts() is None, reason="nothing may be mounted here")

HOLDER = """
import ctypes, os, sys, tempfile  # all that a user who may not read this Python could not load later
from httpserve.storage.directory.root import Root
where, user = sys.argv[1:3]
tempfile.tempdir = where
if user:
    os.setuid(int(user))
root = Root(sys.argv[3] or None).open()
with root.incoming("image") as incoming:
    incoming.write(b"image")
    incoming.commit(None)
kept = root.incoming("new/deep/file")
kept.write(b"part")
print(root.path, flush=True)
sys.stdin.read()
"""


KILLED = f"""
def killed(root):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(theirs, 1)
        sys.argv[1:] = [tempfile.tempdir, "", root]
        try:
            exec({HOLDER!r}, made := {{}})
            signal.pause()
        finally:
            os._exit(1)
    os.close(theirs)
    with open(ours) as told:
        path = told.readline().strip()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return path
"""


@contextmanager
def holding(where: Path, root: str = "", user: str = "") -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the middle of a write, with a private root in *where* or with another one; and the root."""
    with warm.start(HOLDER, str(where), user, root, env=unmeasured()) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def killed(where: Path, root: str = "", user: str = "") -> Path:
    """Have a process killed in the middle of a write, and return its root."""
    with holding(where, root, user) as (process, path):
        process.kill()
        process.wait()
    return path


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for temporary files. What these tests leave in it is meant to be left."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(directory))
        yield directory


def start_one() -> None:
    """Start a server with a private root, and end it."""
    with HttpServerClient(host="127.0.0.1"):
        pass


# In the directory for temporary files

COPIES = {
    "cp -a": 'cp -a "$0" "$1"',
    "cp -r": 'cp -r "$0" "$1"',
    "hard links": 'cp -al "$0" "$1"',
    "tar": 'mkdir "$1" && tar -C "$0" -c . | tar -C "$1" -x',
    "rsync": 'rsync -a "$0/" "$1"',
    "renamed": 'mv "$0" "$1"',
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ["httpserve-builds", "httpserve-01234567", "httpserve-0123456789abcdef"])
def test_a_copy_of_a_dead_private_root_is_the_users(where: Path, how: str, name: str) -> None:
    root, copy = killed(where), where / name
    if how == "rsync" and shutil.which("rsync") is None:
        pytest.skip("there is no rsync")
    subprocess.run(["sh", "-c", COPIES[how], root, copy], check=True)
    (copy / "golden.img").write_text("the only copy")
    before = tree(copy)

    start_one()
    start_one()

    assert tree(copy) == before
    assert os.listdir(where) == [name]


@pytest.mark.parametrize("how", ["tar", "cp -a", "moved away and back into a directory of that name"])
def test_a_dead_private_root_that_was_replaced_by_another_of_its_name_is_the_users(where: Path, how: str) -> None:
    root, aside = killed(where), where / "aside"
    root.rename(aside)
    if how == "tar":
        script = 'tar -C "$0" -cf "$0.tar" . && rm -r "$0" && mkdir "$1" && tar -C "$1" -xf "$0.tar" && rm "$0.tar"'
    elif how == "cp -a":
        script = 'cp -a "$0" "$0.copy" && rm -r "$0" && cp -a "$0.copy" "$1" && rm -r "$0.copy"'
    else:
        script = 'mkdir "$1" && find "$0" -mindepth 1 -maxdepth 1 -exec mv -t "$1" {} + && rmdir "$0"'
    subprocess.run(["sh", "-c", script, aside, root], check=True)
    before = tree(root)

    start_one()

    assert tree(root) == before


def test_a_private_root_that_was_moved_to_another_directory_for_temporary_files_is_the_users(
    where: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = killed(where)
    (tmp_path / "other").mkdir()
    moved = root.rename(tmp_path / "other" / root.name)
    before = tree(moved)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
        start_one()

    assert tree(moved) == before


def test_a_root_of_the_users_in_the_temporary_directory_is_his_whatever_it_is_called(where: Path) -> None:
    root = where / "httpserve-01234567"
    root.mkdir()
    (root / "golden.img").write_text("the only copy")
    killed(where, str(root))

    start_one()

    assert (root / "golden.img").exists()
    assert (root / "image").exists()


@pytest.mark.parametrize("what", ["a symlink", "a file", "an empty directory", "a directory"])
def test_what_only_has_the_name_of_a_private_root_stays(where: Path, tmp_path: Path, what: str) -> None:
    root = killed(where)
    shutil.rmtree(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    if what == "a symlink":
        root.symlink_to(outside)
    elif what == "a file":
        root.write_text("x")
    else:
        root.mkdir()
    if what == "a directory":
        (root / "kept").write_text("x")

    start_one()

    assert os.path.lexists(root)
    assert (outside / "kept").exists()
    assert what != "a directory" or (root / "kept").exists()


def test_a_dead_private_root_goes_whole_with_what_was_put_into_it_and_no_symlink_is_followed(
    where: Path, tmp_path: Path
) -> None:
    root, outside = killed(where), tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (root / "link").symlink_to(outside)
    (root / "mine" / "below").mkdir(parents=True)
    (root / "mine" / "link").symlink_to(outside / "kept")
    (root / "mine" / "file").write_text("x")

    start_one()

    assert tree(where) == []
    assert (outside / "kept").exists()


def test_a_root_that_somebody_serves_inside_a_dead_private_root_stays(where: Path) -> None:
    root = killed(where)
    with holding(where, str(root / "mine")) as (process, mine):
        start_one()
        kept = tree(mine)
        process.kill()
        process.wait()

    start_one()

    assert "image" in kept
    assert tree(where) == []


def test_a_living_private_root_stays(where: Path) -> None:
    with holding(where) as (_, root):
        start_one()
        kept = tree(root)

    start_one()

    assert "image" in kept
    assert tree(where) == []


def open_to_others(directory: Path) -> None:
    """Let other users pass through what pytest has made for itself."""
    for one in (directory, *directory.parents):
        if one.stat().st_mode & 0o055 != 0o055 and one.owner() == directory.owner():
            one.chmod(one.stat().st_mode | 0o055)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can be somebody else")
def test_a_private_root_of_another_user_is_left_to_him(where: Path) -> None:
    where.chmod(0o1777)
    open_to_others(where.parent)
    root = killed(where, user="65534")
    before = tree(root)

    start_one()
    kept = tree(root)
    again = killed(where, user="65534")

    assert kept == before
    assert not root.exists()
    shutil.rmtree(again)


def test_a_directory_for_temporary_files_that_cannot_be_listed_is_good_enough(where: Path) -> None:
    code = """
import sys
if os.geteuid() == 0:
    os.setuid(65534)
with HttpServerClient(host="127.0.0.1") as client:
    client.storage.write_bytes("image", b"x")
    tell(fetched(client, "image"))
tempfile.tempdir = os.path.join(where, "listed")
"""
    (where.parent / "listed").mkdir()
    open_to_others(where.parent)
    where.chmod(0o333)

    lines = ran(code, where.parent)

    where.chmod(0o700)
    assert lines == ["(200, b'x')"]
    assert tree(where) == []


# On close


@pytest.mark.parametrize("by", ["nothing", "a directory", "a symlink", "a file"])
def test_closing_leaves_what_took_the_place_of_the_private_root(where: Path, by: str) -> None:
    client = HttpServerClient(host="127.0.0.1")
    client.start()
    client.storage.write_bytes("image", b"ours")
    (root,) = (path for path in where.iterdir() if path.name.startswith("httpserve-"))
    root.rename(where / "kept")
    if by == "a directory":
        root.mkdir()
        (root / "image").write_text("theirs")
    elif by == "a symlink":
        root.symlink_to(where / "kept")
    elif by == "a file":
        root.write_text("theirs")

    client.close()

    assert os.path.lexists(root) is (by != "nothing")
    assert by != "a directory" or (root / "image").read_text() == "theirs"
    assert tree(where / "kept") == ["image"]


def test_closing_leaves_a_directory_that_was_made_anew_where_the_root_was_made(tmp_path: Path) -> None:
    client = HttpServerClient(tmp_path / "boards" / "root", host="127.0.0.1")
    client.start()
    shutil.rmtree(tmp_path / "boards")
    (tmp_path / "boards" / "root").mkdir(parents=True)

    client.close()

    assert tree(tmp_path / "boards") == ["root"]


# In a root


@pytest.mark.parametrize("how", COPIES)
def test_a_start_on_a_copy_of_a_root_with_litter_removes_nothing(where: Path, tmp_path: Path, how: str) -> None:
    if how == "rsync" and shutil.which("rsync") is None:
        pytest.skip("there is no rsync")
    root, copy = tmp_path / "root", tmp_path / "copy"
    killed(where, str(root))
    (root / "new" / "deep").rename(root / "elsewhere")  # so that what is on record may be removed
    subprocess.run(["sh", "-c", COPIES[how], root, copy], check=True)
    (copy / "elsewhere").rename(copy / "new" / "deep")
    for path in (copy / "new" / "deep").iterdir():
        path.unlink()
    before = tree(copy)

    opened = Root(copy).open()
    opened.close()

    expected = [name for name in before if not name.endswith(".journal") and not name.startswith("new")]
    assert tree(copy) == (expected if how == "renamed" else before)


def test_an_empty_directory_of_the_users_is_not_taken_for_one_that_a_killed_process_made(
    where: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    killed(where, str(root))
    shutil.rmtree(root / "new")
    (root / "new" / "deep").mkdir(parents=True)

    opened = Root(root).open()
    opened.close()

    assert tree(root) == ["image", "new", "new/deep"]


# On each file system

SETUPS = {
    "tmpfs": "mount -t tmpfs none {0}",
    "ext4": "truncate -s 16M {1}/disk && mkfs.ext4 -q {1}/disk && mount -o loop {1}/disk {0}",
    "overlayfs": "mkdir {1}/l {1}/u {1}/w && mount -t overlay o -o lowerdir={1}/l,upperdir={1}/u,workdir={1}/w {0}",
    "overlayfs over two file systems": "mkdir {1}/l {1}/t && mount -t tmpfs none {1}/t && mkdir {1}/t/u {1}/t/w"
    " && mount -t overlay o -o lowerdir={1}/l,upperdir={1}/t/u,workdir={1}/t/w {0}",
    "a bind mount": "mkdir {1}/b && mount --bind {1}/b {0}",
    "NFS": "mkdir {1}/x && exportfs -i -o rw,no_root_squash,fsid=7 127.0.0.1:{1}/x && mount -t nfs 127.0.0.1:{1}/x {0}",
}


@needs_mounts
@pytest.mark.parametrize("kind", SETUPS)
def test_what_a_killed_process_made_goes_and_copies_stay_on(tmp_path: Path, kind: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "parts").mkdir()
    setup = SETUPS[kind].format(disk, tmp_path / "parts")
    command = [*(own_mounts() or ()), "sh", "-c"]
    if subprocess.run([*command, setup], capture_output=True, check=False).returncode:
        pytest.skip(f"{kind} cannot be mounted here")
    shutil.rmtree(tmp_path / "parts")
    (tmp_path / "parts").mkdir()
    code = f"""
import subprocess
disk = {str(disk)!r}
tempfile.tempdir = disk
{KILLED}
def shell(script, *arguments):
    subprocess.run(["sh", "-c", script, *arguments], check=True)
mine = os.path.join(disk, "mine")
private = killed("")
shell('cp -a "$0" "$1"', private, os.path.join(disk, "httpserve-01234567"))
killed(mine)
shell('cp -a "$0" "$0-copy" && rm "$0-copy/new/deep/".h*', mine)
before = names(mine + "-copy")
for root in (None, mine, mine + "-copy"):
    with HttpServerClient(root, host="127.0.0.1") as client:
        pass
tell(os.path.exists(private), names(mine), names(mine + "-copy") == before, len(names(disk + "/httpserve-01234567")))
killed(mine)
shell('tar -C "$0" -cf "$0.tar" . && rm -r "$0" && mkdir "$0" && tar -C "$0" -xf "$0.tar" && rm "$0.tar"', mine)
shell('rm "$0/new/deep/".h*', mine)
before = names(mine)
with HttpServerClient(mine, host="127.0.0.1") as client:
    pass
tell(names(mine) == before)
tempfile.tempdir = os.path.join(where, "tmp")
"""
    assert ran(code, tmp_path / "parts", under=[*command, f'{setup} && exec "$0" "$@"']) == [
        "False ['image'] True 4",
        "True",
    ]


MOUNTING = """
import subprocess
def shell(script, *arguments):
    subprocess.run(["sh", "-c", script, *arguments], check=True)
mine = os.path.join(where, "mine")
os.makedirs(mine + "/below")
for name in ("kept", "below/kept"):
    with open(os.path.join(mine, name), "w") as file:
        file.write("x")
"""
MOUNTS = {
    "a tmpfs": 'mkdir "$0/m" && mount -t tmpfs none "$0/m" && cp -r "$1"/* "$0/m"',
    "a directory": 'mkdir -p "$0/d/m" && mount --bind "$1" "$0/d/m"',
    "a directory over one that is not empty": 'mkdir -p "$0/m/x" && mount --bind "$1" "$0/m"',
    "a file": 'touch "$0/m" && mount --bind "$1/kept" "$0/m"',
    "the private root itself": 'mount --bind "$1" "$0"',
}


@needs_mounts
@pytest.mark.parametrize("by", ["close", "the next start"])
@pytest.mark.parametrize("what", MOUNTS)
def test_what_is_mounted_in_a_private_root_stays(tmp_path: Path, what: str, by: str) -> None:
    begin = {
        "close": """
client = HttpServerClient(host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"x")
[private] = [name for name in os.listdir(tempfile.tempdir)]
private = os.path.join(tempfile.tempdir, private)
""",
        "the next start": f"""
{KILLED}
private = killed("")
client = HttpServerClient(host="127.0.0.1")
""",
    }[by]
    code = f"""
{MOUNTING}
{begin}
shell({MOUNTS[what]!r}, private, mine)
client.start()
client.close()
tell(names(mine))
shell('while umount "$0/m" "$0/d/m" "$0"; do :; done 2>/dev/null; true', private)
tell(names(mine))
with HttpServerClient(host="127.0.0.1"):
    pass
import shutil
shutil.rmtree(private, ignore_errors=True)
"""
    assert ran(code, tmp_path, under=own_mounts() or ()) == ["['below', 'below/kept', 'kept']"] * 2


# Killed before each step

STEPS = """
import os, signal, sys, tempfile
from httpserve import HttpServerClient
import httpserve.storage.directory.root, hashlib, ctypes
where, kind = sys.argv[1:]
tempfile.tempdir = where
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
OURS = ("open", "os.", "fcntl.", "shutil.")

def work():
    given = None if kind == "private" else os.path.join(where, "root")
    root = httpserve.storage.directory.root.Root(given, remove_created=given is None)
    root.open()
    with root.incoming("new/deep/file") as incoming:
        incoming.write(b"x")
        incoming.commit(None)
    root.close()

work()  # so that everything is imported
if kind == "given":
    os.unlink(os.path.join(where, "root/new/deep/file"))
    for made in ("root/new/deep", "root/new", "root"):
        os.rmdir(os.path.join(where, made))
step = 0
while True:
    step += 1
    child = os.fork()
    if child == 0:
        counted = 0
        def count(event, arguments):
            global counted
            if event.startswith(OURS):
                counted += 1
                if counted == step:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(step, os.waitstatus_to_exitcode(status), flush=True)
    if status == 0:
        break
    sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("kind", ["private", "given"])
def test_whatever_the_step_that_a_process_is_killed_before_the_next_start_removes_all_that_it_made(
    where: Path, kind: str
) -> None:
    steps = 0
    with warm.start(STEPS, str(where), kind, env=unmeasured()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            step, code = map(int, line.split())
            if code == 0:
                break
            assert code == -signal.SIGKILL
            steps = step
            root = Root(None if kind == "private" else where / "root", remove_created=False).open()
            root.close()
            left = tree(where)
            if "root/new/deep/file" in left:
                shutil.rmtree(where / "root" / "new")
                left = [name for name in left if not name.startswith("root/new")]
            assert left == ([] if kind == "private" else ["root"]), f"killed before step {step}"
            go_on(process)
    assert steps > 10
