"""What was asked for to go wrong is told where it is looked for: waits that fail, logs, tables."""

from __future__ import annotations

import contextlib
import logging

import pytest
import requests

from httpserve import HttpServerClient
from httpserve.faults import Corrupt, Cut, Fault, Redirect, Refuse, Slow, Stale, Status, WrongRange
from tests.cases import each
from tests.server.waits import AT_ONCE, ONE, OTHER, PATIENT, SIZE, halfway, vain
from tests.server.wire import Wire, eventually

STEP = "faults on purpose end with http.clear_faults()"


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


def ask(bench: HttpServerClient, *fields: str, board: str = ONE) -> None:
    """Ask for `Image`, and take what comes until it ends."""
    with contextlib.suppress(ConnectionError), Wire(bench.get_port(), source=board) as wire:
        wire.get("/Image", "Connection: close", *fields)
        wire.rest_until_any_end()
    eventually(lambda: all(one.outcome != "under way" for one in bench.requests), "the end")


@each(
    ("fault", "happened", "received"),
    [
        (Cut(1000), "stopped", 1000),
        (Corrupt(5), "ranges missing", SIZE - 1),
        (Status(503), "stopped", 0),
        (Redirect("/other"), "redirected", 0),
        (Stale(b"old"), "older version", 0),
    ],
)
def test_wait_that_fails_says_what_was_asked_for(
    bench: HttpServerClient, fault: Fault, happened: str, received: int
) -> None:
    with bench.fault("Image", fault, times=1):
        ask(bench)

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

    assert (error.happened, error.received, error.faults) == (happened, received, (repr(fault),))
    assert f"; on purpose: {ONE} met {fault!r}; {STEP}" in str(error)
    assert error.next_step == STEP
    bench.storage.write_bytes("Image", bytes(SIZE))  # what was asked before it counts no more
    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE)).faults == ()


def test_wait_for_one_board_tells_only_what_that_board_met(bench: HttpServerClient) -> None:
    bench.fault("Image", Status(500), client=ONE)
    bench.fault("Image", WrongRange(5), Slow(1e9), client=OTHER)
    ask(bench)
    ask(bench, "Range: bytes=0-9", board=OTHER)

    both = vain(lambda: bench.wait_for_download("Image", AT_ONCE))
    other = vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=OTHER))
    since = vain(lambda: bench.wait_for_download("Image", AT_ONCE, since=bench.requests[-1].time))

    assert both.faults == ("Status(500)", "WrongRange(5), Slow(1000000000.0)")
    assert other.faults == since.faults == both.faults[1:]
    assert "wrong on purpose" in other._repr_html_()


def test_refused_connection_is_no_silence(bench: HttpServerClient) -> None:
    with bench.fault(None, Refuse(), client=ONE):
        ask(bench)
        eventually(lambda: bench.requests, "it is on record")

        errors = [
            vain(lambda: bench.wait_for_download("Image", AT_ONCE)),
            vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=ONE)),
            vain(lambda: bench.wait_for_request("Image", timeout=AT_ONCE)),
        ]

    for error in errors:
        assert (error.happened, error.faults) == ("refused", ("Refuse()",))
        assert f"; {ONE} connected, and was refused; on purpose: {ONE} met Refuse(); {STEP}" in str(error)
    assert "nobody asked for it" in str(errors[0])
    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=OTHER)).faults == ()


def test_request_that_met_a_fault_and_was_not_the_one_says_so(bench: HttpServerClient) -> None:
    bench.fault("Image", Status(503))
    ask(bench)

    error = vain(lambda: bench.wait_for_request("Image", status=200, timeout=AT_ONCE))

    assert error.faults == ("Status(503)",)
    assert "/Image (503, by 127.0.0.2)" in str(error)


def test_held_answer_is_told_by_waits_and_records(bench: HttpServerClient) -> None:
    with bench.hold("Image", 0.5) as hold, halfway(bench, SIZE // 2, board=ONE):
        hold.wait(PATIENT)

        error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

        assert repr(hold) == "<Hold(0.5) for Image>"
        assert [*bench.holds] == [hold]
    assert not bench.holds
    assert (error.happened, error.faults, error.next_step) == ("under way", ("Hold(0.5)",), "release the hold")
    assert [one.fault for one in bench.transfers] == ["Hold(0.5)"]


def test_wait_for_a_hold_says_which_fault_came_in_between(bench: HttpServerClient) -> None:
    with bench.fault("Image", Cut(10)), bench.hold("Image", 0.5) as hold:
        ask(bench)

        error = vain(lambda: hold.wait(AT_ONCE))

    assert (error.happened, error.faults) == ("stopped", ("Cut(10)",))  # the hold is behind the cut
    assert str(error).endswith(" bytes, cut; on purpose: Cut(10)")
    with bench.fault(None, Refuse()), bench.hold("Image", 0.5) as hold:
        ask(bench)
        refused = vain(lambda: hold.wait(AT_ONCE))
    assert (refused.happened, refused.faults) == ("refused", ("Refuse()",))


def test_long_values_are_counted_in_records(bench: HttpServerClient) -> None:
    with bench.fault("Image", Stale(bytes(10_000)), Status(500, body="x" * 1000)) as fault:
        ask(bench)

    assert [one.fault for one in fault.hits] == ["Stale(<10000 bytes>), Status(500, body=<1000 characters>)"]


def test_file_that_a_fault_says_is_not_there_is_not_missing(bench: HttpServerClient) -> None:
    bench.fault(None, Status(404))
    ask(bench)
    with Wire(bench.get_port()) as wire:
        wire.ask("/Imgae")

    assert [one.name for one in bench.missing] == ["Imgae"]


def test_log_and_tables_name_the_fault(bench: HttpServerClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="httpserve.access")
    with bench.fault("Image", Cut(1000)):
        ask(bench)
    with bench.fault(None, Refuse()), pytest.raises(requests.ConnectionError):
        requests.get(bench.get_url("Image"), timeout=PATIENT)

    def lines() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "httpserve.access"]

    eventually(lambda: len(lines()) == 2, "both lines")
    assert lines()[0].endswith(" cut fault Cut(1000)")
    assert lines()[1] == "127.0.0.1 connection refused fault Refuse()"
    table = repr(bench.requests)
    assert "  Cut(1000)\n" in table
    assert table.splitlines()[-1].split()[3:6] == ["none", "none", "none"]
    assert table.endswith("  cut    Refuse()")
    assert str(bench.transfers[0]).endswith("state cut, fault Cut(1000)")
    ended = [event.as_dict() for event in bench.events(0, 0, "ended")]
    assert [event["request"]["fault"] for event in ended] == ["Cut(1000)", "Refuse()"]
    assert ended[0]["transfer"]["fault"] == "Cut(1000)"


def test_wait_for_an_upload_says_what_was_asked_for(bench: HttpServerClient) -> None:
    with bench.accept_uploads("log.txt"), bench.fault("log.txt", Status(507)), Wire(bench.get_port()) as wire:
        assert requests.put(bench.get_url("log.txt"), data=b"12345", timeout=PATIENT).status_code == 507
        assert wire.ask("/Image").status == 200

        error = vain(lambda: bench.wait_for_upload("log.txt", AT_ONCE))
        other = vain(lambda: bench.wait_for_upload("log.txt", AT_ONCE, client=OTHER))

    assert (error.faults, error.next_step, other.faults) == (("Status(507)",), STEP, ())
    assert str(error).count("on purpose: 127.0.0.1 met Status(507)") == 1
