"""Remote operators as sources: opendal's http service against a server that does as each test says."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import opendal
import pytest
from opendal.layers import RetryLayer

from httpserve.errors import CopyFailed, CopyNotPermitted, SourceNotFound, SourceStalled
from httpserve.storage.copying.copy import copy_in
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.opening import open_source
from httpserve.storage.copying.operator import OperatorSource
from tests import warm
from tests.copying.raw_server import Answer, End, RawServer, answer, resumed

CONTENT = random.Random(5).randbytes(700_001)
HEAD = answer(length=len(CONTENT), ETag='"v1"')


def over_http(server: RawServer) -> opendal.Operator:
    return opendal.Operator("http", endpoint=server.url(""))


def fetch(src: str, operator: opendal.Operator, dst: Path, *, timeout: float = 10.0) -> bytes:
    with contextlib.closing(open_source(src, operator, timeout=timeout)) as source:
        copy_in(source, FileSink(str(dst)))
    return dst.read_bytes()


def test_a_remote_operator_is_read(dst: Path) -> None:
    with RawServer(HEAD, answer(CONTENT, ETag='"v1"'), HEAD) as server:
        assert fetch("file", over_http(server), dst) == CONTENT


def test_a_server_that_refuses_head_is_read_all_the_same(dst: Path) -> None:
    with RawServer(answer(status="405 Method Not Allowed"), answer(CONTENT)) as server:
        assert fetch("file", over_http(server), dst) == CONTENT


def test_a_directory_that_the_service_does_not_know_as_one_is_refused() -> None:
    with RawServer(answer(status="405 Method Not Allowed")) as server:
        operator = over_http(server)

        with pytest.raises(CopyFailed, match="is a directory"):
            open_source("dir/", operator, timeout=10)


@pytest.mark.parametrize(("status", "error"), [("404 Not Found", SourceNotFound), ("403 Forbidden", CopyNotPermitted)])
def test_what_the_service_refuses_is_ours(status: str, error: type[CopyFailed]) -> None:
    with RawServer(answer(status=status)) as server, pytest.raises(CopyFailed) as caught:
        open_source("file", over_http(server), timeout=10)

    assert type(caught.value) is error
    assert caught.value.__suppress_context__


def test_a_cut_connection_publishes_nothing(dst: Path) -> None:
    with RawServer(HEAD, answer(CONTENT[:300_000], length=len(CONTENT))) as server, pytest.raises(CopyFailed):
        fetch("file", over_http(server), dst)

    assert os.listdir(dst.parent) == []


def test_an_operator_with_retries_resumes_by_itself(dst: Path) -> None:
    with RawServer(HEAD, answer(CONTENT[:300_000], length=len(CONTENT)), resumed(CONTENT), HEAD) as server:
        operator = over_http(server).layer(RetryLayer(min_delay=0.001))

        assert fetch("file", operator, dst) == CONTENT


def test_a_source_that_became_another_is_not_published(dst: Path) -> None:
    with (
        RawServer(HEAD, answer(CONTENT), answer(length=len(CONTENT), ETag='"v2"')) as server,
        pytest.raises(CopyFailed, match="changed"),
    ):
        fetch("file", over_http(server), dst)

    assert os.listdir(dst.parent) == []


def test_a_source_with_another_length_than_it_said_is_not_published(dst: Path) -> None:
    with RawServer(HEAD, answer(CONTENT[:-1])) as server, pytest.raises(CopyFailed):
        fetch("file", over_http(server), dst)

    assert os.listdir(dst.parent) == []


# Stalls


def test_an_operator_that_never_answers_is_a_stall() -> None:
    with RawServer(Answer(b"", End.STALL)) as server, pytest.raises(SourceStalled, match=r"0\.1 s"):
        open_source("file", over_http(server), timeout=0.1)


def test_an_operator_that_stalls_ends_the_copy(dst: Path) -> None:
    stalling = answer(CONTENT[:300_000], length=len(CONTENT), end=End.STALL)
    with RawServer(HEAD, stalling) as server, pytest.raises(SourceStalled):
        fetch("file", over_http(server), dst, timeout=0.2)

    assert os.listdir(dst.parent) == []


def test_a_copy_that_was_given_up_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    with RawServer(HEAD, answer(CONTENT[:300_000], length=len(CONTENT), end=End.STALL)) as server:
        code = (
            "import opendal, sys\n"
            "from httpserve.storage.copying.copy import copy_in\n"
            "from httpserve.storage.copying.local import FileSink\n"
            "from httpserve.storage.copying.opening import open_source\n"
            "source = open_source('file', opendal.Operator('http', endpoint=sys.argv[1]), timeout=600)\n"
            "try:\n"
            "    copy_in(source, FileSink(sys.argv[2]), progress=lambda *_: print('here', flush=True))\n"
            "except KeyboardInterrupt:\n"
            "    source.close()\n"
            "    sys.exit(7)\n"
        )
        command = [sys.executable, "-c", code, server.url(""), str(tmp_path / "file")]
        with warm.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.send_signal(signal.SIGINT)

            assert child.wait(10) == 7

    assert os.listdir(tmp_path) == []


def test_closing_during_a_read_lets_the_reader_close() -> None:
    with RawServer(HEAD, answer(CONTENT[:10], length=len(CONTENT), end=End.STALL)) as server:
        source = OperatorSource("file", over_http(server), timeout=600)
        read: list[int] = []

        def reads() -> None:
            with contextlib.suppress(CopyFailed):
                while True:
                    read.append(source.readinto(memoryview(bytearray(100))))

        reader = threading.Thread(target=reads)
        reader.start()
        server.stalling.wait(10)
        source.close()
    reader.join(10)

    assert not reader.is_alive()
    assert sum(read) == 10
