"""A disk that is full: during copies, writes, renames and starts. Old or new, whole, and usable once there is room."""

from __future__ import annotations

import ast
import resource
from pathlib import Path

import pytest

from tests.faults.scripts import on_a_disk_of, own_mounts, ran

needs_mounts = pytest.mark.skipif(own_mounts() is None, reason="no file system may be mounted here")

ON_A_SMALL_DISK = """
import opendal
opendal.Operator("memory").write("a", b"x")  # which starts what opendal keeps
before_all = ours()
source = os.path.join(where, "tmp", "source")
with open(source, "wb") as file:
    file.truncate(8 << 20)
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.put_file("image", "/dev/null")
client.storage.write_bytes("image", b"old" * 1000)
client.storage.write_bytes("big/one", bytes(1 << 20))
before = names(root)
{limit}
tell(outcome(lambda: {call}))
tell(names(root) == before, fetched(client, "image") == (200, b"old" * 1000))
client.storage.delete("big/one")
client.storage.write_bytes("image", b"new")
tell(fetched(client, "image"))
client.close()
tell(names(root))
os.unlink(source)
"""

CALLS = {
    "put_file": 'client.put_file("image", source)',
    "put_file of a new file": 'client.put_file("new/file", source)',
    "put_file of an operator": 'client.put_file("image", "source", opendal.Operator("fs", root=tempfile.tempdir))',
    "write_bytes": 'client.storage.write_bytes("image", bytes(8 << 20))',
    "write_from_path": 'client.storage.write_from_path("image", source)',
    "open": 'client.storage.open("image", "wb").write_from_path(source)',
}
AFTERWARDS = ["True True", "(200, b'new')", "[]"]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the served directory is; the source of what is put is on another disk."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@needs_mounts
@pytest.mark.parametrize("call", CALLS)
def test_a_full_disk_keeps_the_old_file_whole_and_leaves_no_litter(tmp_path: Path, disk: Path, call: str) -> None:
    code = ON_A_SMALL_DISK.format(limit="", call=CALLS[call])

    lines = ran(code, tmp_path, under=on_a_disk_of("3m", 100, disk))

    assert lines == ["StorageError ENOSPC", *AFTERWARDS]


@pytest.mark.parametrize("call", CALLS)
def test_a_limit_on_file_sizes_keeps_the_old_file_whole_and_leaves_no_litter(
    tmp_path: Path, disk: Path, call: str
) -> None:
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, {resource.RLIM_INFINITY}))"
    code = ON_A_SMALL_DISK.format(limit=limit, call=CALLS[call])

    lines = ran(code, tmp_path)

    assert lines == ["StorageError EFBIG", *AFTERWARDS]


UPLOADS = """
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.accept_uploads("image", overwrite=True)
client.storage.write_bytes("image", b"old")
before = names(root)
def sent(size):
    connection = HTTPConnection("127.0.0.1", client.get_port(), timeout=10)
    connection.request("PUT", "/image", iter([bytes(65536)] * (size >> 16)))
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.reason
{limit}
tell(sent(8 << 20))
tell(names(root) == before, fetched(client, "image") == (200, b"old"))
tell(sent(1 << 20))
tell([(one.outcome, one.status) for one in client.uploads])
client.close()
tell(names(root))
"""
SENT = ["(507, 'Insufficient Storage')", "True True", "(204, 'No Content')", "[('refused', 507), ('completed', 204)]"]


@needs_mounts
def test_upload_to_a_full_disk_is_refused_and_leaves_no_litter(tmp_path: Path, disk: Path) -> None:
    assert ran(UPLOADS.format(limit=""), tmp_path, under=on_a_disk_of("3m", 100, disk)) == [*SENT, "[]"]


def test_upload_beyond_a_limit_on_file_sizes_is_refused_and_leaves_no_litter(tmp_path: Path, disk: Path) -> None:
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, {resource.RLIM_INFINITY}))"

    assert ran(UPLOADS.format(limit=limit), tmp_path) == [*SENT, "[]"]


WITHOUT_INODES = """
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"old")
client.storage.write_bytes("other", b"x")
number = 0
while True:
    try:
        open(os.path.join(root, f"theirs{{number}}"), "x").close()
    except OSError:
        break
    number += 1
before = names(root)
tell(outcome(lambda: {call}))
tell(names(root) == before, fetched(client, "image"))
os.unlink(os.path.join(root, "theirs0"))
os.unlink(os.path.join(root, "theirs1"))
tell(outcome(lambda: {call}))
client.close()
tell(names(root) == [name for name in before if name.startswith("theirs") and name not in ("theirs0", "theirs1")])
"""


