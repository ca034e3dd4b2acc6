"""The served directory removed, replaced, or made read-only while it is served."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from httpserve import HttpServerClient, NotFound, StorageError
from tests.conftest import private_root
from tests.faults.scripts import own_mounts, ran
from tests.server.wire import Wire, pattern

# A file system with files that are open for writing is not remounted, so a read-only one is put over it.
MOUNT = """
import subprocess
def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)
"""
IMAGE = pattern(32 << 20)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "image").write_bytes(IMAGE)
    return root


def test_a_download_goes_on_from_the_old_bytes_when_the_directory_is_removed(root: Path) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        wire.get("/image")
        wire.read_head()
        shutil.rmtree(root)

        assert wire.read_exactly(len(IMAGE)) == IMAGE
        assert wire.ask("/image").status == 404


def test_a_directory_that_is_gone_is_404_for_boards_and_an_error_of_ours_for_the_script(root: Path) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        client.storage.write_bytes("before", b"x")
        shutil.rmtree(root)

        assert [wire.ask(target).status for target in ("/image", "/before", "/", "/a/b")] == [404, 404, 404, 404]
        assert not client.storage.exists("image")
        with pytest.raises(NotFound):
            client.storage.read_bytes("image")
        with pytest.raises(NotFound):
            client.wait_for_download("image", timeout=0.1)


def test_a_put_into_a_directory_that_is_gone_fails_or_makes_it_again(root: Path) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        shutil.rmtree(root)

        try:
            client.put_file("image", "/dev/null")
        except StorageError:
            expected = 404
        else:
            expected = 200

        assert wire.ask("/image").status == expected


def test_a_directory_that_comes_back_is_served_at_the_next_request(root: Path) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        assert len(wire.ask("/image").body) == len(IMAGE)
        root.rename(root.parent / "away")
        gone = wire.ask("/image").status
        root.mkdir()
        (root / "image").write_bytes(b"another")

        back = wire.ask("/image")
        client.put_file("put", root / "image")

        assert (gone, back.status, back.body) == (404, 200, b"another")
        assert wire.ask("/put").body == b"another"
    assert [path.name for path in root.iterdir()] == ["image"]


def test_a_directory_replaced_by_another_is_seen_at_the_next_request(root: Path) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        first = wire.ask("/image", method="HEAD")["ETag"]
        (root.parent / "next").mkdir()
        (root.parent / "next" / "image").write_bytes(IMAGE[::-1])
        root.rename(root.parent / "away")
        (root.parent / "next").rename(root)

        answer = wire.ask("/image", f"If-None-Match: {first}")

        assert answer.body == IMAGE[::-1]
        assert answer["ETag"] != first


def test_what_others_put_where_our_files_were_is_left_in_place(root: Path) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client:
        client.storage.write_bytes("ours/file", b"ours")
        root.rename(root.parent / "away")
        (root / "ours").mkdir(parents=True)
        (root / "ours" / "file").write_bytes(b"theirs")

    assert (root / "ours" / "file").read_bytes() == b"theirs"


@pytest.mark.parametrize("by", ["a file", "a symlink that leads nowhere", "a symlink to itself"])
def test_a_directory_replaced_by_what_is_none_is_404_and_is_closed_without_an_error(root: Path, by: str) -> None:
    with HttpServerClient(root, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        client.storage.write_bytes("ours", b"ours")
        root.rename(root.parent / "away")
        if by == "a file":
            root.write_bytes(b"x")
        else:
            root.symlink_to(root if "itself" in by else root.parent / "nowhere")

        assert wire.ask("/image").status in (400, 404)
        assert wire.ask("/").status in (400, 404)
        with pytest.raises((StorageError, ValueError)):
            client.storage.write_bytes("new", b"x")


@pytest.mark.local_root("a private directory")
def test_a_private_directory_that_somebody_cleans_up_is_no_trouble(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("image", b"x")
    shutil.rmtree(private_root())

    with Wire(bench.get_port()) as wire:
        assert wire.ask("/image").status == 404
    bench.stop()
    bench.start()
    bench.close()
    bench.start()
    assert bench.storage.list("/") == ["/"] or bench.storage.list("/")


def test_a_removal_between_stop_and_start_is_no_trouble(root: Path) -> None:
    client = HttpServerClient(root, host="127.0.0.1")
    client.start()
    client.close()
    shutil.rmtree(root)

    client.start()
    client.storage.write_bytes("image", b"x")
    with Wire(client.get_port()) as wire:
        assert wire.ask("/image").body == b"x"
    client.close()

    assert not root.exists()


@pytest.mark.skipif(own_mounts() is None, reason="nothing may be mounted here")
@pytest.mark.parametrize(
    "call",
    [
        'client.put_file("image", "/dev/null")',
        'client.put_file("new/file", "/dev/null")',
        'client.storage.write_bytes("image", b"new")',
        'client.storage.rename("image", "new")',
        'client.storage.copy("image", "new")',
        'client.storage.delete("image")',
        'client.storage.remove_all("/")',
        'client.storage.create_dir("new/")',
    ],
)
def test_a_directory_remounted_read_only_is_served_on_and_says_so_to_the_script(tmp_path: Path, call: str) -> None:
    code = f"""
os.mkdir(root)
with open(os.path.join(root, "image"), "wb") as file:
    file.write(b"old")
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("ours", b"ours")
mount("--bind", root, root)
mount("-o", "remount,bind,ro", root)
tell(outcome(lambda: {call}))
tell(names(root), fetched(client, "image"), fetched(client, "ours"))
subprocess.run(["umount", root], check=True)
tell(outcome(lambda: client.storage.write_bytes("image", b"new")), fetched(client, "image"))
client.close()
tell(names(root))
"""
    assert ran(MOUNT + code, tmp_path, under=own_mounts() or ()) == [
        "NotPermitted EROFS",
        "['image', 'ours'] (200, b'old') (200, b'ours')",
        "None (200, b'new')",
        "['image']",
    ]


@pytest.mark.skipif(own_mounts() is None, reason="nothing may be mounted here")
def test_a_directory_that_stays_read_only_is_closed_without_an_error(tmp_path: Path) -> None:
    code = """
os.mkdir(root)
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("ours", b"ours")
file = client.storage.open("halfway", "wb")
mount("--bind", root, root)
mount("-o", "remount,bind,ro", root)
client.close()
tell(client.is_running, len(names(root)))
tell(outcome(client.start))
subprocess.run(["umount", root], check=True)
client.start()
tell(names(root))
client.close()
tell(os.listdir(root))
"""
    assert ran(MOUNT + code, tmp_path, under=own_mounts() or ()) == [
        "False 2",
        "RootUnusable None",
        "['ours']",
        "['ours']",
    ]


@pytest.mark.skipif(own_mounts() is None, reason="nothing may be mounted here")
def test_another_file_system_mounted_over_the_directory_is_seen_at_the_next_request(tmp_path: Path) -> None:
    code = """
os.mkdir(root)
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"below")
mount("-t", "tmpfs", "none", root)
tell(fetched(client, "image")[0])
client.storage.write_bytes("image", b"above")
tell(fetched(client, "image"))
subprocess.run(["umount", root], check=True)
tell(fetched(client, "image"))
client.close()
"""
    assert ran(MOUNT + code, tmp_path, under=own_mounts() or ()) == ["404", "(200, b'above')", "(200, b'below')"]
