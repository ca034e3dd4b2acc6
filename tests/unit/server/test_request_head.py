"""Claims about request heads (RFC 9112), by tables, by hypothesis, and with h11 as the second opinion."""

from __future__ import annotations

import re

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from httpserve.server import request_head as head_module
from httpserve.server.request_head import (
    CHUNKED,
    MOST_FIELDS,
    MOST_HEAD_BYTES,
    MOST_LINE_BYTES,
    NOTED_BLOCK_BYTES,
    NOTED_TARGET,
    Head,
    Refused,
    check,
    parse,
    parse_again,
)
from tests.cases import each, raised


def request(*fields: str | bytes, line: str | bytes = "GET / HTTP/1.1", host: str | None = "bench") -> bytes:
    lines = [line, *([] if host is None else [f"Host: {host}"]), *fields]
    return b"".join((one if isinstance(one, bytes) else one.encode()) + b"\r\n" for one in [*lines, ""])


def parsed(*fields: str | bytes, line: str | bytes = "GET / HTTP/1.1", host: str | None = "bench") -> Head:
    return parse(request(*fields, line=line, host=host))


def refused(data: bytes) -> int:
    """Return the status with which a head is refused, as the connection asks."""
    try:
        check(data)
        head = parse(data)
    except Refused as refusal:
        return refusal.status if refusal.reason and str(refusal) == refusal.reason else 0
    pytest.fail(f"not refused: {head}")


# The request line


def test_a_head_says_what_was_asked() -> None:
    data = request("User-Agent: curl/8", "Range: bytes=0-1", "X-Two: a", "x-two: b", line="GET /a%20b?q=%20 HTTP/1.1")

    head = parse(data)

    assert head == Head(
        method="GET",
        target="/a%20b?q=%20",
        environ={
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/a b",
            "QUERY_STRING": "q=%20",
            "REQUEST_URI": "/a%20b?q=%20",
            "RAW_URI": "/a%20b?q=%20",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "bench",
            "HTTP_USER_AGENT": "curl/8",
            "HTTP_RANGE": "bytes=0-1",
            "HTTP_X_TWO": "a,b",
        },
        keep_alive=True,
        content_length=0,
        expects_continue=False,
        http_10=False,
        noted=head.noted,
    )
    assert (head.range, head.user_agent) == (head.noted.range, head.noted.user_agent) == ("bytes=0-1", "curl/8")
    fields = {"host": "bench", "user-agent": "curl/8", "range": "bytes=0-1", "x-two": "a, b"}
    assert (dict(head.noted.fields), head.noted.fields["X-Two"]) == (fields, "a, b")


def test_of_a_very_long_head_so_much_is_noted_as_a_record_may_keep() -> None:
    long = b"x" * 1000
    data = request(*[b"X-%d: %s" % (at, long) for at in range(40)], line=b"GET /" + 10 * long + b" HTTP/1.1")

    noted = parse(data).noted

    kept = sum(len(name) + len(value) for name, value in noted.fields.items())
    assert (len(noted.target), noted.target[:6]) == (NOTED_TARGET, "/xxxxx")
    assert (kept <= NOTED_BLOCK_BYTES, noted.fields["host"], noted.fields["x-0"]) == (True, "bench", long.decode())


def test_the_request_line_alone_is_a_head_of_http_10() -> None:
    head = parse(b"GET /uImage HTTP/1.0\r\n\r\n")  # all that U-Boot's wget says

    assert (head.http_10, head.keep_alive, head.environ["SERVER_PROTOCOL"]) == (True, False, "HTTP/1.0")


@each("method", ["GET", "HEAD", "OPTIONS", "PUT", "BREW", "get", "M-SEARCH", "!#$%&'*+.^_`|~"])
def test_a_method_is_any_token_and_keeps_its_case(method: str) -> None:
    assert parsed(line=f"{method} / HTTP/1.1").method == method


