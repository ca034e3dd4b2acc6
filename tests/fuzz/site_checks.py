"""What must hold of plans and names on a real directory, whatever a request says.

Knows the site and the root that it answers for. Knows no fuzzer and no socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpserve.errors import InvalidName
from httpserve.hosts import url_path
from httpserve.names import checked_name, is_reserved
from httpserve.plan import Data, Plan, Region
from httpserve.root import Root
from httpserve.serving import head
from httpserve.serving.head import Refused
from httpserve.site.app import Site
from httpserve.site.conditional import Kind, decide
from tests.fuzz.checks import check_refusal, fields_in

# All bytes, and what looks like the end of a part.
CONTENT = bytes(range(256)) * 3 + b"\r\n--" * 58
FILES = {"empty.bin": b"", "one": b"1", "kilo.txt": CONTENT}
STATUS = {
    Kind.WHOLE: 200,
    Kind.PARTS: 206,
    Kind.NOT_MODIFIED: 304,
    Kind.FAILED: 412,
    Kind.UNSATISFIABLE: 416,
}
SECRET = b"nobody is to read this"


class Asked:
    """One answer of a site, its body read and its files closed."""

    def __init__(self, site: Site, method: str, path: str, fields: dict[str, str]) -> None:
        self.status = 0
        self.fields: dict[str, str] = {}
        self._lines: list[tuple[str, str]] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, **fields}
        plan = site(environ, self._start_response)
        assert isinstance(plan, Plan)
        self.plan = plan
        try:
            self.pieces = [_read(step) for step in plan.steps]
            self.body = b"".join(plan)
        finally:
            plan.close()

    def _start_response(self, status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert not self.status, "an answer begins once"
        self.status = int(status[:3])
        self._lines = fields
        self.fields = dict(fields)
        assert len(self.fields) == len(fields)
        for name, value in fields:
            assert (name + value).isascii()
            assert (name + value).isprintable()

    def check(self, method: str) -> None:
        """Hold the answer to what it says of itself."""
        length = self.fields.get("Content-Length")
        assert len(self.body) == self.plan.length
        if method == "HEAD" or self.status in (204, 304):
            assert not self.body
        else:
            assert length == str(len(self.body))
        raw = "".join(f"{name}: {value}\r\n" for name, value in self._lines).encode()
        assert self.plan.raw_fields in (None, raw)
        if self.plan.again is not None:
            again = bytearray(self.plan.length)
            assert self.plan.again(memoryview(again))
            assert again == self.body


def _read(step: object) -> bytes:
    if isinstance(step, Region):
        return os.pread(step.file.fd, step.length, step.offset)
    assert isinstance(step, Data)
    return step.data


class Descriptors:
    """Tells whether a descriptor was left open: the system gives out the lowest that is free."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._free = self._next()

    def _next(self) -> int:
        fd = os.dup(self._null)
        os.close(fd)
        return fd

    def check(self) -> None:
        """Raise AssertionError where one was left open since the beginning."""
        assert self._next() == self._free

    def close(self) -> None:
        """Give up the one that this took."""
        os.close(self._null)


# Plans


class PlanCheck:
    """Requests for three files.

    The first line says method and file; further ones are fields as `fields_in` has them, where `$E` stands for the
    file's ETag and `$M` for its Last-Modified.
    """

    def __init__(self, root: Root) -> None:
        self._site = Site(root)
        self._validators = {name: self._site.representation(name) for name in FILES}
        self._descriptors = Descriptors()

    def close(self) -> None:
        """Give up what this took."""
        self._descriptors.close()

    def __call__(self, data: bytes) -> str:
        """Ask what `data` says, and check the answer."""
        first, *lines = data.decode("latin-1").split("\n")
        method, _, name = first.partition(" ")
        if name not in FILES:
            name = "kilo.txt"
        known = self._validators[name]
        modified = dict(known.common)["Last-Modified"]
        fields = {
            field: value.replace("$E", known.validators.etag).replace("$M", modified)
            for field, value in fields_in(lines).items()
        }
        asked = Asked(self._site, method, f"/{name}", fields)
        self._descriptors.check()
        asked.check(method)
        if method not in ("GET", "HEAD"):
            assert asked.status in (204, 405, 501)
            assert asked.plan.subject is None
            return f"{asked.status}"
        verdict = decide(fields, known.validators, is_get=method == "GET")
        assert asked.status == STATUS[verdict.kind]
        assert ("ETag" in asked.fields) is (asked.status < 400)
        content = FILES[name]
        _check_subject(asked, content)
        if verdict.kind is Kind.WHOLE:
            assert asked.fields["Content-Length"] == str(len(content))
            assert method == "HEAD" or asked.body == content
        elif verdict.kind is Kind.PARTS:
            expected = [(f"bytes {a}-{b - 1}/{len(content)}", content[a:b]) for a, b in verdict.ranges]
            assert _parts(asked) == expected
        elif verdict.kind is Kind.UNSATISFIABLE:
            assert asked.fields["Content-Range"] == f"bytes */{len(content)}"
        return f"{method} {asked.status} {min(len(verdict.ranges), 3)}"


