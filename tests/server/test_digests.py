"""`NAME.sha256` from a real server: a board fetches it and checks by `sha256sum -c`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.storage.directory.root import Root
from tests.conftest import our_threads
from tests.server.wire import Answer, Wire, eventually, pattern

DIGESTS, DIGEST_FILE = "httpserve.storage.directory.digests", "httpserve.site.digest_file"
BYTES = 3_000_000  # more than is read by who asks


def sha256sum(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([*command, "-c", "sums"], cwd=cwd, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("command", [("sha256sum",), ("busybox", "sha256sum")], ids=lambda command: command[0])
def test_a_board_checks_what_it_fetched(bench: HttpServerClient, tmp_path: Path, command: tuple[str, ...]) -> None:
    bench.storage.write_bytes("boot/disk image.img", pattern(100_000))
    with Wire(bench.get_port()) as wire:
        (tmp_path / "disk image.img").write_bytes(wire.ask("/boot/disk%20image.img").body)
        (tmp_path / "sums").write_bytes(wire.ask("/boot/disk%20image.img.sha256").body)

    good = sha256sum(*command, cwd=tmp_path)
    (tmp_path / "disk image.img").write_bytes(pattern(99_999))
    bad = sha256sum(*command, cwd=tmp_path)

    assert good.returncode == 0
    assert bad.returncode != 0


def test_the_digest_is_no_request_for_the_file(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", pattern(1000))
    with Wire(bench.get_port()) as wire:
        for _ in range(2):  # the second answer is given from memory, where one is
            wire.ask("/f.sha256")
        with pytest.raises(TimeoutError):
            bench.wait_for_download("f", 0)
        wire.ask("/f")

        assert bench.wait_for_download("f", 20).bytes == 1000
        assert bench.wait_for_download("f.sha256", 20).bytes == 64 + len("  f\n")
    assert [record.name for record in bench.requests] == ["f.sha256", "f.sha256", "f"]


def test_a_new_version_has_its_digest_at_once(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        answers = []
        for seed in range(5):
            bench.storage.write_bytes("f", pattern(1000, seed))
            answers += [wire.ask("/f.sha256").body for _ in range(3)]

    assert len(set(answers)) == 5
    assert len(set(answers[-3:])) == 1


def test_digests_can_be_switched_off_in_the_client() -> None:
    with HttpServerClient(host="127.0.0.1", digests=False) as client:
        client.storage.write_bytes("f", b"1")
        with Wire(client.get_port()) as wire:
            assert wire.ask("/f.sha256").status == 404


# Of files that others put there, which are read in the background


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with `f`, which is not read at once, and with `other`."""
    (tmp_path / "f").write_bytes(pattern(BYTES))
    (tmp_path / "other").write_bytes(b"other")
    return tmp_path


@pytest.fixture
def client(directory: Path) -> Iterator[HttpServerClient]:
    with HttpServerClient(directory, host="127.0.0.1", read_only=True) as client:
        yield client


