"""What waits cost the boards: requests a second of one small file while 20 calls wait, beside the rate without any.

Knows kinds of waits. `python -m benchmarks.waits` prints how much is left of the rate: while they wait for another
name, and while they wait for the very file that is asked for. The load comes from `benchmarks.load`.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import load
from httpserve import HttpServeError, HttpServerClient

WAITS = 20
ASKED, OTHER = "asked", "other"  # files
NOBODY = "10.255.255.1"  # never asks

Wait = Callable[[HttpServerClient, str, float], object]  # on a client, for a name, for so many seconds


def download(**terms: Any) -> Wait:
    def wait(client: HttpServerClient, name: str, seconds: float) -> object:
        return client.wait_for_download(name, seconds, **terms)

    return wait


def request(**terms: Any) -> Wait:
    def wait(client: HttpServerClient, name: str, seconds: float) -> object:
        return client.wait_for_request(name, timeout=seconds, **terms)

    return wait


def refuse(record: object) -> bool:
    return False


KINDS: dict[str, Wait] = {  # none of which ends before its time
    "a whole download": download(client=NOBODY),
    "several boards": download(clients=3),
    "a part": download(until=0.5, clients=3),
    "rest": download(until="idle", idle=60.0),
    "since": download(since=0.0, clients=3),
    "a function": download(client=refuse),
    "progress": download(progress=lambda received, total: None, client=NOBODY),
    "a request": request(client=NOBODY),
    "a request, by a function": request(client=refuse),
}


@contextlib.contextmanager
def waiting(client: HttpServerClient, wait: Wait, name: str, seconds: float) -> Iterator[None]:
    """Let 20 threads wait during the block, which takes so many seconds, and for a little longer."""

    def go_on() -> None:
        with contextlib.suppress(HttpServeError):
            wait(client, name, seconds)

    threads = [threading.Thread(target=go_on) for _ in range(WAITS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def rate(client: HttpServerClient, seconds: int, connections: int) -> float:
    return load.request_rate(client.get_url(ASKED), connections, seconds, keep_alive=True).value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description="what waits cost the boards")
    parser.add_argument("--rounds", type=int, default=3, help="medians of these (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement (default 2)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="only these waits")
    parser.add_argument("--connections", type=int, default=1, help="boards that ask (default 1)")
    options = parser.parse_args()
    with HttpServerClient(host="127.0.0.1") as client:
        for name in (ASKED, OTHER):
            client.storage.write_bytes(name, bytes(100))
        print(f"{WAITS} waits for:                  none   another name   the same name")
        for kind in options.only:
            wait = KINDS[kind]
            rates: dict[str, list[float]] = {"": [], OTHER: [], ASKED: []}
            for _ in range(options.rounds):
                rates[""].append(rate(client, options.seconds, options.connections))
                for name in (OTHER, ASKED):
                    with waiting(client, wait, name, options.seconds + 1.0):
                        time.sleep(0.1)
                        rates[name].append(rate(client, options.seconds, options.connections))
            none, other, same = (statistics.median(found) for found in rates.values())
            print(f"{kind:26}{none:8.0f} {other:8.0f} {other / none:5.2f} {same:8.0f} {same / none:5.2f}", flush=True)


if __name__ == "__main__":
    main()
