"""`NAME.sha256`: answered for files that are served, as any file is, and for nothing else."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client, TestResponse

from httpserve.errors import NotFound
from httpserve.plan import Plan
from httpserve.site.app import Site
from httpserve.storage.directory.root import Root
from tests.unit.site.any_root import AnyRoot, any_root

CONTENT = b"an image" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LINE = f"{DIGEST}  f.img\n"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path / "root").open()
    yield root
    root.close()


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[AnyRoot]:
    yield from any_root(request)


def put(root: AnyRoot, name: str, data: bytes = CONTENT, *, digest: bool = True) -> None:
    incoming = root.incoming(name)
    incoming.write(data)
    incoming.commit(hashlib.sha256(data).hexdigest() if digest else None)


def ask(site: Site, target: str, method: str = "GET", **fields: str) -> TestResponse:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    response = Client(site).open(target, method=method, headers=headers)
    response.get_data()
    response.close()
    return response


@pytest.mark.parametrize("name", ["f.img", "a/b/f.img"])
def test_a_digest_stands_in_the_form_of_sha256sum_under_the_last_part_of_the_name(served: AnyRoot, name: str) -> None:
    put(served, name)

    response = ask(Site(served), f"/{name}.sha256")

    assert response.status_code == 200
    assert response.text == LINE
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == str(len(LINE))


def test_head_says_the_same_without_the_digest(served: AnyRoot) -> None:
    put(served, "f.img")
    whole = ask(Site(served), "/f.img.sha256")

    response = ask(Site(served), "/f.img.sha256", method="HEAD")

    assert response.status_code == 200
    assert response.data == b""
    assert dict(response.headers) == dict(whole.headers)


def test_ranges_of_a_digest_are_served(served: AnyRoot) -> None:
    put(served, "f.img")

    one = ask(Site(served), "/f.img.sha256", Range="bytes=0-63")
    two = ask(Site(served), "/f.img.sha256", Range="bytes=0-3,64-65")
    none = ask(Site(served), "/f.img.sha256", Range="bytes=1000-")

    assert (one.status_code, one.text) == (206, DIGEST)
    assert one.headers["Content-Range"] == f"bytes 0-63/{len(LINE)}"
    assert two.status_code == 206
    assert DIGEST[:4].encode() in two.data
    assert (none.status_code, none.headers["Content-Range"]) == (416, f"bytes */{len(LINE)}")


def test_conditions_on_a_digest_are_obeyed_and_its_tag_is_not_that_of_the_file(
    served: AnyRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(served, "f.img")
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)  # until then the date of a store is weak
    site = Site(served)
    first = ask(site, "/f.img.sha256")
    tag = first.headers["ETag"]

    same = ask(site, "/f.img.sha256", If_None_Match=tag)
    by_date = ask(site, "/f.img.sha256", If_Modified_Since=first.headers["Last-Modified"])
    put(served, "f.img", b"another image")
    changed = ask(site, "/f.img.sha256", If_None_Match=tag)
    failed = ask(site, "/f.img.sha256", If_Match=tag)

    assert tag != ask(site, "/f.img").headers["ETag"]
    assert (same.status_code, by_date.status_code) == (304, 304)
    assert (changed.status_code, failed.status_code) == (200, 412)
    assert changed.text == f"{hashlib.sha256(b'another image').hexdigest()}  f.img\n"


def test_what_is_recorded_is_a_file_of_its_own(served: AnyRoot) -> None:
    put(served, "f.img")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/f.img.sha256"}

    plan = Site(served)(environ, lambda status, fields: None)  # type: ignore[arg-type]  # returns no write()

    assert isinstance(plan, Plan)
    assert plan.subject is not None
    assert plan.subject.name == "f.img.sha256"
    assert plan.subject.total == len(LINE)
    assert plan.subject.validator == Site(served).representation("f.img.sha256").validators.etag


def test_a_real_file_is_never_shadowed(root: Root) -> None:
    put(root, "f.img")
    (Path(root.path) / "f.img.sha256").write_text("my own\n")
    site = Site(root)

    assert ask(site, "/f.img.sha256").text == "my own\n"

    (Path(root.path) / "f.img.sha256").unlink()
    assert ask(site, "/f.img.sha256").text == LINE


def test_a_real_directory_is_never_shadowed(served: AnyRoot) -> None:
    put(served, "f.img")
    put(served, "f.img.sha256/f")

    assert "href" in ask(Site(served), "/f.img.sha256/").text
    assert "href" in ask(Site(served), "/f.img.sha256").text


def test_a_digest_that_is_a_file_has_a_digest_too(served: AnyRoot) -> None:
    put(served, "f.img.sha256", b"mine\n")

    response = ask(Site(served), "/f.img.sha256.sha256")

    assert response.text == f"{hashlib.sha256(b'mine' + bytes([10])).hexdigest()}  f.img.sha256\n"


def test_digests_are_not_listed(served: AnyRoot) -> None:
    put(served, "f.img")

    assert "sha256" not in ask(Site(served), "/").text
    assert "sha256" not in ask(Site(served), "/", Accept="application/json").text


@pytest.mark.parametrize(
    "target",
    [
        "/missing.sha256",
        "/d.sha256",  # a directory's
        "/d/.sha256",
        "/.sha256",
        "/f.img.sha256/",
        "/f.img.sha256.sha256",  # the digest of a digest that is no file
        "/f.img.sha1",
        "/f.img.SHA256",
        "/.httpserve-x.sha256",
        "/fifo.sha256",  # which is never opened
        "/out.sha256",  # which leads out of the root
    ],
)
def test_there_is_no_digest_of(root: Root, target: str) -> None:
    put(root, "f.img")
    put(root, "d/f.img")
    os.mkfifo(Path(root.path) / "fifo")
    (Path(root.path) / "out").symlink_to(__file__)

    assert ask(Site(root), target).status_code == 404


def test_a_file_that_came_in_without_a_digest_has_one_as_soon_as_it_is_asked_for(root: Root) -> None:
    put(root, "plain", digest=False)
    put(root, "changed", b"before")
    (Path(root.path) / "changed").write_bytes(CONTENT)
    (Path(root.path) / "theirs").write_bytes(CONTENT)
    (Path(root.path) / "link").symlink_to("theirs")
    site = Site(root)

    for name in ("plain", "changed", "theirs", "link"):
        etag = ask(site, f"/{name}").headers["ETag"]
        version = site.representation(f"{name}.sha256").validators
        head = ask(site, f"/{name}.sha256", method="HEAD")
        answer = ask(site, f"/{name}.sha256")

        assert answer.text == f"{DIGEST}  {name}\n"
        assert dict(head.headers) == dict(answer.headers)
        assert (answer.headers["ETag"], len(answer.data)) == (version.etag, version.size)
        assert ask(site, f"/{name}.sha256", If_None_Match=version.etag).status_code == 304
        assert ask(site, f"/{name}").headers["ETag"] == etag != version.etag  # or a download could not be resumed
        (Path(root.path) / name).write_bytes(b"another")
        assert ask(site, f"/{name}.sha256").text == f"{hashlib.sha256(b'another').hexdigest()}  {name}\n"
        (Path(root.path) / name).write_bytes(CONTENT)


def test_a_file_that_is_written_again_and_again_has_the_digest_of_what_is_there(root: Root) -> None:
    site = Site(root)

    for number in range(100):  # within one tick of the clock they have the same times
        content = b"%d" % (100 + number)
        (Path(root.path) / "f").write_bytes(content)

        assert ask(site, "/f.sha256").text == f"{hashlib.sha256(content).hexdigest()}  f\n"


def test_digests_can_be_switched_off(served: AnyRoot) -> None:
    put(served, "f.img")
    site = Site(served, digests=False)

    assert ask(site, "/f.img.sha256").status_code == 404
    with pytest.raises(NotFound):
        site.representation("f.img.sha256")


def test_beside_the_one_file_of_a_site_there_is_only_its_digest(served: AnyRoot) -> None:
    put(served, "f.img")
    put(served, "other")
    site = Site(served, only="f.img")

    assert ask(site, "/f.img.sha256").text == f"{DIGEST}  f.img\n"
    assert ask(site, "/other.sha256").status_code == 404


def test_a_dot_file_that_came_in_has_a_digest_and_that_of_others_has_none(root: Root) -> None:
    put(root, ".ours")
    (Path(root.path) / ".theirs").write_bytes(CONTENT)
    site = Site(root, dot_files=False)

    assert ask(site, "/.ours.sha256").text == f"{DIGEST}  .ours\n"
    assert ask(site, "/.theirs.sha256").status_code == 404


def test_a_name_with_a_newline_is_escaped_as_sha256sum_does(served: AnyRoot) -> None:
    put(served, "a\nb")

    assert ask(Site(served), "/a%0Ab.sha256").text == f"\\{DIGEST}  a\\nb\n"


def test_a_file_that_is_removed_takes_its_digest_along(root: Root) -> None:
    put(root, "f.img")
    site = Site(root)
    assert ask(site, "/f.img.sha256").status_code == 200

    root.changes.delete("f.img")

    assert ask(site, "/f.img.sha256").status_code == 404
