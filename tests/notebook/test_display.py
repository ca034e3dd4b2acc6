"""What the client shows: everything escaped, nothing waited for, nothing started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from httpserve import HttpServeError, HttpServerClient, ServerNotRunning
from httpserve.base.tables import Listing
from httpserve.client.summary import browser_link
from tests.conftest import our_threads, private_directories, tcp_sockets
from tests.server.wire import eventually

EVIL = "<script>alert('\"&')</script>"


def test_what_a_board_sent_is_escaped(bench: HttpServerClient) -> None:
    with socket.create_connection(("127.0.0.1", bench.get_port()), timeout=10) as sock:
        sock.sendall(b"GET /<script>\x1b[31m HTTP/1.0\r\nUser-Agent: <b>\r\n\r\nGET /<script> HTTP/1.0\r\n\r\n")
        while sock.recv(4096):
            pass
    eventually(lambda: bench.requests)

    for shown in (bench.requests._repr_html_(), bench._repr_html_()):  # type: ignore[attr-defined]  # Records have it
        assert "<script" not in shown
        assert "\x1b" not in shown
    assert "\x1b" not in repr(bench.requests)


def test_listing_shows_names_escaped(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("<b>&.img", b"")

    listing = bench.storage.list("/")
    scan = bench.storage.scan("/")

    assert listing == scan == ["/", "<b>&.img"]
    assert repr(listing) == "['/', '<b>&.img']"
    for shown in (listing, scan):
        assert isinstance(shown, Listing)
        assert "&lt;b&gt;&amp;.img" in shown._repr_html_()
        assert "<b>" not in shown._repr_html_()


# The client


def test_client_shows_the_boards_url_as_text_and_the_browsers_link_apart(
    bench: HttpServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPSERVE_LINK", "/user/me/proxy/{port}/")

    html = bench._repr_html_()

    assert f'<code style="user-select:all">{bench.get_url()}</code>' in html
    assert f'href="/user/me/proxy/{bench.get_port()}/"' in html
    assert f'href="{bench.get_url()}' not in html


def test_without_a_template_the_link_is_the_boards_url(
    bench: HttpServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HTTPSERVE_LINK", raising=False)

    assert f'href="{bench.get_url()}/"' in bench._repr_html_()


@pytest.mark.parametrize("template", ["/{", "/{prt}/", "/{0}/", "/{port.x}/", "javascript:alert({port})", "no link"])
def test_template_that_leads_nowhere_is_told(
    template: str, bench: HttpServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPSERVE_LINK", template)

    assert browser_link("http://10.0.0.1:8000", 8000) is None
    assert "HTTPSERVE_LINK is not the template" in bench._repr_html_()
    assert "href" not in bench._repr_html_()


def test_template_is_escaped(bench: HttpServerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPSERVE_LINK", f"/{EVIL}/{{port}}/")

    assert "<script" not in bench._repr_html_()


def test_client_shows_what_was_asked_last(bench: HttpServerClient) -> None:
    assert "last requests" not in bench._repr_html_()
    with socket.create_connection(("127.0.0.1", bench.get_port()), timeout=10) as sock:
        sock.sendall(b"GET /absent HTTP/1.0\r\n\r\n")
        while sock.recv(4096):
            pass

    assert "/absent" in bench._repr_html_()


def test_client_shows_what_it_advertises() -> None:
    with HttpServerClient(host="127.0.0.1", advertise="http://bench.example/files") as client:
        assert "http://bench.example/files" in client._repr_html_()
        assert repr(client) == "<HttpServerClient running http://bench.example/files>"


def test_client_shows_what_keeps_boards_away() -> None:
    with HttpServerClient(host="127.0.0.1", peer="192.0.2.77") as client:
        row = client._repr_html_().partition(">warn</strong>")[2].partition("</tr>")[0]

        assert "192.0.2.77" in row
    assert ">warn<" not in client._repr_html_()


def test_peer_by_name_is_not_looked_up_to_show_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    client = HttpServerClient(host="0.0.0.0", peer="board.invalid")
    with client:
        monkeypatch.setattr("httpserve.client.ways.advertised", None)  # which would call the resolver

        assert repr(client) == f"<HttpServerClient running http://0.0.0.0:{client.get_port()}>"
        assert f"{client.get_port()}; get_url() says where" in client._repr_html_()


def test_storage_says_which_directory_it_is(tmp_path: Path) -> None:
    assert repr(HttpServerClient(tmp_path).storage) == f"<Storage of {tmp_path}>"
    assert repr(HttpServerClient().storage) == "<Storage>"


def test_showing_a_client_starts_nothing() -> None:
    client = HttpServerClient()
    threads, sockets = our_threads(), tcp_sockets()

    line, html = repr(client), client._repr_html_()

    assert line == "<HttpServerClient stopped>"
    assert "stopped" in html
    assert (our_threads(), tcp_sockets(), private_directories()) == (threads, sockets, set())


@contextmanager
def all_locks_held(client: HttpServerClient) -> Iterator[None]:
    """Hold every lock of a client and of what it is made of, as threads might that are stuck."""
    with ExitStack() as stack:
        found: list[object] = []
        waiting: list[object] = [client]
        while waiting:
            thing = waiting.pop()
            if any(thing is other for other in found):
                continue
            found.append(thing)
            if isinstance(thing, type(threading.Lock())):
                stack.enter_context(thing) if not thing.locked() else None
            elif type(thing).__module__.startswith("httpserve") and hasattr(thing, "__dict__"):
                waiting += vars(thing).values()
        assert sum(isinstance(thing, type(threading.Lock())) for thing in found) >= 4
        yield


@pytest.mark.parametrize("show", [repr, HttpServerClient._repr_html_], ids=["repr", "html"])
def test_showing_a_client_waits_for_no_lock(bench: HttpServerClient, show: Callable[[HttpServerClient], str]) -> None:
    bench.storage.write_bytes("image", b"1")
    shown: list[str] = []
    thread = threading.Thread(target=lambda: shown.append(show(bench)), name="httpserve-shows", daemon=True)

    with all_locks_held(bench):
        thread.start()
        thread.join(10)

    assert bench.get_url() in shown[0]


def test_watch_outside_of_a_notebook_says_what_to_do(bench: HttpServerClient) -> None:
    with pytest.raises(HttpServeError, match="read `transfers`"):
        bench.watch()


def test_watch_needs_a_running_server(tmp_path: Path) -> None:
    with pytest.raises(ServerNotRunning):
        HttpServerClient(tmp_path).watch()