@each(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"GET", id="no target"),
        pytest.param(b"GET /", id="HTTP/0.9"),
        pytest.param(b"GET / ", id="no version"),
        pytest.param(b"GET  / HTTP/1.1", id="two blanks"),
        pytest.param(b"GET /  HTTP/1.1", id="two blanks before the version"),
        pytest.param(b" GET / HTTP/1.1", id="blank before"),
        pytest.param(b"GET / HTTP/1.1 ", id="blank behind"),
        pytest.param(b"GET\t/ HTTP/1.1", id="tab"),
        pytest.param(b"GET /a b HTTP/1.1", id="blank in the target"),
        pytest.param(b"GET / http/1.1", id="lower case"),
        pytest.param(b"GET / HTTP/1", id="no minor version"),
        pytest.param(b"GET / HTTP/1.", id="half a version"),
        pytest.param(b"GET / HTTP/1.10", id="two digits"),
        pytest.param(b"GET / HTTP/1,1", id="comma"),
        pytest.param(b"GET / HTTP/\xb2.1", id="superscript"),
        pytest.param(b"GET / HTTPS/1.1", id="another protocol"),
        pytest.param(b"GET / RTSP/1.0", id="RTSP"),
        pytest.param(b"G@T / HTTP/1.1", id="at sign in the method"),
        pytest.param(b"G\xc4T / HTTP/1.1", id="method beyond ASCII"),
        pytest.param(b"GET /\x00 HTTP/1.1", id="NUL"),
        pytest.param(b"GET /\x7f HTTP/1.1", id="DEL"),
        pytest.param(b"GET /\r HTTP/1.1", id="CR alone"),
        pytest.param(b"GET /\n HTTP/1.1", id="LF alone"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", id="a TLS handshake"),
    ],
)
def test_a_malformed_request_line_is_refused(line: bytes) -> None:
    assert refused(request(line=line)) == 400


@each("version", ["0.9", "2.0", "3.0", "9.9"])
def test_another_major_version_is_not_supported(version: str) -> None:
    assert refused(request(line=f"GET / HTTP/{version}")) == 505


def test_the_preface_of_http_2_is_not_supported() -> None:
    assert refused(b"PRI * HTTP/2.0\r\n\r\n") == 505


@each("minor", range(1, 10))
def test_a_later_minor_version_is_taken_for_the_one_that_is_spoken(minor: int) -> None:
    head = parsed(line=f"GET / HTTP/1.{minor}")

    assert (head.http_10, head.environ["SERVER_PROTOCOL"]) == (False, "HTTP/1.1")


# Targets


@each(
    ("target", "path", "query"),
    [
        pytest.param("/", "/", "", id="root"),
        pytest.param("/a/b", "/a/b", "", id="path"),
        pytest.param("//a///b", "//a///b", "", id="doubled slashes are the site's"),
        pytest.param("/a?b?c=/d", "/a", "b?c=/d", id="query"),
        pytest.param("/a?", "/a", "", id="empty query"),
        pytest.param("/?%41", "/", "%41", id="query is not decoded"),
        pytest.param("/%41%2fb", "/A/b", "", id="decoded once"),
        pytest.param("/%2541", "/%41", "", id="not decoded twice"),
        pytest.param("/%3Fa", "/?a", "", id="encoded question mark"),
        pytest.param("/%00", "/\0", "", id="encoded NUL is the site's"),
        pytest.param("/%2e%2e/", "/../", "", id="encoded dots are the site's"),
        pytest.param("/%c3%a9", "/\xc3\xa9", "", id="UTF-8 as WSGI has it"),
        pytest.param("/%ff", "/\xff", "", id="no UTF-8 as WSGI has it"),
        pytest.param("/a+b", "/a+b", "", id="plus"),
        pytest.param("/a;b", "/a;b", "", id="semicolon"),
        pytest.param("/a#b", "/a#b", "", id="number sign, as a board typed it"),
        pytest.param('/"<>\\^`{|}', '/"<>\\^`{|}', "", id="what should have been encoded"),
        pytest.param("http://bench/a?b", "/a", "b", id="absolute"),
        pytest.param("HTTP://bench:80/a", "/a", "", id="absolute in capitals with a port"),
        pytest.param("https://bench/a", "/a", "", id="absolute https"),
        pytest.param("http://bench", "/", "", id="absolute without a path"),
        pytest.param("http://bench?q", "/", "q", id="absolute without a path, with a query"),
        pytest.param("http://[::1]:80/a", "/a", "", id="absolute IPv6"),
    ],
)
def test_a_target_is_path_and_query(target: str, path: str, query: str) -> None:
    environ = parsed(line=f"GET {target} HTTP/1.1").environ

    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["REQUEST_URI"]) == (path, query, target)


