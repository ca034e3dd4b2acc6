"""ExchangeLog about one exchange and its record: what was asked, what has arrived of the answer."""

from __future__ import annotations

import sys
import time
import weakref
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.plan import Piece, Subject
from httpserve.records import model
from httpserve.records.exchange import End, Exchange, State
from httpserve.records.log import ExchangeLog
from tests.unit.exchanges import Asked, Line, begun, received, sent, subject

# One exchange


def test_a_record_says_who_asked_what_and_got_what(log: ExchangeLog) -> None:
    asked = Asked("GET", "/f?q", "bytes=2-5", "wget")

    received(log, begun(log, subject((2, 6)), asked=asked, status=206))

    assert log.requests() == (
        model.RequestRecord(
            time=1000.0,
            client="10.0.0.2",
            client_port=4711,
            local="10.0.0.1",
            method="GET",
            target="/f?q",
            status=206,
            range="bytes=2-5",
            bytes=4,
            seconds=1.0,
            user_agent="wget",
            completed=True,
            name="f",
            outcome="completed",
            query="q",
        ),
    )


def test_control_characters_of_a_request_are_escaped_in_its_record(log: ExchangeLog) -> None:
    exchange = begun(log, None, asked=Asked("GET", "/\x1b[2J", "bytes=\r\n", "cu\x00rl"))

    record = log.record(exchange)

    assert (record.target, record.range, record.user_agent) == ("/\\x1b[2J", "bytes=\\r\\n", "cu\\x00rl")


@pytest.mark.parametrize(
    ("on_their_way", "handed", "received"),
    [
        (4, 7, 3),
        (400, 7, 0),  # those of an earlier answer, too
        (-5, 0, 0),  # nothing was sent, and nothing is asked of the connection
    ],
)
def test_bytes_count_as_received_once_they_are_acknowledged(
    log: ExchangeLog, on_their_way: int, handed: int, received: int
) -> None:
    exchange = begun(log, line=Line(on_their_way=on_their_way, handed=handed))
    exchange.handed = handed

    record = log.record(exchange)

    assert (record.bytes, record.completed) == (received, False)


def test_what_has_been_acknowledged_stays_so_when_a_look_finds_more_on_its_way_than_it_knows_to_have_left(
    log: ExchangeLog,
) -> None:
    line = Line(on_their_way=4)
    exchange = begun(log, line=line)
    exchange.handed = 10
    before = log.record(exchange).bytes

    line.on_their_way = 9

    assert log.record(exchange).bytes == before == 6


def test_an_answer_is_complete_once_all_of_it_is_acknowledged_and_not_before(log: ExchangeLog) -> None:
    line = Line(on_their_way=4)
    exchange = begun(log, line=line)
    sent(log, exchange, time.monotonic())

    early, early_transfer = log.record(exchange), log.transfers()[0]
    line.on_their_way = 0
    late, late_transfer = log.record(exchange), log.transfers()[0]

    assert (early.completed, early.bytes, early.outcome) == (False, 6, "under way")
    assert (late.completed, late.bytes, late.outcome) == (True, 10, "completed")
    assert (early_transfer.state, early_transfer.sent, early_transfer.acknowledged) == ("under way", 10, 6)
    assert (late_transfer.state, late_transfer.sent, late_transfer.acknowledged) == ("completed", 10, 10)


def test_where_the_system_tells_no_more_an_answer_handed_over_counts_and_the_record_says_so(log: ExchangeLog) -> None:
    exchange = begun(log, line=Line(on_their_way=sys.maxsize, known="handed_over"))
    sent(log, exchange, time.monotonic())

    record = log.record(exchange)

    assert (record.completed, record.bytes, record.known) == (True, 10, "handed_over")


def test_an_answer_that_is_in_the_middle_of_its_last_send_is_under_way(log: ExchangeLog) -> None:
    exchange = begun(log)
    exchange.state = State.LEAVING
    exchange.ended = time.monotonic()

    assert log.record(exchange).outcome == "under way"


def test_of_pipelined_answers_each_counts_by_its_own_bytes(log: ExchangeLog) -> None:
    line = Line(on_their_way=5, handed=2 * (100 + 10))
    first, second = begun(log, line=line), begun(log, line=line)
    for exchange, at in ((first, 100), (second, 210)):
        exchange.at, exchange.handed = at, 10
        log.handed_over(exchange, time.monotonic())

    assert [log.record(one).bytes for one in (first, second)] == [10, 5]


def test_an_answer_handed_over_and_acknowledged_is_completed_however_late_one_asks(log: ExchangeLog) -> None:
    exchange = begun(log)
    sent(log, exchange)

    record = log.record(exchange)

    assert (record.completed, record.seconds) == (True, 1.0)


def test_the_time_goes_on_while_what_was_handed_over_is_not_acknowledged(log: ExchangeLog) -> None:
    line = Line(on_their_way=4)
    exchange = begun(log, line=line, began=time.monotonic() - 5.0)
    sent(log, exchange, exchange.began + 1.0)

    (transfer,) = log.transfers()
    assert (transfer.state, transfer.acknowledged) == ("under way", 6)
    assert transfer.seconds == pytest.approx(5.0, abs=1.0)
    assert log.record(exchange).seconds == pytest.approx(5.0, abs=1.0)

    line.on_their_way = 0
    log.settle(exchange, 10, exchange.began + 100.0, End.COMPLETED)  # it became known only now

    (transfer,) = log.transfers()
    assert (transfer.state, log.record(exchange).completed) == ("completed", True)
    assert transfer.seconds == pytest.approx(5.0, abs=1.0)  # when it was seen last that it had not arrived


