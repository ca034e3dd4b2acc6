"""Suites that serve a store, on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.robot.suites import run
from tests.stores.servers import KEYS, Place


@pytest.fixture
def url(s3: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place with an object; the environment has the key."""
    s3.operator().write("boot/zImage", b"kernel")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret_access_key"])
    return f"s3://bench{s3.root}?region=us-east-1&disable_ec2_metadata=true&endpoint={s3.endpoint}"


def test_a_suite_serves_a_store_by_its_url(s3: Place, url: str, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        f"""
From The Import
    ${{url}}=    Start HTTP Server
    ${{got}}=    Type On Board    curl -s ${{url}}/boot/zImage
    Should Be Equal    ${{got}}    kernel
    File Should Exist    boot/zImage
    ${{port}}=    Evaluate    $url.rpartition(":")[2]
    ${{got}}=    Type On Board    curl -s http://127.0.0.3:${{port}}/boot/zImage
    Should Be Equal    ${{got}}    kernel
    Put Text    boot/cmdline.txt    quiet
    Stop HTTP Server
    ${{url}}=    Start HTTP Server    root={url}
    ${{got}}=    Type On Board    curl -s ${{url}}/boot/zImage
    Should Be Equal    ${{got}}    kernel
Beside A Directory
    Start HTTP Server    alias=own    root_dir=${{CURDIR}}/board
    Put Text    own    text
    File Should Exist    own    server=own
From An Operator
    ${{store}}=    Create Operator    service={url}
    ${{url}}=    Start HTTP Server    alias=other    root=${{store}}    cache_bytes=0    fresh_for=2 s
    ${{got}}=    Type On Board    curl -s ${{url}}/boot/cmdline.txt
    Should Be Equal    ${{got}}    quiet
Misspelt
    Run Keyword And Expect Error    s3 has no option regoin=; there is region=
    ...    Start HTTP Server    alias=wrong    root=s3://bench?regoin=x
""",
        arguments=f"root={url}    cache_bytes=10 MiB    only=boot, own    more_hosts=127.0.0.2, 127.0.0.3",
    )

    assert done.all_passed()
    assert s3.operator().read("boot/cmdline.txt") == b"quiet"
