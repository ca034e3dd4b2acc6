"""The head and body contract that every board's client can live with, byte by byte.

H1 to H14, each named after the client that it is for and what happens to that client otherwise.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.server.limits import Limits
from tests.cases import each
from tests.conftest import NewRoot, rested
from tests.server.wire import Answer, Wire, pattern

SMALL = b"a kernel\n"
BIG = pattern(3 << 20)
DATE = rb"Date: (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n"


@pytest.fixture(scope="module")
def board(new_root: Callable[[], NewRoot]) -> Iterator[HttpServerClient]:
    root = new_root()
    for name in ("Image", "a/b", "grubx64.efi", "Fedora.ISO", "disk.img", "disk.img.gz", "x.svgz", "r.tar.xz"):
        root.write(name, SMALL)
    for name, content in {"full/index.html": b"<p>index", "big": BIG, "empty": b""}.items():
        root.write(name, content)
    with HttpServerClient(host="127.0.0.1", **root.arguments) as client:
        rested(client.get_port(), "empty")
        yield client


@pytest.fixture
def wire(board: HttpServerClient) -> Iterator[Wire]:
    with Wire(board.get_port()) as one:
        yield one


# Every kind of answer: the request, its status line, and whether the connection lives on.
ANSWERS: dict[str, tuple[bytes, bytes]] = {
    "whole": (b"GET /Image HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "whole to 1.0": (b"GET /Image HTTP/1.0\r\n\r\n", b"200 OK"),
    "whole, big": (b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "whole, empty": (b"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "head": (b"HEAD /Image HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "head to 1.0": (b"HEAD /Image HTTP/1.0\r\n\r\n", b"200 OK"),
    "head with range": (b"HEAD /Image HTTP/1.1\r\nHost: a\r\nRange: bytes=0-3\r\n\r\n", b"200 OK"),
    "range": (b"GET /Image HTTP/1.1\r\nHost: a\r\nRange: bytes=0-3\r\n\r\n", b"206 Partial Content"),
    "range to 1.0": (b"GET /Image HTTP/1.0\r\nRange: bytes=0-3\r\n\r\n", b"206 Partial Content"),
    "ranges": (b"GET /big HTTP/1.1\r\nHost: a\r\nRange: bytes=0-3,9-\r\n\r\n", b"206 Partial Content"),
    "no such range": (b"GET /Image HTTP/1.1\r\nHost: a\r\nRange: bytes=99-\r\n\r\n", b"416 Range Not Satisfiable"),
    "not modified": (b"GET /Image HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", b"304 Not Modified"),
    "not the version": (b'GET /Image HTTP/1.1\r\nHost: a\r\nIf-Match: "x"\r\n\r\n', b"412 Precondition Failed"),
    "listing": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "listing to head": (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "index": (b"GET /full HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
    "missing": (b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n", b"404 Not Found"),
    "missing to head": (b"HEAD /missing HTTP/1.1\r\nHost: a\r\n\r\n", b"404 Not Found"),
    "missing to 1.0": (b"GET /missing HTTP/1.0\r\n\r\n", b"404 Not Found"),
    "another method": (b"DELETE /Image HTTP/1.1\r\nHost: a\r\n\r\n", b"405 Method Not Allowed"),
    "options": (b"OPTIONS /Image HTTP/1.1\r\nHost: a\r\n\r\n", b"204 No Content"),
    "unknown method": (b"BREW /Image HTTP/1.1\r\nHost: a\r\n\r\n", b"501 Not Implemented"),
    "malformed": (b"GET  /Image HTTP/1.1\r\nHost: a\r\n\r\n", b"400 Bad Request"),
    "no host": (b"GET /Image HTTP/1.1\r\n\r\n", b"400 Bad Request"),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505 HTTP Version Not Supported"),
    "long target": (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414 "),
    "long head": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
        b"431 Request Header Fields Too Large",
    ),
}


def ask(wire: Wire, request: bytes) -> Answer:
    wire.send(request)
    return wire.answer(to_head=request.startswith(b"HEAD"))


# H1 to H4, and H10


@pytest.mark.parametrize(("request_", "line"), ANSWERS.values(), ids=ANSWERS)
def test_the_head_of_every_answer_is_one_that_every_client_can_read(wire: Wire, request_: bytes, line: bytes) -> None:
    answer = ask(wire, request_)

    head, names = answer.head, [name for name, _ in answer.fields]
    # H1: the status line is what GRUB, iPXE and U-Boot compare
    assert head.startswith(b"HTTP/1.1 " + line)
    assert re.match(rb"HTTP/1\.1 \d{3} [A-Z][A-Za-z -]+\r\n", head)
    # H2: Content-Length is spelled as U-Boot, GRUB and shim look for it; nothing is chunked: U-Boot stores the sizes
    found = re.findall(rb"(?i)\r\ncontent-length[^\r]*", head)
    if line.startswith((b"204", b"304")):
        assert found in ([], [b"\r\nContent-Length: %d" % len(SMALL)])
    else:
        assert len(found) == 1
        assert re.fullmatch(rb"\r\nContent-Length: (?:0|[1-9]\d*)", found[0])
    assert not {"transfer-encoding", "trailer"} & {name.lower() for name in names}
    # H3: it fits into the one packet that U-Boot looks at
    assert len(head) < 900
    # H4: EDK2 takes an empty field for an error
    assert all(re.fullmatch(r"[A-Za-z-]+", name) and value and value == value.strip() for name, value in answer.fields)
    assert len(names) == len(set(names))
    # H10: it has a date
    assert len(re.findall(b"\r\n" + DATE, head)) == 1
    # and no line ending but CRLF
    assert not {b"\r", b"\n"} & set(re.findall(rb"[\r\n]", head.replace(b"\r\n", b"")))


# H3


@pytest.mark.parametrize("name", ["Image", "big", "empty", "missing"])
def test_h3_the_whole_head_is_in_the_first_segment(wire: Wire, name: str) -> None:
    wire.get(f"/{name}", version="1.0")

    assert b"\r\n\r\n" in wire.sock.recv(1460)


def test_h3_a_file_with_a_digest_and_the_longest_name_keeps_its_head_short(bench: HttpServerClient) -> None:
    name = "n" * 200 + ".img"
    bench.put_file(name, __file__)

    with Wire(bench.get_port()) as wire:
        assert len(wire.ask(f"/{name}").head) < 900


# H5


@pytest.mark.parametrize("target", ["/a/b", "//a///b", "/./a/b", "/a/./b", "/a//b", "////a/b", "/a/%62"])
def test_h5_a_doubled_slash_of_a_boot_script_is_served_and_not_redirected(wire: Wire, target: str) -> None:
    answer = wire.ask(target)

    assert (answer.status, answer.body) == (200, SMALL)


@pytest.mark.parametrize("target", ["/", "/a", "/a/", "/full", "/full/", "//full//"])
def test_h5_a_directory_answers_directly_as_uboot_follows_no_redirect(wire: Wire, target: str) -> None:
    answer = wire.ask(target)

    assert answer.status == 200
    assert "Location" not in answer


# H6


CLOSERS = {
    "lwIP": ("1.1", "Connection: Close"),
    "busybox": ("1.1", "Connection: close"),
    "loud": ("1.1", "CONNECTION: CLOSE"),
    "in a list": ("1.1", "Connection: keep-alive, Close"),
    "in two fields": ("1.1", "Connection: TE", "Connection: close"),
    "U-Boot": ("1.0",),
    "1.0 and close": ("1.0", "Connection: close"),
}


@pytest.mark.parametrize("client", CLOSERS)
def test_h6_the_connection_is_closed_in_order_right_after_the_last_byte(board: HttpServerClient, client: str) -> None:
    version, *fields = CLOSERS[client]
    for method, name, extra in (
        *(("GET", name, ()) for name in ("Image", "big", "empty", "missing", "")),
        ("GET", "big", ("Range: bytes=1-2",)),
        ("HEAD", "big", ()),
    ):
        with Wire(board.get_port()) as wire:
            answer = wire.ask(f"/{name}", *extra, *fields, method=method, version=version)

            assert method == "HEAD" or len(answer.body) == int(answer["Content-Length"])
            assert wire.rest() == b""
            assert answer["Connection"] == "close"


def test_h6_an_11_request_without_the_option_keeps_the_connection(wire: Wire) -> None:
    first = wire.ask("/Image")
    second = wire.ask("/Image")

    assert (first.body, second.body) == (SMALL, SMALL)
    assert "Connection" not in first


# H7


@each(
    "host",
    [
        *("", "192.168.7.1", "192.168.7.1:8000", "localhost:", "[fd00::1]", "[fd00::1]:8000", "some_board.local"),
        *("evil.example", "a..b", "xn--bcher-kva.example"),
    ],
)
def test_h7_any_host_is_answered_as_lwip_leaves_out_the_port_and_tunnels_change_it(wire: Wire, host: str) -> None:
    wire.send(f"GET /Image HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    answer = wire.answer()

    assert (answer.status, answer.body) == (200, SMALL)


@pytest.mark.parametrize("target", ["/", "/a", "/full", "/missing", "/Image"])
def test_h7_no_answer_repeats_the_host(wire: Wire, target: str) -> None:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())

    answer = wire.answer()

    assert b"evil" not in answer.head + answer.body


@pytest.mark.parametrize("target", ["Image", "a/b", "http://bench/Image", "HTTP://bench:80/Image"])
def test_h7_a_10_target_without_a_slash_is_what_uboot_sends_for_host_colon_path(wire: Wire, target: str) -> None:
    assert wire.ask(target, version="1.0").body == SMALL


# H8


def test_h8_accept_ranges_is_on_200_206_and_head_as_custota_and_httpdirfs_want(wire: Wire) -> None:
    answers = [
        wire.ask("/Image"),
        wire.ask("/Image", method="HEAD"),
        wire.ask("/Image", "Range: bytes=0-1"),
        wire.ask("/big", "Range: bytes=0-1,4-5"),
    ]

    assert [answer["Accept-Ranges"] for answer in answers] == ["bytes"] * 4
    assert [answer.status for answer in answers] == [200, 200, 206, 206]


# H9


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [("0-3", (0, 3)), ("0-0", (0, 0)), ("5-", (5, len(BIG) - 1)), ("-7", (len(BIG) - 7, len(BIG) - 1))],
)
def test_h9_a_single_range_is_exact_as_ipxe_sanboot_and_rauc_check(
    wire: Wire, wanted: str, sent: tuple[int, int]
) -> None:
    answer = wire.ask("/big", f"Range: bytes={wanted}")

    assert answer.status == 206
    assert answer["Content-Range"] == f"bytes {sent[0]}-{sent[1]}/{len(BIG)}"
    assert answer.body == BIG[sent[0] : sent[1] + 1]


# H10


@pytest.mark.parametrize("fields", [(), ("Range: bytes=0-1",), ("Range: bytes=0-1,4-5",), ("If-None-Match: *",)])
def test_h10_the_etag_is_strong_as_edk2_resumes_by_it(wire: Wire, fields: tuple[str, ...]) -> None:
    answer = wire.ask("/Image", *fields)

    assert re.fullmatch(r'"[!#-~]+"', answer["ETag"])


def test_h10_the_etag_of_a_file_put_here_is_its_digest(bench: HttpServerClient) -> None:
    bench.put_file("Image", __file__)

    with Wire(bench.get_port()) as wire:
        digest = hashlib.sha256(Path(__file__).read_bytes())
        answer = wire.ask("/Image")
    assert answer["ETag"] == f'"{digest.hexdigest()}"'
    assert answer["Repr-Digest"] == f"sha-256=:{b64encode(digest.digest()).decode()}:"


def test_h10_last_modified_is_never_in_the_future(bench: HttpServerClient, tmp_path: Path) -> None:
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        (tmp_path / "later").write_bytes(b"")
        os.utime(tmp_path / "later", (2**32, 2**32))

        answer = wire.ask("/later")

    assert parsedate_to_datetime(answer["Last-Modified"]) <= parsedate_to_datetime(answer["Date"])


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("If-None-Match: {etag}", 304),
        ('If-None-Match: "x"', 200),
        ("If-Match: {etag}", 200),
        ('If-Match: "x"', 412),
        ("If-Modified-Since: {modified}", 304),
        ("If-Modified-Since: yesterday", 200),
        ("If-Unmodified-Since: {modified}", 200),
        ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", 412),
    ],
)
def test_h10_conditions_are_obeyed(wire: Wire, field: str, status: int) -> None:
    known = wire.ask("/Image", method="HEAD")
    value = field.format(etag=known["ETag"], modified=known["Last-Modified"])
    for method in ("GET", "HEAD"):
        assert wire.ask("/Image", value, method=method).status == status
        assert wire.ask("/Image").body == SMALL  # a body where there should be none would be taken for this answer


# H11


def test_h11_a_multipart_body_is_what_zchunk_and_swupdate_can_read(wire: Wire) -> None:
    answer = wire.ask("/big", "Range: bytes=100-103,0-1,-3")

    match = re.search(rb"\r\nContent-Type: multipart/byteranges; boundary=([0-9a-f]+)\r\n", answer.head)
    assert match is not None
    size = str(len(BIG)).encode()

    def part(start: int, stop: int) -> bytes:
        return (
            b"\r\n--" + match[1] + b"\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes "
            b"%d-%d/%s\r\n\r\n" % (start, stop - 1, size) + BIG[start:stop]
        )

    end = b"\r\n--" + match[1] + b"--\r\n"
    assert answer.status == 206
    assert answer.body == part(100, 104) + part(0, 2) + part(len(BIG) - 3, len(BIG)) + end
    assert "Content-Range" not in answer


@pytest.mark.parametrize("count", [24, 255, 2000])
def test_h11_as_many_ranges_as_zchunk_and_swupdate_ask_for_are_answered(wire: Wire, count: int) -> None:
    ranges = [(n * 1000, n * 1000 + 9) for n in range(count)]

    answer = wire.ask("/big", "Range: bytes=" + ",".join(f"{start}-{last}" for start, last in ranges))

    assert answer.status == 206
    assert [
        (int(start), int(last)) for start, last in re.findall(rb"Content-Range: bytes (\d+)-(\d+)/", answer.body)
    ] == ranges
    assert all(BIG[start : last + 1] in answer.body for start, last in ranges[::97])


def test_h11_a_head_of_32_kib_of_ranges_is_taken(wire: Wire) -> None:
    text = ",".join(f"{n * 1000}-{n * 1000 + 1}" for n in range(2300))
    assert len(text) > 32 * 1024

    assert wire.ask("/big", f"Range: bytes={text}").status in (200, 206)


def test_h11_a_range_that_no_part_can_have_is_left_out(wire: Wire) -> None:
    answer = wire.ask("/Image", "Range: bytes=0-1,1000-2000")

    assert answer["Content-Range"] == f"bytes 0-1/{len(SMALL)}"
    assert answer.body == SMALL[:2]


# H12


def test_h12_edk2_gets_its_first_byte_although_other_boards_have_stalled(board: HttpServerClient) -> None:
    stalled = [Wire(board.get_port(), receive_bytes=4096) for _ in range(20)]
    try:
        for one in stalled:
            one.get("/big")
            one.read_head()
        with Wire(board.get_port()) as wire:
            wire.sock.settimeout(2)  # EDK2 waits for 5, and the contract is 2

            assert wire.ask("/Image").body == SMALL
    finally:
        for one in stalled:
            one.close()


# H13


def test_h13_an_idle_connection_is_kept_for_ipxes_pool() -> None:
    limits = Limits()

    assert min(limits.idle, limits.short_idle) >= 15


def test_h13_casync_rauc_and_ostree_ask_many_times_over_one_connection(wire: Wire) -> None:
    for _ in range(50):
        assert wire.ask("/Image").body == SMALL
        assert wire.ask("/missing").status == 404


def test_h13_rauc_reads_136_ranges_over_one_connection(wire: Wire) -> None:
    got = [wire.ask("/big", f"Range: bytes={n * 4096}-{n * 4096 + 4095}").body for n in range(136)]

    assert b"".join(got) == BIG[: 136 * 4096]


# H14


@pytest.mark.parametrize("name", ["disk.img.gz", "x.svgz", "r.tar.xz", "Image"])
def test_h14_no_board_is_told_to_inflate_an_image(wire: Wire, name: str) -> None:
    answer = wire.ask(f"/{name}", "Accept-Encoding: gzip, deflate, br, zstd, xz")

    assert "Content-Encoding" not in answer
    assert answer.body == SMALL


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("grubx64.efi", "application/efi"),
        ("Fedora.ISO", "application/vnd.efi-iso"),
        ("disk.img", "application/vnd.efi-img"),
        ("Image", "application/octet-stream"),
    ],
)
def test_h14_edk2_boots_by_these_types(wire: Wire, name: str, kind: str) -> None:
    assert wire.ask(f"/{name}", method="HEAD")["Content-Type"] == kind
    assert wire.ask(f"/{name}", "Range: bytes=0-1")["Content-Type"] == kind


# The whole of it, frozen


def frozen(answer: Answer) -> list[str]:
    """Return the lines of a head, but for the date."""
    return re.sub(DATE, b"Date: ...\r\n", answer.head).decode().removesuffix("\r\n\r\n").split("\r\n")


def test_the_head_of_a_200_is_frozen(bench: HttpServerClient) -> None:
    bench.put_file("boot/Image", __file__)
    content = Path(__file__).read_bytes()
    digest = hashlib.sha256(content)

    with Wire(bench.get_port()) as wire:
        answer = wire.ask("/boot/Image")

    assert frozen(answer) == [
        "HTTP/1.1 200 OK",
        "Date: ...",
        "Content-Type: application/octet-stream",
        f"Content-Length: {len(content)}",
        "Accept-Ranges: bytes",
        f'ETag: "{digest.hexdigest()}"',
        f"Last-Modified: {answer['Last-Modified']}",
        "Cache-Control: no-cache",
        f"Repr-Digest: sha-256=:{b64encode(digest.digest()).decode()}:",
    ]


def test_the_head_of_every_other_status_is_frozen(wire: Wire) -> None:
    whole = wire.ask("/Image")
    etag = whole["ETag"]
    known = ["Accept-Ranges: bytes", f"ETag: {etag}", f"Last-Modified: {whole['Last-Modified']}"]
    known.append("Cache-Control: no-cache")
    text = "Content-Type: text/plain; charset=utf-8"

    same = wire.ask("/Image", f"If-None-Match: {etag}")
    missing = wire.ask("/missing")
    deleted = wire.ask("/Image", method="DELETE")
    part = wire.ask("/Image", "Range: bytes=2-4", version="1.0")

    assert frozen(same) == ["HTTP/1.1 304 Not Modified", "Date: ...", *known]
    length = f"Content-Length: {len(missing.body)}"
    assert frozen(missing) == ["HTTP/1.1 404 Not Found", "Date: ...", text, length]
    assert missing.body.startswith(b"404 Not Found")
    length = f"Content-Length: {len(deleted.body)}"
    allowed = "Allow: GET, HEAD, OPTIONS"
    assert frozen(deleted) == ["HTTP/1.1 405 Method Not Allowed", "Date: ...", text, length, allowed]
    assert frozen(part) == [
        *("HTTP/1.1 206 Partial Content", "Date: ...", "Content-Type: application/octet-stream", "Content-Length: 3"),
        *(f"Content-Range: bytes 2-4/{len(SMALL)}", *known, "Connection: close"),
    ]
