"""What the self-test finds wrong with an answer, by tables: a good answer to each question, and its ways to be bad."""

from __future__ import annotations

from httpserve.doctor.selftest import CONTENT, HEAD_BYTES, QUESTIONS, Question, Reply, flaws_of
from tests.cases import each

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 256\r\n"
    b'Accept-Ranges: bytes\r\nETag: "abc"\r\nDate: Thu, 26 Nov 2026 07:00:00 GMT\r\n\r\n'
)
PART = (
    HEAD.replace(b"200 OK", b"206 Partial Content")
    .replace(b"Length: 256", b"Length: 8")
    .replace(b"\r\n\r\n", b"\r\nContent-Range: bytes 4-11/256\r\n\r\n")
)
BEYOND = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 5\r\nContent-Range: bytes */256\r\n\r\nnone\n"
ASKED = {question.name: question for question in QUESTIONS}
GET, OLD, TO_HEAD, RANGE, FAR = QUESTIONS


def flaws(question: Question, data: bytes, *, first: bytes | None = None, seconds: float = 0.0) -> list[str]:
    return list(flaws_of(question, Reply(data if first is None else first, data, seconds)))


@each(
    ("question", "data"),
    [(GET, HEAD + CONTENT), (OLD, HEAD + CONTENT), (TO_HEAD, HEAD), (RANGE, PART + CONTENT[4:12]), (FAR, BEYOND)],
    ids=list(ASKED),
)
def test_a_good_answer_has_no_flaw(question: Question, data: bytes) -> None:
    assert flaws(question, data) == []


@each(
    ("before", "after", "flaw"),
    [
        (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", "the status line is b'HTTP/1.0 200 OK'"),
        (b"HTTP/1.1 200 OK", b"HTTP/1.1 200", "the status line is b'HTTP/1.1 200'"),
        (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", "the status line is b'HTTP/1.1 200 '"),
        (b"200 OK", b"404 Not Found", "the status is 404, not 200"),
        (b"Content-Length: 256", b"content-length: 256", "there is not exactly one 'Content-Length: N'"),
        (b"Content-Length: 256", b"Content-Length:  256", "there is not exactly one 'Content-Length: N'"),
        (b"Content-Length: 256", b"X: y", "there is not exactly one 'Content-Length: N'"),
        (b"Content-Length: 256", b"Content-Length: 255", "Content-Length is 255, not 256"),
        (b"Date:", b"Transfer-Encoding: chunked\r\nDate:", "the content is chunked"),
        (b"Date:", b"X-Empty:\r\nDate:", "the field X-Empty is empty"),
        (b"Date:", b"X-Empty: \r\nDate:", "the field X-Empty is empty"),
        (b"Date:", b"X-Long: " + b"x" * HEAD_BYTES + b"\r\nDate:", "more than 900"),
        (b'ETag: "abc"', b'ETag: W/"abc"', "there is no strong ETag"),
        (b"Accept-Ranges: bytes", b"Accept-Ranges: none", "there is no 'Accept-Ranges: bytes'"),
    ],
)
def test_a_head_that_some_board_does_not_take_is_a_flaw(before: bytes, after: bytes, flaw: str) -> None:
    assert before in HEAD

    assert any(flaw in found for found in flaws(GET, HEAD.replace(before, after) + CONTENT))


def test_no_answer_is_a_flaw() -> None:
    assert flaws(GET, b"") == ["the server closed without an answer"]


def test_a_head_that_comes_in_two_segments_is_a_flaw() -> None:
    assert flaws(GET, HEAD + CONTENT, first=HEAD[:100]) == ["the head does not end in the first segment"]


def test_an_answer_that_lets_wait_is_a_flaw() -> None:
    assert flaws(GET, HEAD + CONTENT, seconds=2.5) == ["the first byte came after 2.5 s"]


@each("content", [CONTENT[:-1], CONTENT[::-1], CONTENT + b"x"])
def test_other_bytes_than_were_asked_for_are_a_flaw(content: bytes) -> None:
    (flaw,) = flaws(GET, HEAD + content)

    assert flaw == f"{len(content)} bytes of content came that are not the 256 that were asked for"


def test_content_after_the_answer_to_head_is_a_flaw() -> None:
    assert flaws(TO_HEAD, HEAD + CONTENT) == ["256 bytes of content came"]


def test_a_range_that_is_answered_by_the_whole_is_a_flaw() -> None:
    found = flaws(RANGE, HEAD + CONTENT)

    assert "the status is 200, not 206" in found
    assert "there is no 'Content-Range: bytes 4-11/256'" in found


def test_a_range_without_accept_ranges_is_a_flaw() -> None:
    answer = PART.replace(b"Accept-Ranges: bytes\r\n", b"") + CONTENT[4:12]

    assert flaws(RANGE, answer) == ["there is no 'Accept-Ranges: bytes'"]


def test_a_range_beyond_the_end_that_does_not_tell_the_size_is_a_flaw() -> None:
    assert flaws(FAR, BEYOND.replace(b"*/256", b"*/*")) == ["there is no 'Content-Range: bytes */256'"]