@pytest.fixture
def never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no file rest, so that the thread does not come to read any, and lets boards wait for that."""
    monkeypatch.setattr(f"{DIGESTS}.SETTLED_SECONDS", 1e9)
    monkeypatch.setattr(f"{DIGEST_FILE}.WAIT_SECONDS", 1e9)


def line_of(path: Path) -> bytes:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n".encode()


def asked(client: HttpServerClient, target: str = "/f.sha256", method: str = "GET") -> Answer:
    with Wire(client.get_port()) as wire:
        return wire.ask(target, method=method)


def works_in_the_background() -> bool:
    return "httpserve-digests" in [thread.name for thread in our_threads()]


def test_a_large_file_has_a_digest_that_does_not_change_its_etag(
    client: HttpServerClient, directory: Path, turn: Callable[[float], None], pool: ThreadPoolExecutor
) -> None:
    turn(3600.0)  # so that it has rested
    etag = asked(client, "/f")["ETag"]

    answers = list(pool.map(asked, [client] * 8))
    again = asked(client)

    assert {answer.body for answer in (*answers, again)} == {line_of(directory / "f")}
    assert asked(client, "/f")["ETag"] == etag
    eventually(lambda: not works_in_the_background(), "the thread has ended")


def test_a_file_that_changes_has_the_digest_of_its_new_version(
    client: HttpServerClient, directory: Path, turn: Callable[[float], None]
) -> None:
    turn(3600.0)
    first = asked(client)
    (directory / "f").write_bytes(pattern(BYTES, 2))
    second = asked(client)

    assert first.body != second.body == line_of(directory / "f")


def test_whoever_asks_too_early_is_told_to_ask_again_and_holds_up_nobody(
    client: HttpServerClient, directory: Path, monkeypatch: pytest.MonkeyPatch, turn: Callable[[float], None]
) -> None:
    monkeypatch.setattr(f"{DIGESTS}.SETTLED_SECONDS", 1e9)
    monkeypatch.setattr(f"{DIGEST_FILE}.WAIT_SECONDS", 0.0)
    get, head = asked(client), asked(client, method="HEAD")
    other = [asked(client, target) for target in ("/f", "/other", "/other.sha256")]
    client.stop()  # which ends what had begun
    client.start()
    turn(2e9)
    eventually(lambda: asked(client).status == 200, "it is known")

    assert (get.status, get["Retry-After"], head.status, head["Retry-After"]) == (503, "1", 503, "1")
    assert [answer.status for answer in other] == [200, 200, 200]
    assert asked(client).body == line_of(directory / "f")


def test_a_file_as_long_as_its_digest_is_not_taken_for_it(
    client: HttpServerClient, directory: Path, turn: Callable[[float], None]
) -> None:
    (directory / "x").write_bytes(pattern(len(f"{64 * '0'}  x\n")))
    turn(3600.0)

    of_file, of_digest = client.command("x", "curl"), client.command("x.sha256", "curl")

    digest = hashlib.sha256((directory / "x").read_bytes()).hexdigest()
    assert digest in of_file
    assert digest not in of_digest
    assert asked(client, "/x")["ETag"] != asked(client, "/x.sha256")["ETag"]


@pytest.mark.usefixtures("never_rests")
def test_nothing_is_begun_for_a_board_that_asks_while_the_server_stops(
    client: HttpServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = Root.rest

    def asked_just_after(root: Root) -> None:
        rest(root)
        with Wire(port) as wire:
            answers.append(wire.ask("/f.sha256"))

    port = client.get_port()
    answers: list[Answer] = []
    with monkeypatch.context() as patch:
        patch.setattr(Root, "rest", asked_just_after)
        client.stop()

    assert [answer.status for answer in answers] == [503]
    assert not works_in_the_background()


@pytest.mark.usefixtures("never_rests")
@pytest.mark.parametrize("end", ["stop", "close"])
@pytest.mark.parametrize("what", ["rests", "is read"])
def test_the_end_of_the_server_is_the_end_of_what_it_reads(
    client: HttpServerClient,
    directory: Path,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    end: str,
) -> None:
    if what == "is read":
        monkeypatch.setattr(f"{DIGESTS}.SETTLED_SECONDS", 0.0)
        os.truncate(directory / "f", 1 << 40)  # which takes minutes to read
    waiting = pool.submit(asked, client)
    eventually(works_in_the_background, "it is to be read")

    assert asked(client, "/other").body == b"other"
    getattr(client, end)()

    assert not works_in_the_background()
    assert waiting.result(10).status == 503


@pytest.mark.usefixtures("never_rests")
def test_only_so_many_files_are_waited_for(
    client: HttpServerClient, directory: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DIGESTS}.MOST_AWAITED", 1)
    (directory / "g").write_bytes(pattern(BYTES))
    waiting = pool.submit(asked, client)
    eventually(works_in_the_background, "it is to be read")

    beyond = asked(client, "/g.sha256")
    client.stop()

    assert (beyond.status, waiting.result(10).status) == (503, 503)
