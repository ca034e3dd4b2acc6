"""The boards of the soak: they fetch, resume, dawdle, pipeline, upload, send rubbish, and go away in the middle.

Knows sockets, and the contents that may come. Each board has an address of its own, and notes of every request how
much of the answer its system has acknowledged, to the byte, and which bytes of the file came right: whatever is claimed
of it is compared with that. What is odd it tells; whether somebody asked for it, others know. Knows nothing of the
server but its port. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks import soak_uploads
from benchmarks.soak_uploads import Sending, Sent

PATIENCE_SECONDS = 30.0
SHORT_PATIENCE_SECONDS = 1.0  # that of others
PAUSE_SECONDS = 0.05  # where nobody listens just now
RESET = struct.pack("ii", 1, 0)
SMALL_BUFFER_BYTES = 16_384
SO_ATTACH_FILTER = 26
PART_BYTES = 10_000
UNKNOWN = sys.maxsize  # the length of content of which only the end tells it
GO_AHEAD = b"HTTP/1.1 100 "
MOST_WRONG = 1000  # bytes of an answer, of those that are told apart
SAMPLES = 64  # bytes that tell to which file a part belongs
WHOLE, PART = "whole answers, every byte compared", "parts of answers, every byte compared"
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
        total: The size of the file, as the answer says, or as its bytes show.
        length: How much content the answer has, as it says, with what parts it into chunks.
        got: How much of it the board's system has acknowledged.
        right: Which parts of the file came as somebody put them: (start, stop), stop exclusive.
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
    right: tuple[tuple[int, int], ...] = ()

    @property
    def is_whole(self) -> bool:
        return self.status != 0 and self.got == self.length


@dataclass(frozen=True)
class Odd:
    """What a board found that is wrong unless somebody asked for it.

    Attributes:
        kind: `bytes` that nobody put, a whole answer that is too `short`, an `early` end that looks orderly, `rubbish`
            that is no answer, or a download `mixed` of two versions.
        keys: The tokens of the requests, or the addresses and ports of connections, whose answers may explain it.
        text: What to say of it.
    """

    kind: str
    keys: tuple[str, ...]
    text: str


Compare = Callable[[str, Note, bytes], object]


class Connection:
    """A connection of a board, which knows at its end what has come to the byte.

    Args:
        port: Where the server listens.
        address: The board's.
        token: Begins those of its requests; empty for none.
        receive_bytes: The size of its buffer.
        compare: Is given `key` and the content of each answer, or as much of it as came, once.

    Attributes:
        key: The board's address and port, which tell the connection from others.
    """

    def __init__(
        self,
        port: int,
        address: str,
        token: str,
        receive_bytes: int | None = None,
        compare: Compare = lambda key, note, body: None,
    ) -> None:
        self.notes: list[Note] = []
        self._compare = compare
        self._address = address
        self._token = token
        self._unanswered = 0  # the first of the notes whose answer is not whole
        self._data = bytearray()  # of that answer
        self._was_reset = False
        self._is_chunked = False  # the answer that comes
        self._at_end = False
        self.tag = ""  # the ETag of the last answer
        self.early = ""  # what there was at an end that looks orderly, and is none
        self.rubbish = ""  # what came in place of an answer
        self.key = ""
        self.sock = socket.socket()
        try:
            self.sock.settimeout(PATIENCE_SECONDS)
            if receive_bytes is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            self.sock.bind((address, 0))
            self.sock.connect(("127.0.0.1", port))
            self.key = f"{address}:{self.sock.getsockname()[1]}"
        except OSError as error:
            self.sock.close()
            raise Cut from error

    def ask(self, *names: str, fields: str = "") -> None:
        """Send requests, all at once."""
        sent = ""
        for name in names:
            token = self.begin(name)
            agent = f"User-Agent: {token}\r\n" if token else ""
            sent += f"GET /{name} HTTP/1.1\r\nHost: bench\r\n{agent}{fields}\r\n"
        self.send(sent.encode())

    def begin(self, name: str) -> str:
        """Note that a request follows, and return its token."""
        token = f"{self._token}-{len(self.notes)}" if self._token else ""
        self.notes.append(Note(token, self._address, name, time.time()))
        return token

    def send(self, data: bytes) -> None:
        """Send bytes. Raises Cut where nobody takes them."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self._was_reset |= isinstance(error, ConnectionError)
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
        self._at_end |= not data and not self._was_reset
        self._note()
        if not data and self._at_end and self._unanswered < len(self.notes) and self._data and not self._is_whole():
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
        with contextlib.suppress(Cut):
            self._skip_whole_answers()
        if self._unanswered < len(self.notes) and self.notes[self._unanswered].status and not self.rubbish:
            note = self.notes[self._unanswered]
            self._compare(self.key, note, self._content_of(note))
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
        body = self._content_of(note)
        del self._data[: self._data.find(b"\r\n\r\n") + 4 + note.length]
        self._unanswered += 1
        self._compare(self.key, note, body)
        self._note()
        return note, body

    def _is_whole(self) -> bool:
        return self.notes[self._unanswered].is_whole

    def _content_of(self, note: Note) -> bytes:
        begin = self._data.find(b"\r\n\r\n") + 4
        if self._is_chunked:
            return b"".join(chunks(self._data, begin)[0])
        return bytes(self._data[begin : begin + note.got])

    def _note(self) -> None:
        """See how far the answer has come. Raises Cut where it is none."""
        while self._data.startswith(GO_AHEAD) and b"\r\n\r\n" in self._data:
            del self._data[: self._data.find(b"\r\n\r\n") + 4]
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or self._unanswered == len(self.notes) or self.rubbish:
            return
        note = self.notes[self._unanswered]
        came = len(self._data) - end - 4
        try:
            if not note.status:
                self._read_head(note, bytes(self._data[:end]).decode("latin-1").split("\r\n"))
            if self._is_chunked and note.length == UNKNOWN:
                stop = chunks(self._data, end + 4)[1]
                note.length = UNKNOWN if stop is None else stop - end - 4
        except ValueError as error:
            self.rubbish = f"what is no answer, {error!r}, to {note}"
            raise Cut from error
        if note.length == UNKNOWN and self._at_end and not self._is_chunked:
            note.length = came
        note.got = min(note.length, came)

    def _read_head(self, note: Note, lines: list[str]) -> None:
        parted = [line.partition(":") for line in lines[1:]]
        fields = {name.lower(): value.strip() for name, _, value in parted}
        status = int(lines[0].split()[1])
        has_none = status in (204, 304)
        self._is_chunked = not has_none and fields.get("transfer-encoding", "") == "chunked"
        length = UNKNOWN if self._is_chunked else int(fields.get("content-length", UNKNOWN))
        note.length = note.total = 0 if has_none else length
        if status == 206 and "content-range" in fields:
            reach, _, total = fields["content-range"].removeprefix("bytes ").partition("/")
            note.start, note.total = int(reach.partition("-")[0]), int(total)
        self.tag = fields.get("etag", "")
        note.status = status