def _check_subject(asked: Asked, content: bytes) -> None:
    """What the record will say was sent is what was sent."""
    subject = asked.plan.subject
    assert (subject is None) is (asked.status >= 400)
    for offset, start, stop in subject.pieces if subject is not None and asked.body else ():
        assert asked.body[offset : offset + stop - start] == content[start:stop]
    regions = [piece for piece, step in zip(asked.pieces, asked.plan.steps, strict=True) if isinstance(step, Region)]
    pieces = subject.pieces if subject is not None and asked.plan.steps else ()
    assert regions == [content[start:stop] for _, start, stop in pieces]


def _parts(asked: Asked) -> list[tuple[str, bytes]]:
    """Take an answer of ranges apart, as RFC 2046 has it."""
    kind = asked.fields["Content-Type"]
    if not kind.startswith("multipart/"):
        return [(asked.fields["Content-Range"], asked.body)]
    assert "Content-Range" not in asked.fields  # RFC 9110 15.3.7.2
    boundary = kind.removeprefix("multipart/byteranges; boundary=").encode()
    before, *parts, after = asked.body.split(b"\r\n--" + boundary)
    assert (before, after) == (b"", b"--\r\n")
    found = []
    for part in parts:
        fields, _, body = part.partition(b"\r\n\r\n")
        empty, _, value = fields.partition(b"\r\nContent-Range: ")
        assert empty.startswith(b"\r\nContent-Type: ")
        found.append((value.decode(), body))
    return found


# Names


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
            found = head.parse(b"GET /" + data + b" HTTP/1.1\r\nHost: bench\r\n\r\n")
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
        found = head.parse(b"GET /" + target + b" HTTP/1.1\r\nHost: bench\r\n\r\n")
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
        assert what == "dot files" or b"hidden" not in asked.body
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


# Where they run


@contextmanager
def plans(directory: Path) -> Iterator[PlanCheck]:
    """Make the files in an empty directory, and give the check."""
    for name, data in FILES.items():
        (directory / name).write_bytes(data)
    root = Root(directory, read_only=True)
    root.open()
    check = PlanCheck(root)
    try:
        yield check
    finally:
        check.close()
        root.close()


@contextmanager
def names(directory: Path) -> Iterator[NameCheck]:
    """Make a root with everything that must not be seen in and beside it, and give the check."""
    top, beside = directory / "root", directory / "root-beside"
    for folder in (top / "sub" / "deep", top / "site", top / ".hidden.d", beside):
        folder.mkdir(parents=True)
    for secret in (directory / "secret", beside / "secret", top / ".httpserve-temporary"):
        secret.write_bytes(SECRET)
    for place in ("a", "sub/a b", "sub/deep/ü", "sub/100%", "a+b", "%61", "site/index.html", ".hidden", ".hidden.d/b"):
        (top / place).write_bytes(b"hidden" if "hidden" in place else place.encode())
    os.mkfifo(top / "fifo")
    (top / "link_out").symlink_to(beside)
    (top / "link_out_file").symlink_to(beside / "secret")
    (top / "link_out_relative").symlink_to("../secret")
    (top / "in").symlink_to("sub")
    (top / "circle").symlink_to("circle")
    (top / "sub" / "up").symlink_to("..")
    root = Root(top, read_only=True)
    root.open()
    check = NameCheck(root)
    try:
        yield check
    finally:
        check.close()
        root.close()
