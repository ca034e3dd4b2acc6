"""`client.doctor()` of a server on a store: what the store is seen to do, and what to do about it."""

from __future__ import annotations

import contextlib
import re

import opendal

from httpserve import Finding, HttpServerClient
from httpserve.base.outcome import CacheSeen, StoreSeen
from httpserve.doctor.store import look_at_store
from tests.cases import each
from tests.stores.proxy import Proxy
from tests.stores.servers import Place, Servers

WELL = StoreSeen("the store", "", 0.001, (), "", is_pinned=True, skew=0.2, cache=None)


def found(root: opendal.Operator) -> dict[str, Finding]:
    findings = HttpServerClient(host="127.0.0.1", root=root).doctor().findings
    return {one.check: one for one in findings if one.check.startswith("store")}


def test_store_that_is_well(s3: Place) -> None:
    operator = s3.operator()
    operator.write("image", b"content")

    findings = found(operator)

    assert {one.status for one in findings.values()} == {"ok"}
    assert re.search(r"answers within \d+\.\d ms", findings["store"].message)
    assert abs(findings["store clock"].data["skew"]) < 60


def test_store_that_refuses_the_key(s3: Place) -> None:
    finding = found(s3.operator(secret_access_key="another"))["store"]

    assert (finding.status, "permission denied" in finding.message) == ("fail", True)
    assert "check the key" in finding.next_step
    assert "another" not in str(finding)


def test_store_that_is_down(s3: Place, proxy: Proxy) -> None:
    proxy.go_down()

    finding = found(s3.through(proxy).operator())["store"]

    assert finding.status == "fail"
    assert "Connection refused" in finding.message
    assert "see whether it runs" in finding.next_step


def test_server_that_does_not_look_at_the_version_is_told(stores: Servers, moto: Place) -> None:
    moto.operator().write("image", b"content")
    with contextlib.closing(stores.proxy(moto.endpoint)) as proxy:
        proxy.strip("If-Match")

        assert found(moto.through(proxy).operator())["store pin"].status == "warn"
    assert "store pin" not in found(moto.operator())


def test_service_that_lacks_things(webdav: Place) -> None:
    assert "store list" not in found(webdav.operator())
    lacks = found(opendal.Operator("memory"))["store service"]
    assert lacks.data == {"lacks": ["reads that are held to a version", "metadata for a digest"]}


@each(
    ("seen", "check", "status", "text"),
    [
        (WELL._replace(seconds=0.8), "store", "warn", "0.80 s"),
        (WELL._replace(list_error="permission denied"), "store list", "warn", "permission denied"),
        (WELL._replace(is_pinned=False), "store pin", "warn", "one more look"),
        (WELL._replace(skew=-1000.0), "store clock", "fail", "1000 s behind"),
        (WELL._replace(skew=61.0), "store clock", "fail", "61 s ahead of"),
        (
            WELL._replace(cache=CacheSeen("/cache", 8 << 30, 1 << 30, 100 << 30)),
            "store cache",
            "ok",
            "1.0 GiB of 8.0 GiB",
        ),
        (
            WELL._replace(cache=CacheSeen("/cache", 8 << 30, 1 << 30, 1 << 30)),
            "store cache",
            "warn",
            "room for 1.0 GiB",
        ),
    ],
)
def test_what_is_said_of_what_was_seen(seen: StoreSeen, check: str, status: str, text: str) -> None:
    (finding,) = [one for one in look_at_store(seen) if one.check == check]

    assert finding.status == status
    assert text in finding.message, finding.message