def chunks(data: bytes | bytearray, at: int) -> tuple[list[bytes], int | None]:
    """Return what has come of content in chunks that begins there, and where it ends; None: that is to come.

    Raises ValueError for what are no chunks.
    """
    came: list[bytes] = []
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        if not size:
            return came, end + 4 if len(data) >= end + 4 else None
        came.append(bytes(data[end + 2 : end + 2 + size]))
        at = end + 2 + size + 2
        if data[at - 2 : at] not in (b"\r\n", b"\r", b""):
            raise ValueError("a chunk does not end")
    return came, None


def right_parts(content: bytes, start: int, body: bytes) -> tuple[tuple[int, int], ...]:
    """Return which parts of a file came right; what follows very many wrong bytes counts as wrong."""
    wanted, came = memoryview(content)[start : start + len(body)], memoryview(body)
    parts = []
    at = wrong = 0
    while at < len(wanted) and wrong < MOST_WRONG:
        count = _agreeing(wanted[at:], came[at:])
        if count:
            parts.append((start + at, start + at + count))
        at += count + 1
        wrong += 1
    return tuple(parts)


def _agreeing(one: memoryview, other: memoryview) -> int:
    """Return how many bytes at the beginning are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


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
        self._found: list[Odd] = []
        self._sent: list[Sent] = []
        self.done: Counter[str] = Counter()

    def start(self) -> None:
        self._end.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(f"{self._network}.{number + 1}", chance))
            for number, chance in enumerate(self._chances)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> tuple[list[Note], list[Odd], list[Sent]]:
        """End all of them. Blocks until the last has what it was fetching.

        Returns what they noted, what they found odd, and what they have sent.
        """
        self._end.set()
        for thread in self._threads:
            thread.join()
        told = self._notes, self._found, self._sent
        self._notes, self._found, self._sent = [], [], []
        return told

    def _run(self, address: str, chance: random.Random) -> None:
        ways: list[Callable[[random.Random, Callable[..., Connection]], None]] = [
            *[self._fetch] * 6,
            *[self._resume] * 2,
            *[self._pipeline] * 2,
            *[self._fetch_parts] * 2,
            *[self._upload] * 6,
            self._fetch_uploaded,
            self._half_close,
            self._dawdle,
            self._die,
            self._idle,
        ]
        while not self._end.is_set():
            opened: list[Connection] = []
            patience = chance.choice([PATIENCE_SECONDS, SHORT_PATIENCE_SECONDS])
            way = self._rubbish if chance.random() < 0.1 else chance.choice(ways)

            def connect(
                receive_bytes: int | None = None,
                opened: list[Connection] = opened,
                way: object = way,
                patience: float = patience,
            ) -> Connection:
                with self._lock:
                    self._connections += 1
                    # Every other request is as those of other boards, to the byte: it is answered as one before.
                    is_told = self._connections % 2 or way == self._upload
                    token = f"{self._network}-{self._connections}" if is_told else ""
                opened.append(Connection(self._port, address, token, receive_bytes, self.check))
                opened[-1].sock.settimeout(patience)
                return opened[-1]

            try:
                way(chance, connect)
                self._did(way.__name__.strip("_"))
            except Cut:  # it was stopped, or cut, as the soak does all the time
                self._did("cut or refused")
                self._end.wait(PAUSE_SECONDS)
            finally:
                for connection in opened:
                    connection.die()
                    self._tell("early", connection.early, connection.key)
                    self._tell("rubbish", connection.rubbish, connection.key)
                with self._lock:
                    self._notes += [note for connection in opened for note in connection.notes]

    # What they do

    def _fetch(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        for _ in range(chance.randrange(1, 20)):
            connection.ask(chance.choice(self._names))
            connection.answer()

    def _resume(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        name = chance.choice(self._names)
        connection.ask(name, fields=f"Range: bytes=0-{PART_BYTES - 1}\r\n")
        first, begin = connection.answer()
        if first.status != 206:
            return
        connection.ask(name, fields=f"Range: bytes={PART_BYTES}-\r\nIf-Range: {connection.tag}\r\n")
        second, rest = connection.answer()
        if second.status == 206 and begin + rest != self._contents.get(second.total):
            what = f"a resumed download of {second.total} bytes that is made of two versions"
            self._tell("mixed", what, first.token or connection.key, second.token)

    def _fetch_parts(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        name = chance.choice(self._names)
        size = chance.choice(list(self._contents))
        middle = size // 2
        connections = [connect(), connect()]
        connections[0].ask(name, fields=f"Range: bytes=0-{middle}\r\n")
        connections[1].ask(name, fields=f"Range: bytes={middle + 1}-\r\n")
        for connection in connections:
            connection.answer()

    def _pipeline(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect(chance.choice([None, SMALL_BUFFER_BYTES]))
        names = chance.choices(self._names, k=chance.randrange(2, 12))
        connection.ask(*names)
        for _ in names[chance.choice([0, 0, 0, 1]) :]:
            connection.answer()

    def _half_close(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        connection.ask(chance.choice(self._names))
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Cut from error
        connection.answer()

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

    def _upload(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        token = connection.begin("")
        sending = Sending(chance, token, connection.notes[-1].client)
        connection.notes[-1].name = sending.sent.name
        with self._lock:
            self._sent.append(sending.sent)
        is_slow, patience = chance.random() < 0.3, chance.choice([0, 0.01, 0.1])
        with contextlib.suppress(Cut):  # there may be an answer that says why
            connection.send(sending.head)
            if sending.waits and connection.receive(1 << 20) and connection.notes[-1].status:
                return
            for piece in sending.pieces():
                connection.send(piece)
                if is_slow and self._end.wait(patience):
                    return
        if not sending.is_all:
            how = chance.choice(["reset", "closed", "silent"])
            if how == "closed":
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_WR)
            elif how == "reset" or self._end.wait(chance.random()):
                return
        connection.answer()
        sending.sent.status = connection.notes[-1].status

    def _fetch_uploaded(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        connection.ask(*chance.choices(soak_uploads.NAMES, k=2))
        connection.answer()
        connection.answer()

    def _idle(self, chance: random.Random, connect: Callable[..., Connection]) -> None:
        connection = connect()
        connection.sock.sendall(b"GET / HT"[: chance.randrange(8)])
        self._end.wait(chance.random())

    # What they say of it

    def check(self, key: str, note: Note, body: bytes) -> None:
        """Compare what came of an answer with what there is, and note which bytes of the file came right.

        Args:
            key: Tells the connection.
            note: Of the request.
            body: The content, or as much of it as came.
        """
        if note.is_whole:
            self._did(str(note.status))
        if note.status not in (200, 206) or not (body or note.is_whole):
            return
        self._did(WHOLE if note.is_whole else PART)
        content = self._content_of(note, body)
        said = f"{len(body)} bytes that nobody put: {note}"
        if content is not None:
            note.total = len(content)
            note.right = right_parts(content, note.start, body)
            if note.is_whole and note.status == 200 and len(body) < note.total:
                self._tell("short", said, note.token or key)
        if sum(stop - start for start, stop in note.right) != len(body) or content is None:
            self._tell("bytes", said, note.token or key)

    def _content_of(self, note: Note, body: bytes) -> bytes | None:
        """Return the file of which these bytes are a part, as most of them show; None: there is none."""
        if note.name in soak_uploads.NAMES:
            begins = b"\n" not in body  # its first line has not ended: there is more of it
            return body + b"\n" if begins else soak_uploads.sent_as(body)
        places = range(0, len(body), max(1, len(body) // SAMPLES))
        told = self._contents.get(note.total)
        same, best = 0, b""
        for content in [*([] if told is None else [told]), *self._contents.values()]:
            if note.start + len(body) <= len(content):
                found = sum(body[at] == content[note.start + at] for at in places) or int(content is told)
                if found > same:
                    same, best = found, content
        return best if same * 8 >= len(places) else None

    def _did(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def _tell(self, kind: str, what: str, *keys: str) -> None:
        if what:
            with self._lock:
                self._found.append(Odd(kind, keys, f"{time.strftime('%H:%M:%S')} a board got {what}"))
