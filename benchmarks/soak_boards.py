"""The boards of the soak: they fetch, resume, dawdle, pipeline, send rubbish, and go away in the middle.

Knows sockets, and the contents that may come. Each board has an address of its own, and notes of every request how
much of the answer its system has acknowledged, to the byte: whatever is claimed of it is compared with that. Knows
nothing of the server but its port. Linux only.
"""

from __future__ import annotations

import ctypes
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.05  # where nobody listens just now
RESET = struct.pack("ii", 1, 0)
SMALL_BUFFER_BYTES = 16_384
SO_ATTACH_FILTER = 26
PART_BYTES = 10_000
RUBBISH = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"A" * 40_000,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /small HTTP/1.1\r\nHost: a\r\nRange: bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 9000, 3)),
    b"\x1b]0;pwned\x07 /small HTTP/1.1\r\n\r\n",
]


class Cut(OSError):
    """The server reset the connection, refused it, or closed it before it answered."""


@dataclass
class Note:
    """What a board knows of one of its requests.

    Attributes:
        token: What tells it from all others, in its User-Agent; empty where it was sent as others are.
        client: The board's address.
        name: What it asked for.
        began: When it was sent, in seconds since the epoch.
        status: That of the answer; 0 while there is none.
        start: Where in the file the content begins.
        total: The size of the file, as the answer says.
        length: How much content the answer has, as it says.
        got: How much of it the board's system has acknowledged.
    """

    token: str
    client: str
    name: str
    began: float
    status: int = 0
    start: int = 0
    total: int = 0
    length: int = 0
    got: int = 0

    @property
    def is_whole(self) -> bool:
        return self.status != 0 and self.got == self.length


