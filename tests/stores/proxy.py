"""A proxy before a store, which spoils what the test says, and counts requests and bytes.

It runs in a process of its own, as iterating a list of opendal holds the interpreter's lock while it waits: a proxy in
the test's process could not answer. It ends with the process that started it. There are no clocks: what stalls goes on
when the test lets it. `Proxies` and `Proxy` are the side of the tests; the rest is the process.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

PIECE_BYTES = 1 << 18
LOOK_SECONDS = 0.01
S3_CODES = {403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed", 500: "InternalError", 503: "SlowDown"}
_RESET = struct.pack("ii", 1, 0)


class Seen(NamedTuple):
    """A request, as the proxy saw it.

    Attributes:
        method: GET, HEAD, ...
        target: What was asked for, with the query.
        asked: The Range field, or "".
        status: Of the answer that was sent; 0: none was.
        sent: How many bytes of content were given to the client's connection, the piece under way among them.
        received: How many bytes of content came from the client.
    """

    method: str
    target: str
    asked: str
    status: int
    sent: int
    received: int


@dataclass
class Spoiling:
    """What is done to some answers. What the fields mean is said at `Proxy.spoil`."""

    how: str
    method: str = "GET"
    target: str = ""
    first: int = 1
    times: int = 1
    at: int = 0
    status: int = 500
    fields: dict[str, str] = field(default_factory=dict)
    by: int = 0
    seconds: float = 0.001


# The side of the tests


class Spoiled:
    """A spoiling that was given to a proxy."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self._proxy = proxy
        self._number = number

    @property
    def met(self) -> int:
        """How many answers have come to the byte at which they are spoiled."""
        return int(self._proxy.tell("met", number=self._number))

    def let_go(self) -> None:
        """Let the answers that stall go on, and those that would."""
        self._proxy.tell("let_go", number=self._number)


class Proxy:
    """One proxy, at a port of its own.

    Attributes:
        endpoint: Its URL.
    """

    def __init__(self, tell: Callable[..., Any], endpoint: str) -> None:
        self._tell = tell
        self.port = tell("listen", server=endpoint)
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def tell(self, what: str, **values: Any) -> Any:
        """Have the process do something, and return what it answers."""
        return self._tell(what, port=self.port, **values)

    def spoil(self, how: str, **values: Any) -> Spoiled:
        """Spoil answers.

        Args:
            how: One of
                "answer": with *status* and *fields*, in the words of S3; the store is not asked;
                "lost": the store does what it is asked, and the connection is reset in place of its answer;
                "reset", "close": the connection after *at* bytes of content; -1: before the store is asked;
                "stall": there, until `let_go`; "stall, reset": and then end the connection;
                "slow": a KiB each *seconds*;
                "length": the Content-Length is wrong *by* so many bytes, and the connection ends after the content.
            values: Which answers: *method* ("": any), *target* (a pattern that is searched in it), the *first* of them
                and how many *times* (0: all from there); and what *how* takes.
        """
        return Spoiled(self, self.tell("spoil", spoiling=asdict(Spoiling(how, **values))))

    def mend(self) -> None:
        """Spoil nothing more. What stalls goes on."""
        self.tell("mend")

    def strip(self, *fields: str) -> None:
        """Take these fields off all requests: the server ignores them."""
        self.tell("strip", fields=[name.lower() for name in fields])

    def seen(self, method: str = "", target: str = "") -> list[Seen]:
        """Return the requests in the order of their arrival; also those whose answers are still under way.

        Args:
            method: "": any.
            target: A pattern that is searched in what was asked for.
        """
        requests = (Seen(*values) for values in self.tell("seen"))
        return [one for one in requests if method in ("", one.method) and re.search(target, one.target)]

    def bytes_sent(self, method: str = "GET", target: str = "") -> int:
        """Return how many bytes of content were sent in the answers to these requests."""
        return sum(one.sent for one in self.seen(method, target))

    def forget(self) -> None:
        """Forget the requests that were seen."""
        self.tell("forget")

    def go_down(self) -> None:
        """Refuse connections, and reset those that there are."""
        self.tell("go_down")

    def come_up(self) -> None:
        """Listen again, at the same port."""
        self.tell("come_up")

    def close(self) -> None:
        """End the proxy and its connections. Harmless when repeated."""
        self.tell("close")


