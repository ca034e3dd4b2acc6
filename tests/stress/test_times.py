"""How long things take and how much they need, where that is the claim: alone on a machine."""

from __future__ import annotations

import contextlib
import re
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.cli.main import main
from httpserve.server.limits import most_connections
from tests.conftest import our_threads, private_root
from tests.interfaces.command import END_SECONDS
from tests.server.test_shortage import FEW_DESCRIPTORS, FILE_BYTES, Process, wires
from tests.server.waits import BIG, PATIENT, begin, fetch, halfway, put, vain
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern

HANDFUL = 64  # of threads, as against one for each board
BOARDS = 1000
SLOW_SECONDS = 1.5
SLOW_PIECE = 1024  # every tenth of a second: 10 KB/s
TIMEOUT = 0.05
KEPT_SECONDS = 0.05


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


# The command line


def test_time_for_the_copying_is_not_given_to_the_board_too(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as source:
        source.settimeout(END_SECONDS)
        serving = threading.Thread(target=answer_late, args=(source, 0.5))
        serving.start()

        url = f"http://127.0.0.1:{source.getsockname()[1]}/x"
        code = main(["put", url, "x", "-b", "127.0.0.1", "--exit-after-download", "--timeout", "2"])

        serving.join()
    output, errors = capfd.readouterr()
    assert (code, output.count("\n"), errors.count("\n")) == (1, 1, 1)
    left = re.search(r"nobody has downloaded 'x' within ([\d.]+) s", errors)
    assert left is not None
    assert float(left[1]) <= 1.5


def answer_late(source: socket.socket, seconds: float) -> None:
    """Answer one request after a time."""
    asking, _ = source.accept()
    with asking:
        asking.recv(65536)
        time.sleep(seconds)  # the fact itself
        asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")


# Many boards


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process have as many descriptors as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_boards_that_read_slowly_take_a_handful_of_threads(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", b"x" * FILE_BYTES)
    boards = min(BOARDS, most_connections(), (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100) // 3)
    peak = 0
    with SlowBoards(bench.get_port(), boards) as slow:
        began = time.monotonic()
        while time.monotonic() - began < SLOW_SECONDS:
            slow.read()
            peak = max(peak, len(our_threads()))

        assert slow.fewest() > SLOW_PIECE
    assert peak <= HANDFUL


class SlowBoards:
    """Many boards that ask for a file and read it at 10 KB/s."""

    def __init__(self, port: int, count: int) -> None:
        self._stack = contextlib.ExitStack()
        self._received: dict[int, int] = {}
        self._socks = []
        with self._stack:
            for _ in range(count):
                sock = self._stack.enter_context(socket.socket())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.settimeout(10.0)
                sock.connect(("127.0.0.1", port))
                sock.sendall(b"GET /f HTTP/1.1\r\nHost: bench\r\n\r\n")
                sock.setblocking(False)
                self._socks.append(sock)
                self._received[sock.fileno()] = 0
            self._stack = self._stack.pop_all()

    def __enter__(self) -> SlowBoards:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self) -> None:
        """Let each board take a piece, and a tenth of a second pass."""
        began = time.monotonic()
        for sock in self._socks:
            with contextlib.suppress(BlockingIOError):
                self._received[sock.fileno()] += len(sock.recv(SLOW_PIECE))
        time.sleep(max(0.0, began + 0.1 - time.monotonic()))

    def fewest(self) -> int:
        return min(self._received.values())


def test_a_thousand_are_cheap_to_look_at_ten_times_a_second(bench: HttpServerClient) -> None:
    put(bench, size=10)
    with Wire(bench.get_port()) as wire:
        for _ in range(10):
            wire.send(b"GET /Image HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
            for _ in range(100):
                wire.answer()
    assert len(bench.transfers) == 1000

    took = []
    for _ in range(10):
        began = time.perf_counter()
        bench.transfers  # noqa: B018 - the look is what takes time
        took.append(time.perf_counter() - began)

    assert min(took) < 0.01


def test_a_thousand_missing_names_beside_thousands_of_files_are_told_soon(bench: HttpServerClient) -> None:
    for number in range(2500):
        with open(private_root() / f"a-name-of-a-usual-length-{number:04}.img", "w"):
            pass
    with Wire(bench.get_port()) as wire:
        for number in range(1000):
            wire.ask(f"/a-name-of-a-usual-lenght-{number:04}.img", method="HEAD")

    began = time.monotonic()
    missing = bench.missing

    assert time.monotonic() - began < 5
    assert len(missing) == 1000
    assert missing[-1].nearest


def test_a_rest_is_not_seen_while_bytes_come(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=BIG)
    rest = 1.2
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, until="idle", idle=rest))
    with halfway(bench, 100_000) as board:
        slowly = threading.Event()
        began = time.monotonic()
        read = 100_000
        while time.monotonic() - began < 1.3 * rest:
            read += len(board.read_exactly(50_000))
            slowly.wait(0.02)

        assert not waiting.done()
        assert read <= waiting.result(10).bytes < BIG
        assert time.monotonic() - began >= 2.0 * rest


def test_a_rest_in_the_middle_of_an_answer_is_seen_and_is_no_part_of_its_seconds(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    began = time.monotonic()
    with halfway(bench, 1 << 20):
        record = bench.wait_for_download("Image", PATIENT, until="idle", idle=0.5)

    assert time.monotonic() - began >= 0.5
    assert 1 << 20 <= record.bytes < BIG
    assert record.seconds <= time.monotonic() - began - 0.5 + 0.1


def test_progress_however_slow_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(BIG_BYTES))
    pace = threading.Event()
    with (
        HttpServerClient(tmp_path, host="127.0.0.1", timeout=0.25) as client,
        Wire(client.get_port(), receive_bytes=65536) as wire,
    ):
        wire.get("/f")
        wire.read_head()
        data = bytearray()
        while len(data) < BIG_BYTES and (received := wire.read(1 << 20)):
            data += received
            pace.wait(0.001)  # a board that writes to flash

    assert data == pattern(BIG_BYTES)


def test_a_shortage_of_descriptors_costs_no_time() -> None:
    with Process(FEW_DESCRIPTORS, "1000") as server, wires(server.port, 400) as clients:
        eventually(lambda: server.descriptors() > 250, "the shortage")
        before = server.state()["cpu"]

        assert not select.select([clients[-1].sock], [], [], 1.0)[0]

        assert server.state()["cpu"] - before < 0.3  # a thread that spins would take all of the second


# Timeouts


@pytest.mark.parametrize("scene", ["nobody", "wrong names", "reads nothing"])
def test_a_timeout_is_kept_to_a_few_milliseconds(bench: HttpServerClient, scene: str) -> None:
    put(bench)
    waits: list[Callable[[], object]] = [
        lambda: bench.wait_for_download("Image", TIMEOUT),
        lambda: bench.wait_for_download("Image", TIMEOUT, until="idle"),
        lambda: bench.wait_for_download("Image", TIMEOUT, client=lambda request: False),
        lambda: bench.wait_for_download("Image", TIMEOUT, clients=2),
        lambda: bench.wait_for_request("another", timeout=TIMEOUT),
        lambda: bench.expect_download("Image", TIMEOUT).wait(),
    ]
    if scene == "wrong names":
        for number in range(500):
            (private_root() / f"a-name-of-usual-length-{number:04}.img").touch()
        for number in range(8):
            fetch(bench, target=f"/a-name-of-usual-lenght-{number:04}.img")
    with Wire(bench.get_port(), receive_bytes=4096) as board:
        if scene == "reads nothing":
            put(bench, size=100_000)
            board.get("/Image")
            eventually(lambda: bench.transfers and bench.transfers[-1].sent == 100_000, "the kernel has it")
        for wait in waits:
            late = []
            for _ in range(10):
                began = time.monotonic()
                vain(wait)
                late.append(time.monotonic() - began - TIMEOUT)
            assert min(late) < KEPT_SECONDS
