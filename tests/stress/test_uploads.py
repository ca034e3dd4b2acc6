"""A thousand boards that send slowly, all at once: a handful of threads, and every file whole."""

from __future__ import annotations

import hashlib
import random
import resource

import pytest

from httpserve import HttpServerClient
from tests.conftest import our_threads
from tests.server.wire import Wire, eventually

BOARDS = 1000
ROUNDS = 5
DESCRIPTORS = 5  # of each: both ends of its connection, its temporary file, and the directory of that
HANDFUL = 32  # of 1000; as many as are at work at one moment, which is fewer where nothing else runs


@pytest.mark.timeout(120)
def test_a_thousand_slow_boards_send_at_once_with_a_handful_of_threads(seed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < BOARDS * DESCRIPTORS + 500:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chance = random.Random(seed)
    contents = [chance.randbytes(chance.randrange(ROUNDS, 5000)) for _ in range(BOARDS)]
    threads = []
    try:
        with HttpServerClient(host="127.0.0.1", max_connections=BOARDS + 10) as bench:
            bench.accept_uploads("logs/")
            wires = [Wire(bench.get_port(), receive_bytes=4096) for _ in contents]
            for number, (wire, content) in enumerate(zip(wires, contents, strict=True)):
                wire.get(f"/logs/{number}", f"Content-Length: {len(content)}", method="PUT")
            for turn in range(ROUNDS):
                for wire, content in zip(wires, contents, strict=True):
                    piece = -(-len(content) // ROUNDS)
                    wire.send(content[turn * piece : (turn + 1) * piece])
                    threads.append(len(our_threads()))
            statuses = {wire.answer().status for wire in wires}
            eventually(lambda: len(bench.uploads) == BOARDS, "all are on record")
            sent = {one.name: one.sha256 for one in bench.uploads}
            for wire in wires:
                wire.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    print(f"at most {max(threads)} threads")
    assert statuses == {201}
    assert sent == {f"logs/{number}": hashlib.sha256(one).hexdigest() for number, one in enumerate(contents)}
    assert max(threads) <= HANDFUL
