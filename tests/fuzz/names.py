"""What must hold of names, as they are and as percent-encoded targets: nobody gets what is not in the root.

Knows the site on a real directory. Knows no fuzzer and no socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from httpserve.base.names import checked_name, is_reserved
from httpserve.base.text import url_path
from httpserve.errors import InvalidName
from httpserve.server import request_head
from httpserve.server.request_head import Refused
from httpserve.site.app import Site
from httpserve.storage.directory.root import Root
from tests.fuzz.answers import Asked, Descriptors
from tests.fuzz.grammar import check_refusal

SECRET = b"nobody is to read this"
HIDDEN = b"only who asks for dot files is to read this"


class NameCheck:
    """Names, as they are and as percent-encoded targets of a root that secrets lie beside and in."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._sites = {"plain": Site(root), "dot files": Site(root, dot_files=True), "one": Site(root, only="sub/a b")}
        self._descriptors = Descriptors()

    def close(self) -> None:
        """Give up what this took."""
        self._descriptors.close()

    def __call__(self, data: bytes) -> str:
        """Take `data` for a name, then for the rest of a target that begins with a slash."""
        named = [self._check_name(text) for text in (data.decode("utf-8", "surrogateescape"), data.decode("latin-1"))]
        try:
            found = request_head.parse(b"GET /" + data + b" HTTP/1.1\r\nHost: bench\r\n\r\n")
        except Refused as refused:
            check_refusal(refused, 400, 505)
            return f"{named} {refused.status}"
        path = found.environ["PATH_INFO"]
        statuses = [self._check_answer(what, path) for what in self._sites]
        return f"{named} {statuses}"

    def _check_name(self, text: str) -> str:
        try:
            name = checked_name(text, directory=True)
        except InvalidName as error:
            why = str(error)
            for same in (text, f"/{text}", f"{text}/"):
                _check_is_no_name(same)
            return "".join(one for one in why if one.isalpha())[-20:]
        assert checked_name(name, directory=True) == name
        assert name == name.strip()
        assert not {"\\", "\0"} & set(name)
        assert not name.startswith("/")
        assert not name.endswith("/")
        assert not any(part in ("", ".", "..") or is_reserved(part) for part in name.split("/") if name)
        assert os.path.normpath(os.path.join("/top", name)) == (f"/top/{name}" if name else "/top")
        target = url_path(name).encode("ascii")
        found = request_head.parse(b"GET /" + target + b" HTTP/1.1\r\nHost: bench\r\n\r\n")
        assert found.environ["PATH_INFO"].encode("latin-1").decode("utf-8") == f"/{name}"
        if _is_name(text):
            assert checked_name(text) == name
        return f"name {name.count('/') > 0}"

    def _check_answer(self, what: str, path: str) -> int:
        asked = Asked(self._sites[what], "GET", path, {})
        self._descriptors.check()
        asked.check("GET")
        assert asked.status in (200, 404), f"{asked.status} {asked.body!r}"
        assert SECRET not in asked.body
        assert b"link_out" not in asked.body
        assert b".httpserve-" not in asked.body
        if what != "dot files":
            assert HIDDEN not in asked.body
            assert b'".hidden' not in asked.body
        subject = asked.plan.subject
        if subject is not None:
            real = os.path.realpath(os.path.join(self._root.path, subject.name))
            assert real.startswith(self._root.path + "/")
            assert Path(real).read_bytes() == asked.body
            assert what != "one" or subject.name == "sub/a b"
        return asked.status if subject is not None or asked.status != 200 else 1


def _check_is_no_name(text: str) -> None:
    assert not _is_name(text)


def _is_name(text: str) -> bool:
    try:
        checked_name(text)
    except InvalidName:
        return False
    return True


@contextmanager
def names(directory: Path) -> Iterator[NameCheck]:
    """Make a root with everything that must not be seen in and beside it, and give the check."""
    top, beside = directory / "root", directory / "root-beside"
    for folder in (top / "sub" / "deep", top / "site", top / ".hidden.d", beside):
        folder.mkdir(parents=True)
    for secret in (directory / "secret", beside / "secret", top / ".httpserve-temporary"):
        secret.write_bytes(SECRET)
    for place in ("a", "sub/a b", "sub/deep/ü", "sub/100%", "a+b", "%61", "site/index.html", ".hidden", ".hidden.d/b"):
        (top / place).write_bytes(HIDDEN if "hidden" in place else place.encode())
    os.mkfifo(top / "fifo")
    (top / "link_out").symlink_to(beside)
    (top / "link_out_file").symlink_to(beside / "secret")
    (top / "link_out_relative").symlink_to("../secret")
    (top / "in").symlink_to("sub")
    (top / "circle").symlink_to("circle")
    (top / "sub" / "up").symlink_to("..")
    root = Root(top, read_only=True).open()
    check = NameCheck(root)
    try:
        yield check
    finally:
        check.close()
        root.close()
