"""Claims about uploads, without a socket: what is taken for which name, what a form brings, and what is answered."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from httpserve.plan import MAY_NOT_BLOCK, NEEDS_THREAD, Intake, Receive
from httpserve.site.app import Site
from httpserve.site.form import FRAMING_BYTES
from httpserve.site.uploads import Accepted, Upload
from httpserve.storage.directory.root import Root
from tests.cases import each

CONTENT = b"what a board sends\r\n--and more\r\n" * 5
BOUNDARY = "--xYzZY"


class Bench:
    """A site on a root, and what clients have sent to it."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.site = Site(root)
        self.ended: list[Upload] = []
        self.site.uploads.ended = self.ended.append

    def accept(
        self, name: str, *, max_bytes: int = 1000, overwrite: bool = False, count: int | None = None
    ) -> Accepted:
        accepted = Accepted(
            name.rstrip("/"),
            is_directory=name.endswith("/"),
            max_bytes=max_bytes,
            overwrite=overwrite,
            count=count,
        )
        self.site.uploads.accept(accepted)
        return accepted

    def send(
        self, path: str, content: bytes = CONTENT, method: str = "PUT", kind: str = "text/plain", **fields: str
    ) -> TestResponse:
        builder = EnvironBuilder(path, method=method, data=content, content_type=kind, headers=list(fields.items()))
        return TestResponse(*run_wsgi_app(self.site, builder.get_environ()), builder.get_request())

    def send_form(self, path: str, *parts: tuple[str, bytes], end: str = "--") -> TestResponse:
        return self.send(path, form(*parts, end=end), "POST", f"multipart/form-data; boundary={BOUNDARY}")

    def files(self) -> dict[str, bytes]:
        """Return what lies below the root, temporaries too."""
        found = [path for path in Path(self.root.path).rglob("*") if path.is_file() and path.suffix != ".journal"]
        return {str(path.relative_to(self.root.path)): path.read_bytes() for path in found}


def form(*parts: tuple[str, bytes], end: str = "--") -> bytes:
    pieces = [f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body for head, body in parts]
    return b"\r\n".join([*pieces, f"--{BOUNDARY}{end}\r\n".encode()])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = Root(tmp_path / "root").open()
    yield Bench(root)
    root.close()


@each(
    ("accepted", "name", "takes", "below"),
    [
        ("a.txt", "a.txt", True, True),
        ("a.txt", "b.txt", False, False),
        ("d/a.txt", "d", False, True),
        ("logs/", "logs/a", True, True),
        ("logs/", "logs/deep/a", True, True),
        ("logs/", "logs", False, True),
        ("logs/", "logsa", False, False),
        ("logs/", "", False, True),
        ("/", "a", True, True),
        ("/", "d/a", True, True),
        ("/", "", False, True),
    ],
)
def test_name_says_what_is_taken(accepted: str, name: str, takes: bool, below: bool) -> None:
    name_of = accepted.rstrip("/")
    one = Accepted(name_of, is_directory=accepted.endswith("/"), max_bytes=1, overwrite=False, count=None)

    assert (one.takes(name), one.takes_below(name)) == (takes, below)


def test_nothing_is_taken_that_was_not_asked_for(bench: Bench) -> None:
    before = bench.send("/a.txt")
    bench.accept("a.txt")
    accepted = bench.accept("logs/")
    wrong = [bench.send(path) for path in ("/b.txt", "/a.txt/", "/logsx", "/%2e%2e/x", "/a%00b")]
    bench.site.uploads.close(accepted)
    closed = bench.send("/logs/a")

    assert {before.status_code, closed.status_code} == {405}
    assert [one.status_code for one in wrong] == [405, 400, 405, 405, 405]
    assert before.headers == closed.headers == wrong[0].headers
    assert (bench.files(), bench.ended) == ({}, [])


def test_upload_is_stored_and_its_digest_is_told(bench: Bench) -> None:
    bench.accept("logs/", overwrite=True)
    sha256 = hashlib.sha256(CONTENT).hexdigest()

    new = bench.send("/logs/a%20b", kind="application/x-www-form-urlencoded", method="POST")
    again = bench.send("/logs/a b")

    assert (new.status_code, new.text) == (201, f"{sha256}  logs/a b\n")
    assert (new.headers["ETag"], new.headers["Location"]) == (f'"{sha256}"', "/logs/a%20b")
    assert (again.status_code, again.data, again.headers["ETag"]) == (204, b"", f'"{sha256}"')
    assert again.headers["Repr-Digest"].startswith("sha-256=:")
    assert bench.files() == {"logs/a b": CONTENT}
    assert bench.root.created() == {"logs/a b"}
    first = bench.ended[0]
    assert (first.name, first.bytes, first.sha256, first.status) == ("logs/a b", len(CONTENT), sha256, 201)
    assert (first.outcome, first.content_type, first.filename) == ("completed", "application/x-www-form-urlencoded", "")


