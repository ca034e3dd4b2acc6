"""What boards of the soak send, in every way that they have, and what is said of it, compared with what they sent.

Knows the requests by which files are sent. Each content tells whose it is and how long, so that whoever finds a file
can tell whether it is the whole of one. Does not know how it is stored.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

NAMES = ["up/0", "up/1", "up/2"]
SIZES = (100, 5_000, 60_000, 400_000, 3_000_000)
MOST_BYTES = (1_000, 8 << 20)  # that are accepted of one
PIECE_PARTS = (1, 7, 60)  # of the content, that are sent one after the other
STORED = (201, 204)
BOUNDARY = "----soak"


def content_of(token: str, size: int) -> bytes:
    """Return what a board sends in this request: it tells its token and its size, and depends on both."""
    begin = f"{token} {size}\n".encode()
    return begin + random.Random(begin).randbytes(size - len(begin))


def sent_as(data: bytes) -> bytes | None:
    """Return the whole of what some board has sent, by its beginning; None if no board sends what begins so."""
    words = data.partition(b"\n")[0].decode("latin-1").split(" ")
    return content_of(words[0], int(words[1])) if len(words) == 2 and words[1].isdigit() else None


@dataclass
class Sent:
    """What a board knows of a file that it has sent.

    Attributes:
        token: In its User-Agent.
        client: The board's address.
        name: Where it is to be.
        bytes: How long the file is.
        sha256: Of all of it.
        is_whole: Whether all of it was to be sent, and nothing is wrong with it.
        status: That of the answer; 0 while there is none.
    """

    token: str
    client: str
    name: str
    bytes: int
    sha256: str
    is_whole: bool = False
    status: int = 0


@dataclass(frozen=True)
class Upload:
    """What a record says of one: the same as `Sent`, and how it ended."""

    token: str
    client: str
    name: str
    bytes: int
    sha256: str
    completed: bool


def false_uploads(uploads: Iterable[Upload], sent: Iterable[Sent], faults: Mapping[str, object]) -> list[str]:
    """Return what records, and answers, say of uploads that is not so. Answers with a fault, by token, may say it."""
    by_token = {one.token: one for one in sent}
    said = []
    told = {upload.token: upload for upload in uploads}
    for upload in told.values():
        one = by_token.get(upload.token)
        if one is None:
            said.append(f"an upload that no board sent: {upload}")
        elif upload.completed:
            if (upload.client, upload.name, upload.bytes, upload.sha256, True) != (
                one.client, one.name, one.bytes, one.sha256, one.is_whole
            ):  # fmt: skip
                said.append(f"an upload called completed is not what the board sent: {upload}, {one}")
        elif upload.bytes > one.bytes and one.is_whole:
            said.append(f"an upload of more bytes than the board sent: {upload}, {one}")
    for token, one in by_token.items():
        is_stored = token in told and told[token].completed
        if one.status in STORED and not is_stored and token not in faults:
            said.append(f"an upload that a board was told is stored has no such record: {one}, {told.get(token)}")
    return said


class Sending:
    """One file on its way from a board.

    Args:
        chance: Of everything.
        token: The request's.
        client: The board's address.

    Attributes:
        sent: What is known of it.
        is_all: Whether all of it is sent.
        head: The head of the request.
        waits: Whether the board waits for a go-ahead before it sends the rest.
    """

    def __init__(self, chance: random.Random, token: str, client: str) -> None:
        self._chance = chance
        content = content_of(token, chance.choice(SIZES))
        name = chance.choice(NAMES)
        self.sent = Sent(token, client, name, len(content), hashlib.sha256(content).hexdigest())
        is_right = True
        fields = [f"User-Agent: {token}"]
        target, body = f"/{name}", content
        if chance.random() < 0.3:
            target, body = self._form(name, content, fields)
        elif chance.random() < 0.3:
            fields.append("Content-Type: application/x-www-form-urlencoded")  # as busybox says
        if chance.random() < 0.3:
            is_right = chance.random() < 0.7
            fields.append(f"Content-Digest: sha-256=:{_digest(body if is_right else body + body)}:")
        self._is_chunked = chance.random() < 0.3
        fields.append("Transfer-Encoding: chunked" if self._is_chunked else f"Content-Length: {len(body)}")
        self.waits = chance.random() < 0.2
        fields += ["Expect: 100-continue"] * self.waits
        self._body = body
        self._stop = len(body) if chance.random() < 0.7 else chance.randrange(len(body))
        self.is_all = self._stop == len(body)
        self.sent.is_whole = self.is_all and is_right
        method = chance.choice(["PUT", "POST"])
        self.head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: bench", *fields, "\r\n"]).encode()

    def _form(self, name: str, content: bytes, fields: list[str]) -> tuple[str, bytes]:
        directory, _, last = name.rpartition("/")
        fields.append(f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
        part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{last}"\r\n\r\n'.encode()
        body = part + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self._chance.choice([f"/{name}", f"/{directory}/"]), body

    def pieces(self) -> Iterator[bytes]:
        """Yield what follows the head, or, sometimes, only the beginning of it."""
        size = len(self._body) // self._chance.choice(PIECE_PARTS) + 1
        for start in range(0, self._stop, size):
            piece = self._body[start : min(self._stop, start + size)]
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece
        if self._is_chunked and self.is_all:
            yield b"0\r\n\r\n"


def _digest(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()
