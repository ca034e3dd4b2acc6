"""A port forward, as a container's runtime, `ssh -R` or NAT has one: `forward.py ADDRESS PORT TO_ADDRESS TO_PORT`.

Knows sockets alone. Writes a line when it listens, and runs until it is killed.
"""

from __future__ import annotations

import socket
import sys
import threading

CHUNK_BYTES = 65536


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and the end."""
    try:
        while data := source.recv(CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()


def forward(address: str, port: int, to: tuple[str, int]) -> None:
    """Forward each connection."""
    with socket.create_server((address, port)) as listening:
        print("listens", flush=True)
        while True:
            board, _ = listening.accept()
            server = socket.create_connection(to)
            for ends in ((board, server), (server, board)):
                threading.Thread(target=pump, args=ends, daemon=True).start()


if __name__ == "__main__":
    forward(sys.argv[1], int(sys.argv[2]), (sys.argv[3], int(sys.argv[4])))