@each(
    ("parts", "stored"),
    [
        ([('name="f"; filename="a.txt"', CONTENT)], {"logs/a.txt": CONTENT}),
        ([('name="f"; filename="a"', b""), ('name="g"; filename="b"', b"b")], {"logs/a": b"", "logs/b": b"b"}),
        ([('name="text"', b"said"), ('name="f"; filename="a"', CONTENT)], {"logs/a": CONTENT}),
        ([('name="f"; filename="C:\\\\temp\\\\a"', CONTENT)], {"logs/a": CONTENT}),
        ([('name="f"; filename="../../etc/a"', CONTENT)], {"logs/a": CONTENT}),
        ([('name="f"; filename=""', b""), ('name="f"; filename="a"', CONTENT)], {"logs/a": CONTENT}),
        ([('name="f"; filename="\u00e9"', CONTENT)], {"logs/\u00e9": CONTENT}),
    ],
)
def test_form_to_a_directory_names_its_files(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, bytes]], stored: dict[str, bytes]
) -> None:
    root = Root(tmp_path_factory.mktemp("root")).open()
    bench = Bench(root)
    bench.accept("logs/")

    answer = bench.send_form("/logs/", *parts)

    assert (answer.status_code, bench.files()) == (201, stored)
    assert answer.text == "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in stored.items())
    root.close()


def test_form_to_a_file_brings_that_file(bench: Bench) -> None:
    bench.accept("results.xml")

    answer = bench.send_form("/results.xml", ('name="f"; filename="whatever"\r\nContent-Type: text/xml', CONTENT))

    assert (answer.status_code, bench.files()) == (201, {"results.xml": CONTENT})
    assert (bench.ended[0].filename, bench.ended[0].content_type) == ("whatever", "text/xml")


FILE = ('name="f"; filename="a"', CONTENT)
REFUSED: dict[str, tuple[list[tuple[str, bytes]], str, str, int]] = {
    "no file": ([('name="text"', b"said")], "/logs/", "--", 400),
    "no end": ([FILE], "/logs/", "", 400),
    "a name that none may have": ([('name="f"; filename=".httpserve-x"', CONTENT)], "/logs/", "--", 400),
    "no name but a directory": ([('name="f"; filename="a/"', CONTENT)], "/logs/", "--", 400),
    "two files for one name": ([FILE, FILE], "/results.xml", "--", 400),
    "one twice": ([FILE, FILE], "/logs/", "--", 409),
    "a name that nobody asked for": ([('name="f"; filename="b"', CONTENT)], "/only/", "--", 405),
    "too long a file": ([('name="f"; filename="a"', bytes(1001))], "/logs/", "--", 413),
    "too much in all": ([FILE, ('name="f"; filename="b"', bytes(900))], "/logs/", "--", 413),
    "too much else": ([('name="text"', bytes(FRAMING_BYTES))], "/logs/", "--", 400),
    "too long a head": ([(f'name="{"x" * FRAMING_BYTES}"; filename="a"', b"")], "/logs/", "--", 400),
    "a head without a name": ([("", CONTENT)], "/logs/", "--", 400),
}


@each("case", REFUSED)
def test_form_that_is_refused_leaves_nothing(tmp_path_factory: pytest.TempPathFactory, case: str) -> None:
    parts, path, end, status = REFUSED[case]
    root = Root(tmp_path_factory.mktemp("root")).open()
    bench = Bench(root)
    for name in ("logs/", "results.xml", "only/a"):
        bench.accept(name)

    answer = bench.send_form(path, *parts, end=end)

    expected = {"a": CONTENT} if case == "one twice" else {}  # what came first is whole
    assert answer.status_code == status
    assert bench.files() == {f"logs/{name}": data for name, data in expected.items()}
    assert [one.status for one in bench.ended if one.outcome != "completed"] == [status] * (
        len(bench.ended) - len(expected)
    )
    root.close()


