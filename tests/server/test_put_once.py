"""put_file(overwrite=False): what has the name stays, and of several at the same moment one comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from httpserve import AlreadyExists, HttpServerClient
from httpserve.storage.directory.places import Place
from tests.server.wire import pattern

CONTENT = pattern(300_000)
RACERS = 6


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def test_what_is_there_stays(bench: HttpServerClient, source: Path) -> None:
    bench.storage.write_bytes("Image", b"old")

    with pytest.raises(AlreadyExists, match="overwrite=False keeps it"):
        bench.put_file("Image", source, overwrite=False)

    assert bench.storage.read_bytes("Image") == b"old"
    assert bench.storage.list("/") == ["/", "Image"]


def test_of_several_at_once_one_is_first(bench: HttpServerClient, tmp_path: Path) -> None:
    sources = [tmp_path / f"{number}" for number in range(RACERS)]
    for number, path in enumerate(sources):
        path.write_bytes(pattern(300_000, number))
    refused, begin = [], threading.Barrier(RACERS)

    def put(path: Path) -> None:
        begin.wait(10)
        try:
            bench.put_file("boot/Image", path, overwrite=False)
        except AlreadyExists:
            refused.append(path)

    racers = [threading.Thread(target=put, args=(path,)) for path in sources]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    (first,) = set(sources) - set(refused)
    assert bench.storage.read_bytes("boot/Image") == first.read_bytes()
    assert bench.storage.scan("boot/") == ["boot/", "boot/Image"]


def no_links(*args: object, **options: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.local_root("the other program writes to the directory")
@pytest.mark.parametrize("link", [None, no_links], ids=["links", "no links"])
def test_another_program_may_come_first(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[..., None] | None
) -> None:
    root = tmp_path / "root"
    take = Place.take
    if link is not None:  # as on FAT
        monkeypatch.setattr("os.link", link)

    def late(place: Place, temporary: str) -> object:
        (root / "Image").write_bytes(b"another's")
        return take(place, temporary)

    with HttpServerClient(root, host="127.0.0.1") as http:
        http.put_file("first", source, overwrite=False)
        monkeypatch.setattr(Place, "take", late)
        with pytest.raises(AlreadyExists):
            http.put_file("Image", source, overwrite=False)

        assert http.storage.list("/") == ["/", "Image", "first"]
    assert (root / "Image").read_bytes() == b"another's"