def test_bytes_beyond_ascii_in_a_target_are_taken_as_they_are() -> None:
    environ = parsed(line="GET /grün HTTP/1.1".encode()).environ

    assert environ["PATH_INFO"].encode("latin-1").decode() == "/grün"


@each(
    ("target", "path"),
    [("uImage", "/uImage"), ("a?b", "/a"), ("boot:uImage", "/boot:uImage"), ("http://bench/a", "/a")],
)
def test_a_target_of_http_10_may_lack_its_slash(target: str, path: str) -> None:
    head = parsed(line=f"GET {target} HTTP/1.0", host=None)

    assert head.environ["PATH_INFO"] == path


def test_the_authority_of_a_target_replaces_the_host() -> None:
    assert parsed(line="GET http://other:81/ HTTP/1.1").environ["HTTP_HOST"] == "other:81"


def test_an_absolute_target_does_not_make_up_for_a_missing_host() -> None:
    assert refused(request(line="GET http://bench/ HTTP/1.1", host=None)) == 400


def test_asterisk_is_for_options() -> None:
    assert parsed(line="OPTIONS * HTTP/1.1").environ["PATH_INFO"] == "*"


@each(
    ("line", "status"),
    [
        ("GET * HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET ?a HTTP/1.1", 400),
        ("GET bench/a HTTP/1.1", 400),
        ("GET ftp://bench/a HTTP/1.1", 400),
        ("GET http:/a HTTP/1.1", 400),
        ("GET http:///a HTTP/1.1", 400),
        ("GET http://:80/a HTTP/1.1", 400),
        ("GET http://user:word@bench/a HTTP/1.1", 400),
        ("GET http://be%zznch/a HTTP/1.1", 400),
        ("GET http://bench:8x/a HTTP/1.1", 400),
        ("GET http://bench/a#b HTTP/1.1", 400),
        ("GET /% HTTP/1.1", 400),
        ("GET /%4 HTTP/1.1", 400),
        ("GET /%4g HTTP/1.1", 400),
        ("GET /?%zz HTTP/1.1", 400),
        ("CONNECT bench:80 HTTP/1.1", 501),
        ("CONNECT / HTTP/1.1", 501),
        ("CONNECT * HTTP/1.1", 400),
    ],
)
def test_any_other_target_is_refused(line: str, status: int) -> None:
    assert refused(request(line=line)) == status


# Fields


@each(
    ("field", "value"),
    [
        pytest.param(b"X-A: b", "b", id="plain"),
        pytest.param(b"X-A:b", "b", id="no blank"),
        pytest.param(b"X-A: \t b \t ", "b", id="blanks around"),
        pytest.param(b"X-A:", "", id="empty"),
        pytest.param(b"X-A: \t", "", id="nothing but blanks"),
        pytest.param(b"X-A: b c\td", "b c\td", id="blanks within"),
        pytest.param(b"X-A: b: c", "b: c", id="colon within"),
        pytest.param(b"X-A: \xe9\xff", "\xe9\xff", id="beyond ASCII"),
        pytest.param(b'X-A: "b,\\"', '"b,\\"', id="quotes are not understood here"),
        pytest.param(b"x-a: b", "b", id="lower case"),
    ],
)
def test_a_field_is_a_name_and_a_value_without_the_blanks_around(field: bytes, value: str) -> None:
    assert parsed(field).environ["HTTP_X_A"] == value


