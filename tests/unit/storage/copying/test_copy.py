"""Copying whole or not at all, with digest and progress."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
from pathlib import Path

import opendal
import pytest

from httpserve.errors import CopyFailed, DigestMismatch, InvalidArgument, InvalidType, MissingExtra, SourceStalled
from httpserve.storage.copying import copy
from httpserve.storage.copying.copy import copy_in, copy_out
from httpserve.storage.copying.ends import SourceChanged
from httpserve.storage.copying.local import FileSink, FileSource
from httpserve.storage.copying.opening import open_source
from tests.cases import each
from tests.unit.storage.copying.parts import Scripted

LARGE = random.Random(9).randbytes(3_000_017)
SMALL = b"small"
BOTH_KINDS = pytest.mark.parametrize("interruptible", [True, False])


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    directory = tmp_path / "dst"
    directory.mkdir()
    (directory / "file").write_bytes(b"old")
    return directory / "file"


def pieces(content: bytes, size: int = 100_000) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def assert_untouched(dst: Path) -> None:
    assert dst.read_bytes() == b"old"
    assert os.listdir(dst.parent) == ["file"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("httpserve:")]


# The bytes and their digest


@BOTH_KINDS
@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_the_content_arrives_with_its_digest(dst: Path, content: bytes, interruptible: bool) -> None:
    source = Scripted(*pieces(content), size=len(content), interruptible=interruptible)

    digest = copy_in(source, FileSink(str(dst)))

    assert dst.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 262_143, 262_144, 262_145, 524_288, 1_048_576, 1_310_721])
def test_sizes_around_the_buffers_arrive_whole(tmp_path: Path, dst: Path, size: int) -> None:
    (tmp_path / "src").write_bytes(LARGE[:size])
    source = FileSource(str(tmp_path / "src"))

    digest = copy_in(source, FileSink(str(dst)))
    source.close()

    assert dst.read_bytes() == LARGE[:size]
    assert digest == hashlib.sha256(LARGE[:size]).hexdigest()


def test_single_bytes_are_gathered_into_chunks(dst: Path) -> None:
    calls: list[int] = []
    source = Scripted(*(bytes([number % 256]) for number in range(70_000)))

    copy_in(source, FileSink(str(dst)), progress=lambda copied, total: calls.append(copied))

    assert calls == [65_536, 70_000, 70_000]


def test_an_operators_file_arrives_with_its_digest(dst: Path) -> None:
    operator = opendal.Operator("memory")
    operator.write("file", LARGE)
    source = open_source("file", operator, timeout=10)

    digest = copy_in(source, FileSink(str(dst)))
    source.close()

    assert dst.read_bytes() == LARGE
    assert digest == hashlib.sha256(LARGE).hexdigest()


@BOTH_KINDS
def test_no_thread_is_left_after_a_copy(dst: Path, interruptible: bool) -> None:
    copy_in(Scripted(*pieces(LARGE), interruptible=interruptible), FileSink(str(dst)))

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("httpserve:")]


def test_a_small_file_is_copied_without_a_thread(dst: Path) -> None:
    started: list[str] = []
    threading.setprofile(lambda frame, event, arg: started.append(event))
    try:
        copy_in(Scripted(SMALL), FileSink(str(dst)))
    finally:
        threading.setprofile(None)

    assert started == []


@pytest.mark.parametrize("upper", [False, True])
def test_a_digest_that_was_promised_is_compared(dst: Path, upper: bool) -> None:
    promised = hashlib.sha256(LARGE).hexdigest()

    copy_in(Scripted(LARGE[:200_000], LARGE[200_000:250_000]), FileSink(str(dst)), sha256=None)
    copy_in(Scripted(*pieces(LARGE)), FileSink(str(dst)), sha256=promised.upper() if upper else promised)

    assert dst.read_bytes() == LARGE


@pytest.mark.parametrize("form", ["{}", "sha256:{}", "{}  build/Image\n", "{} *Image", " {}\n"])
def test_a_digest_is_taken_as_sha256sum_prints_it(dst: Path, form: str) -> None:
    copy_in(Scripted(SMALL), FileSink(str(dst)), sha256=form.format(hashlib.sha256(SMALL).hexdigest()))

    assert dst.read_bytes() == SMALL


@BOTH_KINDS
def test_a_digest_that_differs_publishes_nothing(dst: Path, interruptible: bool) -> None:
    promised = hashlib.sha256(b"other").hexdigest()
    source = Scripted(*pieces(LARGE), interruptible=interruptible)

    with pytest.raises(DigestMismatch, match="nothing was published") as caught:
        copy_in(source, FileSink(str(dst)), sha256=promised)

    assert caught.value.expected == promised
    assert caught.value.actual == hashlib.sha256(LARGE).hexdigest()
    assert_untouched(dst)


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, "a" * 63, "a" * 65, "sha1:" + "a" * 64, b"a" * 64])
def test_what_is_no_digest_is_refused_before_a_byte_is_read(dst: Path, sha256: str) -> None:
    source = Scripted(SMALL)

    with pytest.raises(InvalidArgument, match="64 hexadecimal digits"):
        copy_in(source, FileSink(str(dst)), sha256=sha256)

    assert source.reader is None
    assert_untouched(dst)


# What goes wrong


@BOTH_KINDS
@pytest.mark.parametrize("before", [b"", SMALL, LARGE], ids=["at once", "early", "late"])
def test_a_source_that_fails_publishes_nothing(dst: Path, before: bytes, interruptible: bool) -> None:
    error = SourceStalled("stalled")
    source = Scripted(*pieces(before), error, interruptible=interruptible)

    with pytest.raises(SourceStalled) as caught:
        copy_in(source, FileSink(str(dst)))

    assert caught.value is error
    assert_untouched(dst)


@BOTH_KINDS
def test_a_source_shorter_than_it_said_publishes_nothing(dst: Path, interruptible: bool) -> None:
    source = Scripted(*pieces(LARGE), size=len(LARGE) + 1, interruptible=interruptible)

    with pytest.raises(CopyFailed, match="less than"):
        copy_in(source, FileSink(str(dst)))

    assert_untouched(dst)


@BOTH_KINDS
def test_a_source_that_changes_starts_over(dst: Path, interruptible: bool) -> None:
    source = Scripted(*pieces(LARGE[:2_000_000]), SourceChanged(), *pieces(LARGE), interruptible=interruptible)

    digest = copy_in(source, FileSink(str(dst)))

    assert dst.read_bytes() == LARGE
    assert digest == hashlib.sha256(LARGE).hexdigest()


@BOTH_KINDS
def test_a_sink_that_fails_ends_the_copy(interruptible: bool) -> None:
    source = Scripted(*pieces(LARGE), interruptible=interruptible)

    with pytest.raises(CopyFailed, match="No space left"):
        copy_in(source, FileSink("/dev/full"))

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("httpserve:")]


def test_what_cannot_be_read_back_is_not_published(tmp_path: Path, dst: Path) -> None:
    class Shrunk(FileSink):
        """A target that others have emptied meanwhile."""

        def reader(self) -> int:
            return os.open(os.devnull, os.O_RDONLY)

    (tmp_path / "src").write_bytes(bytes(4 * copy.COPY_CHUNK_BYTES))
    source = FileSource(str(tmp_path / "src"))

    with pytest.raises(CopyFailed, match="what was written: it cannot be read back: it has become shorter"):
        copy_in(source, Shrunk(str(dst)))
    source.close()

    assert_untouched(dst)


def test_ctrl_c_in_a_read_publishes_nothing(dst: Path) -> None:
    source = Scripted(*pieces(LARGE), KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        copy_in(source, FileSink(str(dst)))

    assert_untouched(dst)


def test_ctrl_c_does_not_wait_for_a_read_that_does_not_feel_it(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "GRACE", 0.01)
    goes_on = threading.Event()

    def sit() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        goes_on.wait(10)

    source = Scripted(*pieces(LARGE), sit, *pieces(LARGE), interruptible=False)
    with pytest.raises(KeyboardInterrupt):
        copy_in(source, FileSink(str(dst)))
    litter = os.listdir(dst.parent)
    goes_on.set()
    assert source.reader is not None
    source.reader.join(10)

    assert litter == ["file"]
    assert source.finished == 0
    assert_untouched(dst)


# Progress


@BOTH_KINDS
def test_progress_is_told_in_the_calling_thread(dst: Path, interruptible: bool) -> None:
    calls: list[tuple[int, int | None, threading.Thread]] = []
    source = Scripted(*pieces(LARGE), size=len(LARGE), interruptible=interruptible)

    copy_in(
        source,
        FileSink(str(dst)),
        progress=lambda copied, total: calls.append((copied, total, threading.current_thread())),
    )

    copied = [call[0] for call in calls]
    assert copied == sorted(copied)
    assert copied[-1] == len(LARGE)
    assert max(b - a for a, b in zip([0, *copied], copied, strict=False)) <= copy.COPY_CHUNK_BYTES
    assert {call[1:] for call in calls} == {(len(LARGE), threading.current_thread())}


def test_progress_without_a_size_ends_with_the_total(dst: Path) -> None:
    calls: list[tuple[int, int | None]] = []

    copy_in(Scripted(SMALL), FileSink(str(dst)), progress=lambda *call: calls.append(call))

    assert calls == [(5, None), (5, 5)]


def test_progress_of_an_empty_source_is_told_once(dst: Path) -> None:
    calls: list[tuple[int, int | None]] = []

    copy_in(Scripted(size=0), FileSink(str(dst)), progress=lambda *call: calls.append(call))

    assert calls == [(0, 0)]


def test_progress_is_told_once_where_the_last_chunk_tells_all(dst: Path) -> None:
    calls: list[tuple[int, int | None]] = []

    copy_in(Scripted(SMALL, size=5), FileSink(str(dst)), progress=lambda *call: calls.append(call))

    assert calls == [(5, 5)]


@BOTH_KINDS
def test_what_progress_raises_ends_the_copy_and_publishes_nothing(dst: Path, interruptible: bool) -> None:
    class Enough(Exception):
        pass

    def stop(copied: int, total: int | None) -> None:
        if copied > 1_000_000:
            raise Enough

    with pytest.raises(Enough):
        copy_in(Scripted(*pieces(LARGE), interruptible=interruptible), FileSink(str(dst)), progress=stop)

    assert_untouched(dst)


def test_what_progress_raises_after_the_last_byte_still_publishes_nothing(dst: Path) -> None:
    source = Scripted(*pieces(LARGE), interruptible=False)

    def stop(copied: int, total: int | None) -> None:
        assert source.reader is not None
        source.reader.join(10)
        raise SourceStalled("enough")

    with pytest.raises(SourceStalled, match="enough"):
        copy_in(source, FileSink(str(dst)), progress=stop)

    assert source.finished == 1
    assert_untouched(dst)


def test_progress_true_shows_a_bar(dst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")

    copy_in(Scripted(*pieces(LARGE), size=len(LARGE)), FileSink(str(dst)), progress=True)

    shown = capsys.readouterr()
    assert "100%" in shown.err
    assert "2.86M" in shown.err
    assert shown.out == ""


def test_a_bar_goes_back_when_the_source_starts_over(dst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    source = Scripted(*pieces(LARGE), SourceChanged(), SMALL)

    copy_in(source, FileSink(str(dst)), progress=True)

    assert "5.00/5.00" in capsys.readouterr().err


def test_progress_true_without_tqdm_names_the_extra(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)

    with pytest.raises(MissingExtra, match=r"pip install 'httpserve\[progress\]'"):
        copy_in(Scripted(SMALL), FileSink(str(dst)), progress=True)

    assert_untouched(dst)


def test_progress_false_is_quiet(dst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_in(Scripted(SMALL), FileSink(str(dst)), progress=False)

    assert capsys.readouterr() == ("", "")


def test_progress_of_another_type_is_refused(dst: Path) -> None:
    with pytest.raises(InvalidType, match="progress"):
        copy_in(Scripted(SMALL), FileSink(str(dst)), progress=3)  # type: ignore[arg-type]  # what is refused

    assert_untouched(dst)


# Copying out


@BOTH_KINDS
@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_file_is_copied_out_to_a_local_path(dst: Path, content: bytes, interruptible: bool) -> None:
    copy_out(Scripted(*pieces(content), interruptible=interruptible), dst, timeout=10)

    assert dst.read_bytes() == content
    assert os.listdir(dst.parent) == ["file"]


@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_a_file_is_copied_out_to_an_operator(dst: Path, content: bytes) -> None:
    operator = opendal.Operator("fs", root=str(dst.parent))

    copy_out(Scripted(*pieces(content)), "file", operator, timeout=10)

    assert dst.read_bytes() == content
    assert os.listdir(dst.parent) == ["file"]


@BOTH_KINDS
@pytest.mark.parametrize("on_operator", [False, True])
def test_a_copy_out_that_fails_leaves_the_old(dst: Path, on_operator: bool, interruptible: bool) -> None:
    operator = opendal.Operator("fs", root=str(dst.parent)) if on_operator else None
    source = Scripted(*pieces(LARGE), CopyFailed("gone"), interruptible=interruptible)

    with pytest.raises(CopyFailed, match="gone"):
        copy_out(source, "file" if on_operator else dst, operator, timeout=10)

    assert_untouched(dst)


def test_a_copy_out_starts_over_when_its_source_does(dst: Path) -> None:
    copy_out(Scripted(*pieces(LARGE), SourceChanged(), SMALL), dst, timeout=10)

    assert dst.read_bytes() == SMALL


def test_ctrl_c_ends_a_copy_out_to_an_operator(dst: Path) -> None:
    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        signalled.wait(10)

    # The copy goes on once the caller is out of its wait, and then finds that it was given up.
    signalled = threading.Event()
    source = Scripted(*pieces(LARGE), press, *pieces(LARGE))
    with pytest.raises(KeyboardInterrupt):
        copy_out(source, "file", opendal.Operator("fs", root=str(dst.parent)), timeout=10)
    signalled.set()
    assert source.reader is not None
    source.reader.join(10)

    assert_untouched(dst)


@each("dst", [b"bytes", 7])
def test_a_dst_of_another_type_is_refused(dst: object) -> None:
    with pytest.raises(InvalidType, match="dst"):
        copy_out(Scripted(), dst, timeout=10)  # type: ignore[arg-type]  # what is refused


def test_a_copy_out_to_an_async_operator_is_refused() -> None:
    with pytest.raises(TypeError, match="AsyncOperator"):
        copy_out(Scripted(), "file", opendal.AsyncOperator("memory"), timeout=10)  # type: ignore[arg-type]  # what is refused


def test_a_copy_out_with_a_timeout_of_nothing_is_refused(dst: Path) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        copy_out(Scripted(), dst, timeout=0)


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/key", "http://127.0.0.1:1/up", Path("s3://bucket/key"), "file:///tmp/x", "sftp://me:word@bench/x"],
)
def test_nothing_is_copied_out_to_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | Path) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidArgument, match=r"dst '.*' is a URL.*pass an opendal operator") as caught:
        copy_out(Scripted(SMALL), url, timeout=10)

    assert os.listdir(tmp_path) == []
    assert "word" not in str(caught.value)


def test_nothing_is_copied_out_to_a_url_of_http_beside_an_operator(tmp_path: Path) -> None:
    operator = opendal.Operator("fs", root=str(tmp_path))

    with pytest.raises(InvalidArgument, match="is a URL"):
        copy_out(Scripted(SMALL), "HTTP://bench/up", operator, timeout=10)
    copy_out(Scripted(SMALL), "s3://bucket", operator, timeout=10)  # a key of a store may be called so

    assert (tmp_path / "s3:" / "bucket").read_bytes() == SMALL


def test_a_local_file_may_be_called_as_a_url_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    copy_out(Scripted(SMALL), "./s3://bucket", timeout=10)

    assert (tmp_path / "s3:" / "bucket").read_bytes() == SMALL


@pytest.mark.parametrize("on_operator", [False, True])
def test_a_surrogate_that_stands_for_nothing_is_no_dst(tmp_path: Path, on_operator: bool) -> None:
    operator = opendal.Operator("fs", root=str(tmp_path)) if on_operator else None

    with pytest.raises(InvalidArgument, match="dst"):
        copy_out(Scripted(SMALL), "\ud83d", operator, timeout=10)
