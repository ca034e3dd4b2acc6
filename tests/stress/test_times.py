"""How long things take, where that is the claim: alone on a machine."""

from __future__ import annotations

import re
import socket
import threading
import time

from httpserve.cli.main import main
from tests.interfaces.conftest import END_SECONDS, Run

def test_time_for_the_copying_is_not_given_to_the_board_too(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as source:
        source.settimeout(END_SECONDS)
        serving = threading.Thread(target=answer_late, args=(source, 0.5))
        serving.start()

        code, output, errors = run(
            *("put", f"http://127.0.0.1:{source.getsockname()[1]}/x", "x", "-b", "127.0.0.1"),
            *("--exit-after-download", "--timeout", "2"),
        )

        serving.join()
    assert (code, output.count("\n"), errors.count("\n")) == (1, 1, 1)
    left = re.search(r"nobody has downloaded 'x' within ([\d.]+) s", errors)
    assert left is not None
    assert float(left[1]) <= 1.5


def answer_late(source: socket.socket, seconds: float) -> None:
    """Answer one request after a time."""
    asking, _ = source.accept()
    with asking:
        asking.recv(65536)
        time.sleep(seconds)  # the fact itself
        asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")