@each(
    "field",
    [
        pytest.param(b"X-A", id="no colon"),
        pytest.param(b": b", id="no name"),
        pytest.param(b"X-A : b", id="blank before the colon"),
        pytest.param(b"X-A\t: b", id="tab before the colon"),
        pytest.param(b" X-A: b", id="folded by a blank"),
        pytest.param(b"\tX-A: b", id="folded by a tab"),
        pytest.param(b"X A: b", id="blank in the name"),
        pytest.param(b"X(A): b", id="parentheses in the name"),
        pytest.param(b"X\xc4: b", id="name beyond ASCII"),
        pytest.param(b"X-A: b\x00", id="NUL"),
        pytest.param(b"X-A: \x01b", id="control character"),
        pytest.param(b"X-A: b\x7f", id="DEL"),
        pytest.param(b"X-A: b\rc", id="CR alone"),
        pytest.param(b"X-A: b\nX-B: c", id="LF alone"),
        pytest.param(b"X-A: b\r", id="CR before CRLF"),
    ],
)
def test_a_malformed_field_is_refused(field: bytes) -> None:
    assert refused(request(field)) == 400


@each(
    "field",
    [
        pytest.param(b"X:" + b" " * 60_000 + b"\x01", id="blanks before"),
        pytest.param(b"X: a" + b" " * 60_000 + b"\x01", id="blanks behind"),
        pytest.param(b"X: " + b"a " * 30_000 + b"\x01", id="words"),
        pytest.param(b"X" * 60_000, id="a name without end"),
        pytest.param(b"Connection: " + b"," * 60_000 + b"\x01", id="commas"),
    ],
)
def test_a_long_malformed_field_is_refused_without_trying_all_ways_to_read_it(field: bytes) -> None:
    assert refused(request(field)) == 400


def test_a_name_with_an_underscore_does_not_pass_for_one_with_a_hyphen() -> None:
    environ = parsed("X_A: evil", "X-A: good", "Content_Length: 5").environ

    assert environ["HTTP_X_A"] == "good"
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_type_and_length_of_content_have_the_names_that_wsgi_gives_them() -> None:
    environ = parsed("Content-Type: text/plain", "Content-Length: 5").environ

    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "5")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()


# Host


@each(
    "host",
    [
        "bench",
        "bench:8000",
        "bench:",
        "bench.example.",
        "",
        ":80",
        "192.168.7.1:80",
        "anything-at-all_(really)!",
        "be%6Ech",
        "a,b",
        "[::1]",
        "[fe80::1]:8000",
        "[fe80::1%25eth0]:8000",
        "[fe80::1%eth0]:8000",
        "[v1.a:b]",
        "999.999.999.999:99999",
    ],
)
def test_the_value_of_a_well_formed_host_is_never_judged(host: str) -> None:
    assert parsed(host=host).environ["HTTP_HOST"] == host


@each("version", ["1.0", "1.1"])
@each(
    "host",
    [
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a:b",
        "a:80:80",
        "http://bench",
        "[::1",
        "::1]",
        "[::1]x",
        "[::g]",
        "[]",
        "[v.a]",
        "be%zznch",
        "b\u00e9nch",
        '"bench"',
    ],
)
def test_a_malformed_host_is_refused(host: str, version: str) -> None:
    assert refused(request(host=host, line=f"GET / HTTP/{version}")) == 400


@each("version", ["1.0", "1.1"])
def test_a_second_host_is_refused_though_it_is_the_same(version: str) -> None:
    assert refused(request("host: bench", line=f"GET / HTTP/{version}")) == 400


