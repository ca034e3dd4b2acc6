"""Errors that real operators raise, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import opendal
import pytest

from httpserve import errors
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS, is_stall, kind_of, reason_of, source_error
from tests.cases import each


@pytest.fixture
def operator(tmp_path: Path) -> opendal.Operator:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "inner").write_bytes(b"")
    return opendal.Operator("fs", root=str(tmp_path))


def raised(action: Callable[[], object]) -> Exception:
    with pytest.raises(OPENDAL_ERRORS) as caught:
        action()
    return caught.value


Case = tuple[Callable[[opendal.Operator], object], str]
CASES: dict[str, Case] = {
    "stat of nothing": (lambda op: op.stat("none"), "NotFound"),
    "read of nothing": (lambda op: op.read("none"), "NotFound"),
    "File.read of nothing": (lambda op: op.open("none", "rb").read(), "NotFound"),
    "read of a directory": (lambda op: op.read("dir"), "IsADirectory"),
    "read of a directory/": (lambda op: op.read("dir/"), "IsADirectory"),
    "File.read of a directory": (lambda op: op.open("dir", "rb").read(), "IsADirectory"),
    "create_dir without slash": (lambda op: op.create_dir("new"), "NotADirectory"),
    "below a file": (lambda op: op.exists("file/x"), "NotADirectory"),
    "create_dir over a file": (lambda op: op.create_dir("file/"), "AlreadyExists"),
    "another mode": (lambda op: op.open("file", "ab"), "Unsupported"),
    "copy onto itself": (lambda op: op.copy("file", "file"), "IsSameFile"),
    "delete of a full directory": (lambda op: op.delete("dir/"), "Unexpected"),
    "a name too long": (lambda op: op.read("a" * 300), "Unexpected"),
    "an unknown service": (lambda op: opendal.Operator("nonsense"), "Unsupported"),
    "an option missing": (lambda op: opendal.Operator("s3"), "ConfigInvalid"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operators_error_has_a_kind_and_a_reason_of_one_line(operator: opendal.Operator, case: str) -> None:
    action, kind = CASES[case]
    error = raised(lambda: action(operator))

    assert kind_of(error) == kind
    assert "\n" not in reason_of(error)


def test_a_permission_denied_has_its_kind() -> None:
    error = OSError("PermissionDenied (permanent) at read, context: { service: fs } => permission denied")

    assert kind_of(error) == "PermissionDenied"


@each(
    ("text", "reason"),
    [
        (
            "Unexpected (temporary) at read, context: { url: http://u:p@h/x?sig=1, path: x } "
            "=> send http request, source: error sending request",
            "send http request, source: error sending request",
        ),
        (
            "Unexpected (temporary) at stat => send http request\n\nContext:\n   url: http://h/x?sig=1\n\n"
            "Source:\n   error sending request for http://u:p@h/x?sig=1: refused\n\nBacktrace:\n   0: <x>\n",
            "send http request: error sending request for http://…@h/x?… refused",
        ),
        ("Unexpected (persistent) at stat => one\n", "one"),
        ("NotFound (permanent) at read => whatever", "not found"),
        ("something else", "something else"),
        ("", "Unexpected"),
    ],
)
def test_the_reason_is_one_line_without_secrets(text: str, reason: str) -> None:
    assert reason_of(OSError(text)) == reason


def test_errors_of_ours_stay_as_they_are() -> None:
    copied = errors.CopyFailed("x")

    assert source_error(copied, "other", 1.0) is copied


@each(
    ("text", "cls"),
    [
        ("NotFound (permanent) at read => no", errors.SourceNotFound),
        ("Unexpected (temporary) at Reader::read => io operation timeout reached", errors.SourceStalled),
        ("Unexpected (temporary) at stat => operation timeout reached", errors.SourceStalled),
        ("PermissionDenied (permanent) at read => no", errors.CopyNotPermitted),
    ],
)
def test_the_error_of_a_source_says_how_it_failed(text: str, cls: type[errors.CopyFailed]) -> None:
    ours = source_error(OSError(text), "'a'", 1.0)

    assert type(ours) is cls
    assert ours.source == "'a'"


def test_a_stall_is_told_from_other_errors(operator: opendal.Operator) -> None:
    assert is_stall(OSError("Unexpected (temporary) at read => io operation timeout reached"))
    assert not is_stall(raised(lambda: operator.stat("none")))
