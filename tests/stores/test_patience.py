"""How long a store may take: what the arguments of the client say, counted at the store."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from httpserve import HttpServerClient, InvalidArgument
from tests.cases import each
from tests.server.wire import pattern
from tests.stores.proxy import Proxy
from tests.stores.servers import Place


@each(("tries", "asked"), [(1, 1), (3, 3)])
def test_a_look_is_tried_as_often_as_is_said(s3: Place, proxy: Proxy, tries: int, asked: int) -> None:
    proxy.spoil("answer", method="HEAD", status=503, times=0)
    with HttpServerClient(host="127.0.0.1", root=s3.through(proxy).operator(), look_tries=tries) as http:
        proxy.forget()
        answer = requests.get(http.get_url("Image"), timeout=20)

    assert answer.status_code == 503
    assert len(proxy.seen("HEAD")) == asked
    proxy.mend()


def test_a_read_goes_on_for_as_long_as_is_said(s3: Place, proxy: Proxy) -> None:
    s3.operator().write("Image", pattern(1_000_000))
    with HttpServerClient(
        host="127.0.0.1", root=s3.through(proxy).operator(), cache_bytes=0, read_timeout=1.0, read_tries=1
    ) as http:
        stalled = proxy.spoil("stall", method="GET", at=500_000, times=0)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            requests.get(http.get_url("Image"), timeout=20)
        assert "in time" in http.requests[-1].error
        stalled.let_go()
    proxy.mend()


@each(
    ("name", "value"),
    [("look_timeout", 0), ("look_tries", 0), ("read_timeout", -1.0), ("read_tries", 1.5), ("read_tries", True)],
)
def test_what_cannot_be(s3: Place, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=name):
        HttpServerClient(root=s3.operator(), **{name: value})
