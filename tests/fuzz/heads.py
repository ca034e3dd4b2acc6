"""What must hold of the head of a request, whatever comes: bytes in, an outcome in a few words out.

A broken promise is an AssertionError, or whatever else got out. Beside the parser stands a plain
reading of the grammar without regular expressions: a second opinion, and branches for a
coverage-guided fuzzer to find its way by. Knows no fuzzer, no socket and no file.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from httpserve.server import request_head
from httpserve.server.request_head import CHUNKED, Head, Refused
from tests.fuzz.grammar import BLANKS, DIGITS, check_refusal, is_field, is_token


def check_head(data: bytes) -> str:
    """Take `data` for what a connection has received: a head and what follows, or the beginning of a head."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        return _check_beginning(data)
    raw = data[:end]
    try:
        request_head.check(raw)
        found = request_head.parse(raw)
    except Refused as refused:
        check_refusal(refused)
        _check_why(raw, refused)
        return f"{refused.status} {refused.reason}"
    assert _follows_grammar(raw)
    assert request_head.parse_again(raw) == request_head.parse_again(raw) == found
    for cut in range(0, len(raw), 1 + len(raw) // 64):
        request_head.check(raw[:cut])  # a head that drips in is refused at no point of it
    said = [(name.lower(), value.strip(BLANKS)) for name, _, value in _lines(raw)]
    _check_framing(said, found)
    _check_fields(said, found)
    _check_target(found)
    again = request_head.parse(_written_again(found))
    assert again == found
    return f"1.{int(not found.http_10)} {found.keep_alive} {found.expects_continue} {min(found.content_length, 1)}"


def _check_beginning(data: bytes) -> str:
    try:
        request_head.check(data)
    except Refused as refused:
        check_refusal(refused)
        try:
            request_head.parse_again(data + b"\r\n\r\n")
        except Refused:
            return f"beginning {refused.status} {refused.reason}"
        raise AssertionError("a beginning was refused, and the whole is not") from refused
    assert b"\n" not in data.replace(b"\r\n", b"")
    return "beginning"


def _check_why(raw: bytes, refused: Refused) -> None:
    """What is refused for its form has not the form of a head, and the other way round."""
    malformed = refused.reason in ("the request line is malformed", "a header field is malformed")
    is_cut_off = refused.status in (414, 431) or b"\n" in raw.replace(b"\r\n", b"")
    assert is_cut_off or _follows_grammar(raw) is not malformed


def _follows_grammar(raw: bytes) -> bool:
    """Tell whether `raw` has the form of a head; what its words mean is not asked."""
    line, *fields = raw.split(b"\r\n")[:-2]
    words = line.split(b" ")
    if len(words) != 3 or not is_token(words[0]) or not words[1]:
        return False
    if any(byte <= 0x20 or byte == 0x7F for byte in words[1]):
        return False
    version = words[2]
    if len(version) != 8 or version[:5] != b"HTTP/" or version[6:7] != b".":
        return False
    if version[5] not in DIGITS or version[7] not in DIGITS:
        return False
    # The number of fields is judged before their form, the version before both.
    return len(fields) > request_head.MOST_FIELDS or version[5:6] != b"1" or all(map(is_field, fields))


def _lines(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [line.partition(b":") for line in raw.split(b"\r\n")[1:-2]]


def _check_framing(said: list[tuple[bytes, bytes]], found: Head) -> None:
    """Where the content ends is said once, and by one field alone."""
    lengths = [value for name, value in said if name == b"content-length"]
    codings = [value for name, value in said if name == b"transfer-encoding"]
    if found.content_length == CHUNKED:
        assert not lengths
        assert [coding.lower() for coding in codings] == [b"chunked"]
        assert not found.http_10
    else:
        assert not codings
        assert [int(value) for value in lengths] == ([found.content_length] if lengths else [])
        assert lengths or found.content_length == 0
    hosts = [value for name, value in said if name == b"host"]
    assert len(hosts) <= 1
    assert hosts or found.http_10


def _check_fields(said: list[tuple[bytes, bytes]], found: Head) -> None:
    """What records and WSGI are told of the fields is what they say."""
    joined: dict[str, str] = {}
    for name, value in said:
        key, text = name.decode("ascii"), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    assert dict(found.noted.fields).items() <= joined.items() or len(b"".join(value for _, value in said)) > 2000
    expected: dict[str, str] = {}
    for name, value in said:
        key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
        if b"_" not in name:
            text = value.decode("latin-1")
            expected[key] = f"{expected[key]},{text}" if key in expected else text
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{key}" in expected:
            expected[key] = expected.pop(f"HTTP_{key}")
    told = {key: value for key, value in found.environ.items() if key.startswith(("HTTP_", "CONTENT_"))}
    if not found.target.startswith(("/", "*")):
        expected["HTTP_HOST"] = told.get("HTTP_HOST", "")
        told.setdefault("HTTP_HOST", "")
    assert told == expected


def _check_target(found: Head) -> None:
    path = found.environ["PATH_INFO"]
    assert path.startswith("/") or (path == "*" and found.method == "OPTIONS")
    assert len(path) + len(found.environ["QUERY_STRING"]) <= len(found.target) + 1
    if path != "*":  # however a path is encoded, it is the same path
        for safe in ("", "/"):
            target = b"/" + quote_from_bytes(path[1:].encode("latin-1"), safe=safe).encode()
            assert request_head.parse(b"GET " + target + b" HTTP/1.1\r\nHost:\r\n\r\n").environ["PATH_INFO"] == path


def _written_again(found: Head) -> bytes:
    """Return a head that says what `found` understood, in one way."""
    lines = [f"{found.method} {found.target} {found.environ['SERVER_PROTOCOL']}"]
    for key, value in found.environ.items():
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            lines.append(f"{key.removeprefix('HTTP_').replace('_', '-')}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
