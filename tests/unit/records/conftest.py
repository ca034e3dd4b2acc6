"""A server's records without a server."""

from __future__ import annotations

import pytest

from httpserve.records.claims import Claims
from httpserve.records.log import ExchangeLog


@pytest.fixture
def log() -> ExchangeLog:
    return ExchangeLog()


@pytest.fixture
def claims(log: ExchangeLog) -> Claims:
    return Claims(log)
