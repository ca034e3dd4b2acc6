"""Local files and directories that are served in place beside a store, which may be down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import AlreadyExists, HttpServerClient, NotPermitted
from tests.server.waits import fetch
from tests.server.wire import Wire
from tests.stores.proxy import Proxy
from tests.stores.servers import Place


@pytest.fixture
def client(s3: Place, proxy: Proxy, tmp_path: Path) -> Iterator[HttpServerClient]:
    """A server of two objects, and of what lies in `tmp_path/out`."""
    operator = s3.operator()
    operator.write("boot/zImage", b"kernel")
    operator.write("shared/a", b"a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "board.img").write_bytes(b"image")
    with HttpServerClient(root=s3.through(proxy).operator(), host="127.0.0.1") as client:
        yield client


def names(wire: Wire, directory: str) -> list[str]:
    return [entry["name"] for entry in json.loads(wire.ask(directory, "Accept: application/json").body)]


def test_both_are_served_and_only_the_store_is_changed(client: HttpServerClient, s3: Place, tmp_path: Path) -> None:
    client.serve("boot/Image", tmp_path / "out" / "board.img")
    client.serve("out", tmp_path / "out")
    with pytest.raises(AlreadyExists):
        client.serve("boot/zImage", tmp_path / "out")
    with pytest.raises(AlreadyExists):
        client.serve("shared", tmp_path / "out")

    with Wire(client.get_port()) as wire:
        assert [names(wire, where) for where in ("/", "/boot/", "/out/")] == [
            ["boot", "out", "shared"],
            ["Image", "zImage"],
            ["board.img"],
        ]
        assert [wire.ask(name).body for name in ("/boot/Image", "/boot/zImage", "/out/board.img")] == [
            b"image",
            b"kernel",
            b"image",
        ]
        assert wire.ask("/boot/zImage").status == 200
    assert client.wait_for_download("boot/Image", 20).bytes == 5
    assert client.storage.list("boot/") == ["boot/", "boot/Image", "boot/zImage"]
    client.storage.copy("out/board.img", "boot/copy")
    with pytest.raises(NotPermitted):
        client.storage.write_bytes("out/new", b"x")
    assert s3.operator().read("boot/copy") == b"image"
    client.unserve("boot/Image")
    with Wire(client.get_port()) as wire:
        assert wire.ask("/boot/Image").status == 404


def test_boards_on_local_files_do_not_notice_that_the_store_is_down(
    client: HttpServerClient, proxy: Proxy, tmp_path: Path
) -> None:
    client.serve("out", tmp_path / "out")
    proxy.go_down()

    client.serve("Image", tmp_path / "out" / "board.img")
    got = fetch(client), fetch(client, target="/out/board.img")

    assert got == (b"image", b"image")
    with Wire(client.get_port()) as wire:
        assert wire.ask("/boot/zImage").status == 503
        assert wire.ask("/out/board.img.sha256").body.endswith(b"  board.img\n")
