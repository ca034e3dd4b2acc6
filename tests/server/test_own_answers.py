"""Answers of a user's own in place of files: on real sockets, as boards ask for them."""

from __future__ import annotations

import gc
import json
import logging
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.exceptions import Conflict
from werkzeug.wrappers import Request, Response

from httpserve import HttpServerClient, InvalidArgument, InvalidType
from httpserve.client.faults import Handle
from httpserve.faults import Corrupt, Cut, Status, Truncate
from httpserve.plan import NOTED_CONTENT_BYTES
from httpserve.site.own_answers import MOST_CONTENT_BYTES
from tests.cases import each
from tests.server.wire import Wire, eventually

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def ask(bench: HttpServerClient, path: str, method: str = "GET", **more: Any) -> requests.Response:
    return requests.request(method, bench.get_url() + path, timeout=20, **more)


def echoed(request: Request) -> dict[str, object]:
    """Answer with what came."""
    data = request.get_data().decode("latin-1")
    return {"content": data, "query": request.args, "path": request.path, "token": request.headers.get("Authorization")}


@each(
    "answer, status, kind, content",
    [
        (b"\x00\xff", 200, "application/octet-stream", b"\x00\xff"),
        ("grüße", 200, "text/plain; charset=utf-8", "grüße".encode()),
        ({"a": [1, None]}, 200, "application/json", b'{"a": [1, null]}'),
        ([[1, 2]], 200, "application/json", b"[1, 2]"),
        (None, 204, None, b""),
        (lambda request: b"f", 200, "application/octet-stream", b"f"),
        (lambda request: [1, 2], 200, "application/json", b"[1, 2]"),
        (lambda request: None, 204, None, b""),
        (lambda request: Response("teapot", 418, mimetype="text/x"), 418, "text/x; charset=utf-8", b"teapot"),
        (lambda request: (_ for _ in ()).throw(Conflict()), 409, "text/html; charset=utf-8", None),
    ],
)
def test_an_answer_is_bytes_text_json_nothing_or_what_a_function_makes(
    bench: HttpServerClient, answer: Any, status: int, kind: str | None, content: bytes | None
) -> None:
    with bench.respond("/api/x", answer) as handle:
        for method in ("GET", "POST", "HEAD"):
            said = ask(bench, "/api/x", method)

            assert (said.status_code, said.headers.get("Content-Type")) == (status, kind)
            assert content is None or said.content == (b"" if method == "HEAD" else content)
        assert ("Content-Length" in said.headers) is (status != 204)
        assert [hit.status for hit in handle.hits] == [status] * 3
    assert ask(bench, "/api/x").status_code == 404


