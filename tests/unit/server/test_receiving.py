"""How long a client may take for content, by a clock that the test turns; the socket and the app are plain lists."""

from __future__ import annotations

import types
from typing import Any, cast

import pytest

from httpserve.server.limits import Limits
from httpserve.server.receiving import LEAST_RATE, RECEIVE_BYTES, Receiving
from httpserve.server.request_content import Content
from httpserve.server.request_head import Refused

TIMEOUT = 10.0


class Slow:
    """A client that sends what a test says, when the test says, and the connection that it comes by."""

    def __init__(self, length: int) -> None:
        self.now = 1000.0
        self.comes: list[bytes] = []
        self.taken = b""
        self.deadline = 0.0
        content = Content(length)
        sock = types.SimpleNamespace(recv=self._recv)
        self.delivery = types.SimpleNamespace(sock=sock, fd=-1, deadline=0.0)
        shared = types.SimpleNamespace(clock=lambda: self.now, limits=Limits(timeout=TIMEOUT), cutting=False)
        self._receiving = Receiving(*cast("Any", (None, content, self, self.delivery, shared, 0.0)))

    def _recv(self, most: int) -> bytes:
        assert most == RECEIVE_BYTES
        if not self.comes:
            raise BlockingIOError
        return self.comes.pop(0)

    def write(self, data: bytes) -> bool:
        self.taken += data
        return True

    def take(self, data: bytes = b"") -> bool:
        """Let the server look, when some more has come."""
        self.comes = [data] if data else []
        return self._receiving.take(b"")


def test_silence_may_last_as_long_as_the_timeout_each_time() -> None:
    client = Slow(1 << 20)
    for _ in range(5):
        assert client.take(bytes(int(9.5 * LEAST_RATE))) is False
        assert client.delivery.deadline == client.now + TIMEOUT
        client.now += TIMEOUT - 0.5
        assert client.take() is False  # whatever woke the server
    client.now += 0.5

    with pytest.raises(Refused, match="took too long") as refused:
        client.take()

    assert refused.value.status == 408


def test_client_that_drips_has_the_timeout_for_all_of_it() -> None:
    client = Slow(100)
    for _ in range(3):
        assert client.take(b"x") is False
        client.now += 3.0
    assert client.take(b"x") is False
    left = client.delivery.deadline - client.now
    client.now += 1.1

    with pytest.raises(Refused, match="took too long"):
        client.take()

    assert left == pytest.approx(TIMEOUT - 9.0 + 4 / LEAST_RATE)
    assert client.taken == b"xxxx"


def test_content_that_comes_in_time_is_all() -> None:
    client = Slow(4)

    assert [client.take(b"ab"), client.take(b"cd")] == [False, True]
    assert client.taken == b"abcd"
