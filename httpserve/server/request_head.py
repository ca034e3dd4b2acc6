"""The head of a request: strict grammar of RFC 9112, nothing else.

Bytes in, a `Head` or a `Refused` out. Knows no socket. A strict parser of our
own, because http.server's takes bare LF, folded fields and a doubled
Content-Length (request smuggling), and because its answers are kept: a board
that asks again asks with the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from httpserve.records.model import Fields

MOST_LINE_BYTES = 16 * 1024
MOST_HEAD_BYTES = 64 * 1024
MOST_FIELDS = 200
# The most that a record keeps of a request, whatever a client sends.
NOTED_TARGET = 1536
NOTED_FIELD = 512
NOTED_BLOCK_BYTES = 3072
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
# Fields whose values let somebody in, in lower case: no record has them.
SECRET = {
    *("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token", "x-access-token"),
    *("private-token", "x-csrf-token", "x-amz-security-token"),
}

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Bytes above 0x7F are not part of the grammar, but U-Boot sends a path as it was typed.
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_VISIBLE = rb"[!-~\x80-\xff]"
# Possessive (*+), as two runs of blanks that could share theirs cost the square of their length.
_FIELD = re.compile(
    rb"(" + _TOKEN + rb"):[ \t]*+((?:" + _VISIBLE + rb"(?:[\t -~\x80-\xff]*" + _VISIBLE + rb")?)?)[ \t]*+"
)
_METHOD = re.compile(_TOKEN.decode("ascii"))
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^#]*)")
_HOST = re.compile(
    rb"(?:"
    rb"\[[0-9A-Fa-f:.]+(?:%(?:25)?[0-9A-Za-z._~-]+)?\]"  # http.client before 3.13 sends the zone unchanged
    rb"|\[v[0-9A-Fa-f]+\.[0-9A-Za-z._~!$&'()*+,;=:-]+\]"
    rb"|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*+"
    rb")(?::[0-9]*)?"
)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LENGTH = re.compile(rb"[0-9]{1,18}")

CHUNKED = -1  # the length of content that itself says where it ends


class Refused(Exception):
    """A request that gets an error and the end of its connection."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Noted:
    """What a record keeps of a head: bounded, and made into fields only where somebody looks at them.

    Attributes:
        method: The method.
        target: The target as it came, cut where it is very long.
        range: The value of the Range field, cut likewise.
        user_agent: The value of the User-Agent field, cut likewise.
    """

    __slots__ = ("_block", "method", "range", "target", "user_agent")

    def __init__(self, method: str, target: str, range: str, user_agent: str, block: bytes) -> None:
        self.method = method
        self.target = target if len(target) <= NOTED_TARGET else _shortened(target, NOTED_TARGET)
        self.range = range if len(range) <= NOTED_FIELD else _shortened(range, NOTED_FIELD)
        self.user_agent = user_agent if len(user_agent) <= NOTED_FIELD else _shortened(user_agent, NOTED_FIELD)
        whole = len(block) <= NOTED_BLOCK_BYTES
        self._block = block if whole else block[: max(0, block.rfind(b"\r\n", 0, NOTED_BLOCK_BYTES))]

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields, without those at the end of a very long head."""
        return NotedFields(self._block)


class NotedFields(Mapping[str, str]):
    """The fields of a request by names of any case, kept as the bytes that came, in a tenth of the memory."""

    __slots__ = ("_block",)

    def __init__(self, block: bytes) -> None:
        self._block = block

    def _fields(self) -> Fields:
        lines = self._block.decode("latin-1").split("\r\n")
        pairs = ((name.lower(), value) for name, _, value in (line.partition(":") for line in lines if line))
        return Fields((name, ELLIPSIS if name in SECRET else value.strip(" \t")) for name, value in pairs)

    def __getitem__(self, name: str) -> str:
        return self._fields()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def __repr__(self) -> str:
        return repr(self._fields())


def _shortened(text: str, most: int) -> str:
    return f"{text[: most - 1]}{ELLIPSIS}"


@dataclass(frozen=True, slots=True)
class Head:
    """One request's head.

    Attributes:
        method: The method.
        target: The target as it came.
        environ: What the WSGI environ says of this request.
        keep_alive: Whether the client wants to use the connection again.
        content_length: The length of the content, 0 without content, or `CHUNKED`.
        expects_continue: Whether the client waits for `100 Continue` before it sends its content.
        http_10: Whether the client speaks HTTP/1.0.
        noted: What records keep.
    """

    method: str
    target: str
    environ: dict[str, str]
    keep_alive: bool
    content_length: int
    expects_continue: bool
    http_10: bool
    noted: Noted = field(compare=False)

    @property
    def range(self) -> str:
        """The value of the Range field."""
        return self.environ.get("HTTP_RANGE", "")

    @property
    def user_agent(self) -> str:
        """The value of the User-Agent field."""
        return self.environ.get("HTTP_USER_AGENT", "")


class _Target(NamedTuple):
    path: bytes
    query: bytes
    authority: bytes | None


def parse(data: bytes) -> Head:
    """Parse `data`, which includes the empty line at its end, and return the head. Raises `Refused`."""
    line, _, block = data.partition(b"\r\n")
    method, target, minor = _request_line(line)
    http_10 = minor == b"0"
    fields, environ = _fields(block)
    where = _target(method, target, http_10)
    _check_host(fields.get(b"host", ()), http_10)
    content_length = _content_length(fields.get(b"content-length", ()), fields.get(b"transfer-encoding", ()), http_10)
    options = environ.get("HTTP_CONNECTION", "").lower().replace("\t", "").replace(" ", "").split(",")
    environ["REQUEST_METHOD"] = method.decode("ascii")
    environ["PATH_INFO"] = unquote_to_bytes(where.path).decode("latin-1")
    environ["QUERY_STRING"] = where.query.decode("latin-1")
    environ["REQUEST_URI"] = environ["RAW_URI"] = target.decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.0" if http_10 else "HTTP/1.1"
    if where.authority is not None:  # RFC 9112 3.2.2: the target's authority replaces the Host field
        environ["HTTP_HOST"] = where.authority.decode("latin-1")
    return Head(
        method=environ["REQUEST_METHOD"],
        target=environ["REQUEST_URI"],
        environ=environ,
        keep_alive="keep-alive" in options and "close" not in options if http_10 else "close" not in options,
        content_length=content_length,
        expects_continue=environ.get("HTTP_EXPECT", "").lower() == "100-continue" and not http_10,
        http_10=http_10,
        noted=Noted(
            environ["REQUEST_METHOD"],
            environ["REQUEST_URI"],
            environ.get("HTTP_RANGE", ""),
            environ.get("HTTP_USER_AGENT", ""),
            block,
        ),
    )


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Refused(400, "the request line is malformed")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise Refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return method, target, minor


def _fields(block: bytes) -> tuple[dict[bytes, list[bytes]], dict[str, str]]:
    """Return the values of each field, by its name in lower case, and what the WSGI environ says of them."""
    lines = block.split(b"\r\n")[:-2]  # the field block ends with the empty line
    if len(lines) > MOST_FIELDS:
        raise Refused(431, f"more than {MOST_FIELDS} fields")
    fields: dict[bytes, list[bytes]] = {}
    environ: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Refused(400, "a header field is malformed")
        name, value = match.groups()
        fields.setdefault(name.lower(), []).append(value)
        if b"_" in name:  # it would be mistaken for the name with a hyphen
            continue
        key = name.decode("ascii").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return fields, environ


def _target(method: bytes, target: bytes, http_10: bool) -> _Target:
    authority = None
    if target == b"*":
        if method != b"OPTIONS":
            raise Refused(400, "the target * is for OPTIONS only")
        return _Target(b"*", b"", None)
    if method == b"CONNECT":
        raise Refused(501, "this is no proxy")
    if not target.startswith(b"/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is not None:
            authority, target = match[1], match[2]
            if authority[:1] in (b"", b":") or _HOST.fullmatch(authority) is None:
                raise Refused(400, "the authority of the target is malformed")
        elif not http_10:
            raise Refused(400, "the target must begin with / or be a whole http URL")
        if not target.startswith(b"/"):
            target = b"/" + target  # U-Boot: `wget ADDRESS host:path` asks for `path`
    if _BAD_ESCAPE.search(target):
        raise Refused(400, "the target has a % that no two hexadecimal digits follow")
    path, _, query = target.partition(b"?")
    return _Target(path, query, authority)


def _check_host(hosts: Sequence[bytes], http_10: bool) -> None:
    if len(hosts) > 1:
        raise Refused(400, "more than one Host field")
    if not hosts and not http_10:
        raise Refused(400, "an HTTP/1.1 request needs a Host field")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise Refused(400, "the Host field is malformed")


def _content_length(lengths: Sequence[bytes], codings: Sequence[bytes], http_10: bool) -> int:
    if codings:
        if http_10:
            raise Refused(400, "Transfer-Encoding has no place in HTTP/1.0")
        if lengths:
            raise Refused(400, "both Content-Length and Transfer-Encoding")
        names = [name.strip(b" \t").lower() for name in b",".join(codings).split(b",")]
        # RFC 9112 6.3: if chunked is not the last one, the end of the content cannot be found.
        if names[-1] != b"chunked" or b"chunked" in names[:-1]:
            raise Refused(400, "the transfer coding is not chunked, so the content has no end")
        if len(names) > 1:
            raise Refused(501, "the only transfer coding understood is chunked")
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise Refused(400, "the Content-Length is not one number")
    return int(lengths[0])


def check(data: bytes, *, is_whole: bool = False) -> None:
    """Refuse what is not, and can never become, a head, whether it has an end or not. Raises `Refused`."""
    if data.count(b"\n") != data.count(b"\r\n"):
        raise Refused(400, "a line ends with LF alone; HTTP lines end with CRLF")
    line, ends, _ = data[: MOST_LINE_BYTES + 2].partition(b"\r\n")
    if ends and not is_whole:
        _request_line(line)  # HTTP/0.9 has nothing after it to wait for
    line_end = MOST_LINE_BYTES + len(b"\r\n")
    if len(data) >= line_end and data.find(b"\r\n", 0, line_end) < 0:
        raise Refused(414, f"the request line is longer than {MOST_LINE_BYTES} bytes")
    if len(data) > MOST_HEAD_BYTES:
        raise Refused(431, f"the head is longer than {MOST_HEAD_BYTES} bytes")


def describe(data: bytes) -> Noted:
    """Return what can be said about a refused head: its method and target as far as they can be made out.

    If it does not begin with a method, the method is empty, and the target is the whole first line.
    """
    line = data[:MOST_DESCRIBED_BYTES].lstrip(b"\r\n").partition(b"\r\n")[0].decode("latin-1")
    method, _, rest = line.partition(" ")
    if not (rest and _METHOD.fullmatch(method)):  # otherwise anything could pass for a method
        method, rest = "", f"{line} "
    return Noted(method, (rest.rpartition(" ")[0] or rest) if line else "", "", "", b"")


MOST_DESCRIBED_BYTES = 200
MOST_KEPT = 1024
MOST_KEPT_BYTES = 2048
MOST_KEPT_FIELDS = 40  # each takes much more than its bytes
_kept: dict[bytes, Head] = {}


def parse_again(data: bytes) -> Head:
    """Return what `parse` returns, from memory where it had the same bytes before. Raises `Refused`."""
    head = _kept.get(data)
    if head is None:
        check(data, is_whole=True)
        head = parse(data)
        if len(data) <= MOST_KEPT_BYTES and data.count(b"\n") <= MOST_KEPT_FIELDS:
            if len(_kept) >= MOST_KEPT:
                _kept.clear()
            _kept[data] = head
    return head