class Proxies:
    """The process of the proxies."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-IS", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        self._channel = ours.makefile("rw")
        self._lock = threading.Lock()  # guards _channel
        ours.close()

    def before(self, endpoint: str) -> Proxy:
        """Return a new proxy before a server."""
        return Proxy(self._tell, endpoint)

    def close(self) -> None:
        """End the process."""
        self._channel.close()
        self._process.wait(10)

    def _tell(self, what: str, **values: Any) -> Any:
        with self._lock:
            self._channel.write(json.dumps({"what": what, **values}) + "\n")
            self._channel.flush()
            answer = json.loads(self._channel.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


# The process


class Ended(Exception):
    """The connection ends here."""


@dataclass
class Rule:
    """A spoiling, and how far it is."""

    spoiling: Spoiling
    matched: int = 0
    met: int = 0
    gate: threading.Event = field(default_factory=threading.Event)


class Listener:
    """A proxy."""

    def __init__(self, server: str) -> None:
        host, _, port = server.removeprefix("http://").rpartition(":")
        self.server = (host, int(port))
        self.lock = threading.Lock()  # guards all below
        self.rules: list[Rule] = []
        self.seen: list[list[Any]] = []
        self.stripped: set[str] = set()
        self.connections: set[socket.socket] = set()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.listen()

    def listen(self) -> None:
        threading.Thread(target=self._accept, args=[self.socket], daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                with self.lock:
                    self.connections.add(client)
                threading.Thread(target=Connection(self, client).run, daemon=True).start()

    # What the tests have it do

    def spoil(self, spoiling: dict[str, Any]) -> int:
        with self.lock:
            self.rules.append(Rule(Spoiling(**spoiling)))
            return len(self.rules) - 1

    def met(self, number: int) -> int:
        with self.lock:
            return self.rules[number].met

    def let_go(self, number: int) -> None:
        with self.lock:
            self.rules[number].gate.set()

    def mend(self) -> None:
        with self.lock:
            for rule in self.rules:
                rule.gate.set()
                rule.spoiling.method = "none"

    def strip(self, fields: list[str]) -> None:
        with self.lock:
            self.stripped = set(fields)

    def all_seen(self) -> list[list[Any]]:
        with self.lock:
            return [list(one) for one in self.seen]

    def forget(self) -> None:
        with self.lock:
            self.seen = []

    def go_down(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # ends accept(), which close() does not
        self.socket.close()
        with self.lock:
            for client in self.connections:
                with contextlib.suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.shutdown(socket.SHUT_RDWR)

    def come_up(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", self.port))
        self.listen()

    # What its connections ask

    def rule_for(self, method: str, target: str) -> Rule | None:
        with self.lock:
            for rule in self.rules:
                spoiling = rule.spoiling
                if spoiling.method in ("", method) and re.search(spoiling.target, target):
                    rule.matched += 1
                    number = rule.matched - spoiling.first
                    if number >= 0 and (spoiling.times == 0 or number < spoiling.times):
                        return rule
        return None

    def meet(self, rule: Rule) -> None:
        with self.lock:
            rule.met += 1


class Stream:
    """A connection that is read by lines and by numbers of bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""

    def head(self) -> bytes | None:
        """Return the next head; None at the end before one."""
        while b"\r\n\r\n" not in self.buffer:
            received = self.socket.recv(PIECE_BYTES)
            if not received:
                return None
            self.buffer += received
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self.buffer += self.piece(PIECE_BYTES, new=True) or self.fail()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def piece(self, most: int, new: bool = False) -> bytes:
        """Return what comes next; empty at the end."""
        if self.buffer and not new:
            data, self.buffer = self.buffer[:most], self.buffer[most:]
            return data
        return self.socket.recv(min(most, PIECE_BYTES))

    def fail(self) -> bytes:
        raise Ended

    def content(self, fields: dict[str, str]) -> Any:
        """Give the content that these fields announce, in pieces."""
        if "chunked" in fields.get("transfer-encoding", ""):
            while size := int(self.line().partition(b";")[0], 16):
                yield from self.exactly(size)
                self.line()
            self.line()
        elif "content-length" in fields:
            yield from self.exactly(int(fields["content-length"]))
        else:
            while data := self.piece(PIECE_BYTES):
                yield data

    def exactly(self, count: int) -> Any:
        while count:
            data = self.piece(count) or self.fail()
            count -= len(data)
            yield data


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def with_field(head: bytes, name: str, value: str) -> bytes:
    lines = head.decode("latin-1").split("\r\n")
    kept = [line for line in lines if not line.lower().startswith(name + ":")]
    return "\r\n".join([*kept, f"{name}: {value}"]).encode("latin-1")