def test_looking_does_not_lengthen_what_a_system_cannot_tell(log: ExchangeLog) -> None:
    exchange = begun(log, line=Line(on_their_way=sys.maxsize, known="handed_over"), began=time.monotonic() - 5.0)
    sent(log, exchange, exchange.began + 1.0)
    log.transfers()
    log.settle(exchange, 10, exchange.began + 100.0, End.COMPLETED)

    assert log.record(exchange).seconds == pytest.approx(1.0)


@pytest.mark.parametrize("end", [End.CLOSED, End.RESET, End.LOST, End.CUT])
@pytest.mark.parametrize("got", [4, 10])
def test_a_record_and_a_transfer_say_how_an_answer_ended(end: End, got: int, log: ExchangeLog) -> None:
    exchange = begun(log)
    sent(log, exchange)

    log.settle(exchange, got, 102.0, end)

    (transfer,), (record,) = log.transfers(), log.requests()
    outcome = "completed" if got == 10 else end.value
    assert (record.outcome, record.completed, record.bytes) == (outcome, got == 10, got)
    assert (transfer.state, transfer.sent, transfer.acknowledged) == (outcome, 10, got)
    assert (record.seconds, transfer.seconds, transfer.rate) == (1.0, 1.0, got)


def test_a_record_does_not_keep_the_connection(log: ExchangeLog) -> None:
    line = Line()
    alive = weakref.ref(line)
    received(log, begun(log, line=line))

    del line

    assert alive() is None
    assert log.requests()[0].client == "10.0.0.2"


def test_an_answer_is_settled_once(log: ExchangeLog) -> None:
    exchange = begun(log)
    log.settle(exchange, 10, 103.0, End.CLOSED)

    log.settle(exchange, 0, 104.0, End.CLOSED)

    assert log.record(exchange).bytes == 10


def test_no_more_than_so_many_records_are_kept_and_the_oldest_goes_first() -> None:
    log = ExchangeLog(most=2)

    for status in (200, 404, 206):
        received(log, begun(log, None, status=status))

    assert [record.status for record in log.requests()] == [404, 206]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9), st.integers(0, 5)), max_size=6), st.integers(0, 120))
def test_spans_are_the_parts_that_the_first_bytes_of_the_content_carry(
    parts: list[tuple[int, int, int]], count: int
) -> None:
    pieces: list[Piece] = []
    content: list[int | None] = []
    for start, length, overhead in parts:
        content += [None] * overhead
        pieces.append(Piece(len(content), start, start + length))
        content += range(start, start + length)
    exchange = Exchange(Line(), Asked(), 206, len(content), Subject("f", "v", 60, tuple(pieces)), 0.0, 0.0)

    spans = exchange.spans(min(count, len(content)))

    carried = [position for start, stop in spans for position in range(start, stop)]
    assert carried == [position for position in content[:count] if position is not None]


def test_a_transfer_of_very_many_ranges_shows_them_as_one_of_few_does(log: ExchangeLog) -> None:
    parts = [(at, at + 1) for at in range(0, 6000, 3)]
    received(log, begun(log, subject(*parts, total=6000), status=206))

    (transfer,) = log.transfers()

    assert transfer.ranges == tuple(parts)
    assert (len(transfer.ranges), transfer.ranges[-1], transfer.ranges[:2]) == (2000, parts[-1], tuple(parts[:2]))
    assert list(transfer.ranges) == parts
    assert repr(transfer.ranges) == repr(tuple(parts))
    assert transfer == log.transfers()[0]
    assert hash(transfer) == hash(log.transfers()[0])


def test_a_record_is_data_that_can_be_compared_and_replaced(log: ExchangeLog) -> None:
    received(log, begun(log))

    record = log.requests()[0]

    assert replace(record, status=206) != record
    assert record == log.requests()[0]


# Transfers


def test_a_transfer_that_is_over_is_made_once(log: ExchangeLog) -> None:
    exchange = begun(log)
    before = log.transfers()
    received(log, exchange)

    assert log.transfers()[0] is log.transfers()[0]
    assert (before[0].state, log.transfers()[0].state) == ("under way", "completed")


def test_a_rate_is_that_of_the_last_seconds_and_nothing_after_two_without_a_byte(log: ExchangeLog) -> None:
    line = Line()
    exchange = begun(log, line=line, began=100.0)
    rates = []
    for seconds, handed in ((0.0, 0), (0.2, 2), (0.6, 3), (0.8, 9), (1.2, 9), (2.2, 9), (3.2, 9), (4.2, 30)):
        exchange.handed = handed
        rates.append(exchange.transfer(100.0 + seconds).rate)

    assert rates == pytest.approx([0.0, 10.0, 5.0, 5.0, 6.0, 4.0, 0.0, 21.0])


def test_a_transfer_without_content_is_none(log: ExchangeLog) -> None:
    received(log, begun(log, None, status=404))
    received(log, begun(log, subject()))

    assert log.transfers() == ()


# Fields


def test_fields_are_found_by_names_of_any_case_and_are_as_they_came() -> None:
    fields = model.Fields([("X-Serial", "7"), ("Accept", "a"), ("accept", "b")])

    assert (fields["x-serial"], fields.get("X-SERIAL"), fields.get("missing")) == ("7", "7", None)
    assert "ACCEPT" in fields
    assert not fields.__contains__(5)
    assert dict(fields) == {"X-Serial": "7", "accept": "a, b"}
    assert (len(fields), repr(fields)) == (2, "{'X-Serial': '7', 'accept': 'a, b'}")
    with pytest.raises(KeyError):
        fields["missing"]
