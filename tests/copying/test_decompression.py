"""Sources that are decompressed on their way in: by what real tools make, whole, damaged, and too large."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import opendal
import pytest

from httpserve import CopyFailed, DigestMismatch, HttpServerClient, InvalidArgument
from tests.cases import each

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = random.Random(1).randbytes(100_000) + bytes(300_000)  # the second part becomes a few bytes
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
}
KINDS = list(PACK)


@pytest.fixture(scope="module")
def bench() -> Any:
    with HttpServerClient(host="127.0.0.1") as client:
        yield client


def put(bench: HttpServerClient, tmp_path: Path, packed: bytes, **others: Any) -> bytes:
    (tmp_path / "source").write_bytes(packed)
    bench.put_file("image", tmp_path / "source", **{"decompress": True, **others})
    return bench.storage.read_bytes("image")


@pytest.mark.parametrize("kind", KINDS)
def test_boards_get_what_is_in_it(bench: HttpServerClient, tmp_path: Path, kind: str) -> None:
    pack = PACK[kind]

    assert put(bench, tmp_path, pack(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()) == CONTENT
    assert put(bench, tmp_path, pack(b""), decompress="auto") == b""
    assert put(bench, tmp_path, pack(b"one ") + pack(b"") + pack(b"two")) == b"one two"
    assert put(bench, tmp_path, pack(b"padded") + bytes(512)) == b"padded"


def test_frames_that_zstd_skips_are_skipped(bench: HttpServerClient, tmp_path: Path) -> None:
    skipped = b"\x5a\x2a\x4d\x18" + (100_000).to_bytes(4, "little") + bytes(100_000)
    packed = PACK["zst"](b"one ") + skipped + PACK["zst"](b"two")

    assert put(bench, tmp_path, skipped + packed + skipped) == b"one two"
    assert put(bench, tmp_path, skipped + packed, decompress="auto") == b"one two"
    assert "ends in the middle of its" in failing(bench, tmp_path, packed + skipped[:-1])


def test_auto_takes_what_is_not_compressed_as_it_is(bench: HttpServerClient, tmp_path: Path) -> None:
    for content in (CONTENT, b"", b"BZ", b"\x1f"):
        assert put(bench, tmp_path, content, decompress="auto") == content
    assert put(bench, tmp_path, gzip.compress(b"x"), decompress=False) == gzip.compress(b"x")


def test_the_source_may_be_an_operator(bench: HttpServerClient) -> None:
    operator = opendal.Operator("memory")
    operator.write("image.xz", lzma.compress(CONTENT))

    bench.put_file("image", "image.xz", operator, decompress=True)

    assert bench.storage.read_bytes("image") == CONTENT


def failing(bench: HttpServerClient, tmp_path: Path, packed: bytes, **others: Any) -> str:
    bench.storage.write_bytes("image", b"before")
    with pytest.raises(CopyFailed) as caught:
        put(bench, tmp_path, packed, **others)
    assert bench.storage.read_bytes("image") == b"before"
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_cut_or_followed_by_anything_publishes_nothing(
    bench: HttpServerClient, tmp_path: Path, kind: str
) -> None:
    packed = PACK[kind](CONTENT)
    for cut in (len(packed) - 1, len(packed) // 2, 7):
        assert "ends in the middle of its" in failing(bench, tmp_path, packed[:cut])
    assert "something else comes after its" in failing(bench, tmp_path, packed + b"garbage")
    assert "something else comes after its" in failing(bench, tmp_path, packed + b"x")
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    assert "damaged" in failing(bench, tmp_path, bytes(damaged))
    other = PACK["xz" if kind == "gz" else "gz"](b"other")
    assert "something else" in failing(bench, tmp_path, packed + other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_bounded(bench: HttpServerClient, tmp_path: Path, kind: str) -> None:
    said = failing(bench, tmp_path, PACK[kind](bytes(3_000_000)), max_bytes=1_000_000)

    assert "has more than 976.6 KiB; max_bytes= allows more" in said
    assert put(bench, tmp_path, PACK[kind](bytes(1000)), max_bytes=1000) == bytes(1000)


def test_what_must_be_compressed_and_is_not_says_so(bench: HttpServerClient, tmp_path: Path) -> None:
    assert "it is not gzip, xz, bzip2 or zstd; 'auto' takes it as it is" in failing(bench, tmp_path, b"plain text")


def test_the_digest_is_of_what_boards_get(bench: HttpServerClient, tmp_path: Path) -> None:
    packed = gzip.compress(b"content")

    with pytest.raises(DigestMismatch):
        put(bench, tmp_path, packed, sha256=hashlib.sha256(packed).hexdigest())


@each(
    "arguments",
    [{"decompress": "gz"}, {"decompress": 1}, {"max_bytes": 0}, {"max_bytes": 5, "decompress": False}],
)
def test_what_means_nothing_is_refused(arguments: dict[str, Any]) -> None:
    with HttpServerClient(host="127.0.0.1") as client, pytest.raises(InvalidArgument):
        client.put_file("image", __file__, **{"decompress": True, **arguments})
