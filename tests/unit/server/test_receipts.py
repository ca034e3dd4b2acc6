"""What a connection's answers come to, by how much of all its bytes the client has acknowledged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from httpserve.records.claims import Claims
from httpserve.records.exchange import End, Exchange, State
from httpserve.records.log import ExchangeLog
from httpserve.records.terms import Boards
from httpserve.server.receipts import Receipts
from httpserve.server.shared import Shared
from tests.unit.exchanges import Asked, Line, subject

HEAD_BYTES = 100


@pytest.fixture
def ledger() -> ExchangeLog:
    return ExchangeLog()


@pytest.fixture
def receipts(ledger: ExchangeLog) -> Receipts:
    return Receipts(cast("Shared", SimpleNamespace(ledger=ledger, logs_access=False)))


def begun(receipts: Receipts, ledger: ExchangeLog, *, length: int = 10, handed: bool = True) -> Exchange:
    exchange = Exchange(Line(), Asked(), 200, length, subject((0, length), total=length), 1000.0, 100.0)
    receipts.begin(exchange, HEAD_BYTES)
    if handed:
        exchange.handed = length
        ledger.handed_over(exchange, 101.0)
    return exchange


def test_what_a_wait_has_settled_stays_so_when_the_answer_behind_it_breaks_off(
    receipts: Receipts, ledger: ExchangeLog
) -> None:
    first = begun(receipts, ledger)
    assert Claims(ledger).take("f", '"v"', Boards(), 0) is not None
    begun(receipts, ledger, handed=False)

    receipts.ended(HEAD_BYTES - 50, 102.0, End.RESET)  # of a head nobody knows how much has left

    record = ledger.record(first)
    assert (first.is_over, record.completed, record.bytes, record.outcome) == (True, True, 10, "completed")


@pytest.mark.parametrize(("acknowledged", "outcome"), [(HEAD_BYTES - 1, "reset"), (HEAD_BYTES, "completed")])
def test_an_answer_without_content_has_arrived_with_its_head(
    receipts: Receipts, ledger: ExchangeLog, acknowledged: int, outcome: str
) -> None:
    exchange = begun(receipts, ledger, length=0)

    receipts.ended(acknowledged, 102.0, End.RESET)

    assert ledger.record(exchange).outcome == outcome


def test_pipelined_answers_settle_in_their_order(receipts: Receipts, ledger: ExchangeLog) -> None:
    answers = [begun(receipts, ledger) for _ in range(3)]

    receipts.settle(2 * (HEAD_BYTES + 10) + HEAD_BYTES + 9, 102.0)

    assert [one.state for one in answers] == [State.RECEIVED, State.RECEIVED, State.HANDED_OVER]