def test_status_fields_and_method_are_those_given_and_other_methods_get_the_file(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", b"file")
    bench.respond("f", "no", method="post", status=403, headers={"X-Why": "tired", "Content-Type": "text/x"})

    posted, got = ask(bench, "/f", "POST", data=b"1"), ask(bench, "/f")

    assert (posted.status_code, posted.headers["X-Why"], posted.headers["Content-Type"]) == (403, "tired", "text/x")
    assert got.content == b"file"


def test_of_answers_in_a_list_each_client_gets_one_after_the_other_and_the_last_one_stays(
    bench: HttpServerClient,
) -> None:
    bench.respond("/poll", [None, {"update": True}, lambda request: "none left"])

    def polled(source: str) -> list[str]:
        with Wire(bench.get_port(), source=source) as wire:
            return [wire.ask("/poll").body.decode() for _ in range(4)]

    assert polled("127.0.0.2") == polled("127.0.0.3") == ["", '{"update": true}', "none left", "none left"]


def test_after_its_times_the_file_shows_again_and_of_several_the_latest_holds(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", b"file")
    first = bench.respond("/f", "first")
    second = bench.respond("/f*", "second", times=2)

    assert [ask(bench, "/f").text for _ in range(3)] == ["second", "second", "first"]
    assert (second.remaining, first.remaining, len(second.hits)) == (0, None, 2)
    assert repr(first) == "<answer for f>"
    first.clear()
    assert ask(bench, "/f").content == b"file"


@each(
    "path, asked, fits",
    [
        ("/a/b", "/a/b?x=1&y", True),
        ("a/b/", "/a/b/", True),
        ("/a/b", "/a/b/", False),
        ("/a/b/", "/a/b", False),
        ("/devices/*/log", "/devices/7/log", True),
        ("/v[12]", "/v2", True),
        ("/v[12]", "/v3", False),
        ("/über maß", "/%C3%BCber%20ma%C3%9F", True),
        ("/a/../b", "/a/%2e%2e/b", True),  # no file can have that name
        ("/", "/", True),
        (None, "/whatever", True),
    ],
)
def test_a_path_is_compared_without_its_query_and_need_not_be_a_file_name(
    bench: HttpServerClient, path: str | None, asked: str, fits: bool
) -> None:
    with bench.respond(path, "mine"), Wire(bench.get_port()) as wire:
        assert (wire.ask(asked).body == b"mine") is fits


@each(
    "call, error, part",
    [
        (lambda one: one.respond("/a?b", ""), InvalidArgument, "without a query"),
        (lambda one: one.respond("http://h/a", ""), InvalidArgument, "not a URL"),
        (lambda one: one.respond("/a\n", ""), InvalidArgument, "do not print"),
        (lambda one: one.respond(7, ""), InvalidType, "a path"),
        (lambda one: one.respond("/a", []), InvalidArgument, r"\[\[\]\]"),
        (lambda one: one.respond("/a", [1, 2]), InvalidArgument, r"\[\[\.\.\.\]\]"),
        (lambda one: one.respond("/a", 7), InvalidType, "an answer is"),
        (lambda one: one.respond("/a", {"a": b""}), InvalidType, "JSON"),
        (lambda one: one.respond("/a", "text", status=304), InvalidArgument, "no content"),
        (lambda one: one.respond("/a", "", status=100), InvalidArgument, "from 200"),
        (lambda one: one.respond("/a", "", times=0), InvalidArgument, "times"),
        (lambda one: one.respond("/a", "", timeout=0), InvalidArgument, "timeout"),
        (lambda one: one.respond("/a", "", headers={"Content-Length": "3"}), InvalidArgument, "cannot be set"),
        (lambda one: one.respond("/a", "", headers={"A": "b\r\nC: d"}), InvalidArgument, "one line"),
        (lambda one: one.respond("/a", "", headers={"A b": "c"}), InvalidArgument, "no name"),
        (lambda one: one.respond("/a", "", headers={"A": 1}), InvalidType, "as text"),
        (lambda one: one.mount("/a", "app"), InvalidType, "WSGI app"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_what_to_write(
    call: Callable[[HttpServerClient], object], error: type[Exception], part: str
) -> None:
    with HttpServerClient(host="127.0.0.1") as one, pytest.raises(error, match=part):
        call(one)


def test_a_function_sees_the_request_and_the_record_keeps_what_came(bench: HttpServerClient) -> None:
    handle = bench.respond("/feedback", echoed)
    secret = {"Authorization": "TargetToken s3cret", "X-Board": "7", "Cookie": "a=b"}

    said = ask(bench, "/feedback?id=3", "POST", data="done", headers=secret)
    chunked = ask(bench, "/feedback", "PUT", data=iter([b"in ", b"chunks"]))

    token = secret["Authorization"]
    assert said.json() == {"content": "done", "query": {"id": "3"}, "path": "/feedback", "token": token}
    assert chunked.json()["content"] == "in chunks"
    assert ask(bench, "/feedback", "PUT", headers=secret, data=b"\xff").status_code == 200
    first, second, _ = handle.hits
    assert (first.query, first.content, first.error, second.content) == ("id=3", b"done", "", b"in chunks")
    assert (first.fields["authorization"], first.fields["cookie"], first.fields["x-board"]) == ("…", "…", "7")
    assert "s3cret" not in f"{first!r}{first}{dict(first.fields)}"
    told = [json.loads(json.dumps(event.as_dict())) for event in bench.events(0, timeout=0, kinds="begun")]
    assert [event["request"]["content"] for event in told] == ["done", "in chunks", "\\xff"]


def test_content_is_bounded_in_the_record_and_too_much_of_it_is_refused_before_it_comes(
    bench: HttpServerClient,
) -> None:
    handle = bench.respond("/log", lambda request: str(len(request.get_data())), method="POST")
    much = bytes(MOST_CONTENT_BYTES)

    assert ask(bench, "/log", "POST", data=much).text == str(MOST_CONTENT_BYTES)
    with Wire(bench.get_port()) as wire:
        fields = (f"Content-Length: {MOST_CONTENT_BYTES + 1}", "Expect: 100-continue")
        refused = wire.ask("/log", *fields, method="POST")
    assert refused.status == 413
    assert ask(bench, "/log", "POST", data=iter([much, b"1"])).status_code == 413
    assert [len(hit.content) for hit in handle.hits] == [NOTED_CONTENT_BYTES]


def test_a_client_that_is_silent_in_the_middle_of_its_content_takes_no_thread(bench: HttpServerClient) -> None:
    bench.respond("/log", echoed)
    wires = [Wire(bench.get_port()) for _ in range(20)]
    for wire in wires:
        wire.get("/log", "Content-Length: 2", method="POST")
        wire.send(b"a")
    assert ask(bench, "/log").status_code == 200

    eventually(lambda: sum("httpserve:" in thread.name for thread in threading.enumerate()) < 10, "few threads")
    for wire in wires:
        wire.send(b"b")
        assert json.loads(wire.answer().body)["content"] == "ab"
        wire.close()


def test_what_an_answer_raises_is_a_500_and_its_traceback_is_in_our_log_and_the_record(
    bench: HttpServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(request: Request) -> str:
        raise LookupError("board\x1b 7")

    def exits(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise SystemExit(3)

    def odd(request: Request) -> Any:
        return 7

    handles = [bench.respond("/fails", fails), bench.respond("/odd", odd), bench.mount("/exits", exits)]

    answers = [ask(bench, path) for path in ("/fails", "/odd", "/exits")]

    assert [(one.status_code, "Traceback" in one.text) for one in answers] == [(500, False)] * 3
    errors = [handle.hits[0].error for handle in handles]
    assert re.fullmatch(
        r'Traceback .*\n  File ".*test_own_answers.py", line \d+, in fails\n(.*\n)+LookupError: board\\x1b 7', errors[0]
    )
    assert "an answer is bytes" in errors[1]
    assert errors[2].endswith("SystemExit: 3")
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(logged) == 3
    assert all(error.split("\n")[-1] in line for error, line in zip(errors, logged, strict=True))


def test_an_answer_that_takes_too_long_is_a_504_and_its_thread_keeps_nothing_from_ending(
    bench: HttpServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    handle = bench.respond("/slow", lambda request: str(go_on.wait(20)), timeout=0.05)
    other = bench.respond("/stuck", lambda request: str(go_on.wait(20)))
    with Wire(bench.get_port()) as stuck:
        stuck.get("/stuck")
        eventually(lambda: any(thread.name == "httpserve:answer" for thread in threading.enumerate()))

        assert ask(bench, "/slow").status_code == 504
        assert handle.hits[0].error == "nothing came in 0.05 s"
        assert "your answer to GET /slow failed:\n  nothing came in 0.05 s" in caplog.text
        began = time.monotonic()
        bench.stop(0.0)
        ended = time.monotonic() - began
    try:
        assert ended < 10.0
        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("httpserve"))
        assert other.remaining is None
    finally:
        go_on.set()
    eventually(lambda: not any(thread.name.startswith("httpserve:answer") for thread in threading.enumerate()))


# Apps


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Say where it is, and what came."""
    start_response("200 OK", [("X-App", "1")])
    yield f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{environ['QUERY_STRING']}|".encode()
    yield environ["wsgi.input"].read()


@each(
    "prefix, asked, said",
    [
        ("/api", "/api", "/api|||"),
        ("api/", "/api/v1/x?y=1", "/api|/v1/x|y=1|"),
        ("/ü", "/%C3%BC/%C3%A4", "/Ã¼|/Ã¤||"),
        ("/", "/any", "|/any||"),
        ("/api", "/apis", None),
    ],
)
def test_an_app_answers_for_a_path_and_all_below_it(
    bench: HttpServerClient, prefix: str, asked: str, said: str | None
) -> None:
    with bench.mount(prefix, app) as handle:
        answer = ask(bench, asked, "POST" if said else "GET", data="log")

    assert (answer.status_code, answer.headers.get("X-App")) == ((200, "1") if said else (404, None))
    assert said is None or answer.content.decode() == f"{said}log"
    assert [hit.content for hit in handle.hits] == [b"log"] * bool(said)
    assert repr(handle) == f"<app for {prefix.strip('/')}>"


def test_an_app_that_gives_its_answer_piece_by_piece_is_heard_piece_by_piece(bench: HttpServerClient) -> None:
    steps = [threading.Event() for _ in range(3)]
    closed = threading.Event()

    def slow(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            for number, step in enumerate(steps):
                yield b"%d" % number
                step.wait(20)
            raise LookupError("in the middle")
        finally:
            closed.set()

    handle = bench.mount("/slow", slow)
    with Wire(bench.get_port()) as wire:
        wire.get("/slow/x")
        assert b"Transfer-Encoding: chunked" in wire.read_head()
        for number, step in enumerate(steps):
            assert wire.read_exactly(6) == b"1\r\n%d\r\n" % number
            step.set()
        with pytest.raises(ConnectionResetError):
            wire.rest()

    assert closed.wait(10)
    eventually(lambda: handle.hits[0].outcome == "failed")
    assert handle.hits[0].error.endswith("LookupError: in the middle")


def test_an_app_that_stops_in_the_middle_of_its_answer_is_cut_at_its_deadline(bench: HttpServerClient) -> None:
    go_on = threading.Event()

    def stuck(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"a"
        go_on.wait(20)
        yield b"b"

    handle = bench.mount("/stuck", stuck, timeout=0.5)
    with Wire(bench.get_port()) as wire:
        wire.get("/stuck")
        wire.read_head()
        assert wire.rest_until_any_end() == b"a"

    eventually(lambda: handle.hits[0].error == "nothing came in 0.5 s")
    go_on.set()
    eventually(lambda: not any(thread.name == "httpserve:answer" for thread in threading.enumerate()))


def test_an_app_whose_client_has_left_is_closed(bench: HttpServerClient) -> None:
    closed = threading.Event()

    def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(65536)
        finally:
            closed.set()

    bench.mount("/endless", endless)
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        wire.get("/endless")
        wire.read_head()
        wire.reset()

    assert closed.wait(20)


# Together with faults, holds and files


def test_faults_and_holds_apply_to_own_answers(bench: HttpServerClient) -> None:
    handle = bench.respond("/api/x", lambda request: b"0123456789", method="GET")
    with bench.fault("api/x", Truncate(4)):
        assert ask(bench, "/api/x").text == "0123"
    with bench.fault("api/*", Status(503), times=1) as fault:
        assert [ask(bench, "/api/x").status_code for _ in range(2)] == [503, 200]
    with bench.fault("api/x", Cut(0.5), Corrupt(0)), Wire(bench.get_port()) as wire:
        cut = wire.ask("/api/x")
    with bench.hold("api/x", at=3) as held, Wire(bench.get_port()) as wire:
        wire.get("/api/x")
        transfer = held.wait(10)
        assert (transfer.name, transfer.acknowledged, transfer.total) == ("api/x", 3, 10)
        held.release()
        assert wire.answer().body == b"0123456789"

    assert (cut.body[1:], cut.body[:1] != b"0") == (b"1234", True)
    assert fault.hits[0].fault == "Status(503)"
    assert [hit.fault for hit in handle.hits] == ["Truncate(4)", "Status(503)", "", "Cut(0.5), Corrupt(0)", "Hold(3)"]
    assert handle.hits[0].completed


def test_a_wait_for_a_request_returns_the_one_with_its_content(bench: HttpServerClient) -> None:
    bench.respond("/feedback", None)
    with bench.expect_request("feedback", method="POST", timeout=20) as expected:
        ask(bench, "/feedback", "POST", json={"state": "done"})

    assert json.loads(expected.record.content) == {"state": "done"}


@needs_curl
def test_curl_gets_an_answer_whatever_it_sends(bench: HttpServerClient, tmp_path: Path) -> None:
    bench.respond("/post", echoed)
    (tmp_path / "big").write_bytes(b"x" * 2_000_000)
    url = f"{bench.get_url()}/post"

    def curl(*arguments: str) -> str:
        command = ["curl", "-sS", "--noproxy", "*", "--max-time", "20", *arguments, url]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert json.loads(curl("-d", "a=1"))["content"] == "a=1"
    assert len(json.loads(curl("-T", "big", "-H", "Expect: 100-continue"))["content"]) == 2_000_000
    assert json.loads(curl("-X", "DELETE"))["content"] == ""


def test_it_stays_over_a_stop_and_ends_with_the_client() -> None:
    client = HttpServerClient(host="127.0.0.1")
    handle: Handle = client.respond("/x", "mine")
    for _ in range(2):
        client.start()
        assert ask(client, "/x").text == "mine"
        client.stop()
    client.close()

    assert handle.remaining == 0


def test_of_an_upload_and_an_own_answer_for_the_same_name_the_later_one_counts(bench: HttpServerClient) -> None:
    bench.respond("/result.xml", "first")
    with bench.accept_uploads("result.xml"):
        assert ask(bench, "/result.xml", "PUT", data=b"<a/>").status_code == 201
        assert bench.requests[-1].content == b"<a/>"
        with bench.respond("/result.xml", "mine", method="PUT", times=1):
            assert [ask(bench, "/result.xml", "PUT", data=b"<b/>").text[:4] for _ in range(2)] == ["mine", "409 "]
    assert ask(bench, "/result.xml").text == "first"
    assert bench.storage.read_bytes("result.xml") == b"<a/>"


def lost() -> int:
    """Start a server whose functions hold its client, lose that, and return the port."""
    client = HttpServerClient(host="127.0.0.1")
    client.start()
    client.respond("/x", lambda request: client.get_url())
    client.mount("/y", lambda environ, start_response: [client.get_url().encode()])
    assert ask(client, "/x").text == client.get_url()
    return client.get_port()


def test_a_function_that_holds_the_client_does_not_keep_it_from_ending_once_nobody_else_does() -> None:
    port = lost()

    gc.collect()

    with pytest.raises(ConnectionError), Wire(port) as wire:
        wire.ask("/x")
