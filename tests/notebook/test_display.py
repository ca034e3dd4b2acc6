"""What the client, records and listings show: everything escaped, nothing waited for, nothing started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from httpserve import HttpServeError, HttpServerClient, ServerNotRunning
from httpserve.base.tables import MOST_LINES, MOST_NAMES, MOST_ROWS, Listing, Records, as_html
from httpserve.base.text import moment, size
from httpserve.client.summary import browser_link
from httpserve.records.model import DownloadRecord, Missing, RequestRecord, Transfer
from tests.conftest import our_threads, private_directories, tcp_sockets
from tests.server.wire import eventually

EVIL = "<script>alert('\"&')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;&quot;&amp;&#x27;)&lt;/script&gt;"


def request(**changed: Any) -> RequestRecord:  # of any field
    fields: dict[str, Any] = {
        "time": 1.0,
        "client": "10.0.0.2",
        "client_port": 4000,
        "local": "10.0.0.1",
        "method": "GET",
        "target": "/image",
        "status": 200,
        "range": "",
        "bytes": 2048,
        "seconds": 0.5,
        "user_agent": "curl/8",
        "completed": True,
        "name": "image",
        "outcome": "completed",
    }
    return RequestRecord(**{**fields, **changed})


TRANSFER = Transfer(
    time=1.0,
    name=EVIL,
    client=EVIL,
    client_port=4000,
    local="10.0.0.1",
    method=EVIL,
    target=EVIL,
    status=206,
    ranges=((0, 5),),
    sent=5,
    acknowledged=3,
    total=5,
    rate=1.0,
    seconds=2.0,
    user_agent=EVIL,
    state="under way",
    known="acked",
)
DOWNLOAD = DownloadRecord(EVIL, EVIL, 5, 1.0, EVIL, (), 5)
RECORDS = [
    request(target=EVIL, method=EVIL, client=EVIL, outcome=EVIL, user_agent=EVIL),
    TRANSFER,
    Missing(1.0, EVIL, EVIL, (EVIL,)),
    DOWNLOAD,
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_shows_itself_escaped(record: RequestRecord | Transfer | Missing | DownloadRecord) -> None:
    html = record._repr_html_()

    assert "<script" not in html
    assert ESCAPED in html
    assert html.count("<tr>") == 2


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_show_themselves_escaped_and_as_lines(record: object) -> None:
    records = Records([record, record])

    assert "<script" not in records._repr_html_()
    assert records._repr_html_().count("<tr>") == 3
    assert repr(records).startswith("2 records\n")
    assert len(repr(records).splitlines()) == 4


def test_what_a_board_sent_is_escaped(bench: HttpServerClient) -> None:
    with socket.create_connection(("127.0.0.1", bench.get_port()), timeout=10) as sock:
        sock.sendall(b"GET /<script>\x1b[31m HTTP/1.0\r\nUser-Agent: <b>\r\n\r\nGET /<script> HTTP/1.0\r\n\r\n")
        while sock.recv(4096):
            pass
    eventually(lambda: bench.requests)

    for shown in (bench.requests._repr_html_(), bench._repr_html_()):  # type: ignore[attr-defined]
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


def test_listing_of_very_many_names_shows_some_and_how_many_there_are() -> None:
    html = Listing(f"{number}" for number in range(MOST_NAMES + 3))._repr_html_()

    assert html.count("<tr>") == MOST_NAMES + 1
    assert f"{MOST_NAMES + 3} names" in html
    assert "and 3 more" in html


def test_records_are_a_tuple_whose_slices_show_themselves_too() -> None:
    records = Records([request(status=number) for number in range(5)])

    assert records == tuple(records)
    assert records[0].status == 0
    assert isinstance(records[1:3], Records)
    assert [record.status for record in records[-2:]] == [3, 4]


def test_very_many_records_show_the_latest_and_how_many_there_are() -> None:
    records = Records([request(target=f"/{number}") for number in range(1000)])

    html, text = records._repr_html_(), repr(records)

    assert html.count("<tr>") == MOST_ROWS + 1
    assert "/999<" in html
    assert f"and {1000 - MOST_ROWS} more" in html
    assert len(text.splitlines()) == MOST_LINES + 3
    assert text.endswith(f"({1000 - MOST_LINES} before these)")


def test_no_records_say_so() -> None:
    assert repr(Records()) == "(nothing yet)"
    assert "nothing yet" in Records()._repr_html_()
    assert as_html([request()], most=0) == ""


def test_line_of_a_record_has_no_control_characters_and_an_end() -> None:
    text = repr(Records([request(target="/\x1b[31m" + "long" * 100)]))

    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 200


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5_000_000, "4.8 MiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_size_as_people_read_it(count: int, shown: str) -> None:
    assert size(count) == shown


def test_moment_that_no_calendar_has_is_shown_as_a_number() -> None:
    assert moment(1e30) == "1e+30"


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
    assert "HTTPSERVE_LINK is no template" in bench._repr_html_()
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


def test_peer_by_name_is_not_looked_up_to_show_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    client = HttpServerClient(host="0.0.0.0", peer="localhost")
    with client:
        monkeypatch.setattr("httpserve.client.summary.advertised", None)  # which would call the resolver

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
    with pytest.raises(HttpServeError, match="poll `transfers`"):
        bench.watch()


def test_watch_needs_a_running_server(tmp_path: Path) -> None:
    with pytest.raises(ServerNotRunning):
        HttpServerClient(tmp_path).watch()
