"""A client that sends its last, and then resets the connection before it has what it asked for."""

from __future__ import annotations

from httpserve import HttpServerClient
from tests.server.wire import Wire, eventually


def test_a_reset_after_a_half_close_ends_the_download_and_frees_the_connection() -> None:
    with HttpServerClient(host="127.0.0.1", max_connections=2) as client:
        client.storage.write_bytes("image", bytes(32_000))
        for count in (1, 2):
            wire = Wire(client.get_port(), receive_bytes=4096)
            wire.get("/image")
            assert wire.read_head()
            wire.half_close()
            eventually(lambda count=count: [one.sent for one in client.transfers] == [32_000] * count)  # type: ignore[misc]
            wire.reset()
        eventually(lambda: [record.outcome for record in client.requests] == ["reset", "reset"], "the ends")
        with Wire(client.get_port()) as other:
            assert other.ask("/missing").status == 404