class Connection:
    """A connection of a client, and one of its own to the server."""

    def __init__(self, listener: Listener, client: socket.socket) -> None:
        self.listener = listener
        self.client = Stream(client)
        self.server: Stream | None = None

    def run(self) -> None:
        try:
            while (head := self.client.head()) is not None:
                self.exchange(head)
        except (Ended, OSError):
            pass
        finally:
            with self.listener.lock:
                self.listener.connections.discard(self.client.socket)
            for stream in (self.client, self.server):
                if stream is not None:
                    stream.socket.close()

    def exchange(self, head: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        fields = fields_of(head)
        seen: list[Any] = [method, target, fields.get("range", ""), 0, 0, 0]
        rule = self.listener.rule_for(method, target)
        spoiling = Spoiling("") if rule is None else rule.spoiling
        with self.listener.lock:
            self.listener.seen.append(seen)
        if rule is not None and spoiling.at < 0:
            self.spoil(rule)
            rule = None
        has_content = "content-length" in fields or "transfer-encoding" in fields
        if spoiling.how == "answer":
            for data in self.client.content(fields) if has_content else ():
                seen[5] += len(data)
            self.listener.meet(rule or Rule(spoiling))
            seen[3] = spoiling.status
            content = f"<Error><Code>{S3_CODES.get(spoiling.status, '')}</Code></Error>"
            said = {**spoiling.fields, "Content-Length": str(len(content))}
            lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
            answer = f"HTTP/1.1 {spoiling.status} Spoiled\r\n{lines}\r\n{'' if method == 'HEAD' else content}"
            self.client.socket.sendall(answer.encode())
            return
        self.ask(head, fields, seen, has_content)
        self.answer(method, rule, seen)

    def ask(self, head: bytes, fields: dict[str, str], seen: list[Any], has_content: bool) -> None:
        lines = head.split(b"\r\n")
        stripped = self.listener.stripped
        kept = [line for line in lines if line.partition(b":")[0].decode("latin-1").strip().lower() not in stripped]
        if self.server is None:
            self.server = Stream(socket.create_connection(self.listener.server))
        self.server.socket.sendall(b"\r\n".join(kept) + b"\r\n\r\n")
        is_chunked = "transfer-encoding" in fields
        for data in self.client.content(fields) if has_content else ():
            seen[5] += len(data)
            self.server.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data) if is_chunked else data)
        if is_chunked:
            self.server.socket.sendall(b"0\r\n\r\n")

    def answer(self, method: str, rule: Rule | None, seen: list[Any]) -> None:
        assert self.server is not None
        head = self.server.head()
        while head is not None and head.split(b" ", 2)[1] == b"100":
            head = self.server.head()
        if head is None:
            raise Ended
        fields = fields_of(head)
        status = int(head.split(b" ", 2)[1])
        spoiling = Spoiling("") if rule is None else rule.spoiling
        if spoiling.how == "lost":
            self.spoil(rule, "reset")
        if spoiling.how == "length" and "content-length" in fields:
            head = with_field(head, "content-length", str(int(fields["content-length"]) + spoiling.by))
        seen[3] = status  # before it is sent: who has the answer finds it here
        self.client.socket.sendall(head + b"\r\n\r\n")
        is_chunked = "chunked" in fields.get("transfer-encoding", "")
        has_content = method != "HEAD" and status not in (204, 304)
        if has_content:
            self.send(self.server.content(fields), rule, seen, is_chunked)
            if is_chunked:
                self.client.socket.sendall(b"0\r\n\r\n")
        if rule is not None and spoiling.how == "length":
            self.listener.meet(rule)
            raise Ended
        ends_with_connection = has_content and not (is_chunked or "content-length" in fields)
        if ends_with_connection or fields.get("connection", "").lower() == "close":
            raise Ended

    def send(self, content: Any, rule: Rule | None, seen: list[Any], is_chunked: bool) -> None:
        """Send content on, spoiled where it is to be."""
        spoiling = Spoiling("length") if rule is None else rule.spoiling
        is_slow = spoiling.how == "slow"
        spoiled_at = None if spoiling.how in ("slow", "length") else spoiling.at
        for data in content:
            while data:
                if spoiled_at is not None and seen[4] == spoiled_at:
                    self.spoil(rule)
                    spoiled_at = None
                most = 1024 if is_slow else PIECE_BYTES if spoiled_at is None else spoiled_at - seen[4]
                if is_slow:
                    time.sleep(spoiling.seconds)
                piece, data = data[:most], data[most:]
                seen[4] += len(piece)
                self.client.socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        if spoiled_at is not None and seen[4] == spoiled_at:
            self.spoil(rule)

    def spoil(self, rule: Rule | None, how: str = "") -> None:
        """Do to the connection what the rule says, or this. Returns where it goes on."""
        if rule is None:
            return
        self.listener.meet(rule)
        how = how or rule.spoiling.how
        if how.startswith("stall"):
            while not rule.gate.wait(LOOK_SECONDS):
                self.look_for_the_client()
        if how.endswith("reset"):
            self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if how.endswith(("reset", "close")):
            raise Ended

    def look_for_the_client(self) -> None:
        """End where the client has gone."""
        self.client.socket.setblocking(False)
        try:
            if not self.client.socket.recv(1, socket.MSG_PEEK):
                raise Ended
        except BlockingIOError:
            pass
        finally:
            self.client.socket.setblocking(True)


def main(descriptor: int) -> None:
    listeners: dict[int, Listener] = {}

    def listen(server: str) -> int:
        listener = Listener(server)
        listeners[listener.port] = listener
        return listener.port

    def close(port: int) -> None:
        if (listener := listeners.pop(port, None)) is not None:
            listener.mend()
            listener.go_down()

    ours: dict[str, Callable[..., Any]] = {"listen": listen, "close": close}
    with socket.socket(fileno=descriptor).makefile("rw") as channel:
        for line in channel:
            said = json.loads(line)
            what = said.pop("what")
            answer: dict[str, Any] = {}
            try:
                if what in ours:
                    answer["value"] = ours[what](**said)
                else:
                    act = getattr(listeners[said.pop("port")], "all_seen" if what == "seen" else what)
                    answer["value"] = act(**said)
            except Exception as error:  # noqa: BLE001  # the test is told
                answer["error"] = repr(error)
            channel.write(json.dumps(answer) + "\n")
            channel.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
