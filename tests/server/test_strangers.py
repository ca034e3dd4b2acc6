"""What strangers send reaches logs, records, tables, pages and errors with all escaped that does not print."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from httpserve import CopyFailed, HttpServeError, HttpServerClient, WaitTimeout
from tests import strangers
from tests.cases import each
from tests.copying.raw_server import Answer, RawServer
from tests.server.wire import PATIENCE_SECONDS, eventually


def send(client: HttpServerClient, *heads: bytes) -> None:
    """Send each head over a connection of its own, and wait for the records."""
    before = len(client.requests)
    for head in heads:
        with socket.create_connection(("127.0.0.1", client.get_port()), timeout=PATIENCE_SECONDS) as sock:
            sock.sendall(head)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    eventually(lambda: len(client.requests) == before + len(heads), "a record of each")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[HttpServerClient]:
    """A directory with a file `f`, and with files of names that somebody else gave them."""
    (tmp_path / "f").write_bytes(b"content")
    for path in strangers.names(os.fsencode(tmp_path)):
        Path(os.fsdecode(path)).write_bytes(b"x")
    with HttpServerClient(tmp_path, "127.0.0.1", read_only=True, max_records=200) as client:
        yield client


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def accesses(logged: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logged.records if record.name == "httpserve.access"]


@pytest.mark.parametrize("kind", strangers.TEXTS)
def test_what_a_stranger_sends_forges_no_line_of_a_log_and_no_method_of_a_record(
    served: HttpServerClient, logged: pytest.LogCaptureFixture, kind: str
) -> None:
    heads = strangers.requests(strangers.TEXTS[kind])

    send(served, *heads)
    eventually(lambda: len(accesses(logged)) >= len(heads), "the lines")

    assert len(accesses(logged)) == len(heads)
    for line in (record.getMessage() for record in logged.records if record.name.startswith("httpserve")):
        assert line.isprintable(), ascii(line)
    for record in served.requests:
        assert re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]*", record.method)
        for text in (record.method, record.target, record.range, record.user_agent, repr(record), str(record)):
            assert text.isprintable(), ascii(text)


@pytest.mark.parametrize(
    ("head", "method", "target"),
    [
        (b"\x1b[2J /x HTTP/9\r\n\r\n", "", "\\x1b[2J /x HTTP/9"),
        (b'A"\nforged /x HTTP/9\r\n\r\n', "", 'A"\\nforged /x HTTP/9'),
        (b"GET /\x1b[2J HTTP/1.1\r\n\r\n", "GET", "/\\x1b[2J"),
        (b"BREW /pot HTCPCP/1.0\r\n\r\n", "BREW", "/pot"),
        (b"GET /a\\x1b HTTP/1.0\r\n\r\n", "GET", "/a\\\\x1b"),
        (b"GET /EFI\\BOOT HTTP/1.0\r\n\r\n", "GET", "/EFI\\BOOT"),
        (b"\x16\x03\x01 tls\r\n\r\n", "", "\\x16\\x03\\x01 tls"),
        (b"word\r\n\r\n", "", "word"),
    ],
)
def test_what_a_record_says_of_a_head(bench: HttpServerClient, head: bytes, method: str, target: str) -> None:
    send(bench, head)

    (record,) = bench.requests
    assert (record.method, record.target) == (method, target)


def test_fields_are_what_came(bench: HttpServerClient) -> None:
    send(bench, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: a\x9bb\\x9b\r\n\r\n")

    (record,) = bench.requests
    assert record.fields["user-agent"] == "a\x9bb\\x9b"
    assert record.user_agent == "a\\x9bb\\\\x9b"
    assert repr(record.fields).isprintable()


@pytest.mark.parametrize("where", ["target", "user agent"])
def test_a_quote_does_not_end_what_the_access_log_quotes(
    bench: HttpServerClient, logged: pytest.LogCaptureFixture, where: str
) -> None:
    forged = b'f"-200-99-bytes' if where == "target" else b'curl" range bytes=0-9'
    target, agent = (forged, b"curl") if where == "target" else (b"f", forged)

    send(bench, b"GET /" + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: " + agent + b"\r\n\r\n")

    eventually(lambda: accesses(logged), "the line")
    (line,) = accesses(logged)
    assert line.count('"') == 4
    assert "f\\x22-200" in line or "curl\\x22 range" in line


def test_no_line_of_a_log_and_no_table_is_as_long_as_a_stranger_wants(
    bench: HttpServerClient, logged: pytest.LogCaptureFixture
) -> None:
    name, agent = b"\x9b" * 16_000, b"\xff" * 40_000
    send(bench, b"GET /" + name + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: " + agent + b"\r\n\r\n")
    send(bench, b"M" * 16_000 + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    with pytest.raises(WaitTimeout) as caught:
        bench.wait_for_request("other", timeout=0)

    assert 1000 < len(bench.requests[0].target) < 10_000
    eventually(lambda: len(accesses(logged)) == 2, "the lines")
    texts = [record.getMessage() for record in logged.records if record.name.startswith("httpserve")]
    for text in (*texts, str(caught.value), *repr(bench.requests).splitlines(), *repr(bench.missing).splitlines()):
        assert len(text) < 4_000
    assert len(bench.requests._repr_html_()) < 10_000  # type: ignore[attr-defined]  # Records have it
    assert any("…[" in text for text in texts)


def shown_of(client: HttpServerClient) -> Iterator[str]:
    """Give all texts by which a client and what it knows show themselves."""
    things: list[Any] = [client, client.storage, client.requests, client.transfers, client.missing, client.doctor()]
    things += [*client.requests, *client.transfers, *client.missing, *client.doctor().findings]
    things += [client.storage.list("/"), client.storage.scan("/")]
    for thing in things:
        yield repr(thing)
        yield str(thing)
        if hasattr(thing, "_repr_html_"):
            yield thing._repr_html_()


@pytest.mark.parametrize("kind", strangers.TEXTS)
def test_records_tables_pages_findings_and_errors_print(served: HttpServerClient, kind: str) -> None:
    text = strangers.TEXTS[kind]
    send(served, *strangers.requests(text))
    nearly = strangers.names(b"")[list(strangers.TEXTS).index(kind)].removeprefix(b"/")[:-1]
    send(served, b"GET /" + b"".join(b"%%%02x" % byte for byte in nearly) + b" HTTP/1.0\r\n\r\n")

    for shown in shown_of(served):
        strangers.check(shown)
    name = os.fsdecode(text)
    for call in (
        lambda: served.wait_for_request("zzz", timeout=0),
        lambda: served.wait_for_download("f", client="203.0.113.7", timeout=0),
        lambda: served.storage.read_bytes(f"{name}/no"),
        lambda: served.storage.stat(f"no{name}"),
        lambda: served.put_file(name, f"/nonexistent/{name}"),
        lambda: served.put_file("a", f"http://{name}/"),
        lambda: HttpServerClient(f"/nonexistent/{name}", name).start(),
    ):
        with pytest.raises((HttpServeError, ValueError)) as caught:
            call()
        assert isinstance(caught.value, HttpServeError)
        assert str(caught.value).isprintable(), ascii(str(caught.value))
        assert repr(caught.value).isprintable()


@pytest.mark.parametrize("where", ["reason", "Location", "after tries"])
@each("kind", [kind for kind in strangers.TEXTS if kind != "a line"])
def test_what_a_source_server_says_prints(
    bench: HttpServerClient, logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str, where: str
) -> None:
    monkeypatch.setattr("httpserve.storage.copying.url.FIRST_PAUSE", 0.001)
    text = strangers.TEXTS[kind]
    reason = b"HTTP/1.1 500 " + (text if where != "Location" else b"No") + b"x" * 20_000 + b"\r\n"
    head = b"HTTP/1.1 302 Found\r\nLocation: gopher://a/" + text + b"\r\n" if where == "Location" else reason
    answers = [Answer(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")]
    if where == "after tries":
        answers.insert(0, Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc"))
    with RawServer(*answers) as source, pytest.raises(CopyFailed) as caught:
        bench.put_file("f", source.url())

    assert str(caught.value).isprintable(), ascii(str(caught.value))
    assert len(str(caught.value)) < 1_000
    for record in logged.records:
        if record.name.startswith("httpserve"):
            assert record.getMessage().isprintable()


def test_a_listing_as_json_sends_a_terminal_no_commands(served: HttpServerClient) -> None:
    with socket.create_connection(("127.0.0.1", served.get_port()), timeout=PATIENCE_SECONDS) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nAccept: application/json\r\n\r\n")
        data = b"".join(iter(lambda: sock.recv(65536), b""))

    strangers.check(data.partition(b"\r\n\r\n")[2].decode())
