"""Answers that are stored: within bounds, each as it was stored, also while it is under way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from httpserve.server.repeats import LENT_FROM_BYTES, AnswerStore, StoredAnswer
from tests.server.wire import pattern

MOST = 4 * LENT_FROM_BYTES

needs_memory_file = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")


@pytest.fixture
def store() -> Iterator[AnswerStore]:
    store = AnswerStore(MOST)
    yield store
    store.forget()


def whole(length: int, seed: int = 0) -> memoryview:
    return memoryview(pattern(length, seed))


def test_a_small_answer_is_a_copy(store: AnswerStore) -> None:
    buffer = bytearray(b"answer")
    answer = store.keep(memoryview(buffer))
    buffer[:] = b"other!"

    assert answer == b"answer"


@needs_memory_file
def test_larger_ones_are_lent_side_by_side(store: AnswerStore) -> None:
    answers = [store.keep(whole(LENT_FROM_BYTES + more, more)) for more in range(3)]

    assert all(isinstance(answer, StoredAnswer) for answer in answers)
    assert [answer.read() for answer in answers if isinstance(answer, StoredAnswer)] == [
        pattern(LENT_FROM_BYTES + more, more) for more in range(3)
    ]


def test_no_more_is_kept_than_was_said_until_it_is_forgotten(store: AnswerStore) -> None:
    for _ in range(2):
        assert [store.keep(whole(MOST // 2)) is None for _ in range(3)] == [False, False, True]
        assert store.keep(whole(1)) is None
        store.forget()


@needs_memory_file
def test_what_is_under_way_stays_what_it_was(store: AnswerStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    with client, sock:
        answer = store.keep(whole(LENT_FROM_BYTES, 1))
        assert isinstance(answer, StoredAnswer)
        assert os.sendfile(sock.fileno(), answer.fd, answer.offset, answer.length) == LENT_FROM_BYTES
        store.forget()
        store.keep(whole(LENT_FROM_BYTES, 2))  # into the place of the first
        sock.close()
        with client.makefile("rb") as received:
            assert received.read() == pattern(LENT_FROM_BYTES, 1)


@needs_memory_file
@pytest.mark.parametrize("name", ["memfd_create", "pwrite"])
def test_out_of_descriptors_or_memory_it_is_a_copy(
    store: AnswerStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(24, "no more")

    monkeypatch.setattr(os, name, fail)

    assert store.keep(whole(LENT_FROM_BYTES)) == pattern(LENT_FROM_BYTES)


@needs_memory_file
def test_a_file_that_took_a_part_is_not_lent(store: AnswerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: plain(fd, data[:-1], offset))

    assert store.keep(whole(LENT_FROM_BYTES)) == pattern(LENT_FROM_BYTES)


@needs_memory_file
def test_an_answer_that_cannot_be_read_whole_is_an_error(store: AnswerStore) -> None:
    answer = store.keep(whole(LENT_FROM_BYTES))
    assert isinstance(answer, StoredAnswer)
    os.ftruncate(answer.fd, 100)
    with pytest.raises(OSError, match="incomplete"):
        answer.read()


@needs_memory_file
def test_a_forked_child_changes_nothing(store: AnswerStore) -> None:
    answer = store.keep(whole(LENT_FROM_BYTES, 1))
    assert isinstance(answer, StoredAnswer)
    child = os.fork()
    if child == 0:
        store.forget()
        store.keep(whole(LENT_FROM_BYTES, 2))
        os._exit(0)
    os.waitpid(child, 0)
    other = store.keep(whole(LENT_FROM_BYTES, 3))

    assert isinstance(other, StoredAnswer)
    assert (answer.read(), other.read()) == (pattern(LENT_FROM_BYTES, 1), pattern(LENT_FROM_BYTES, 3))


def test_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        store = AnswerStore(MOST)
        store.keep(whole(LENT_FROM_BYTES))
        store.forget()
        store.forget()

    assert len(os.listdir("/proc/self/fd")) == before
