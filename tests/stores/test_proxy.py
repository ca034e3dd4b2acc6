"""The proxy of the tests spoils what it is told to, and nothing else; and it counts."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import opendal
import pytest
from opendal.exceptions import ConditionNotMatch

from tests.server.wire import Wire, eventually, pattern
from tests.stores.proxy import Proxy
from tests.stores.servers import Place, Servers

CONTENT = pattern(1_000_003)


@pytest.fixture
def operator(s3: Place, proxy: Proxy) -> opendal.Operator:
    s3.operator().write("f", CONTENT)
    return s3.through(proxy).operator()


def test_what_is_not_spoiled_passes_and_is_counted(operator: opendal.Operator, proxy: Proxy) -> None:
    operator.write("g", CONTENT)
    part = operator.read("g", offset=5, size=100)
    whole = operator.read("f")
    size = operator.stat("f").content_length

    assert (part, whole, size) == (CONTENT[5:105], CONTENT, len(CONTENT))
    assert [(one.method, one.asked, one.status, one.sent, one.received) for one in proxy.seen(target="/[fg]")] == [
        ("PUT", "", 200, 0, len(CONTENT)),
        ("GET", "bytes=5-104", 206, 100, 0),
        ("GET", "", 200, len(CONTENT), 0),
        ("HEAD", "", 200, 0, 0),
    ]
    assert proxy.bytes_sent() == len(CONTENT) + 100
    proxy.forget()
    assert proxy.seen() == []


def test_a_list_through_it_does_not_hang(operator: opendal.Operator) -> None:
    names = [entry.path for entry in operator.list("/")]

    assert "f" in names


@pytest.mark.parametrize("at", [-1, 0, 500_000])
@pytest.mark.parametrize("how", ["stall", "stall, reset", "reset", "close"])
def test_an_answer_is_spoiled_at_a_byte(s3: Place, proxy: Proxy, how: str, at: int) -> None:
    s3.operator().write("f", CONTENT)
    operator = s3.through(proxy).operator()
    spoiled = proxy.spoil(how, at=at, target="/f$", first=2)
    first = operator.read("f")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(operator.read, "f")
        eventually(lambda: spoiled.met == 1)
        if how.startswith("stall"):
            assert not second.done()
            assert proxy.bytes_sent() == len(CONTENT) + max(0, at)
            spoiled.let_go()
        if how == "stall":
            assert second.result(10) == CONTENT
        else:
            assert second.exception(10) is not None
    third = operator.read("f")

    assert first == third == CONTENT


def test_an_answer_is_another_or_slow_or_of_the_wrong_length(operator: opendal.Operator, proxy: Proxy) -> None:
    proxy.spoil("answer", status=412, fields={"Retry-After": "3"})
    with pytest.raises(ConditionNotMatch):
        operator.read("f", if_match='"any"')

    proxy.spoil("slow")
    assert operator.read("f", offset=0, size=20_000) == CONTENT[:20_000]

    proxy.spoil("length", by=-10)
    short = operator.open("f", "rb").read()
    assert short == CONTENT[:-10]

    proxy.spoil("length", by=10)
    with pytest.raises(OSError, match="Unexpected"):
        operator.open("f", "rb").read()

    proxy.spoil("answer", times=0)
    proxy.mend()
    assert operator.read("f") == CONTENT


def test_it_goes_down_and_comes_back(operator: opendal.Operator, proxy: Proxy) -> None:
    proxy.spoil("stall", at=100)
    with Wire(proxy.port) as wire:
        wire.get("/bench/")
        eventually(proxy.seen)
        proxy.go_down()
        with contextlib.suppress(ConnectionResetError):
            wire.rest()
        with pytest.raises(opendal.exceptions.Unexpected):
            operator.stat("f")
    proxy.come_up()

    assert operator.stat("f").content_length == len(CONTENT)


def test_a_server_may_ignore_what_pins(moto: Place, stores: Servers) -> None:
    moto.operator().write("f", CONTENT)
    with contextlib.closing(stores.proxy(moto.endpoint)) as proxy:
        operator = moto.through(proxy).operator()
        with pytest.raises(ConditionNotMatch):
            operator.read("f", if_match='"another"')

        proxy.strip("If-Match")

        assert operator.read("f", if_match='"another"') == CONTENT


def test_what_the_stores_can(s3: Place, moto: Place, webdav: Place, web: Place, tmp_path: Path) -> None:
    for place in (s3, moto, webdav):
        operator = place.operator()
        operator.write("d/f", CONTENT)
        etag = operator.stat("d/f").etag
        assert operator.read("d/f", if_match=etag) == CONTENT
        with pytest.raises(ConditionNotMatch):
            operator.read("d/f", if_match='"another"')
        assert "d/" in [entry.path for entry in operator.list("/")]

    for place in (s3, moto):
        place.operator().write("m", b"", user_metadata={"sha256": "00"})
        assert place.operator().stat("m").user_metadata == {"sha256": "00"}
    with pytest.raises(opendal.exceptions.Unexpected, match="403"):
        webdav.operator().write("m", b"x", user_metadata={"sha256": "00"})
    (tmp_path / "web" / "f").write_bytes(CONTENT)
    assert web.operator().read("f", offset=3, size=4) == CONTENT[3:7]
    assert not web.operator().capability().list
