"""A server that listens on more than one address."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from typing import Any, NoReturn

import pytest

from httpserve import AddressError, AddressNotFound, HttpServerClient, InvalidArgument, PortInUse
from tests.cases import each
from tests.server.wire import Wire, eventually


def is_open(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return sock.connect_ex((host, port)) == 0


def test_every_address_answers_on_one_port_and_all_are_free_after_the_stop() -> None:
    hosts = ["127.0.0.2", "127.0.0.1", "::1"]
    with HttpServerClient(host=hosts[0], more_hosts=[*hosts[1:], "localhost", "127.0.0.2"]) as http:
        http.storage.write_bytes("f", b"content")
        port = http.get_port()
        answers = []
        for host in hosts:
            with Wire(port, host=host) as wire:
                answers.append(wire.ask("/f").body)
        eventually(lambda: len([one for one in http.requests if one.completed]) == 3, "all is over")

        assert answers == [b"content"] * 3
        assert [one.local for one in http.requests] == hosts
        assert (http.get_host(), http.get_url("f")) == (hosts[0], f"http://127.0.0.2:{port}/f")
        assert not is_open("127.0.0.3", port)
        http.stop()
        assert not any(is_open(host, port) for host in hosts)
        http.start()
        assert is_open("127.0.0.1", http.get_port())


def test_an_address_that_a_wildcard_includes_is_not_taken_twice() -> None:
    with HttpServerClient(host="0.0.0.0", more_hosts="127.0.0.1") as http:
        assert is_open("127.0.0.1", http.get_port())


def test_a_free_port_is_free_on_every_address() -> None:
    with HttpServerClient(host="127.0.0.2") as other, HttpServerClient(host="127.0.0.1") as http:
        port = other.get_port()
        taken = HttpServerClient(host="127.0.0.1", port=port, more_hosts="127.0.0.2")
        with contextlib.closing(taken), pytest.raises(PortInUse, match=f"port {port} on 127.0.0.2 is taken") as caught:
            taken.start()

        assert (caught.value.host, caught.value.port) == ("127.0.0.2", port)
        assert not is_open("127.0.0.1", port)
        assert http.is_running


@each(
    "more, error, text",
    [
        ("0.0.0.0", InvalidArgument, "more_hosts='0.0.0.0' includes the addresses that it stands beside; pass host="),
        (["0"], InvalidArgument, "more_hosts='0' includes the addresses that it stands beside"),
        (["0x0.0"], InvalidArgument, "more_hosts='0x0.0' includes the addresses that it stands beside"),
        (["[::0]"], InvalidArgument, "more_hosts='[::0]' includes the addresses that it stands beside"),
        (["::ffff:0.0.0.0"], InvalidArgument, "more_hosts='::ffff:0.0.0.0' includes the addresses"),
        (["http://a"], InvalidArgument, "more_hosts='http://a' is not a host"),
        ([7], InvalidArgument, "more_hosts=7 is not a str"),
        ("192.0.2.9", AddressNotFound, "no interface has 192.0.2.9 yet"),
    ],
)
def test_what_cannot_be_listened_on_is_an_error(more: Any, error: type[Exception], text: str) -> None:
    def start() -> None:
        with contextlib.closing(HttpServerClient(host="127.0.0.1", more_hosts=more)) as http:
            http.start()

    with pytest.raises(error) as caught:
        start()

    assert str(caught.value).startswith(text)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
def test_without_a_descriptor_for_the_poller_no_address_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    http = HttpServerClient(host="127.0.0.2", more_hosts="127.0.0.1")
    with contextlib.closing(http):
        http.start()
        port = http.get_port()
        http.stop()
        monkeypatch.setattr("httpserve.server.server.best_poller", fails)
        before = len(os.listdir("/proc/self/fd"))

        with pytest.raises(AddressError, match=r"cannot listen on 127\.0\.0\.2 port \d+: Too many open files"):
            http.start()

        assert not http.is_running
        assert len(os.listdir("/proc/self/fd")) == before
        assert not is_open("127.0.0.1", port)
