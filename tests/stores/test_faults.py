"""A store that is down, slow, refuses or changes: boards get the right bytes, a 503, or a broken connection.

Never a 404 for what is there, never a mixture, and never bytes of one version under the ETag of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import opendal
import pytest

from httpserve import HttpServerClient
from httpserve.errors import StoreUnavailable
from tests.server.wire import Answer, Wire, eventually, pattern
from tests.stores.proxy import Proxy
from tests.stores.servers import Place, Servers

SIZE = 1_500_017
OLD, NEW = pattern(SIZE, 1), pattern(SIZE, 2)
AT = 600_003  # where a read is spoiled
# How long a server waits for its store: where the store shall answer in the end, and where it shall not.
LONG = {"look_timeout": 5.0, "read_timeout": 0.7, "read_tries": 30}
SHORT = {"look_timeout": 1.0, "read_timeout": 1.0, "read_tries": 2}


class Lab(NamedTuple):
    """A server on a store behind a proxy."""

    client: HttpServerClient
    store: opendal.Operator  # past the proxy
    proxy: Proxy

    def get(self, name: str, *fields: str, method: str = "GET") -> Answer:
        with Wire(self.client.get_port()) as wire:
            return wire.ask(f"/{name}", *fields, method=method)

    def gotten(self, name: str) -> tuple[Answer, bool]:
        """Return the answer as far as it came, and whether it was cut."""
        with Wire(self.client.get_port()) as wire:
            wire.get(f"/{name}", "Connection: close")
            head = wire.read_head()
            try:
                return Answer(head, wire.rest()), False
            except ConnectionResetError:
                return Answer(head, b""), True


Make = Callable[..., Lab]


@pytest.fixture
def make(s3: Place, stores: Servers) -> Iterator[Make]:
    """Makes servers that have more or less patience, on S3 or *place*."""
    with contextlib.ExitStack() as stack:

        def lab(place: Place = s3, **terms: Any) -> Lab:
            terms = LONG | terms
            proxy = stack.enter_context(contextlib.closing(stores.proxy(place.endpoint)))
            operator = place.through(proxy).operator()
            client = stack.enter_context(HttpServerClient(host="127.0.0.1", root=operator, **terms))
            stack.callback(proxy.mend)
            return Lab(client, place.operator(), proxy)

        yield lab


CACHES = pytest.mark.parametrize("cache_bytes", [0, 1 << 30], ids=["uncached", "cached"])

# What is done to the store's answers, and a word of the cause that the record and the log give.
REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "look stalls": ("stall", {"method": "HEAD", "at": -1}, "did not answer in time"),
    "look is reset": ("reset", {"method": "HEAD", "at": -1}, ""),
    "look gets 500": ("answer", {"method": "HEAD", "status": 500}, ""),
    "look gets 503": ("answer", {"method": "HEAD", "status": 503}, ""),
    "look gets 403": ("answer", {"method": "HEAD", "status": 403}, "check the key"),
    "look gets 412": ("answer", {"method": "HEAD", "status": 412}, ""),
    "read stalls": ("stall", {"at": -1}, "did not answer in time"),
    "read stalls in the content": ("stall", {"at": 0}, "did not answer in time"),
    "read is reset": ("reset", {"at": -1}, ""),
    "read is closed": ("close", {"at": 0}, ""),
    "read gets 500": ("answer", {"status": 500}, ""),
    "read gets 403": ("answer", {"status": 403}, "check the key"),
}


@CACHES
def test_a_store_that_gives_nothing_is_told_by_503_with_the_cause(
    make: Make, caplog: pytest.LogCaptureFixture, cache_bytes: int
) -> None:
    lab = make(cache_bytes=cache_bytes, **SHORT)
    for number, (how, which, _) in enumerate(REFUSALS.values()):
        lab.store.write(f"f{number}", OLD)
        lab.proxy.spoil(how, target=f"/f{number}$", times=0, **which)
    # What is absent is asked for twice, and only both answers make a 404; a list and a digest are of answers, too.
    for prefix in ("absent", "directory"):
        lab.proxy.spoil("answer", method="GET", target=f"prefix=.*{prefix}", status=500, times=0)
    lab.store.write("directory/f", b"")
    names = [*(f"f{number}" for number in range(len(REFUSALS))), "absent", "directory/", "f0.sha256", "f10.sha256"]

    with caplog.at_level(logging.WARNING, logger="httpserve"), ThreadPoolExecutor(len(names)) as pool:
        answers = dict(zip(names, pool.map(lab.get, names), strict=True))

    causes = [cause for _, _, cause in REFUSALS.values()] + [""] * 4
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(names, 503)
    for name, cause in zip(names, causes, strict=True):
        (record,) = [one for one in lab.client.requests if one.target == f"/{name}"]
        assert int(answers[name]["Retry-After"]) > 0
        assert record.error
        assert cause in str(record.error)
        assert f"'{name.rstrip('/').removesuffix('.sha256')}" in caplog.text
    assert "secret" not in caplog.text
    assert "SKSKSKSK" not in caplog.text


def test_a_store_that_is_down_or_refuses_the_key_is_told_by_503_until_it_is_back(make: Make, s3: Place) -> None:
    lab = make()
    lab.store.write("f", OLD)
    lab.proxy.go_down()
    while_down = lab.get("f")
    lab.proxy.come_up()
    stranger = HttpServerClient(host="127.0.0.1", root=s3.operator(secret_access_key="wrong"))
    with stranger, Wire(stranger.get_port()) as wire:
        refused = wire.ask("/f")
        with pytest.raises(StoreUnavailable, match="Operator"):
            stranger.storage.write_bytes("new", b"")

    assert (while_down.status, refused.status) == (503, 503)
    assert "Retry-After" in while_down
    assert lab.get("f").body == OLD


# What is done to the first read, and which reads of the store are right. Its end is the last byte, or open.
BREAKS: dict[str, tuple[str, dict[str, Any]]] = {
    "reset": ("reset", {"at": AT}),
    "closed": ("close", {"at": AT}),
    "stalls": ("stall", {"at": AT}),
    "stalls, then is reset": ("stall, reset", {"at": AT}),
    "longer than said": ("length", {"by": -1000}),
    "shorter than said": ("length", {"by": 1000}),
}


@CACHES
def test_what_breaks_off_goes_on_at_the_byte(make: Make, cache_bytes: int) -> None:
    lab = make(cache_bytes=cache_bytes)
    for number, (how, which) in enumerate(BREAKS.values()):
        lab.store.write(f"f{number}", pattern(SIZE, number))
        # The first is the question whether the server pins, which is of one byte.
        lab.proxy.spoil(how, target=f"/f{number}$", first=1, **which)
    lab.store.write("pins", OLD)
    assert lab.get("pins").body == OLD
    names = [f"f{number}" for number in range(len(BREAKS))]

    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lab.gotten, names))

    for number, ((answer, is_cut), what) in enumerate(zip(answers, BREAKS, strict=True)):
        asked = [one.asked for one in lab.proxy.seen("GET", f"/f{number}$")]
        assert (answer.status, is_cut, answer.body == pattern(SIZE, number)) == (200, False, True), (what, asked)
        assert lab.proxy.bytes_sent("GET", f"/f{number}$") <= 1.5 * SIZE, (what, asked)
        if what == "closed" and not cache_bytes:  # a reset drops what was not read yet
            assert any(one.startswith(f"bytes={AT}-") for one in asked), asked


@CACHES
def test_what_breaks_off_for_good_ends_in_a_reset(
    make: Make, caplog: pytest.LogCaptureFixture, cache_bytes: int
) -> None:
    lab = make(cache_bytes=cache_bytes, **SHORT)
    for name in ("pins", "f"):
        lab.store.write(name, OLD)
    lab.get("pins")
    lab.proxy.spoil("reset", target="/f$", at=AT)
    lab.proxy.spoil("answer", target="/f$", status=500, times=0, first=1)

    answer, is_cut = lab.gotten("f")

    assert (answer.status, is_cut) == (200, True)
    eventually(lambda: [one.outcome for one in lab.client.requests if one.name == "f"] == ["failed"])
    (record,) = [one for one in lab.client.requests if one.name == "f"]
    assert "InternalError" in record.error
    assert "Traceback" not in caplog.text
    lab.proxy.mend()
    assert lab.get("f").body == OLD


class Change(NamedTuple):
    """What becomes of an object of some size while its read stalls at a byte, and of that read."""

    size: int
    at: int
    how: str
    is_deleted: bool = False


CHANGES = [
    Change(size, at, how, is_deleted)
    for size, at in [(SIZE, -1), (SIZE, 0), (SIZE, AT), (5000, -1), (5000, 3000)]
    for how in ("stall", "stall, reset")
    for is_deleted in (False, True)
]


def write(lab: Lab, name: str, content: bytes) -> None:
    """Write an object that says its digest, so that it is the ETag of its answers."""
    lab.store.write(name, content, user_metadata={"sha256": hashlib.sha256(content).hexdigest()})


@CACHES
@pytest.mark.parametrize("kind", ["s3", "moto", "ignores If-Match"])
def test_what_changes_under_way_is_never_mixed(
    make: Make, s3: Place, request: pytest.FixtureRequest, kind: str, cache_bytes: int
) -> None:
    lab = make(s3 if kind == "s3" else request.getfixturevalue("moto"), cache_bytes=cache_bytes)
    if kind == "ignores If-Match":
        lab.proxy.strip("If-Match")
    lab.store.write("pins", OLD)
    lab.get("pins")
    spoiled = []
    for number, change in enumerate(CHANGES):
        write(lab, f"f{number}", OLD[: change.size])
        spoiled.append(lab.proxy.spoil(change.how, target=f"/f{number}$", at=change.at))

    with ThreadPoolExecutor(len(CHANGES)) as pool:
        gets = [pool.submit(lab.gotten, f"f{number}") for number in range(len(CHANGES))]
        eventually(lambda: [one.met for one in spoiled] == [1] * len(CHANGES), "all reads stall")
        for number, change in enumerate(CHANGES):
            if change.is_deleted:
                lab.store.delete(f"f{number}")
            else:
                write(lab, f"f{number}", NEW[: change.size])
            spoiled[number].let_go()
        answers = [get.result(20) for get in gets]

    for number, ((answer, is_cut), change) in enumerate(zip(answers, CHANGES, strict=True)):
        assert answer.status in ((200, 404) if change.is_deleted else (200,)), change
        if answer.status == 200 and not is_cut:
            assert answer["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"', change
            assert answer.body in (OLD[: change.size], NEW[: change.size]), change
        after = lab.get(f"f{number}")
        expected = (404, False) if change.is_deleted else (200, True)
        assert (after.status, after.body == NEW[: change.size]) == expected, change


def test_boards_on_local_files_notice_nothing_of_a_store_that_hangs(make: Make, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(OLD)
    lab = make(look_timeout=60.0)
    url = lab.client.serve("local", tmp_path / "f")
    stalled = lab.proxy.spoil("stall", method="", at=-1, times=0)
    with contextlib.ExitStack() as stack:
        stuck = [stack.enter_context(Wire(lab.client.get_port())) for _ in range(30)]
        for number, wire in enumerate(stuck):
            wire.get(f"/stuck{number}")
        eventually(lambda: stalled.met >= 30, "all hang")

        assert url.endswith("/local")
        assert [lab.get("local").body == OLD for _ in range(10)] == [True] * 10
        assert not any(wire.has_input() for wire in stuck)
        lab.proxy.mend()
        assert {wire.answer().status for wire in stuck} == {404}


def test_what_is_cached_is_served_within_fresh_for_while_the_store_is_down(make: Make) -> None:
    lab = make(fresh_for=600.0)
    lab.store.write("big", OLD)
    lab.store.write("small", OLD[:1000])
    before = [lab.get("big").body, lab.get("small").body]
    lab.proxy.go_down()

    after = [lab.get("big"), lab.get("small"), lab.get("big", "Range: bytes=5-9"), lab.get("other")]

    assert before == [OLD, OLD[:1000]]
    assert [answer.status for answer in after] == [200, 200, 206, 503]
    assert [answer.body for answer in after[:3]] == [*before, OLD[5:10]]


def test_the_store_is_asked_no_more_than_is_needed(make: Make) -> None:
    lab = make(cache_bytes=0, look_timeout=60.0)
    lab.store.write("f", OLD)
    assert lab.proxy.seen() == []  # it has started
    etag = lab.get("f", method="HEAD")["ETag"]
    statuses = [
        lab.get("f", f"If-None-Match: {etag}").status,
        lab.get("f", 'If-Match: "another"').status,
        lab.get("f", f"Range: bytes={SIZE}-").status,
        lab.get("f", "Range: bytes=0-9", method="HEAD").status,
    ]
    looks = lab.proxy.seen()
    lab.proxy.forget()

    stalled = lab.proxy.spoil("stall", method="HEAD", at=-1)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(lab.get, "f", method="HEAD")
        eventually(lambda: stalled.met == 1)
        others = [pool.submit(lab.get, "f", method="HEAD") for _ in range(8)]
        assert lab.get("missing").status == 404  # by then at least some of the others wait for the next look
        stalled.let_go()
        alike = {one.result(10)["ETag"] for one in [first, *others]}

    assert statuses == [304, 412, 416, 200]
    assert [(one.method, one.sent) for one in looks] == [("HEAD", 0)] * 5
    assert alike == {etag}
    assert len(lab.proxy.seen("HEAD", "/f$")) < 9


def test_a_stop_does_not_wait_for_a_store_that_hangs(make: Make) -> None:
    lab = make()
    lab.proxy.spoil("stall", method="", at=-1, times=0)
    with Wire(lab.client.get_port()) as wire:
        wire.get("/f")
        eventually(lambda: lab.proxy.seen("HEAD"))

        lab.client.stop(0.0)

        assert not lab.client.is_running


@CACHES
def test_an_object_that_is_not_what_a_fresh_look_has_found_is_looked_at_again(make: Make, cache_bytes: int) -> None:
    lab = make(cache_bytes=cache_bytes, fresh_for=600.0)
    lab.store.write("f", OLD)
    looked = lab.get("f", method="HEAD")
    lab.store.write("f", NEW)

    answer = lab.get("f")
    assert (looked.status, answer.status) == (200, 200)
    assert answer.body == NEW
    assert answer["ETag"] != looked["ETag"]
