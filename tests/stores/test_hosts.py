"""Three server processes, as three hosts, on one store: 60 boards get the right versions, and outlive a host."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.server.wire import Answer, Wire, next_line, pattern, script
from tests.stores.proxy import Proxy
from tests.stores.servers import Place, Servers

HOST = """
import json, sys
import opendal
from httpserve import HttpServerClient

settings = json.loads(sys.argv[1])
with HttpServerClient(host="127.0.0.1", root=opendal.Operator(settings.pop("scheme"), **settings)) as client:
    print(client.get_port(), flush=True)
    sys.stdin.read()
"""
HOSTS, BOARDS = 3, 60
NAMES = [f"image{number}" for number in range(5)]
SIZE = 2_000_003


class Host(NamedTuple):
    """A process that serves the store, and what lies between it and the store."""

    process: subprocess.Popen[str]
    port: int
    proxy: Proxy


@pytest.fixture
def hosts(s3: Place, stores: Servers) -> Iterator[list[Host]]:
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(HOSTS):
            proxy = stack.enter_context(contextlib.closing(stores.proxy(s3.endpoint)))
            place = s3.through(proxy)
            settings = {"scheme": place.scheme, "endpoint": place.endpoint, "root": place.root, **place.settings}
            process = stack.enter_context(script(HOST, json.dumps(settings)))
            stack.callback(process.kill)
            processes.append((process, proxy))
        yield [Host(process, int(next_line(process)), proxy) for process, proxy in processes]


def put(place: Place, name: str, seed: int) -> bytes:
    content = pattern(SIZE, seed)
    place.operator().write(name, content, user_metadata={"sha256": hashlib.sha256(content).hexdigest()})
    return content


def fetched(host: Host, name: str) -> Answer:
    with Wire(host.port) as wire:
        return wire.ask(f"/{name}")


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def test_sixty_boards_at_three_hosts_get_each_version_whole_and_each_host_reads_it_once(
    s3: Place, hosts: list[Host]
) -> None:
    for version in range(2):
        contents = {name: put(s3, name, 10 * version + number) for number, name in enumerate(NAMES)}
        for host in hosts:
            host.proxy.forget()
        wanted = [(hosts[board % HOSTS], NAMES[board // HOSTS % len(NAMES)]) for board in range(BOARDS)]

        with ThreadPoolExecutor(BOARDS) as pool:
            answers = list(pool.map(fetched, *zip(*wanted, strict=True)))

        for (_, name), answer in zip(wanted, answers, strict=True):
            assert answer.status == 200
            assert answer["ETag"] == etag(contents[name])
            assert answer.body == contents[name]
        for host in hosts:
            for name in NAMES:
                read = host.proxy.bytes_sent("GET", f"/{name}$")
                assert SIZE <= read <= 1.01 * SIZE, (name, host.proxy.seen("GET", f"/{name}$"))


def test_a_host_is_killed_and_its_boards_go_on_at_another_under_the_same_etag(s3: Place, hosts: list[Host]) -> None:
    content = put(s3, "image", 1)
    killed, *others = hosts
    others[0].proxy.forget()
    with contextlib.ExitStack() as stack:
        boards = [stack.enter_context(Wire(killed.port, receive_bytes=65536)) for _ in range(BOARDS // HOSTS)]
        begun = []
        for board in boards:
            board.get("/image")
            head = Answer(board.read_head(), b"")
            begun.append((head["ETag"], board.read_exactly(100_000)))
        killed.process.kill()
        for number, board in enumerate(boards):
            begun[number] = (begun[number][0], begun[number][1] + board.rest_until_any_end())

    def go_on(number: int) -> tuple[int, bytes]:
        known, first = begun[number]
        with Wire(others[number % len(others)].port) as wire:
            answer = wire.ask("/image", f"Range: bytes={len(first)}-", f"If-Range: {known}")
        return answer.status, first + answer.body

    with ThreadPoolExecutor(len(begun)) as pool:
        ended = list(pool.map(go_on, range(len(begun))))

    assert {known for known, _ in begun} == {etag(content)}
    assert all(len(first) < SIZE for _, first in begun)
    assert ended == [(206, content)] * len(begun)