def test_only_http_10_may_leave_the_host_out() -> None:
    assert refused(request(host=None)) == 400
    assert "HTTP_HOST" not in parsed(host=None, line="GET / HTTP/1.0").environ


# Content


@each(
    ("fields", "length"),
    [
        ([], 0),
        (["Content-Length: 0"], 0),
        (["Content-Length: 5"], 5),
        (["content-length:007"], 7),
        (["Content-Length: 999999999999999999"], 999_999_999_999_999_999),
        (["Transfer-Encoding: chunked"], CHUNKED),
        (["transfer-encoding: CHUNKED"], CHUNKED),
    ],
)
def test_the_length_of_content_is_told(fields: list[str], length: int) -> None:
    assert parsed(*fields).content_length == length


@each(
    ("fields", "status"),
    [
        pytest.param(["Content-Length: 5", "Content-Length: 6"], 400, id="conflicting"),
        pytest.param(["Content-Length: 5", "Content-Length: 5"], 400, id="doubled"),
        pytest.param(["Content-Length: 5, 5"], 400, id="a list"),
        pytest.param(["Content-Length: +5"], 400, id="plus"),
        pytest.param(["Content-Length: -5"], 400, id="minus"),
        pytest.param(["Content-Length: 5 0"], 400, id="a blank"),
        pytest.param(["Content-Length: 1_0"], 400, id="an underscore"),
        pytest.param(["Content-Length: 0x5"], 400, id="hexadecimal"),
        pytest.param(["Content-Length: 5.0"], 400, id="a point"),
        pytest.param(["Content-Length:"], 400, id="empty"),
        pytest.param(["Content-Length: ٥"], 400, id="a digit of another script"),
        pytest.param(["Content-Length: " + "9" * 19], 400, id="more than any file"),
        pytest.param(["Content-Length: 5", "Transfer-Encoding: chunked"], 400, id="both"),
        pytest.param(["Transfer-Encoding: chunked", "Content-Length: 0"], 400, id="both, of no length"),
        pytest.param(["Transfer-Encoding: gzip"], 400, id="no chunks at the end"),
        pytest.param(["Transfer-Encoding: chunked, gzip"], 400, id="chunks not at the end"),
        pytest.param(["Transfer-Encoding: identity"], 400, id="identity"),
        pytest.param(["Transfer-Encoding: chunked, chunked"], 400, id="chunked twice"),
        pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400, id="doubled chunked"),
        pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: gzip"], 400, id="two fields"),
        pytest.param(["Transfer-Encoding: xchunked"], 400, id="unknown"),
        pytest.param(["Transfer-Encoding: chunked;a=b"], 400, id="a parameter"),
        pytest.param(["Transfer-Encoding: 'chunked'"], 400, id="quoted"),
        pytest.param(["Transfer-Encoding:"], 400, id="of no name"),
        pytest.param(["Transfer-Encoding: chunked,"], 400, id="empty member at the end"),
        pytest.param(["Transfer-Encoding: gzip, chunked"], 501, id="gzip in chunks"),
        pytest.param(["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501, id="gzip in chunks, apart"),
        pytest.param(["Transfer-Encoding: , chunked"], 501, id="empty member"),
    ],
)
def test_content_whose_end_is_in_doubt_is_refused(fields: list[str], status: int) -> None:
    assert refused(request(*fields)) == status


def test_chunks_have_no_place_in_http_10() -> None:
    assert refused(request("Transfer-Encoding: chunked", line="POST / HTTP/1.0")) == 400


@each(
    ("version", "value", "expects"),
    [
        ("1.1", "100-continue", True),
        ("1.1", "100-Continue", True),
        ("1.1", "something-else", False),
        ("1.0", "100-continue", False),
    ],
)
def test_a_client_of_http_11_may_wait_for_leave_to_send(version: str, value: str, expects: bool) -> None:
    head = parsed(f"Expect: {value}", "Content-Length: 5", line=f"PUT / HTTP/{version}")

    assert head.expects_continue is expects


# Keeping the connection


@each(
    ("fields", "in_10", "in_11"),
    [
        ([], False, True),
        (["Connection: close"], False, False),
        (["Connection: Close"], False, False),
        (["Connection: CLOSE"], False, False),
        (["Connection: keep-alive"], True, True),
        (["Connection: Keep-Alive"], True, True),
        (["Connection: TE, close"], False, False),
        (["Connection: TE ,\tKeep-Alive"], True, True),
        (["Connection: TE", "Connection: close"], False, False),
        (["Connection: keep-alive, close"], False, False),
        (["Connection: closed"], False, True),
        (["Connection: close;x"], False, True),
        (["Connection:"], False, True),
        (["Keep-Alive: timeout=5"], False, True),
    ],
)
def test_options_of_the_connection_may_have_any_case_and_stand_in_lists(
    fields: list[str], in_10: bool, in_11: bool
) -> None:
    assert parsed(*fields, line="GET / HTTP/1.0").keep_alive is in_10
    assert parsed(*fields, line="GET / HTTP/1.1").keep_alive is in_11


# Limits


def line_of(size: int) -> bytes:
    return b"GET /" + b"a" * (size - len("GET / HTTP/1.1")) + b" HTTP/1.1"


def head_of(size: int) -> bytes:
    empty = request("X: ")
    return request("X: " + "a" * (size - len(empty)))


def test_a_request_line_of_the_greatest_length_is_taken() -> None:
    data = request(line=line_of(MOST_LINE_BYTES))

    check(data)

    assert len(parse(data).target) > 16_000


def test_a_longer_request_line_is_too_long() -> None:
    assert refused(request(line=line_of(MOST_LINE_BYTES + 1))) == 414


def test_a_request_line_is_too_long_as_soon_as_it_is() -> None:
    line = line_of(MOST_LINE_BYTES) + b"\r"

    check(line)

    assert refused(line + b"x") == 414


def test_a_head_of_the_greatest_length_is_taken() -> None:
    data = head_of(MOST_HEAD_BYTES)

    check(data)

    assert parse(data)


def test_a_longer_head_is_too_long_also_while_it_has_no_end() -> None:
    assert refused(head_of(MOST_HEAD_BYTES + 1)) == 431
    assert refused(head_of(MOST_HEAD_BYTES + 4)[:-3]) == 431


def test_the_greatest_number_of_fields_is_taken_and_one_more_is_not() -> None:
    fields = [f"X-{number}: a" for number in range(MOST_FIELDS)]

    assert parsed(*fields[1:])
    assert refused(request(*fields)) == 431


def test_a_head_of_8_kib_with_255_ranges_is_taken() -> None:
    ranges = ",".join(f"{number * 1_000_000_000}-{number * 1_000_000_000 + 99_999}" for number in range(255))

    head = parsed(f"Range: bytes={ranges}")  # how zchunk begins

    assert head.range.count(",") == 254


@each("data", [b"G", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost", b"GET / HTTP/1.1\r\nA: b\r\n"])
def test_what_may_still_become_a_head_is_waited_for(data: bytes) -> None:
    assert raised(check, data) is None


@each("data", [b"\n", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\r\n\n", b"a\n\r\n"])
def test_a_line_that_ends_with_lf_alone_is_refused_before_the_head_ends(data: bytes) -> None:
    assert refused(data) == 400


# From memory


def test_the_same_head_is_parsed_once() -> None:
    data = request("X-Same: 1")

    assert parse_again(data) is parse_again(bytes(bytearray(data)))


def test_what_is_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(Refused):
            parse_again(request("X"))


def test_a_long_head_is_not_kept() -> None:
    data = request("X: " + "a" * head_module.MOST_KEPT_BYTES)

    assert parse_again(data) is not parse_again(data)


def test_so_many_heads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "MOST_KEPT", 2)
    heads = [parse_again(request(f"X: {number}")) for number in range(5)]

    assert parse_again(request("X: 0")) is not heads[0]


# Whatever comes

TOKEN = st.text("abcXYZ!#$%&'*+-.^_`|~019", min_size=1, max_size=8)
VALUE = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20)
PATH = st.text("abc/.?=&;:@!$'()*+,~-_", max_size=20).map("/{}".format)
FIELD = st.builds(lambda name, value: (name, value), TOKEN, VALUE)
RESERVED = {"host", "content-length", "transfer-encoding", "connection", "expect"}


@given(TOKEN.filter(lambda method: method != "CONNECT"), PATH, st.lists(FIELD, max_size=5))
def test_every_head_of_the_grammar_is_taken_as_it_was_meant(
    method: str, target: str, fields: list[tuple[str, str]]
) -> None:
    fields = [(name, value) for name, value in fields if name.lower() not in RESERVED]
    lines = [f"{name}: {value}".encode("latin-1") for name, value in fields]

    head = parsed(*lines, line=f"{method} {target} HTTP/1.1")

    assert (head.method, head.target, head.content_length) == (method, target, 0)
    for name, _ in fields:
        if "_" not in name:
            key = "HTTP_" + name.upper().replace("-", "_")
            same = [value.strip(" \t") for other, value in fields if other.lower() == name.lower()]
            assert head.environ[key] == ",".join(same)


PIECE = st.sampled_from(
    [
        *(b"\r\n", b"\r", b"\n", b" ", b"\t", b"\x00", b"\xff"),
        *b"GET / HTTP/1.1 : Host x % %41 , Content-Length Transfer-Encoding chunked 5 http:// [ ] * OPTIONS".split(),
    ]
)


@given(st.one_of(st.binary(max_size=60), st.lists(PIECE, max_size=30).map(b"".join)))
def test_whatever_comes_is_a_head_or_refused(data: bytes) -> None:
    try:
        parse(data + b"\r\n\r\n")
    except Refused as refusal:
        status = refusal.status
    else:
        status = 200

    assert status in (200, 400, 414, 431, 501, 505)


# Against h11


def second_opinion(data: bytes) -> h11.Request | None:
    """Return what h11 makes of a head, None where it refuses it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


def our_opinion(data: bytes) -> Head | None:
    try:
        check(data)
        return parse(data)
    except Refused:
        return None


LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([^\r]*?)[ \t]*\r", re.I)
HOST = re.compile(rb"\r\nhost:[ \t]*([^\r]*?)[ \t]*\r", re.I)

# What we take on purpose though h11 does not.
ONLY_WE_TAKE = {"a target beyond ASCII, which U-Boot sends as it was typed": re.compile(rb"[^\r ]+ [^\r ]*[\x80-\xff]")}

# What we refuse on purpose though h11 takes it.
ONLY_H11_TAKES = {
    "LF alone, which RFC 9112 2.2 allows to lenient recipients": re.compile(rb".*(?<!\r)\n", re.S),
    "obs-fold, which may be refused (RFC 9112 5.2)": re.compile(rb".*\r\n[ \t]", re.S),
    "another major version": re.compile(rb"[^\r]* HTTP/[02-9]"),
    "no Host in a later minor version": re.compile(rb"[^\r]* HTTP/1\.[2-9]\r\n(?!.*\bhost:)", re.S | re.I),
    "control characters: h11 refuses NUL and blanks only": re.compile(rb".*[\x01-\x08\x0e-\x1f\x7f]", re.S),
    "a target of no form that there is: h11 does not look into it": re.compile(rb"\S+ (?!/|http://|\*)"),
    "* for another method than OPTIONS": re.compile(rb"(?!OPTIONS)\S+ \* "),
    "a % without its digits": re.compile(rb"\S+ [^\r ]*%(?![0-9A-Fa-f]{2})"),
    "userinfo": re.compile(rb"\S+ http://[^/ ]*@"),
    "CONNECT": re.compile(rb"CONNECT "),
    "Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)": re.compile(
        rb"[^\r]* HTTP/1\.0\r\n.*transfer-encoding:", re.S | re.I
    ),
    "Content-Length with Transfer-Encoding (RFC 9112 6.3)": re.compile(
        rb"(?=.*\r\ncontent-length:).*\r\ntransfer-encoding:", re.S | re.I
    ),
}


def is_explained_refusal(data: bytes) -> bool:
    lengths, hosts = LENGTH.findall(data), HOST.findall(data)
    return (
        any(reason.match(data) for reason in ONLY_H11_TAKES.values())
        or len(lengths) > 1  # h11 takes equal ones for one
        or any(b"," in length or len(length) > 18 for length in lengths)
        or any(re.fullmatch(rb"[A-Za-z0-9,]*", host) is None for host in hosts)  # RFC 9112 3.2: must be valid
    )


HEAD_LINE = st.builds(
    lambda method, blank, target, version, end: f"{method}{blank}{target} {version}{end}".encode("latin-1"),
    st.sampled_from(["GET", "OPTIONS", "G T", "", "get", "CONNECT"]),
    st.sampled_from([" ", " ", " ", "  ", "\t"]),
    st.one_of(PATH, st.sampled_from(["*", "a", "/%", "/%41", "http://b/c", "http://b@c/", "/\xe9", "/\x01", "/#", ""])),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/1", "http/1.1", ""]),
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", " \r\n"]),
)
HEAD_FIELD = st.builds(
    lambda name, colon, value, end: f"{name}{colon}{value}{end}".encode("latin-1"),
    st.sampled_from(["Host", "X-A", "Content-Length", "Transfer-Encoding", "Connection", "", " X", "X A", "X\xe9"]),
    st.sampled_from([": ", ": ", ":", ":\t", " : ", "", ": \t "]),
    st.sampled_from(
        [
            "",
            "5, 5",
            "a b",
            "\x00",
            "\x01",
            "b ",
            "chunked, gzip",
            "5\rx",
            *["b", "5", "chunked", "gzip", "close", "+5", "é", "a@b"],
            "9" * 19,
        ]
    ),
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\n ", "\r\r\n"]),
)


@given(HEAD_LINE, st.sampled_from([b"Host: bench\r\n", b"Host: bench\r\n", b""]), st.lists(HEAD_FIELD, max_size=4))
@example(b"GET / HTTP/1.1\r\n", b"Host: bench\r\n", [])
@example(b"GET http://b/c HTTP/1.0\r\n", b"", [])
def test_heads_are_what_h11_makes_of_them_but_for_differences_that_are_explained(
    line: bytes, host: bytes, fields: list[bytes]
) -> None:
    data = line + host + b"".join(fields) + b"\r\n"
    if data.find(b"\r\n\r\n") != len(data) - 4:
        return  # not one head, or none

    ours, theirs = our_opinion(data), second_opinion(data)

    if ours is None and theirs is not None:
        assert is_explained_refusal(data)
    elif ours is not None and theirs is None:
        assert any(reason.match(data) for reason in ONLY_WE_TAKE.values())
    elif ours is not None and theirs is not None:
        assert ours.method.encode() == theirs.method
        assert ours.target.encode("latin-1") == theirs.target
        names = {name for name, _ in theirs.headers}
        if theirs.target.startswith(b"http://"):
            names.add(b"host")  # RFC 9112 3.2.2: it is the one of the target, which h11 leaves in there
        keys = {key for key in ours.environ if key.startswith(("HTTP_", "CONTENT_"))}
        assert {name.decode().upper().replace("-", "_") for name in names} == {
            key.removeprefix("HTTP_") for key in keys
        }
