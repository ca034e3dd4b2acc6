"""Binding, and what is said when it fails; on the loopback interface."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from httpserve.errors import AddressError, AddressNotFound, PortInUse, PortNotPermitted
from httpserve.network.binding import bind, bind_error, first_free_port
from tests.cases import each

REPOSITORY = Path(__file__).parents[3]
needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6")


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_port_0_lets_the_system_choose() -> None:
    with bind("127.0.0.1", 0) as sock:
        assert sock.getsockname()[1] > 0


def test_a_bound_socket_does_not_listen_yet() -> None:
    with bind("127.0.0.1", 0) as sock, pytest.raises(ConnectionRefusedError):
        socket.create_connection(sock.getsockname(), timeout=5)


def test_a_bound_socket_answers_once_it_listens() -> None:
    with bind("localhost", 0) as sock:
        sock.listen()

        with socket.create_connection(sock.getsockname(), timeout=5) as client:
            assert client.getpeername() == sock.getsockname()


def test_a_bound_socket_is_not_inherited_by_child_processes() -> None:
    with bind("127.0.0.1", 0) as sock:
        assert not sock.get_inheritable()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the option means something else")
def test_a_port_with_connections_in_time_wait_can_be_bound_again() -> None:
    with bind("127.0.0.1", 0) as sock:
        sock.listen()
        address = sock.getsockname()
        with socket.create_connection(address, timeout=5) as client:
            served, _ = sock.accept()
            served.close()  # the side that closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""

    with bind(*address) as again:
        assert again.getsockname() == address


@needs_ipv6
def test_the_ipv6_wildcard_takes_ipv4_too() -> None:
    with bind("::", 0) as sock:
        sock.listen()

        with socket.create_connection(("127.0.0.1", sock.getsockname()[1]), timeout=5) as client:
            assert client.getpeername()[0] == "127.0.0.1"


@needs_ipv6
def test_an_ipv6_address_takes_ipv6_only() -> None:
    with bind("[::1]", 0) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@each("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_names_itself_and_the_ways_out(host: str) -> None:
    with bind(host, 0) as first:
        first.listen()
        port = first.getsockname()[1]

        with pytest.raises(PortInUse) as caught:
            bind(host, port)

    message = str(caught.value)
    assert message.startswith(
        f"port {port} on {host} is taken; pass port=0 to let the system choose, or stop the program that uses it"
    )
    assert (caught.value.host, caught.value.port) == (host, port)


def test_a_port_that_a_wildcard_listens_on_is_in_use_for_one_address() -> None:
    with bind("0.0.0.0", 0) as first:
        first.listen()

        with pytest.raises(PortInUse):
            bind("127.0.0.1", first.getsockname()[1])


def test_a_failure_to_listen_after_a_shared_bind_is_translated_too() -> None:
    with bind("127.0.0.1", 0) as first:
        host, port = first.getsockname()
        with bind(host, port) as second:
            first.listen()

            with pytest.raises(OSError, match="in use") as caught:
                second.listen()

    assert isinstance(bind_error(caught.value, host, port), PortInUse)


def test_an_address_that_no_interface_has_is_named_with_those_that_there_are_and_leaves_no_descriptor() -> None:
    before = open_descriptors()
    with pytest.raises(AddressNotFound) as caught:
        bind("203.0.113.77", 8080)

    message = str(caught.value)
    assert message.startswith("no interface has 203.0.113.77 yet; ")
    assert "host='0.0.0.0'" in message
    assert "addresses here: 127.0.0.1 (lo)" in message
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EADDRNOTAVAIL
    assert open_descriptors() == before


def test_another_failure_says_where_and_why() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(AddressError) as caught:
            bind("127.0.0.1", 8080)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert str(caught.value) == "cannot listen on 127.0.0.1 port 8080: Too many open files"


@pytest.mark.skipif(first_free_port() <= 1, reason="every user may listen on every port here")
def test_a_port_without_the_right_names_the_limit_and_the_ways_out() -> None:
    code = (
        "import os; from httpserve.network.binding import bind\n"
        "if os.geteuid() == 0: os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
        "bind('127.0.0.1', 1)"
    )

    # Another user cannot write what the coverage of a child process is measured into.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}

    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    last_line = child.stderr.splitlines()[-1]
    first_free = first_free_port()
    assert last_line.startswith(
        "httpserve.errors.PortNotPermitted: port 1 on 127.0.0.1 needs root or CAP_NET_BIND_SERVICE, like every port "
        f"below {first_free}; pass port=0 or a port from {first_free} on"
    )


@each("number", [errno.EACCES, errno.EPERM])
def test_a_high_port_that_is_refused_is_a_matter_of_policy(number: int) -> None:
    error = bind_error(OSError(number, "no"), "127.0.0.1", 8080)

    assert isinstance(error, PortNotPermitted)
    assert "security policy" in str(error)


def test_where_the_system_tells_no_limit_it_is_1024(tmp_path: Path) -> None:
    assert first_free_port(tmp_path / "absent") == 1024


def test_no_free_port_at_all_is_told_apart_from_one_that_is_taken() -> None:
    error = bind_error(OSError(errno.EADDRINUSE, "in use"), "127.0.0.1", 0)

    assert str(error) == "no port is free on 127.0.0.1; close some of the sockets that use them"


def test_a_protocol_that_the_system_has_not_is_named() -> None:
    error = bind_error(OSError(errno.EAFNOSUPPORT, "no"), "::1", 8080)

    assert isinstance(error, AddressNotFound)
    assert str(error).startswith("this system has not the protocol of ::1; addresses here: ")
