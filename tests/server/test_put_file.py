"""put_file: every legal name, every operator, replacement under readers, what stays and what goes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import opendal
import pytest
import requests

from httpserve import (
    CopyFailed,
    HttpServeError,
    HttpServerClient,
    InvalidArgument,
    InvalidName,
    InvalidType,
    IsADirectory,
    ServerNotRunning,
    SourceNotFound,
)
from tests.cases import each
from tests.conftest import NewRoot
from tests.copying.raw_server import End, RawServer, answer
from tests.server.wire import Wire, eventually, pattern

CONTENT = pattern(200_001)

NAMES = [
    *("Image", "boot/Image", "a b", "a  b/c d", "100%", "%41", "%2F", "a%20b", "a+b", "a#b", "a?b=c&d"),
    *("a;b:c,d=e@f!g$h'i(j)k*l~m", '"quoted"', "<tag>&amp;", "[0-9]{1,2}", "^|`", "grüße.bin", "文件/映像", "😀"),
    "e\u0301",  # decomposed: not the same name as the composed one
    *("tab\tin", "line\nin", "bell\x07in", "del\x7fin", "\u202egnp.exe", "..a", "a..", "...", "-rf", "~user"),
    *(".hidden", ".config/.x", "index.html", "n" * 200, "ü" * 100, "x" * 255, "/".join(["d"] * 40), "CON", "a."),
    "http:/x",
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(CONTENT)
    return path


# Names


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, new_root: Callable[[], NewRoot]
) -> Iterator[tuple[HttpServerClient, dict[str, str]]]:
    """A server with all names on it, each with content of its own, and their URLs."""
    with HttpServerClient(host="127.0.0.1", **new_root().arguments) as client:
        urls = {}
        for number, name in enumerate(NAMES):
            source = tmp_path_factory.getbasetemp() / "content"
            source.write_bytes(pattern(1000, number))
            urls[name] = client.put_file(name, source)
        yield client, urls


def test_the_url_of_every_legal_name_fetches_exactly_its_bytes(served: tuple[HttpServerClient, dict[str, str]]) -> None:
    client, urls = served
    with requests.Session() as session:
        for number, (name, url) in enumerate(urls.items()):
            assert session.get(url, timeout=10).content == pattern(1000, number)
            assert url.isascii()
            assert url == client.get_url(name)
    assert [record.name for record in client.requests] == NAMES


CLIENTS: dict[str, Callable[[list[str]], list[str]]] = {
    "curl": lambda urls: ["curl", "--silent", "--fail", *urls],
    "wget": lambda urls: ["wget", "--quiet", "--output-document=-", *urls],
    "busybox": lambda urls: ["busybox", "wget", "-q", "-O", "-", *urls],
}


@pytest.mark.parametrize("program", CLIENTS)
def test_the_url_of_every_legal_name_works_in_other_clients(
    served: tuple[HttpServerClient, dict[str, str]], program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    _, urls = served

    done = subprocess.run(CLIENTS[program](list(urls.values())), capture_output=True, timeout=30, check=True)

    assert done.stdout == b"".join(pattern(1000, number) for number in range(len(NAMES)))


def test_a_listing_links_to_every_name(
    served: tuple[HttpServerClient, dict[str, str]], pytestconfig: pytest.Config
) -> None:
    client, urls = served
    names = [name for name in NAMES if "/" not in name and name != "index.html"]
    if pytestconfig.getoption("roots") == "store":
        names.remove("bell\x07in")  # the lists of S3 are XML, which has no such character
    client.storage.delete("index.html")

    page = requests.get(client.get_url() + "/", timeout=10).text

    for name in names:
        link = urls[name].rpartition("/")[2]
        assert f'href="{link}"' in page or f'href="./{link}"' in page


def test_names_that_differ_in_their_encoding_are_different_files(bench: HttpServerClient, tmp_path: Path) -> None:
    names = ["e\u0301", "\u00e9", "a%20b", "a b", "a+b", "A B"]
    urls = []
    for number, name in enumerate(names):
        (tmp_path / "f").write_bytes(pattern(100, number))
        urls.append(bench.put_file(name, tmp_path / "f"))

    assert [requests.get(url, timeout=10).content for url in urls] == [pattern(100, n) for n in range(6)]


@each(
    "name",
    [
        *("", "/", ".", "..", "../x", "a/../b", "a/..", "a/"),
        *("a\\b", "a\0b", " a", "a ", "a\n", "\u00a0a", "\ud800"),
        *("x" * 256, ".httpserve-x", "a/.httpserve-x"),
    ],
)
def test_a_name_that_would_come_back_changed_is_refused_before_a_byte_is_read(
    bench: HttpServerClient, tmp_path: Path, name: str
) -> None:
    with pytest.raises((InvalidName, IsADirectory)):
        bench.put_file(name, tmp_path / "missing")


@pytest.mark.parametrize("name", ["boot/Image", "/boot/Image", Path("boot") / "Image"])
def test_the_url_is_the_base_with_the_name(bench: HttpServerClient, source: Path, name: str | Path) -> None:
    assert bench.put_file(name, source) == f"{bench.get_url()}/boot/Image" == bench.get_url("boot/Image")


# Sources


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3 << 20])
def test_a_path_on_an_operator_is_copied(bench: HttpServerClient, operator: opendal.Operator, size: int) -> None:
    operator.write("some/where", pattern(size))

    url = bench.put_file("f", "some/where", operator)

    assert requests.get(url, timeout=10).content == pattern(size)


def test_a_file_of_the_server_itself_is_a_source(bench: HttpServerClient, source: Path) -> None:
    url = bench.put_file("copy", bench.put_file("original", source))

    assert requests.get(url, timeout=10).content == CONTENT


def test_a_missing_source_leaves_the_old_file_and_the_root_as_they_were(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    with HttpServerClient(root, host="127.0.0.1") as client:
        url = client.put_file("f", source)
        for name in ("f", "new/dir/f"):
            with pytest.raises(SourceNotFound, match="missing"):
                client.put_file(name, tmp_path / "missing")

        assert requests.get(url, timeout=10).content == CONTENT
        assert [path.name for path in root.rglob("*") if ".httpserve" not in path.name] == ["f"]


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_the_right_digest_is_taken(bench: HttpServerClient, source: Path, change: Callable[[str], str]) -> None:
    digest = change(hashlib.sha256(CONTENT).hexdigest())

    assert requests.get(bench.put_file("f", source, sha256=digest), timeout=10).content == CONTENT


# Beside boards and other threads


@contextlib.contextmanager
def stalled_put(client: HttpServerClient, over: str = "") -> Iterator[Future[str]]:
    """Put `f` from a server, or an operator *over* it, that stalls until the end of the block; that fails then."""
    with ThreadPoolExecutor(1) as pool:
        with RawServer(answer(b"part", length=100, end=End.STALL)) as origin:
            operator = opendal.Operator("http", endpoint=origin.url("")) if over else None
            putting = pool.submit(client.put_file, "f", "file" if over else origin.url(), operator, timeout=600)
            origin.stalling.wait(10)
            yield putting
        with pytest.raises((ServerNotRunning, CopyFailed)):
            putting.result(20)


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.storage.copying.url.FIRST_PAUSE", 0.001)


@pytest.mark.usefixtures("_short_pauses")
@pytest.mark.parametrize("over", ["", "an operator"])
def test_boards_are_served_while_a_put_waits_for_its_stalled_source(
    bench: HttpServerClient, source: Path, over: str
) -> None:
    bench.put_file("f", source)
    with stalled_put(bench, over) as putting, Wire(bench.get_port()) as wire:
        assert [wire.ask("/f").body == CONTENT for _ in range(20)] == [True] * 20
        assert not putting.done()


def test_threads_that_put_one_name_each_succeed_and_one_stays_whole(bench: HttpServerClient, tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    for seed in range(8):
        (tmp_path / str(seed)).write_bytes(pattern(500_000, seed))

    def put(seed: int) -> str:
        barrier.wait(10)
        return bench.put_file("deep/f", tmp_path / str(seed))

    with ThreadPoolExecutor(8) as pool:
        urls = {one.result(20) for one in [pool.submit(put, seed) for seed in range(8)]}

    (url,) = urls
    content = requests.get(url, timeout=10).content
    assert content in [pattern(500_000, seed) for seed in range(8)]
    assert bench.storage.list("deep/") == ["deep/", "deep/f"] or set(bench.storage.list("deep/")) == {"deep/", "deep/f"}


@pytest.mark.usefixtures("_short_pauses")
def test_no_request_and_no_listing_sees_a_copy_that_is_not_done(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with HttpServerClient(root, host="127.0.0.1", dot_files=True) as client, stalled_put(client):
        eventually(lambda: list(root.rglob("*")), "the copy began")
        temporaries = [path.name for path in root.iterdir()]

        with Wire(client.get_port()) as wire:
            statuses = {wire.ask(f"/{name}").status for name in ["f", *temporaries]}
            listing = wire.ask("/", "Accept: application/json").body

        assert temporaries
        assert statuses == {404}
        assert listing.strip() == b"[]"
        assert [name for name in client.storage.list("/") if name != "/"] == []


@pytest.mark.usefixtures("_short_pauses")
def test_a_close_while_a_put_waits_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with HttpServerClient(root, host="127.0.0.1") as client, stalled_put(client):
        client.close()
    eventually(lambda: not root.exists() or not list(root.iterdir()), "nothing is left")


# Modes, and what stays


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_what_stays_as_asked_for_has_the_mode_that_the_umask_gives(tmp_path: Path, source: Path, umask: int) -> None:
    source.chmod(0o600)
    before = os.umask(umask)
    try:
        with HttpServerClient(tmp_path / "root", host="127.0.0.1", remove_created_on_close=False) as client:
            client.put_file("d/f", source)
    finally:
        os.umask(before)

    assert (tmp_path / "root/d/f").read_bytes() == CONTENT
    assert stat.S_IMODE((tmp_path / "root/d/f").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "root/d").stat().st_mode) == 0o777 & ~umask


def test_what_was_put_is_removed_on_close_and_nothing_that_is_of_others(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    (root / "there").mkdir(parents=True)
    for name in ("before", "overwritten"):
        (root / "there" / name).write_bytes(b"before")
    with caplog.at_level("INFO", logger="httpserve"), HttpServerClient(root, host="127.0.0.1") as client:
        for name in ("ours", "there/ours", "there/overwritten", "new/deep/ours", "d/ours", "replaced"):
            client.put_file(name, source)
        (root / "d" / "theirs").write_bytes(b"theirs")
        (root / "theirs").write_bytes(b"theirs")
        os.replace(root / "theirs", root / "replaced")

    left = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert left.pop("there/overwritten") == CONTENT
    assert left == {"there/before": b"before", "d/theirs": b"theirs", "replaced": b"theirs"}
    assert {path.name for path in root.rglob("*") if path.is_dir()} == {"there", "d"}
    assert any("there/overwritten: it was there before" in record.getMessage() for record in caplog.records)


def test_what_was_put_stays_over_stop_and_goes_with_close(tmp_path: Path, source: Path) -> None:
    client = HttpServerClient(tmp_path / "root", host="127.0.0.1")
    client.start()
    client.put_file("f", source)
    client.stop()
    stayed = (tmp_path / "root" / "f").exists()

    client.close()

    assert stayed
    assert not (tmp_path / "root").exists()


def test_a_stopped_server_says_so_before_a_byte_is_copied(tmp_path: Path) -> None:
    with RawServer(answer(b"x")) as origin:
        client = HttpServerClient(tmp_path / "root", host="127.0.0.1")

        with pytest.raises(ServerNotRunning, match="start"):
            client.put_file("f", origin.url())

        assert origin.heads == []
    assert not (tmp_path / "root").exists()


def test_a_directory_is_in_the_way(bench: HttpServerClient, source: Path) -> None:
    bench.put_file("d/f", source)

    with pytest.raises(IsADirectory):
        bench.put_file("d", source)


def test_a_put_through_a_symlink_that_leads_out_is_refused(tmp_path: Path, source: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    with HttpServerClient(tmp_path / "root", host="127.0.0.1") as client, pytest.raises(InvalidName):
        client.put_file("link/f", source)

    assert list((tmp_path / "outside").iterdir()) == []


def test_a_dot_file_that_came_in_through_us_is_served_and_one_of_others_is_not(tmp_path: Path, source: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".git").write_bytes(b"secret")
    with HttpServerClient(tmp_path / "root", host="127.0.0.1") as client:
        ours = requests.get(client.put_file(".ours", source), timeout=10)
        theirs = requests.get(client.get_url(".git"), timeout=10)
        listing = requests.get(client.get_url(), timeout=10).text

    assert (ours.content, theirs.status_code) == (CONTENT, 404)
    assert ".ours" in listing
    assert ".git" not in listing


def test_a_source_that_is_not_there_says_where_it_was_looked_for_and_what_is(
    bench: HttpServerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "zImage").write_text("x")
    monkeypatch.chdir(tmp_path)
    here = f"a relative path begins at the working directory, {tmp_path}"
    cases = {
        ("a", "build/zimag"): f"the source 'build/zimag' does not exist: there is 'build/zImage'; {here}",
        ("a", f"{tmp_path}/none"): f"the source '{tmp_path}/none' does not exist",
        ("a", "~/none"): "the source '~/none' does not exist: a ~ is not replaced; pass os.path.expanduser(src)",
        ("build/zImage", "boot/zImage"): (
            f"the source 'boot/zImage' does not exist: {here}; 'build/zImage' exists: the name on the server comes"
            " first, then the source"
        ),
    }

    for (dst, src), message in cases.items():
        with pytest.raises(SourceNotFound) as caught:
            bench.put_file(dst, src)
        assert (str(caught.value), caught.value.source, caught.value.__cause__) == (message, repr(src), None)


def test_fields_of_a_file_travel_with_each_answer_until_it_is_another_version(
    bench: HttpServerClient, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    fields = {"X-Release": "7", "cache-control": "max-age=60"}
    url = bench.put_file("f.bin", tmp_path / "f", headers=fields, content_type="application/vnd.fw")

    def said(method: str = "GET", **fields: str) -> tuple[int | str | None, ...]:
        answer = requests.request(method, url, headers=fields, timeout=20)
        named = (answer.headers.get(name) for name in ("X-Release", "Cache-Control", "Content-Type"))
        return (answer.status_code, *named)

    ours = ("7", "max-age=60", "application/vnd.fw")
    assert said() == said() == said("HEAD") == (200, *ours)
    assert said(Range="bytes=5-9") == (206, *ours)
    assert said(**{"If-None-Match": "*"}) == (304, "7", "max-age=60", None)
    bench.storage.rename("f.bin", "g.bin")
    url = bench.get_url("g.bin")
    assert said() == (200, *ours)
    bench.put_file("g.bin", tmp_path / "f")
    assert said() == (200, None, "no-cache", "application/octet-stream")


def test_fields_that_a_file_cannot_have_are_refused_before_a_byte_is_copied(
    bench: HttpServerClient, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    refused: list[tuple[dict[str, object], type[HttpServeError], str]] = [
        ({"headers": {"A": "b\r\nC: d"}}, InvalidArgument, "one line"),
        ({"headers": {"content-length": "3"}}, InvalidArgument, "cannot be set"),
        ({"headers": {"ETag": '"a"'}}, InvalidArgument, "cannot be set"),
        ({"headers": {"A:": "b"}}, InvalidArgument, "no name"),
        ({"headers": {"A": 3}}, InvalidType, "as text"),
        ({"content_type": "text"}, InvalidArgument, "media type"),
        ({"content_type": "a/b", "headers": {"content-type": "c/d"}}, InvalidArgument, "one Content-Type"),
    ]

    for given, error, part in refused:
        with pytest.raises(error, match=part):
            bench.put_file("f", tmp_path / "f", **given)  # type: ignore[arg-type]  # what is refused
    assert not bench.storage.exists("f")