@each("kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"])
def test_form_needs_a_boundary(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    root = Root(tmp_path_factory.mktemp("root")).open()
    bench = Bench(root)
    bench.accept("a")

    assert bench.send("/a", form(FILE), "POST", kind).status_code == 400
    root.close()


@each("size", [1, 7, 100])
def test_form_may_come_in_pieces_of_any_size(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    root = Root(tmp_path_factory.mktemp("root")).open()
    bench = Bench(root)
    bench.accept("logs/")
    content = form(FILE, ('name="g"; filename="b"', b"\r\n"))
    intake = intake_of(bench, "/logs/", kind=f"multipart/form-data; boundary={BOUNDARY}")

    wants = [intake.write(content[at : at + size]) for at in range(0, len(content), size)]

    assert all(wants)
    assert answer_of(intake) == "201 Created"
    assert bench.files() == {"logs/a": CONTENT, "logs/b": b"\r\n"}
    root.close()


def environ(path: str, *, kind: str = "", **more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_TYPE": kind, "wsgi.input": io.BytesIO(), **more}


def intake_of(bench: Bench, path: str, **fields: Any) -> Intake:
    receive = bench.site.uploads.respond(environ(path, **fields))
    assert isinstance(receive, Receive)
    return receive.intake


def answer_of(intake: Intake) -> str:
    said: list[str] = []

    def start_response(status: str, fields: object, exc_info: object = None, /) -> Any:
        said.append(status)

    intake.answer(start_response)
    (status,) = said
    return status


def test_answers_say_why_an_upload_is_not_taken(bench: Bench) -> None:
    bench.accept("new", max_bytes=10)
    bench.accept("there")
    bench.accept("there/below")
    bench.accept("directory")
    (Path(bench.root.path) / "there").write_bytes(b"old")
    (Path(bench.root.path) / "directory").mkdir()

    statuses = {
        "it is there": bench.send("/there", b"x").status_code,
        "in the place of a directory": bench.send("/directory", b"x").status_code,
        "below a file": bench.send("/there/below", b"x").status_code,
        "too long": bench.send("/new", b"x" * 11).status_code,
        "a part": bench.send("/new", b"x", **{"Content-Range": "bytes 0-0/2"}).status_code,
        "another digest": bench.send("/new", b"x", **{"Content-Digest": "sha-256=:AAAA:"}).status_code,
        "a malformed digest": bench.send("/new", b"x", **{"Repr-Digest": "sha-256=AAAA"}).status_code,
        "no name": bench.send("/", b"x").status_code,
        "just right": bench.send("/new", b"x" * 10).status_code,
    }

    assert list(statuses.values()) == [409, 409, 409, 413, 400, 422, 400, 400, 201], statuses
    assert bench.files() == {"there": b"old", "new": b"x" * 10}
    assert [one.outcome for one in bench.ended] == ["refused", "completed"]


def test_count_of_uploads_is_taken_and_no_more(bench: Bench) -> None:
    accepted = bench.accept("logs/", count=2)

    statuses = [bench.send(f"/logs/{name}").status_code for name in "aabc"]

    assert statuses == [201, 409, 201, 405]
    assert accepted.left == 0


def test_upload_that_began_when_another_still_could_is_refused_at_its_end(bench: Bench) -> None:
    bench.accept("a", count=1)
    bench.accept("b")
    intakes = [intake_of(bench, path) for path in ("/a", "/a", "/b", "/b")]

    answers = [answer_of(intake) for intake in intakes]

    assert answers == ["201 Created", "409 Conflict"] * 2


def test_latest_of_several_counts(bench: Bench) -> None:
    bench.accept("logs/", max_bytes=1000)
    later = bench.accept("logs/a", max_bytes=1)

    first = bench.send("/logs/a").status_code
    bench.site.uploads.close(later)
    second = bench.send("/logs/a").status_code

    assert (first, second) == (413, 201)


def test_file_of_a_form_may_have_as_much_as_its_own_name_may(bench: Bench) -> None:
    bench.accept("logs/", max_bytes=1000)
    bench.accept("logs/small", max_bytes=10)

    answer = bench.send_form("/logs/", ('name="f"; filename="small"', bytes(11)))

    assert (answer.status_code, bench.files()) == (413, {})


def test_thread_is_asked_for_before_the_disk_is(bench: Bench) -> None:
    bench.accept("a")

    answer: object = bench.site.uploads.respond({**environ("/a"), MAY_NOT_BLOCK: True})

    assert answer is NEEDS_THREAD
    assert bench.site.uploads.underway() == []


def test_cut_upload_leaves_nothing_but_a_record(bench: Bench) -> None:
    bench.accept("a")
    intake = intake_of(bench, "/a", REMOTE_ADDR="192.0.2.1")
    intake.write(b"12345")

    (underway,) = bench.site.uploads.underway()
    intake.cut("reset")

    (ended,) = bench.ended
    assert (underway.bytes, underway.outcome, ended.bytes, ended.outcome) == (5, "", 5, "reset")
    assert (ended.name, ended.client, ended.sha256, ended.status) == ("a", "192.0.2.1", "", 0)
    assert bench.site.uploads.underway() == []
    assert bench.files() == {}


def test_upload_that_takes_too_long_is_refused(bench: Bench) -> None:
    bench.accept("a")
    intake = intake_of(bench, "/a")

    intake.cut("cut", 408)

    assert [(one.outcome, one.status, one.bytes) for one in bench.ended] == [("refused", 408, 0)]


def test_content_that_ends_too_early_under_another_server_is_refused(bench: Bench) -> None:
    bench.accept("a")

    body, status, _ = run_wsgi_app(bench.site, environ("/a", CONTENT_LENGTH="5"))

    assert (status, b"".join(body)) == ("400 Bad Request", b"400 Bad Request: the content ended before its end\n")
    assert bench.files() == {}
