"""Handlers of the log that block or raise, and callbacks that do: they cost no board anything."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.server.wire import Wire, eventually, pattern

NAMES = ["httpserve", "httpserve.access", "httpserve.server"]
IMAGE = pattern(1_000_000)


class Full(logging.Handler):
    """As a pipe that nobody reads: blocks until it is emptied, for the lines on `full`."""

    def __init__(self) -> None:
        super().__init__()
        self.emptied = threading.Event()
        self.blocks = threading.Event()

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)  # without the handler's lock: each thread blocks for itself, as in a write
        return True

    def emit(self, record: logging.LogRecord) -> None:
        if "/full" in record.getMessage():
            self.blocks.set()
            self.emptied.wait(30)


class FullOfOddities(Full):
    """The same, for the lines of the site."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("httpserve.server"):
            self.blocks.set()
            self.emptied.wait(30)


class Silent(logging.Handler):
    """Sees to it that the loggers below are at work."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


class Raising(logging.Handler):
    """As one with a bug, with `logging.raiseExceptions` or without."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error
        self.called = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.called += 1
        raise self.error("of the user's handler")


@contextmanager
def handled(name: str, handler: logging.Handler) -> Iterator[None]:
    """Have a logger handled at all levels."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def logged_to(name: str, handler: logging.Handler) -> Iterator[None]:
    """Have a logger handled at the levels that it has."""
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("error", [pytest.fail.Exception, GeneratorExit, KeyboardInterrupt, SystemExit])
def test_a_handler_that_raises_what_no_error_is_costs_no_other_line(
    bench: HttpServerClient, error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing(logging.Handler):
        lines = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.lines += 1
            raise error

    handler = Failing()
    bench.storage.write_bytes("f", b"x")
    with handled("httpserve.access", handler), Wire(bench.get_port()) as wire:
        for _ in range(20):
            assert wire.ask("/f").body == b"x"
        eventually(lambda: handler.lines == 20, "the lines")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [RuntimeError, OSError, BlockingIOError, RecursionError])
@pytest.mark.parametrize("name", NAMES)
def test_a_handler_that_raises_costs_no_board_its_file(
    bench: HttpServerClient, name: str, error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    bench.storage.write_bytes("image", IMAGE)
    bench.storage.write_bytes("small", b"small")
    handler = Raising(error)
    with handled(name, handler), Wire(bench.get_port()) as wire:
        for _ in range(3):
            assert wire.ask("/image").body == IMAGE
            assert wire.ask("/small").body == b"small"
            assert wire.ask("/missing").status == 404
            assert wire.ask("/a%5Cb").status == 404
            assert wire.ask("/../etc/passwd").status == 404
        with Wire(bench.get_port()) as hostile:
            hostile.send(b"no request at all\r\n\r\n")
            assert hostile.answer().status == 400
        with Wire(bench.get_port()) as leaving:
            leaving.get("/image")
            leaving.reset()
        eventually(lambda: handler.called)

        assert bench.wait_for_download("image", timeout=20).bytes == len(IMAGE)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[HttpServerClient]:
    """A server on a directory with what no board gets, of which the site tells the log."""
    (tmp_path / "full-out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "full-fifo")
    (tmp_path / "image").write_bytes(IMAGE)
    with HttpServerClient(tmp_path, host="127.0.0.1", read_only=True) as client:
        yield client


@pytest.mark.parametrize("target", ["/full-out", "/full-fifo", "/full%5Cb"])
@pytest.mark.parametrize("name", ["httpserve.server", "httpserve", "root"])
def test_a_handler_that_blocks_at_what_the_site_logs_holds_up_that_answer_and_no_others(
    odd: HttpServerClient, name: str, target: str
) -> None:
    handler = FullOfOddities()
    # Of the site alone: where accesses are logged, every answer has a thread anyway.
    with handled("httpserve.server", Silent()), logged_to(name, handler), Wire(odd.get_port()) as held:
        try:
            held.get(target)
            assert handler.blocks.wait(10)
            with Wire(odd.get_port()) as another:
                for _ in range(3):
                    assert another.ask("/image").body == IMAGE
                    assert another.ask("/missing").status == 404
        finally:
            handler.emptied.set()
        assert held.answer().status == 404


@pytest.mark.parametrize("error", [RuntimeError, OSError, BlockingIOError, RecursionError, SystemExit])
@pytest.mark.parametrize("target", ["/full-out", "/full-fifo", "/full%5Cb"])
def test_what_a_handler_raises_changes_no_answer(
    odd: HttpServerClient, target: str, error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    handler = Raising(error)
    with handled("httpserve.server", handler), Wire(odd.get_port()) as wire:
        for _ in range(3):
            assert wire.ask(target).status == 404
            assert wire.ask("/image").body == IMAGE
    assert handler.called
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("count", [1, 40])
def test_a_handler_that_blocks_holds_up_the_answers_that_it_logs_and_no_others(
    bench: HttpServerClient, count: int
) -> None:
    bench.storage.write_bytes("image", IMAGE)
    bench.storage.write_bytes("full", b"small")
    handler = Full()
    with handled("httpserve.access", handler), contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(bench.get_port())) for _ in range(count)]
        try:
            for wire in wires:
                wire.get("/full")
            assert handler.blocks.wait(10)
            with Wire(bench.get_port()) as another:
                for _ in range(3):
                    assert another.ask("/image").body == IMAGE
        finally:
            handler.emptied.set()
        for wire in wires:
            assert wire.answer().body == b"small"
            assert wire.ask("/image").body == IMAGE


def test_a_handler_that_blocks_does_not_keep_the_server_from_stopping(
    bench: HttpServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpserve.server.log_writer.FLUSH_SECONDS", 0.1)  # in vain
    bench.storage.write_bytes("full", b"small")
    handler = Full()
    with handled("httpserve.access", handler), Wire(bench.get_port()) as wire:
        try:
            wire.get("/full")
            assert handler.blocks.wait(10)

            bench.stop(timeout=0.1)

            assert not bench.is_running
        finally:
            handler.emptied.set()


def test_a_handler_that_asks_the_client_gets_an_answer(bench: HttpServerClient) -> None:
    """It is called in our threads, which hold none of our locks then."""
    bench.storage.write_bytes("image", IMAGE)
    seen = []

    class Curious(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((len(bench.requests), bench.get_port(), bench.storage.exists("image")))

    with handled("httpserve", Curious()), handled("httpserve.access", Curious()), Wire(bench.get_port()) as wire:
        assert wire.ask("/image").body == IMAGE
        eventually(lambda: seen)

    assert seen[0][1:] == (bench.get_port(), True)


def test_a_progress_callback_that_blocks_holds_up_only_its_own_put(bench: HttpServerClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(IMAGE)
    blocks, go_on = threading.Event(), threading.Event()

    def progress(copied: int, total: int | None) -> None:
        blocks.set()
        go_on.wait(30)

    copying = threading.Thread(target=bench.put_file, args=("image", source), kwargs={"progress": progress})
    copying.start()
    assert blocks.wait(10)
    try:
        bench.put_file("other", source)
        with Wire(bench.get_port()) as wire:
            assert wire.ask("/image").status == 404
            assert wire.ask("/other").body == IMAGE
    finally:
        go_on.set()
        copying.join(20)
    with Wire(bench.get_port()) as wire:
        assert wire.ask("/image").body == IMAGE


def test_a_progress_callback_that_uses_the_client_gets_its_answers(bench: HttpServerClient, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(IMAGE)

    def progress(copied: int, total: int | None) -> None:
        bench.storage.write_bytes("log", str(copied).encode())
        if copied == total:
            bench.put_file("nested", source)

    bench.put_file("image", source, progress=progress)

    assert bench.storage.read_bytes("log") == str(len(IMAGE)).encode()
    assert bench.storage.read_bytes("nested") == IMAGE


@pytest.mark.parametrize("error", [RuntimeError, OSError, StopIteration, GeneratorExit, SystemExit])
@pytest.mark.parametrize("at", [0, len(IMAGE)])
def test_what_a_progress_callback_raises_comes_out_and_publishes_nothing(
    bench: HttpServerClient, tmp_path: Path, error: type[BaseException], at: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(IMAGE)
    bench.storage.write_bytes("image", b"old")

    def progress(copied: int, total: int | None) -> None:
        if copied >= at:
            raise error("of the user's callback")

    with pytest.raises(error, match="of the user's callback"):
        bench.put_file("image", source, progress=progress)

    assert bench.storage.read_bytes("image") == b"old"
    assert bench.storage.scan("/") == ["/", "image"]


def test_a_callback_that_closes_the_client_ends_its_own_put_with_an_error_of_ours(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(IMAGE)
    client = HttpServerClient(tmp_path / "root", host="127.0.0.1")
    client.start()

    with pytest.raises(RuntimeError, match="stopped"):
        client.put_file("image", source, progress=lambda copied, total: client.close())

    assert not (tmp_path / "root").exists()
