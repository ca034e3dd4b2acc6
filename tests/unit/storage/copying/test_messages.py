"""What people read about sources."""

from __future__ import annotations

import pytest

from httpserve.errors import CopyFailed, SourceNotFound, SourceStalled
from httpserve.storage.copying import messages
from tests.cases import each, raised


@each(
    ("text", "shown"),
    [
        ("http://host/a", "http://host/a"),
        ("http://host/a?sig=1&b=2", "http://host/a?…"),
        ("http://host?sig=1", "http://host?…"),
        ("http://host/a?", "http://host/a?…"),
        ("http://user:word@host:80/a", "http://…@host:80/a"),
        ("http://us@er:w@rd@host/a@b", "http://…@host/a@b"),
        ("https://user@[::1]:80/?x#part", "https://…@[::1]:80/?…#part"),
        ("https://host/a@b?c", "https://host/a@b?…"),
        ("see http://a:b@h/x?y and http://h/z?q", "see http://…@h/x?… and http://h/z?…"),
        ("what is a?b", "what is a?b"),
        ("", ""),
    ],
)
def test_userinfo_and_query_become_an_ellipsis(text: str, shown: str) -> None:
    assert messages.redacted(text) == shown


@each(
    ("error", "kind", "text"),
    [
        (messages.missing("'a'"), SourceNotFound, "the source 'a' does not exist"),
        (messages.missing("'a'", "404 No"), SourceNotFound, "the source 'a' does not exist: 404 No"),
        (messages.unreadable("'a'", "no"), CopyFailed, "cannot read 'a': no"),
        (messages.stalled("'a'", 2.5), SourceStalled, "'a' sent no byte for 2.5 s"),
        (messages.changed("'a'"), CopyFailed, "'a' changed while it was copied"),
    ],
)
def test_an_error_names_its_source(error: CopyFailed, kind: type[CopyFailed], text: str) -> None:
    assert type(error) is kind
    assert str(error).startswith(text)
    assert error.source == "'a'"


@each(("count", "size"), [(5, 5), (5, None), (0, 0), (0, None)])
def test_what_gave_all_it_said_is_whole(count: int, size: int | None) -> None:
    assert raised(messages.check_whole, "'a'", count, size) is None


@each(("count", "word"), [(4, "less"), (6, "more"), (0, "less")])
def test_what_gave_another_number_is_not_whole(count: int, word: str) -> None:
    with pytest.raises(CopyFailed, match=f"{count} bytes, {word} than the 5"):
        messages.check_whole("'a'", count, 5)
