"""What must hold of the plan for a request, whatever its method, ranges and conditions are.

Knows the site on a real directory. Knows no fuzzer and no socket.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from httpserve.plan import Region
from httpserve.site.app import Site
from httpserve.site.conditional import Answer, decide
from httpserve.storage.directory.root import Root
from tests.fuzz.answers import Asked, Descriptors
from tests.fuzz.conditions import fields_in

# All bytes, and what looks like the end of a part.
CONTENT = bytes(range(256)) * 3 + b"\r\n--" * 58
FILES = {"empty.bin": b"", "one": b"1", "kilo.txt": CONTENT}
STATUS = {Answer.WHOLE: 200, Answer.PARTS: 206, Answer.NOT_MODIFIED: 304, Answer.FAILED: 412, Answer.UNSATISFIABLE: 416}


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
        if verdict.kind is Answer.WHOLE:
            assert asked.fields["Content-Length"] == str(len(content))
            assert method == "HEAD" or asked.body == content
        elif verdict.kind is Answer.PARTS:
            expected = [(f"bytes {a}-{b - 1}/{len(content)}", content[a:b]) for a, b in verdict.ranges]
            assert _parts(asked) == expected
        elif verdict.kind is Answer.UNSATISFIABLE:
            assert asked.fields["Content-Range"] == f"bytes */{len(content)}"
        return f"{method} {asked.status} {min(len(verdict.ranges), 3)}"


def _check_subject(asked: Asked, content: bytes) -> None:
    """What the record will say was sent is what was sent."""
    subject = asked.plan.subject
    assert (subject is None) is (asked.status >= 400 and asked.status != 416)
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


@contextmanager
def plans(directory: Path) -> Iterator[PlanCheck]:
    """Make the files in an empty directory, and give the check."""
    for name, data in FILES.items():
        (directory / name).write_bytes(data)
    root = Root(directory, read_only=True).open()
    check = PlanCheck(root)
    try:
        yield check
    finally:
        check.close()
        root.close()
