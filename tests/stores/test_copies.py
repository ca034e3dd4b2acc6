"""Copies from and to a real S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import opendal
import pytest
import requests
from opendal.layers import RetryLayer

from httpserve import HttpServerClient
from httpserve.errors import CopyFailed, SourceNotFound
from httpserve.storage.copying.copy import copy_in, copy_out
from httpserve.storage.copying.ends import Source
from httpserve.storage.copying.local import FileSink, FileSource
from httpserve.storage.copying.opening import open_source
from httpserve.storage.copying.operator import OperatorSink
from httpserve.storage.copying.trees import Wanted, tree_of
from tests.stores.servers import Place

CONTENT = random.Random(3).randbytes(9 * 1024 * 1024 + 17)  # more than one part of an upload


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    """A path in a directory of its own, so that litter beside it is seen."""
    directory = tmp_path / "dst"
    directory.mkdir()
    return directory / "file"


@pytest.fixture
def operator(s3: Place) -> opendal.Operator:
    return s3.operator()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_on(source: Source, buffer: memoryview) -> None:
    while source.readinto(buffer):
        pass
    source.finish()


def fetch(src: str, operator: opendal.Operator | None, dst: Path) -> str:
    with contextlib.closing(open_source(src, operator, timeout=30)) as source:
        return copy_in(source, FileSink(str(dst)))


@pytest.mark.parametrize(("key", "content"), [("image", CONTENT), ("a b/c+d%25?e#ü", CONTENT[:1000])])
def test_an_object_arrives_with_its_digest(operator: opendal.Operator, dst: Path, key: str, content: bytes) -> None:
    operator.write(key, content)

    digest = fetch(key, operator.layer(RetryLayer()), dst)

    assert dst.read_bytes() == content
    assert digest == digest_of(content)


def test_a_presigned_url_is_read(operator: opendal.Operator, dst: Path) -> None:
    operator.write("signed object", b"signed")

    async def sign() -> str:
        return (await operator.to_async_operator().presign_read("signed object", 60)).url

    fetch(asyncio.run(sign()), None, dst)

    assert dst.read_bytes() == b"signed"


def test_an_object_that_is_missing_is_not_found(operator: opendal.Operator) -> None:
    with pytest.raises(SourceNotFound):
        open_source("missing", operator, timeout=30)


def test_a_wrong_key_is_refused(s3: Place) -> None:
    with pytest.raises(CopyFailed, match="permission denied"):
        open_source("image", s3.operator(secret_access_key="wrong"), timeout=30)


def test_an_object_that_is_replaced_meanwhile_is_not_taken_for_whole(operator: opendal.Operator) -> None:
    operator.write("changing", CONTENT)
    with contextlib.closing(open_source("changing", operator, timeout=30)) as source:
        buffer = memoryview(bytearray(65536))
        source.readinto(buffer)
        operator.write("changing", CONTENT[::-1])

        with pytest.raises(CopyFailed):
            read_on(source, buffer)


@pytest.mark.parametrize("content", [b"small", CONTENT], ids=["read at once", "read in pieces"])
def test_an_object_that_is_replaced_after_the_list_is_not_copied(
    operator: opendal.Operator, dst: Path, content: bytes
) -> None:
    operator.write("tree/image", content)
    (item,) = tree_of("tree", operator, Wanted(), timeout=30).items
    operator.write("tree/image", content[::-1])

    with pytest.raises(CopyFailed, match="changed while it was copied"), contextlib.closing(item.open(None)) as source:
        copy_in(source, FileSink(str(dst)))

    assert not dst.exists()


def test_a_tree_may_be_on_webdav(webdav: Place) -> None:
    operator = webdav.operator()
    operator.write("tree/empty", b"")  # which gets an ETag without quotes, that no read may be held to
    operator.write("tree/file", b"file")
    with HttpServerClient(host="127.0.0.1") as client:
        client.put_tree("tree", "tree", operator)

        assert (client.storage.read_bytes("tree/empty"), client.storage.read_bytes("tree/file")) == (b"", b"file")
        with pytest.raises(CopyFailed, match="not a directory; put_file"):
            client.put_tree("other", "tree/file", operator)


def with_one_etag(operator: opendal.Operator, paths: tuple[str, str], *steps: Callable[[], object]) -> None:
    """Take steps, again where need be, until two objects, or versions, were written in the same second.

    Where they have the same size, WebDAV gives both the same ETag.
    """
    for _ in range(20):
        steps[0]()
        first = operator.stat(paths[0]).etag
        for step in steps[1:]:
            step()
        if operator.stat(paths[1]).etag == first:
            return
    raise AssertionError("no two writes came within a second")


def test_two_versions_of_the_same_second_are_no_one_version(webdav: Place) -> None:
    operator = webdav.operator()
    with (
        HttpServerClient(host="127.0.0.1") as copies,
        HttpServerClient(host="127.0.0.1", root=operator, fresh_for=60.0) as served,
    ):
        acts: dict[str, Callable[[], object]] = {
            "file": lambda: copies.put_file("file", "file", operator),
            "d/file": lambda: copies.put_tree("d", "d", operator),
            "got": lambda: requests.get(served.get_url("got"), timeout=30),
        }
        for name, act in acts.items():
            write = partial(operator.write, name)
            with_one_etag(operator, (name, name), partial(write, b"one"), act, partial(write, b"two"))
            act()

        assert [copies.storage.read_bytes(name) for name in ("file", "d/file")] == [b"two"] * 2
        assert requests.get(served.get_url("got"), timeout=30).content == b"two"
        assert requests.get(served.get_url("got.sha256"), timeout=30).text.startswith(digest_of(b"two"))


def test_what_is_put_twice_in_a_second_is_served_as_it_is(webdav: Place, tmp_path: Path) -> None:
    with HttpServerClient(host="127.0.0.1", root=webdav.operator()) as client:
        got = []
        for content in (b"1" * 300_000, b"2" * 300_000):
            (tmp_path / "file").write_bytes(content)
            got.append(requests.get(client.put_file("file", tmp_path / "file"), timeout=30).content == content)

    assert got == [True, True]


def test_two_objects_of_one_etag_have_a_digest_each(webdav: Place) -> None:
    operator = webdav.operator()
    operator.write("a", b"one")
    operator.write("b", b"two")
    with HttpServerClient(host="127.0.0.1", root=operator) as client:
        copy = client.storage.copy
        with_one_etag(operator, ("c", "d"), partial(copy, "a", "c"), partial(copy, "b", "d"))

        told = [requests.get(client.get_url(f"{name}.sha256"), timeout=30).text[:64] for name in ("c", "d")]

    assert told == [digest_of(b"one"), digest_of(b"two")]


@pytest.mark.parametrize("count", [0, 1024, len(CONTENT)])
def test_a_file_is_copied_out_to_an_object(operator: opendal.Operator, tmp_path: Path, count: int) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:count])
    with contextlib.closing(FileSource(str(tmp_path / "file"))) as source:
        copy_out(source, "out/file", operator, timeout=30)

    assert operator.read("out/file") == CONTENT[:count]


def test_what_is_discarded_leaves_the_old_object(operator: opendal.Operator) -> None:
    operator.write("kept", b"old")
    sink = OperatorSink("kept", operator, timeout=30)
    sink.write(memoryview(CONTENT))

    sink.discard()

    assert operator.read("kept") == b"old"
