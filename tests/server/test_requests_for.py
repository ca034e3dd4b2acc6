"""Which requests were for a name, by a board: `requests_for`."""

from __future__ import annotations

import pytest

from httpserve import HttpServerClient, InvalidArgument, InvalidName
from tests.server.wire import Wire


def ask(client: HttpServerClient, *targets: str, source: str = "127.0.0.1") -> None:
    with Wire(client.get_port(), source=source) as wire:
        for target in targets:
            wire.ask(target)


@pytest.mark.parametrize("name", ["boot/f", "/boot//./f", "boot/f/"])
def test_a_name_is_found_in_every_spelling_of_both_sides(bench: HttpServerClient, name: str) -> None:
    ask(bench, "/boot/f", "//boot/./f?x=1", "/boot/%66", "http://board/boot/f", "/boot", "/boot/g")

    assert [record.target for record in bench.requests_for(name)] == [
        "/boot/f",
        "//boot/./f?x=1",
        "/boot/%66",
        "http://board/boot/f",
    ]


def test_a_client_is_found_in_every_spelling_of_its_address(bench: HttpServerClient) -> None:
    ask(bench, "/a")
    ask(bench, "/a", "/b", source="127.0.0.2")

    assert [record.client for record in bench.requests_for("a")] == ["127.0.0.1", "127.0.0.2"]
    for client in ("127.0.0.2", "::ffff:127.0.0.2"):
        assert [record.target for record in bench.requests_for(client=client)] == ["/a", "/b"]
        assert [record.target for record in bench.requests_for("a", client=client)] == ["/a"]
    assert bench.requests_for() == bench.requests


def test_nothing_is_taken_from_a_wait_and_a_stopped_server_tells_too(bench: HttpServerClient) -> None:
    ask(bench, "/a")

    (found,) = bench.requests_for("a")
    assert bench.wait_for_request("a", timeout=20).target == found.target
    bench.stop()

    assert len(bench.requests_for("a")) == 1


def test_what_is_no_name_or_no_address_is_refused(bench: HttpServerClient) -> None:
    with pytest.raises(InvalidName):
        bench.requests_for("../a")
    with pytest.raises(InvalidArgument, match="client must be a board's IP address"):
        bench.requests_for("a", client="localhost")