class Connection:
    """A connection of a board, which knows at its end what has come to the byte."""

    def __init__(self, port: int, address: str, token: str, receive_bytes: int | None = None) -> None:
        self.notes: list[Note] = []
        self._address = address
        self._token = token
        self._unanswered = 0  # the first of the notes whose answer is not whole
        self._data = bytearray()  # of that answer
        self._was_reset = False
        self.tag = ""  # the ETag of the last answer
        self.early = ""  # what there was at an end that looks orderly, and is none
        self.sock = socket.socket()
        try:
            self.sock.settimeout(PATIENCE_SECONDS)
            if receive_bytes is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            self.sock.bind((address, 0))
            self.sock.connect(("127.0.0.1", port))
        except OSError as error:
            self.sock.close()
            raise Cut from error

    def ask(self, *names: str, fields: str = "") -> None:
        """Send requests, all at once."""
        sent = ""
        for name in names:
            token = f"{self._token}-{len(self.notes)}" if self._token else ""
            self.notes.append(Note(token, self._address, name, time.time()))
            agent = f"User-Agent: {token}\r\n" if token else ""
            sent += f"GET /{name} HTTP/1.1\r\nHost: bench\r\n{agent}{fields}\r\n"
        try:
            self.sock.sendall(sent.encode())
        except OSError as error:
            raise Cut from error

    def answer(self) -> tuple[Note, bytes]:
        """Return the next answer, whole. Raises Cut where it is not."""
        while True:
            whole = self._whole_answer()
            if whole is not None:
                return whole
            if not self.receive(1 << 20):
                raise Cut

    def receive(self, most: int) -> int:
        """Take what comes next; returns how much it was, 0 at an orderly end. Raises Cut at any other."""
        try:
            data = self.sock.recv(most)
        except OSError as error:
            self._was_reset |= isinstance(error, ConnectionError)  # which the system tells once: then comes an end
            raise Cut from error
        self._data += data
        self._note()
        if (
            not data
            and not self._was_reset
            and self._unanswered < len(self.notes)
            and self._data
            and not self._is_whole()
        ):
            self.early = f"an end that looks orderly, with {len(self._data)} bytes of {self.notes[self._unanswered]}"
        return len(data)

    def die(self) -> None:
        """Take nothing more, as a board without power, and end with a reset; returns with the notes final."""
        program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0, which drops
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))
            self.sock.setblocking(False)
            while self.receive(1 << 20):
                self._skip_whole_answers()
        except OSError:  # all is taken, or there was a reset
            pass
        self._skip_whole_answers()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.close()

    def _skip_whole_answers(self) -> None:
        while self._whole_answer() is not None:
            pass

    def _whole_answer(self) -> tuple[Note, bytes] | None:
        if self._unanswered == len(self.notes):
            return None
        if not self._is_whole():
            return None
        note = self.notes[self._unanswered]
        begin = self._data.find(b"\r\n\r\n") + 4
        body = bytes(self._data[begin : begin + note.length])
        del self._data[: begin + note.length]
        self._unanswered += 1
        self._note()
        return note, body

    def _is_whole(self) -> bool:
        return self.notes[self._unanswered].is_whole

    def _note(self) -> None:
        """See how far the answer has come."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or self._unanswered == len(self.notes):
            return
        note = self.notes[self._unanswered]
        if not note.status:
            lines = bytes(self._data[:end]).decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:])
            note.status = int(lines[0].split()[1])
            note.length = note.total = int(fields.get("content-length", "0")) if note.status != 304 else 0
            if note.status == 206 and "content-range" in fields:
                reach, _, total = fields["content-range"].removeprefix("bytes ").partition("/")
                note.start, note.total = int(reach.partition("-")[0]), int(total)
            self.tag = fields.get("etag", "")
        note.got = min(note.length, len(self._data) - end - 4)


class Boards:
    """Boards, each in a thread of its own.

    Args:
        port: Where the server listens, when it does.
        names: What they ask for.
        contents: What any answer of 200 must be one of, each of another size.
        network: Their addresses begin so.
        count: How many there are.
        seed: Of their chances.
    """

    def __init__(
        self, port: int, names: list[str], contents: Iterable[bytes], network: str, count: int, seed: int
    ) -> None:
        self._port = port
        self._names = names
        self._contents = {len(content): content for content in contents}
        self._network = network
        self._chances = [random.Random(seed * 1000 + number) for number in range(count)]
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()  # guards what follows
        self._connections = 0
        self._notes: list[Note] = []
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def start(self) -> None:
        self._end.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(f"{self._network}.{number + 1}", chance))
            for number, chance in enumerate(self._chances)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Note]:
        """End all of them. Blocks until the last has what it was fetching; returns what they noted."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        notes, self._notes = self._notes, []
        return notes

    def _run(self, address: str, chance: random.Random) -> None:
        ways: list[Callable[[random.Random, Callable[..., Connection]], None]] = [
            *[self._fetch] * 6,
            *[self._resume] * 2,
            *[self._pipeline] * 2,
            *[self._fetch_parts] * 2,
            self._half_close,
            self._dawdle,
            self._die,
            self._idle,
        ]
        while not self._end.is_set():
            opened: list[Connection] = []

            def connect(receive_bytes: int | None = None, opened: list[Connection] = opened) -> Connection:
                with self._lock:
                    self._connections += 1
                    # Every other request is as those of other boards, to the byte: it is answered as one before.
                    token = f"{self._network}-{self._connections}" if self._connections % 2 else ""
                opened.append(Connection(self._port, address, token, receive_bytes))
                return opened[-1]

            way = chance.choice(ways)
            try:
                if chance.random() < 0.1:
                    way = self._rubbish
                way(chance, connect)
                self._did(way.__name__.strip("_"))
            except Cut:  # it was stopped, or cut, as the soak does all the time
                self._did("cut or refused")
                self._end.wait(PAUSE_SECONDS)
            except ValueError as error:
                self._complain(f"what is no answer: {error!r}")
            finally:
                for connection in opened:
                    connection.die()
                    if connection.early:
                        self._complain(connection.early)
                with self._lock:
                    self._notes += [note for connection in opened for note in connection.notes]

    # What they do

    def _fetch(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        for _ in range(chance.randrange(1, 20)):
            connection.ask(chance.choice(self._names))
            self.check(*connection.answer())

    def _resume(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        name = chance.choice(self._names)
        connection.ask(name, fields=f"Range: bytes=0-{PART_BYTES - 1}\r\n")
        first, begin = connection.answer()
        if first.status != 206:
            return
        self.check(first, begin)
        connection.ask(name, fields=f"Range: bytes={PART_BYTES}-\r\nIf-Range: {connection.tag}\r\n")
        second, rest = connection.answer()
        self.check(second, rest)
        if second.status == 206 and begin + rest != self._contents.get(second.total):
            self._complain(f"a resumed download of {second.total} bytes is made of two versions")

    def _fetch_parts(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        name = chance.choice(self._names)
        size = chance.choice(list(self._contents))
        middle = size // 2
        connections = [connect(), connect()]
        connections[0].ask(name, fields=f"Range: bytes=0-{middle}\r\n")
        connections[1].ask(name, fields=f"Range: bytes={middle + 1}-\r\n")
        for connection in connections:
            self.check(*connection.answer())

    def _pipeline(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect(chance.choice([None, SMALL_BUFFER_BYTES]))
        names = chance.choices(self._names, k=chance.randrange(2, 12))
        connection.ask(*names)
        for _ in names[chance.choice([0, 0, 0, 1]) :]:
            self.check(*connection.answer())

    def _half_close(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        connection.ask(chance.choice(self._names))
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Cut from error
        self.check(*connection.answer())

    def _dawdle(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect(SMALL_BUFFER_BYTES)
        connection.ask(chance.choice(self._names))
        while not self._end.wait(0.01) and connection.receive(chance.randrange(1, 20_000)):
            if chance.random() < 0.02:
                return

    def _die(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect(SMALL_BUFFER_BYTES)
        connection.ask(*chance.choices(self._names, k=chance.randrange(1, 3)))
        connection.receive(chance.randrange(1, 200_000))

    def _rubbish(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        try:
            connection.sock.sendall(chance.choice(RUBBISH))
            connection.sock.shutdown(socket.SHUT_WR)
            while connection.sock.recv(65536):
                pass
        except OSError as error:
            raise Cut from error

    def _idle(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        connection.sock.sendall(b"GET / HT"[: chance.randrange(8)])
        self._end.wait(chance.random())

    # What they say of it

    def check(self, note: Note, body: bytes) -> None:
        """Compare an answer with what there is."""
        self._did(str(note.status))
        if note.status not in (200, 206):
            return
        content = self._contents.get(note.total)
        self._did("whole answers, every byte compared")
        if content is None or content[note.start : note.start + note.length] != body:
            self._complain(f"{len(body)} bytes that nobody put: {note}")

    def _did(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def _complain(self, what: str) -> None:
        self._did("wrong")
        self.wrong.append(f"{time.strftime('%H:%M:%S')} a board got {what}")
