"""Ranges and conditions on the wire: single, many, If-Range, 416, over every size of file."""

from __future__ import annotations

import email.parser
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from httpserve import HttpServerClient
from tests.conftest import NewRoot, rested
from tests.server.wire import Answer, Wire, pattern

SIZES = {"one": 1, "small": 1000, "memory": 128 * 1024, "file": 128 * 1024 + 1, "large": (1 << 20) + 17}


@pytest.fixture(scope="module")
def bench_of_sizes(new_root: Callable[[], NewRoot]) -> Iterator[HttpServerClient]:
    root = new_root()
    for name, size in {**SIZES, "empty": 0}.items():
        root.write(name, pattern(size))
    with HttpServerClient(host="127.0.0.1", **root.arguments) as client:
        rested(client.get_port(), "empty")
        yield client


@pytest.fixture
def wire(bench_of_sizes: HttpServerClient) -> Iterator[Wire]:
    with Wire(bench_of_sizes.get_port()) as one:
        yield one


def parts(answer: Answer) -> list[tuple[str, bytes]]:
    """Take a multipart body apart as a mail program does, a second opinion."""
    message = email.parser.BytesParser().parsebytes(
        f"Content-Type: {answer['Content-Type']}\r\n\r\n".encode() + answer.body
    )
    found = []
    for part in message.get_payload():
        assert not isinstance(part, str)
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((part["Content-Range"], payload))
    return found


@pytest.mark.parametrize("name", SIZES)
def test_every_kind_of_single_range_gives_just_these_bytes(wire: Wire, name: str) -> None:
    size = SIZES[name]
    content = pattern(size)
    rolls = random.Random(size)
    spans = {(0, 1), (0, size), (size - 1, size), (size // 2, size)}
    for _ in range(20):
        start = rolls.randrange(size)
        spans.add((start, rolls.randrange(start, size) + 1))

    assert wire.ask(f"/{name}", f"Range: bytes=0-{size + 1000}").body == content
    for start, stop in spans:
        answer = wire.ask(f"/{name}", f"Range: bytes={start}-{stop - 1}")

        assert answer.status == 206
        assert answer["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.body == content[start:stop]


@pytest.mark.parametrize(
    ("wanted", "status", "sent"),
    [
        *((wanted, 416, "bytes */1000") for wanted in ("1000-", "1000-1001", "-0", "5000-6000,7000-")),
        ("-5000", 206, "bytes 0-999/1000"),
    ],
)
def test_a_range_at_the_end_or_behind_it_is_416_or_shortened(wire: Wire, wanted: str, status: int, sent: str) -> None:
    answer = wire.ask("/small", f"Range: bytes={wanted}")

    assert (answer.status, answer["Content-Range"]) == (status, sent)
    assert wire.ask("/empty", "Range: bytes=0-")["Content-Range"] == "bytes */0"


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=", "bytes=2-1", "bytes=0-1,2-1", "bytes=٠-١", ""])
def test_what_is_not_understood_is_ignored_as_rfc_9110_asks(wire: Wire, wanted: str) -> None:
    wire.send(f"GET /small HTTP/1.1\r\nHost: a\r\nRange: {wanted}\r\n\r\n".encode())

    answer = wire.answer()

    assert (answer.status, answer.body) == (200, pattern(1000))


@pytest.mark.parametrize("name", ["small", "memory", "file", "large"])
def test_many_ranges_come_in_the_order_asked_with_exact_bytes(wire: Wire, name: str) -> None:
    size = SIZES[name]
    content = pattern(size)

    answer = wire.ask(f"/{name}", f"Range: bytes={size // 2}-{size // 2 + 99},0-9,-5,20-29")

    wanted = [(size // 2, size // 2 + 100), (0, 10), (size - 5, size), (20, 30)]
    assert answer.status == 206
    assert parts(answer) == [(f"bytes {start}-{stop - 1}/{size}", content[start:stop]) for start, stop in wanted]


def test_a_flood_of_tiny_ranges_is_answered_or_ignored_in_bounded_size(wire: Wire) -> None:
    answer = wire.ask("/small", "Range: bytes=" + ",".join(["0-0"] * 8000))

    assert answer.status in (200, 206)
    assert len(answer.body) < 1 << 20


def test_two_range_fields_are_one_list(wire: Wire) -> None:
    answer = wire.ask("/small", "Range: bytes=0-1", "Range: 5-6")

    assert answer.status in (200, 206)
    assert answer.body == pattern(1000) or [data for _, data in parts(answer)] == [
        pattern(1000)[0:2],
        pattern(1000)[5:7],
    ]


# If-Range


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{etag}", 206),
        ('"another"', 200),
        ("{modified}", 206),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ],
)
@pytest.mark.parametrize("wanted", ["bytes=5-", "bytes=5-9,1-2"])
def test_if_range_gives_the_part_only_of_the_same_version(wire: Wire, wanted: str, condition: str, status: int) -> None:
    known = wire.ask("/small", method="HEAD")
    value = condition.format(etag=known["ETag"], modified=known["Last-Modified"])

    answer = wire.ask("/small", f"Range: {wanted}", f"If-Range: {value}")

    assert answer.status == status
    assert status == 206 or answer.body == pattern(1000)


def test_if_match_of_another_version_stops_a_resume_as_edk2_does_it(wire: Wire) -> None:
    etag = wire.ask("/small")["ETag"]

    assert wire.ask("/small", "Range: bytes=5-", f"If-Match: {etag}").status == 206
    assert wire.ask("/small", "Range: bytes=5-", 'If-Match: "old"').status == 412


# Resuming


def test_a_resume_after_a_replacement_gets_the_whole_new_file(bench: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(pattern(100_000, 1))
    (tmp_path / "new").write_bytes(pattern(100_000, 2))
    url = bench.put_file("f", tmp_path / "old")
    etag = requests.head(url, timeout=10).headers["ETag"]
    bench.put_file("f", tmp_path / "new")

    answer = requests.get(url, headers={"Range": "bytes=50000-", "If-Range": etag}, timeout=10)

    assert (answer.status_code, answer.content) == (200, pattern(100_000, 2))


def test_putting_the_same_bytes_again_lets_a_resume_go_on(bench: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(100_000))
    url = bench.put_file("f", tmp_path / "f")
    etag = requests.head(url, timeout=10).headers["ETag"]
    bench.put_file("f", tmp_path / "f")

    answer = requests.get(url, headers={"Range": "bytes=50000-", "If-Range": etag}, timeout=10)

    assert (answer.status_code, answer.content) == (206, pattern(100_000)[50_000:])


def test_resume_after_disconnect_sends_the_rest(wire: Wire, bench_of_sizes: HttpServerClient) -> None:
    wire.get("/large")
    head = wire.read_head()
    first = wire.read_exactly(300_000)
    wire.reset()
    etag = re.search(rb"ETag: (\S+)", head)
    assert etag is not None

    with Wire(bench_of_sizes.get_port()) as again:
        rest = again.ask("/large", "Range: bytes=300000-", f"If-Range: {etag[1].decode()}")

    assert first + rest.body == pattern(SIZES["large"])
