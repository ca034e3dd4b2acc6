"""`serve`: a local file or directory under a name, where it lies, as boards and scripts see it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import (
    AlreadyExists,
    HttpServeError,
    HttpServerClient,
    InvalidArgument,
    InvalidName,
    NotFound,
    NotPermitted,
    ServerNotRunning,
)
from tests.server.waits import fetch
from tests.server.wire import BIG_BYTES, Wire, pattern

IMAGE = pattern(300_000)
SUM = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """What a build has left, as others write it."""
    out = tmp_path / "out"
    (out / "dtb").mkdir(parents=True)
    (out / "board.img").write_bytes(IMAGE)
    (out / "dtb" / "board.dtb").write_bytes(b"tree")
    (out / ".config").write_bytes(b"hidden")
    (tmp_path / "secret").write_bytes(b"secret")
    (out / "way-out").symlink_to(tmp_path / "secret")
    os.utime(out / "board.img", (1_000_000_000, 1_000_000_000))
    return out


def replace(path: Path, data: bytes) -> None:
    path.with_name("new").write_bytes(data)
    os.replace(path.with_name("new"), path)


def test_boards_get_it_as_any_file(bench: HttpServerClient, out: Path) -> None:
    bench.storage.write_bytes("boot/zImage", b"of the root")
    url = bench.serve("boot/Image", out / "board.img")
    assert bench.serve("/out/", str(out)) == bench.get_url("out/")
    assert url == bench.get_url("boot/Image")

    with Wire(bench.get_port()) as wire:
        for name in ("/boot/Image", "/out/board.img"):
            for _ in range(4):  # the same bytes of a request, which the server may answer by itself
                whole = wire.ask(name)
                assert (whole.status, whole.body, whole["Accept-Ranges"]) == (200, IMAGE, "bytes")
            assert wire.ask(name, "Range: bytes=5-8").body == IMAGE[5:9]
            assert wire.ask(name, "Range: bytes=5-8", f"If-Range: {whole['ETag']}").status == 206
            assert wire.ask(name, f"If-None-Match: {whole['ETag']}").status == 304
            assert wire.ask(name, 'If-Match: "other"').status == 412
            assert wire.ask(name, "Range: bytes=300000-").status == 416
            assert wire.ask(name, method="HEAD")["Content-Length"] == "300000"
            assert wire.ask(f"{name}.sha256").body == f"{SUM}  {name.rpartition('/')[2]}\n".encode()
        assert wire.ask("/boot/zImage").body == b"of the root"
        lists = {
            where: sorted(entry["name"] for entry in json.loads(wire.ask(where, "Accept: application/json").body))
            for where in ("/", "/boot/", "/out/", "/out/dtb")
        }
        missing = [wire.ask(f"/{name}").status for name in ("out/none", "out/.config", "out/way-out", "boot/Image/x")]

    assert lists == {
        "/": ["boot", "out"],
        "/boot/": ["Image", "zImage"],
        "/out/": ["board.img", "dtb"],
        "/out/dtb": ["board.dtb"],
    }
    assert missing == [404, 404, 404, 404]
    assert SUM in bench.command("out/board.img", "wget")
    assert bench.served_in_place == {"boot/Image": str(out / "board.img"), "out": str(out)}
    assert str(out) in bench._repr_html_()


def test_a_large_file_leaves_whole_while_it_is_served_no_longer(site: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(pattern(BIG_BYTES))
    site.serve("big", tmp_path / "big")

    with Wire(site.get_port(), receive_bytes=65536) as wire:
        wire.get("/big")
        wire.read_head()
        begun = wire.read_exactly(100_000)
        site.unserve("big")
        rest = wire.read_exactly(BIG_BYTES - 100_000)
        after = wire.ask("/big").status

    assert begun + rest == pattern(BIG_BYTES)
    assert after == 404


def test_what_is_replaced_or_gone_shows_at_the_next_request(bench: HttpServerClient, out: Path) -> None:
    bench.serve("Image", out / "board.img")
    bench.serve("out", out)
    with Wire(bench.get_port()) as wire:
        first = [wire.ask(name)["ETag"] for name in ("/Image", "/out/board.img")]
        replace(out / "board.img", b"second")
        second = [wire.ask(name) for name in ("/Image", "/out/board.img")]
        bench.serve("Image", out / "dtb" / "board.dtb")
        third = wire.ask("/Image").body
        bench.serve("out", out / "dtb")
        directory = [wire.ask("/out/board.dtb").body, wire.ask("/out/board.img").status]
        (out / "dtb" / "board.dtb").unlink()
        gone = [wire.ask("/Image").status, wire.ask("/out/board.dtb").status]
        report = bench.doctor()
        (out / "dtb" / "board.dtb").write_bytes(b"back")
        back = wire.ask("/Image").body

    assert [answer.body for answer in second] == [b"second", b"second"]
    assert not {answer["ETag"] for answer in second} & set(first)
    assert (third, directory, gone, back) == (b"tree", [b"tree", 404], [404, 404], b"back")
    assert [one.message for one in report.findings if one.check == "paths"] == [
        f"'Image' is served in place from {out / 'dtb' / 'board.dtb'}, and nothing is there"
    ]


def test_a_wait_is_for_the_version_that_is_there(bench: HttpServerClient, out: Path, pool: ThreadPoolExecutor) -> None:
    bench.serve("Image", out / "board.img")
    bench.serve("out", out)
    fetch(bench)
    fetch(bench, target="/out/board.img")

    assert bench.wait_for_download("Image", 20).bytes == bench.wait_for_download("out/board.img", 20).bytes == 300_000
    fetch(bench)
    bench.serve("Image", out / "dtb" / "board.dtb")
    with pytest.raises(TimeoutError):
        bench.wait_for_download("Image", 0)
    waiting = pool.submit(bench.wait_for_download, "Image", 20)
    fetch(bench)
    assert waiting.result().bytes == 4
    with pytest.raises(NotFound, match=r"'out/board\.img'"):
        bench.wait_for_download("out/board.imh", 5)
    assert [event.kind for event in bench.events(0, 0, "version")] == ["version", "version"]
    waiting = pool.submit(bench.wait_for_download, "Image", 20)
    bench.unserve("Image")
    with pytest.raises(NotFound):
        waiting.result()


def test_it_lasts_over_stop_and_ends_with_close(bench: HttpServerClient, out: Path) -> None:
    bench.serve("Image", out / "board.img")
    bench.serve("Image", out / "board.img")  # harmless
    bench.stop()
    with pytest.raises(ServerNotRunning):
        bench.serve("other", out)
    bench.start()
    again = fetch(bench)

    bench.close()
    bench.start()

    assert again == IMAGE
    assert bench.served_in_place == {}
    with Wire(bench.get_port()) as wire:
        assert wire.ask("/Image").status == 404


def test_nothing_is_ever_written_there(bench: HttpServerClient, out: Path, tmp_path: Path) -> None:
    def look() -> list[tuple[str, bytes]]:
        return [(str(path), path.read_bytes()) for path in sorted(out.rglob("*")) if path.is_file()]

    before = look()
    bench.serve("a/out", out)
    bench.serve("Image", out / "board.img")
    bench.accept_uploads("/", overwrite=True)
    storage, source = bench.storage, tmp_path / "secret"
    changes: list[Callable[[str], object]] = [
        lambda name: bench.put_file(name, source),
        lambda name: storage.write_bytes(name, b"x"),
        lambda name: storage.delete(name),
        lambda name: storage.remove_all(name),
        lambda name: storage.rename(name, "elsewhere"),
        lambda name: storage.copy("of-the-root", name),
        lambda name: storage.create_dir(f"{name}/new/"),
        lambda name: bench.accept_uploads(name),
        lambda name: bench.expect_upload(name),
    ]
    storage.write_bytes("of-the-root", b"x")

    for name in ("Image", "a/out/board.img"):
        for change in changes:
            with pytest.raises(NotPermitted, match=r"is served in place from .*; change it there, or unserve"):
                change(name)
        with Wire(bench.get_port()) as wire:
            wire.get(f"/{name}", "Content-Length: 1", method="PUT")
            wire.send(b"x")
            assert wire.answer().status == 409
    bench.close()

    assert look() == before


def test_storage_reads_it_like_the_rest(bench: HttpServerClient, out: Path, tmp_path: Path) -> None:
    storage = bench.storage
    bench.serve("a/out", out)
    bench.serve("a/Image", out / "board.img")
    storage.write_bytes("a/own", b"own")

    assert storage.read_bytes("a/Image") == storage.read_bytes("a/out/board.img") == IMAGE
    assert storage.hash("a/Image") == SUM
    assert storage.stat("a/Image").content_length == 300_000
    assert storage.stat("a/out/").is_dir
    assert [storage.exists(name) for name in ("a/", "a/out/dtb/", "a/out", "a/none", "a/out/x")] == [True] * 3 + [
        False,
        False,
    ]
    assert storage.list("a/") == ["a/", "a/Image", "a/out/", "a/own"]
    assert storage.list("a/o") == ["a/out/", "a/own"]
    assert storage.list("a/out/dtb/") == ["a/out/dtb/", "a/out/dtb/board.dtb"]
    assert storage.scan("/") == [
        *("/", "a/", "a/Image", "a/out/", "a/out/.config", "a/out/board.img", "a/out/dtb/", "a/out/dtb/board.dtb"),
        "a/own",
    ]
    storage.copy("a/out/dtb/board.dtb", "copy")
    storage.read_into_path("a/Image", tmp_path / "fetched")
    assert storage.read_bytes("copy") == b"tree"
    assert (tmp_path / "fetched").read_bytes() == IMAGE
    with pytest.raises(InvalidName, match="a symlink leads out"):
        storage.read_bytes("a/out/way-out")
    bench.unserve("a/out")
    bench.unserve("a/Image")
    assert storage.scan("/") == ["/", "a/", "a/own", "copy"]
    assert storage.get_created_resources() == {"a/own", "copy"}


def test_only_and_dot_files_apply(tmp_path: Path, out: Path) -> None:
    (tmp_path / "root").mkdir()
    with HttpServerClient(tmp_path / "root", host="127.0.0.1", only=["boot"], dot_files=True) as client:
        client.serve("boot/out", out)
        with pytest.raises(InvalidArgument, match="'Image' would not be served: only= names 'boot'"):
            client.serve("Image", out / "board.img")
        with Wire(client.get_port()) as wire:
            assert wire.ask("/boot/out/.config").body == b"hidden"
            assert wire.ask("/Image").status == 404


def test_what_the_root_has_is_not_hidden(bench: HttpServerClient, out: Path) -> None:
    bench.storage.write_bytes("boot/Image", b"own")
    refused: Iterator[tuple[str, Path | str, type[HttpServeError]]] = iter(
        [
            ("boot/Image", out, AlreadyExists),
            ("boot", out, AlreadyExists),
            ("/", out, InvalidName),
            ("new", out / "none", NotFound),
            ("../x", out, InvalidName),
        ]
    )

    for name, path, kind in refused:
        with pytest.raises(kind):
            bench.serve(name, path)

    assert fetch(bench, target="/boot/Image") == b"own"
    assert bench.served_in_place == {}