@needs_mounts
@pytest.mark.parametrize(
    "call",
    [
        'client.storage.rename("image", "new/name")',
        'client.storage.create_dir("new/")',
        'client.storage.copy("image", "new")',
        'client.storage.write_bytes("image", b"new")',
        'client.put_file("image", "/dev/null") and None',
    ],
)
def test_a_disk_without_room_for_another_name_changes_nothing(tmp_path: Path, disk: Path, call: str) -> None:
    lines = ran(WITHOUT_INODES.format(call=call), tmp_path, under=on_a_disk_of("3m", 30, disk))

    assert lines == ["StorageError ENOSPC", "True (200, b'old')", "None", "True"]


@needs_mounts
def test_a_file_goes_over_another_on_a_disk_that_is_full(tmp_path: Path, disk: Path) -> None:
    code = """
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("old", b"old")
client.storage.write_bytes("new", b"new")
try:
    with open(os.path.join(root, "filler"), "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError as error:
    tell(errno.errorcode[error.errno])
client.storage.rename("new", "old")
tell(fetched(client, "old"), fetched(client, "new")[0])
client.storage.delete("old")
tell(fetched(client, "old")[0])
client.close()
tell(names(root))
"""
    assert ran(code, tmp_path, under=on_a_disk_of("1m", 100, disk)) == [
        "ENOSPC",
        "(200, b'new') 404",
        "404",
        "['filler']",
    ]


@needs_mounts
def test_a_server_starts_and_serves_on_a_full_disk(tmp_path: Path, disk: Path) -> None:
    code = """
with open(os.path.join(root, "image"), "wb") as file:
    file.write(b"there")
try:
    with open(os.path.join(root, "filler"), "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
with HttpServerClient(root, host="127.0.0.1") as client:
    tell(fetched(client, "image"))
    tell(outcome(lambda: client.storage.write_bytes("image", b"new")))
    tell(fetched(client, "image"))
tell(names(root))
"""

    lines = ran(code, tmp_path, under=on_a_disk_of("1m", 100, disk))

    served = "(200, b'there')"
    assert lines == [served, "StorageError ENOSPC", served, "['filler', 'image']"]


@needs_mounts
@pytest.mark.parametrize(("inodes", "started"), [(1, False), (100, True)])
def test_a_private_directory_that_cannot_be_made_is_an_error_that_names_its_place(
    tmp_path: Path, inodes: int, started: bool
) -> None:
    (tmp_path / "tmp").mkdir()
    code = """
client = HttpServerClient(host="127.0.0.1")
try:
    client.start()
except RootUnusable as error:
    tell(error)
tell(client.is_running)
client.close()
"""

    lines = ran(code, tmp_path, under=on_a_disk_of("1m", inodes, tmp_path / "tmp"))

    assert ast.literal_eval(lines[-1]) is started
    assert all(str(tmp_path / "tmp") in line and "o space" in line for line in lines[:-1])


@needs_mounts
def test_a_full_disk_is_named_with_its_room_and_the_way_out(tmp_path: Path, disk: Path) -> None:
    code = """
with HttpServerClient(root, host="127.0.0.1") as client:
    try:
        client.storage.write_bytes("image", bytes(8 << 20))
    except StorageError as error:
        tell(error)
"""
    (line,) = ran(code, tmp_path, under=on_a_disk_of("3m", 100, disk))

    assert line.startswith(f"write 'image': no space left on device; {disk} has 0 B of 3.0 MiB left: make room, or")
    assert "root_dir=" in line
    assert "TMPDIR" in line


@needs_mounts
def test_a_copy_out_to_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    code = """
target = os.path.join(where, "target", "out")
with open(target, "w") as file:
    file.write("old")
with HttpServerClient(root, host="127.0.0.1") as client:
    client.storage.write_bytes("image", bytes(4 << 20))
    tell(outcome(lambda: client.storage.read_into_path("image", target)))
    tell(names(os.path.dirname(target)), os.path.getsize(target))
"""
    assert ran(code, tmp_path, under=on_a_disk_of("1m", 100, target)) == ["CopyFailed ENOSPC", "['out'] 3"]


def test_a_journal_without_room_for_a_whole_record_refuses_and_stays_good(tmp_path: Path, disk: Path) -> None:
    code = """
import resource
with HttpServerClient(root, host="127.0.0.1") as client:
    client.storage.write_bytes("first", b"x")
    first = client.storage.open("first", "wb")
    limit = sum(os.path.getsize(os.path.join(root, name)) for name in os.listdir(root) if name.endswith("l")) + 10
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    tell(outcome(lambda: client.storage.write_bytes("second", b"x")))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    third = client.storage.open("third", "wb")
    [journal] = [name for name in os.listdir(root) if name.endswith("l")]
    with open(os.path.join(root, journal), "rb") as file:
        records = file.read().split(b"\\0")
    tell(sorted(record[1:].decode() in os.listdir(root) for record in records if record))
    first.discard()
    third.discard()
"""
    assert ran(code, tmp_path) == ["StorageError ENOSPC", "[True, True]"]
