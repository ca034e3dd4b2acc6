"""Processes that are killed in the middle of their puts, beside files of the user's that nobody may touch.

Knows processes, and what a directory for temporary files may hold. Knows no board but the one that it is itself.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from httpserve import HttpServerClient

LONGEST_SECONDS = 0.3  # from the first put to the kill
PATIENCE_SECONDS = 30.0
BIG_BYTES = 30 << 20
VICTIM = """
import sys, tempfile
from httpserve import HttpServerClient
root, tempfile.tempdir, big, *sources = sys.argv[1:]
client = HttpServerClient(root or None, host="127.0.0.1", remove_created_on_close=False)
client.start()
client.put_file("big", big)
print(client.get_port(), flush=True)
while True:
    for source in sources:
        client.put_file("deep/image", source)
"""
# What a user may well have there: names like ours, of a root that is served, and of what no server knows.
PLANTED = [
    "httpserve-builds/golden.img",
    "httpserve-builds/deep/notes.txt",
    "httpserve-0a1b2c3d/own.img",
    "httpserve-log",
    ".httpserve-notes",
    "other/httpserve-x/own.img",
]
GIVEN = ["httpserve-builds", "other/httpserve-x"]


class Kills:
    """Kills one process after the other, and looks what is left.

    Args:
        where: The directory to work in; the sources are in it.
        contents: What a file may be.
        chance: When, whom, and how.
    """

    def __init__(self, where: Path, contents: set[bytes], chance: random.Random) -> None:
        self._where = where
        self._temporary = where / "tmp"
        self._contents = contents
        self._chance = chance
        self._big = where / "big"
        self._big.write_bytes(random.Random(0).randbytes(BIG_BYTES))
        self._sources = sorted(str(path) for path in (where / "sources").iterdir())
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        for name in PLANTED:
            path = self._temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._planted(name))

    def kill_one(self) -> None:
        """Kill a process; what the next one finds must be whole, and all else as it was. Blocks for a second."""
        root = self._chance.choice(["", *(str(self._temporary / name) for name in GIVEN), str(self._where / "killed")])
        command = [sys.executable, "-c", VICTIM, root, str(self._temporary), str(self._big), *self._sources]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
            assert victim.stdout is not None
            port = int(victim.stdout.readline())
            with self._board(port) as board:
                board.recv(self._chance.randrange(1, 100_000))
                signal.sigtimedwait([], self._chance.uniform(0, LONGEST_SECONDS))  # the moment of the kill
                victim.send_signal(self._chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                self._end_of(board)
        self.done["processes killed in a put"] += 1
        if root:
            self._look_into(Path(root))
        self._look_into_temporary()

    def count_lost(self) -> int:
        """Return how many of the user's files are gone or changed."""
        return sum(not self._is_there(name) for name in PLANTED)

    def _board(self, port: int) -> socket.socket:
        board = socket.socket()
        board.settimeout(PATIENCE_SECONDS)
        board.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        board.connect(("127.0.0.1", port))
        board.sendall(b"GET /big HTTP/1.1\r\nHost: bench\r\n\r\n")
        return board

    def _end_of(self, board: socket.socket) -> None:
        """See that what is cut by the kill does not look whole."""
        count = 0
        try:
            while data := board.recv(1 << 20):
                count += len(data)
        except ConnectionError:
            self.done["downloads reset by a kill"] += 1
            return
        if count < BIG_BYTES - (1 << 20):
            self.wrong.append(f"an early end, which looks orderly, after {count} bytes, of a process that was killed")

    def _look_into(self, root: Path) -> None:
        with HttpServerClient(root, host="127.0.0.1", remove_created_on_close=False) as client:
            found = set(client.storage.scan("/"))
            if "deep/image" in found and client.storage.read_bytes("deep/image") not in self._contents:
                self.wrong.append("a killed process left part of a file")
        litter = [path.name for path in root.rglob(".httpserve-*") if path.suffix in (".part", ".journal")]
        users = {name.partition(f"{root.name}/")[2] for name in PLANTED if f"{root.name}/" in name}
        strange = found - {"/", "big", "deep/", "deep/image"} - users
        if litter or strange:
            self.wrong.append(f"litter of a killed process in {root.name}: {litter} {sorted(strange)}")
        for name in ("big", "deep/image"):
            (root / name).unlink(missing_ok=True)

    def _look_into_temporary(self) -> None:
        """Start a server with a private root there, which sweeps, and see what that has left."""
        before, tempfile.tempdir = tempfile.tempdir, str(self._temporary)
        try:
            with HttpServerClient(host="127.0.0.1"):
                pass
        finally:
            tempfile.tempdir = before
        litter = set(os.listdir(self._temporary)) - {name.partition("/")[0] for name in PLANTED}
        if litter:
            self.wrong.append(f"litter of a killed process among temporary files: {sorted(litter)}")
        lost = [name for name in PLANTED if not self._is_there(name)]
        if lost:
            self.wrong.append(f"files of the user's are gone: {lost}")

    def _is_there(self, name: str) -> bool:
        path = self._temporary / name
        return path.is_file() and path.read_bytes() == self._planted(name)

    def _planted(self, name: str) -> bytes:
        return f"the user's own {name}".encode() * 1000
