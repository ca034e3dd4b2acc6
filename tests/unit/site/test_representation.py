"""Claims about what is known of a file before it is sent: type, validators, and the fields ready to go."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from httpserve.site.representation import Representation, media_type, represent
from httpserve.storage.directory.root import Root
from tests.cases import each


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path).open()
    yield root
    root.close()


def of(root: Root, name: str) -> Representation:
    file = root.open_file(name)
    try:
        return represent(file)
    finally:
        file.close()


def put(root: Root, name: str, data: bytes, *, digest: bool = True) -> None:
    with root.incoming(name) as incoming:
        incoming.write(data)
        incoming.commit(hashlib.sha256(data).hexdigest() if digest else None)


# Types


@each(
    ("name", "expected"),
    [
        ("shimx64.efi", "application/efi"),
        ("live.iso", "application/vnd.efi-iso"),
        ("disk.img", "application/vnd.efi-img"),
        ("DISK.IMG", "application/vnd.efi-img"),
        ("disk.img.gz", "application/gzip"),
        ("disk.img.xz", "application/x-xz"),
        ("disk.img.zst", "application/zstd"),
        ("disk.img.bz2", "application/x-bzip2"),
        ("root.tar.gz", "application/gzip"),
        ("root.tgz", "application/gzip"),
        ("bundle.raucb", "application/octet-stream"),
        ("update.swu", "application/octet-stream"),
        ("fit.itb", "application/octet-stream"),
        ("uImage", "application/octet-stream"),
        ("a.b/uImage", "application/octet-stream"),
        ("end.", "application/octet-stream"),
        ("what.unknown", "application/octet-stream"),
        ("index.html", "text/html; charset=utf-8"),
        ("boot.log", "text/plain; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("manifest.json", "application/json"),
        ("manifest.yaml", "application/yaml"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("logo.png", "image/png"),
    ],
)
def test_the_type_goes_by_the_end_of_the_name(name: str, expected: str) -> None:
    assert media_type(name) == expected


def test_the_type_is_the_same_whatever_the_system_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "types_map", {".img": "image/wrong"})

    assert media_type("a.img") == "application/vnd.efi-img"


# Fields


def test_a_file_of_ours_has_its_digest_as_validator_and_as_repr_digest(root: Root) -> None:
    put(root, "f.bin", b"hello")

    known = of(root, "f.bin")

    digest = hashlib.sha256(b"hello")
    assert known.validators.etag == f'"{digest.hexdigest()}"'
    assert dict(known.whole) == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "5",
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest.hexdigest()}"',
        "Last-Modified": dict(known.common)["Last-Modified"],
        "Cache-Control": "no-cache",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
    }


def test_a_file_of_others_has_a_strong_validator_and_no_digest(root: Root, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"hello")

    known = of(root, "f")

    assert known.sha256 is None
    assert known.validators.etag.startswith('"')
    assert known.validators.etag == of(root, "f").validators.etag
    assert "Repr-Digest" not in dict(known.common)


def test_a_file_that_came_in_without_a_digest_is_known_like_one_of_others(root: Root) -> None:
    put(root, "f", b"hello", digest=False)

    assert "Repr-Digest" not in dict(of(root, "f").common)


@pytest.mark.parametrize("change", ["size", "time", "replaced"])
def test_the_validator_of_a_file_of_others_changes_with_it(root: Root, tmp_path: Path, change: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"hello")
    before = of(root, "f").validators.etag
    found = path.stat()

    if change == "replaced":
        (tmp_path / "new").write_bytes(b"hello")
        os.replace(tmp_path / "new", path)
    elif change == "size":
        path.write_bytes(b"hello!")
    os.utime(path, ns=(0, found.st_mtime_ns + (1 if change == "time" else 0)))

    assert of(root, "f").validators.etag != before


def test_the_raw_fields_are_the_fields(root: Root) -> None:
    put(root, "f", b"hello")

    known = of(root, "f")

    assert known.raw == "".join(f"{name}: {value}\r\n" for name, value in known.whole).encode()
    assert known.whole[2:] == known.common


def test_the_fields_leave_room_in_a_head_of_900_bytes(root: Root) -> None:
    put(root, "f.img", b"hello")

    assert len(of(root, "f.img").raw) < 500  # U-Boot looks for the end of the head in the first segment


def test_no_field_is_empty(root: Root) -> None:
    put(root, "f", b"")

    assert all(value for _, value in of(root, "f").whole)  # EDK2 fails on one


def test_the_subject_is_the_whole_under_its_name(root: Root) -> None:
    put(root, "d/f", b"hello")

    known = of(root, "d/f")

    assert (known.subject.name, known.subject.validator) == ("d/f", known.validators.etag)
    assert (known.subject.total, known.subject.pieces) == (5, ((0, 0, 5),))


# Times


def test_the_time_is_of_the_file_in_whole_seconds(root: Root, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.utime(tmp_path / "f", (784111777.9, 784111777.9))

    known = of(root, "f")

    assert known.validators.modified == 784111777
    assert dict(known.common)["Last-Modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_file_from_the_future_was_modified_now(root: Root, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.utime(tmp_path / "f", (4e9, 4e9))
    before = int(time.time())

    known = of(root, "f")

    assert before <= known.validators.modified <= time.time()


def test_a_file_from_before_the_epoch_has_a_date_that_can_be_said(root: Root, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.utime(tmp_path / "f", (-1e9, -1e9))

    known = of(root, "f")

    assert parsedate_to_datetime(dict(known.common)["Last-Modified"]).timestamp() == known.validators.modified
