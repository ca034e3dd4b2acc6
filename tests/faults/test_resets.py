"""Clients that reset at every moment of a request, an answer, or a wait of the script."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from httpserve import HttpServerClient, WaitTimeout
from tests.server.wire import Wire, eventually, pattern

IMAGE = pattern(4 << 20)
CLIENTS = 40


@pytest.fixture
def client(tmp_path: Path) -> HttpServerClient:
    (tmp_path / "image").write_bytes(IMAGE)
    return HttpServerClient(tmp_path, host="127.0.0.1")


def test_clients_that_reset_wherever_they_are_cost_nobody_a_byte_and_print_nothing(
    client: HttpServerClient, capfd: pytest.CaptureFixture[str]
) -> None:
    request = b"GET /image HTTP/1.1\r\nHost: bench\r\nRange: bytes=1000-\r\n\r\n"
    chance = random.Random(7)
    with client, Wire(client.get_port()) as patient:
        patient.get("/image")
        for _ in range(CLIENTS):
            wire = Wire(client.get_port())
            wire.send((request * 3)[: chance.randrange(3 * len(request))])
            wire.reset()
        for _ in range(CLIENTS):
            wire = Wire(client.get_port())
            wire.send(request)
            wire.read_exactly(chance.randrange(1 << 20))
            wire.reset()

        assert patient.answer().body == IMAGE
        assert patient.ask("/image").body == IMAGE
    assert capfd.readouterr() == ("", "")


def test_a_reset_in_every_stage_at_once_leaves_no_connection(client: HttpServerClient) -> None:
    with client:
        wires = [Wire(client.get_port()) for _ in range(CLIENTS)]
        for number, wire in enumerate(wires):
            wire.send(b"GET /image HTTP/1.1\r\nHost: bench\r\n\r\n"[: number * 2])
        together = [threading.Thread(target=wire.reset) for wire in wires]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()

        client.stop(timeout=10)
        client.start()
        with Wire(client.get_port()) as wire:
            assert wire.ask("/image").body == IMAGE


def test_a_download_that_is_reset_is_no_download(client: HttpServerClient) -> None:
    with client:
        for _ in range(10):
            with Wire(client.get_port(), receive_bytes=65536) as wire:
                wire.get("/image")
                wire.read_exactly(len(IMAGE) // 2)
                wire.reset()
        eventually(lambda: len(client.requests) == 10)

        with pytest.raises(WaitTimeout):
            client.wait_for_download("image", timeout=0.1)
        assert not any(record.completed for record in client.requests)


def test_a_stop_while_clients_reset_frees_the_port(client: HttpServerClient) -> None:
    client.start()
    port = client.get_port()
    wires = [Wire(port, receive_bytes=4096) for _ in range(CLIENTS)]
    for wire in wires:
        wire.get("/image")
        wire.read_head()
    resetting = [threading.Thread(target=wire.reset) for wire in wires]
    for thread in resetting:
        thread.start()

    client.stop(timeout=10)

    for thread in resetting:
        thread.join()
    again = HttpServerClient(host="127.0.0.1", port=port)
    again.start()
    assert (client.is_running, again.get_port()) == (False, port)
    again.close()
    client.close()
