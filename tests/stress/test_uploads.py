"""A thousand boards that send slowly, all at once: hardly a thread while they are silent, and every file whole."""

from __future__ import annotations

import hashlib
import random
import resource
import threading
import time
from collections.abc import Iterator

import pytest

from httpserve import HttpServerClient
from httpserve.server.leader import FOLLOW_SECONDS
from httpserve.server.limits import MOST_RECEIVING
from tests.conftest import our_threads
from tests.server.wire import PATIENCE_SECONDS, Wire, eventually

BOARDS = 1000
ROUNDS = 4
DESCRIPTORS = 5  # of each: both ends of its connection, its temporary file, and the directory of that
HANDFUL = 4
MOST = 2 * MOST_RECEIVING  # as many may be on their way from one connection to another


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < BOARDS * DESCRIPTORS + 500:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def threads_in_the_end() -> int:
    """Return how many threads are left once those without work had time to end."""
    deadline = time.monotonic() + FOLLOW_SECONDS + PATIENCE_SECONDS
    nothing = threading.Event()
    while len(our_threads()) > HANDFUL and time.monotonic() < deadline:
        nothing.wait(0.1)
    return len(our_threads())


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("descriptors")
def test_a_thousand_slow_boards_send_at_once_with_a_handful_of_threads(seed: int) -> None:
    chance = random.Random(seed)
    contents = [chance.randbytes(chance.randrange(ROUNDS, 5000)) for _ in range(BOARDS)]
    threads = []
    with HttpServerClient(host="127.0.0.1", max_connections=BOARDS + 10) as bench:
        bench.accept_uploads("logs/")
        wires = [Wire(bench.get_port(), receive_bytes=4096) for _ in contents]
        for number, (wire, content) in enumerate(zip(wires, contents, strict=True)):
            wire.get(f"/logs/{number}", f"Content-Length: {len(content)}", method="PUT")
        for turn in range(ROUNDS):
            if turn == ROUNDS - 1:
                silent = threads_in_the_end()
            for wire, content in zip(wires, contents, strict=True):
                piece = -(-len(content) // ROUNDS)
                wire.send(content[turn * piece : (turn + 1) * piece])
                threads.append(len(our_threads()))
        statuses = {wire.answer().status for wire in wires}
        eventually(lambda: len(bench.uploads) == BOARDS, "all are on record")
        sent = {one.name: one.sha256 for one in bench.uploads}
        for wire in wires:
            wire.close()

    print(f"{silent} threads while all are silent, at most {max(threads)} while all send as quickly as they can")
    assert statuses == {201}
    assert sent == {f"logs/{number}": hashlib.sha256(one).hexdigest() for number, one in enumerate(contents)}
    assert silent <= HANDFUL
    assert max(threads) <= MOST
