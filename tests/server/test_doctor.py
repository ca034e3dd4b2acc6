"""`client.doctor()` on this host: what it finds, and that it leaves no trace."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import Finding, HttpServerClient, Report, WaitTimeout
from httpserve.doctor.listening import look_at_self_test
from httpserve.doctor.selftest import CONTENT
from httpserve.doctor.situation import Situation
from httpserve.faults import Cut, Refuse
from httpserve.network.binding import first_free_port
from tests.conftest import connections_at
from tests.server.wire import Wire, eventually

HUGE_BYTES = 1 << 30  # more than any socket buffer takes; sparse, so it costs no disk
NAME_SERVER_SECONDS = 4.5  # no name server would have given up by then


def found(report: Report, check: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.check == check]


def only(report: Report, check: str) -> Finding:
    (finding,) = found(report, check)
    return finding


# A server that runs


def test_a_server_that_runs_has_no_failure(bench: HttpServerClient) -> None:
    report = bench.doctor()

    assert report.ok, str(report)
    assert found(report, "server") == found(report, "missing") == []
    assert only(report, "bind").data == {"host": "127.0.0.1", "port": bench.get_port()}


def test_a_server_on_loopback_is_told_to_be_for_this_host_alone(bench: HttpServerClient) -> None:
    report = bench.doctor()

    assert (only(report, "bind").status, only(report, "url").data["url"]) == ("warn", bench.get_url())
    assert "peer=" in only(report, "bind").next_step
    assert "this host alone" in only(report, "url").message


def test_loopback_is_well_for_a_peer_that_is_this_host() -> None:
    with HttpServerClient(peer="127.0.0.1") as client:
        report = client.doctor()

    assert only(report, "bind").status == "ok"
    assert only(report, "route").message == "peer 127.0.0.1 is this host itself"
    assert found(report, "peer") == []


def test_loopback_is_well_behind_a_tunnel() -> None:
    with HttpServerClient(host="127.0.0.1", advertise="http://192.168.1.5:8000/x") as client:
        report = client.doctor()

    assert only(report, "bind").status == "ok"
    assert [finding.data["url"] for finding in found(report, "url")] == [
        "http://192.168.1.5:8000/x",
        f"http://127.0.0.1:{report.findings[0].data['port']}",
    ]


def test_a_wildcard_is_asked_over_each_address_of_its_urls() -> None:
    with HttpServerClient(host="::") as client:
        report = client.doctor()

    tested = {finding.data["host"] for finding in found(report, "self-test")}
    assert report.ok, str(report)
    assert tested >= {finding.data["address"] for finding in found(report, "url") if finding.data}


def test_a_server_of_one_file_is_tested_too(tmp_path: Path) -> None:
    (tmp_path / "only").write_bytes(b"x")
    with HttpServerClient(tmp_path, host="127.0.0.1", read_only=True, only="only", listing=False) as client:
        assert only(client.doctor(), "self-test").status == "ok"


def test_a_peer_given_by_name_is_not_asked_for_at_a_name_server() -> None:
    client = HttpServerClient(host="127.0.0.1", peer="board..invalid")
    began = time.monotonic()

    report = client.doctor()

    assert time.monotonic() - began < NAME_SERVER_SECONDS
    assert only(report, "route").status == "warn"
    assert "no name server is asked" in only(report, "route").message


def test_that_no_other_host_has_connected_is_told(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.ask("/")

    finding = only(bench.doctor(), "connections")

    assert finding.status == "warn"
    assert finding.message.startswith("no other host has connected yet")
    assert finding.data == {"clients": {}}


def test_names_that_were_missing_are_told_with_the_nearest_that_exists(bench: HttpServerClient) -> None:
    bench.put_file("zImage", __file__)
    with Wire(bench.get_port()) as wire:
        for name in ("zimage", "boot.scr", "zimage"):
            wire.ask(f"/{name}")

    finding = only(bench.doctor(), "missing")

    assert finding.status == "warn"
    assert finding.message == "asked for, and missing: 'boot.scr', 'zimage' (there is 'zImage')"
    assert [miss["name"] for miss in finding.data["missing"]] == ["zimage", "boot.scr", "zimage"]


def test_of_many_names_that_were_missing_the_last_are_told(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        for number in range(7):
            wire.ask(f"/absent-{number}")

    message = only(bench.doctor(), "missing").message

    assert message.startswith("7 names were asked for that do not exist, the last: 'absent-2', ")
    assert message.endswith("'absent-6'")


def test_a_server_that_does_not_answer_itself_is_told_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.doctor.listening.SELF_TEST_SECONDS", 0.2)
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(HUGE_BYTES)
    with HttpServerClient(tmp_path, host="127.0.0.1", max_connections=1) as client, Wire(client.get_port()) as wire:
        wire.get("/huge")
        wire.read_head()  # and no more: the only connection is busy

        report = client.doctor()

    assert not report.ok
    assert only(report, "self-test").status == "fail"
    assert "max_connections" in only(report, "self-test").next_step


def test_answers_that_are_not_what_boards_need_are_told(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        serving = threading.Thread(target=other.serve_forever, args=(0.01,))
        serving.start()

        (finding,) = look_at_self_test(of_another(other.server_port))

        other.shutdown()
        serving.join()
    assert finding.status == "fail"
    assert "GET: there is no strong ETag" in finding.data["flaws"]
    assert "range: the status is 200, not 206" in finding.data["flaws"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that knows no ranges, and writes nothing to stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def of_another(port: int) -> Situation:
    """Return what there is to know of a server that is not ours, and has the content under a name of its own."""

    @contextlib.contextmanager
    def probe(data: bytes) -> Iterator[str]:
        yield "content"

    return Situation(None, None, None, port, "127.0.0.1", 0.0, (), (), {}, probe)


# A server that does not run


def test_what_is_wrong_on_purpose_is_told(bench: HttpServerClient) -> None:
    with bench.fault("Image", Cut(0.5)), bench.hold(None, 7):
        report = bench.doctor()
    with bench.fault(None, Refuse()):
        refused = bench.doctor()

    assert only(report, "faults").message == "wrong on purpose: Cut(0.5) for Image; Hold(7) for everything"
    assert only(report, "self-test").status == "ok"
    assert only(refused, "self-test").next_step == "end what is wrong on purpose, and ask again"
    assert found(bench.doctor(), "faults") == []


def test_a_server_that_was_not_started_is_told_so() -> None:
    client = HttpServerClient(host="127.0.0.1")

    report = client.doctor()

    assert not report.ok
    assert (only(report, "server").status, only(report, "server").next_step) == ("fail", "call start()")
    assert found(report, "self-test") == []


def test_an_address_that_no_interface_has_is_told_before_the_start() -> None:
    report = HttpServerClient(host="203.0.113.7").doctor()

    assert only(report, "bind").message.startswith("no interface has 203.0.113.7 yet")
    assert "wait_for_address=" in only(report, "bind").next_step


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "0.0.0.0", "bench..invalid", None])
def test_nothing_is_said_of_an_address_that_is_there_or_unknown(host: str | None) -> None:
    assert found(HttpServerClient(host=host).doctor(), "bind") == []


def test_a_port_that_needs_a_right_is_told_before_the_start() -> None:
    if first_free_port() <= 1:
        pytest.skip("every user may listen on every port here")

    report = HttpServerClient(host="127.0.0.1", port=1).doctor()

    assert only(report, "port").status == "warn"
    assert found(HttpServerClient(host="127.0.0.1", port=60000).doctor(), "port") == []


# No trace


def test_the_doctor_is_nobody_who_has_connected(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", b"content")
    bench.doctor()

    with pytest.raises(WaitTimeout) as caught:
        bench.wait_for_download("f", timeout=0.01)

    assert (caught.value.happened, bench.connections) == ("nobody connected", {})


def test_no_request_is_recorded_and_no_wait_is_disturbed(bench: HttpServerClient) -> None:
    bench.put_file("image", __file__)

    bench.doctor()

    assert bench.requests == ()
    assert bench.transfers == ()
    assert bench.missing == ()
    with pytest.raises(WaitTimeout):
        bench.wait_for_request(timeout=0)
    with pytest.raises(WaitTimeout):
        bench.wait_for_download("image", timeout=0)


def test_a_wait_of_another_thread_goes_on(bench: HttpServerClient) -> None:
    bench.put_file("image", __file__)
    records = []
    waiter = threading.Thread(target=lambda: records.append(bench.wait_for_request(timeout=20)))
    waiter.start()

    bench.doctor()
    with Wire(bench.get_port()) as wire:
        wire.ask("/image")

    waiter.join()
    assert [record.name for record in records] == ["image"]


def test_nothing_in_the_root_is_touched(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    before = os.stat(tmp_path), os.stat(tmp_path / "image")
    with HttpServerClient(tmp_path, host="127.0.0.1", read_only=True) as client:
        client.doctor()

    assert (os.stat(tmp_path), os.stat(tmp_path / "image")) == before


def test_connections_of_the_test_end(bench: HttpServerClient) -> None:
    bench.doctor()

    eventually(lambda: connections_at(bench.get_port()) == 0, "the end of the connections")
