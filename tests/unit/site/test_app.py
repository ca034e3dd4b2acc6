"""Claims about the app that answers for a root: a plain WSGI app, which any server can run.

Most of them ask it through werkzeug's test client under wsgiref's validator,
which sees that both sides keep to PEP 3333; one through a real server of wsgiref.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client, EnvironBuilder, TestResponse, create_environ, run_wsgi_app

from httpserve.errors import NotFound
from httpserve.plan import MAY_NOT_BLOCK, NEEDS_THREAD, Plan
from httpserve.site import app as app_module
from httpserve.site.app import Site
from httpserve.storage.directory.root import Root
from tests.cases import each
from tests.unit.site.any_root import AnyRoot, any_root

CONTENT = bytes(range(256)) * 4
DIGEST = hashlib.sha256(CONTENT)
Ask = Callable[..., TestResponse]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path / "root").open()
    yield root
    root.close()


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[AnyRoot]:
    yield from any_root(request)


@pytest.fixture
def top(root: Root) -> Path:
    """The served directory, for other hands to change."""
    return Path(root.path)


def asking(site: Site) -> Ask:
    client = Client(validator(site))

    def ask(target: str, method: str = "GET", **fields: str) -> TestResponse:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        response = client.open(target, method=method, headers=headers)
        response.get_data()
        response.close()
        return response

    return ask


@pytest.fixture
def ask(served: AnyRoot) -> Ask:
    """Ask a site with its defaults for a target, as `ask("/f", Range="bytes=0-1")`."""
    return asking(Site(served))


def put(served: AnyRoot, name: str, data: bytes = CONTENT) -> None:
    incoming = served.incoming(name)
    incoming.write(data)
    incoming.commit(hashlib.sha256(data).hexdigest())


def listed(response: TestResponse) -> list[str]:
    return [entry["name"] for entry in json.loads(response.data)]


# The probe of a self-test


def test_a_probe_is_answered_listed_nowhere_and_gone_afterwards(served: AnyRoot) -> None:
    site = Site(served)
    ask = asking(site)
    with site.probe(b"content") as name:
        during = ask(f"/{name}")
        names = listed(ask("/", Accept="application/json"))
    after = ask(f"/{name}")

    assert (during.status_code, during.data) == (200, b"content")
    assert name not in names
    assert after.status_code == 404


# Files


def test_a_file_is_answered_with_its_bytes_and_fields(served: AnyRoot, ask: Ask) -> None:
    put(served, "boot/disk.img")

    response = ask("/boot/disk.img")

    assert (response.status, response.data) == ("200 OK", CONTENT)
    assert dict(response.headers) == {
        "Content-Type": "application/vnd.efi-img",
        "Content-Length": "1024",
        "Accept-Ranges": "bytes",
        "ETag": f'"{DIGEST.hexdigest()}"',
        "Last-Modified": response.headers["Last-Modified"],
        "Cache-Control": "no-cache",
        "Repr-Digest": f"sha-256=:{base64.b64encode(DIGEST.digest()).decode()}:",
    }


def test_head_says_what_get_would_and_sends_nothing(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    response = ask("/f", "HEAD")

    assert (response.status, response.data) == ("200 OK", b"")
    assert dict(response.headers) == dict(ask("/f").headers)


def test_an_empty_file_is_a_file(served: AnyRoot, ask: Ask) -> None:
    put(served, "f", b"")

    response = ask("/f")

    assert (response.status_code, response.data, response.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize("name", ["f", "d/f"])
def test_what_other_hands_change_is_seen_at_the_next_request(served: AnyRoot, top: Path, ask: Ask, name: str) -> None:
    (top / "d").mkdir()
    path = top / name
    absent = ask(f"/{name}").status_code
    path.write_bytes(b"one")
    first = ask(f"/{name}")
    path.write_bytes(b"three")
    second = ask(f"/{name}")
    (top / "new").write_bytes(b"seven!!")
    os.replace(top / "new", path)
    third = ask(f"/{name}")
    path.unlink()

    assert absent == 404
    assert [first.data, second.data, third.data] == [b"one", b"three", b"seven!!"]
    assert len({response.headers["ETag"] for response in (first, second, third)}) == 3
    assert ask(f"/{name}").status_code == 404


def test_a_file_of_ours_that_others_overwrite_loses_its_digest(served: AnyRoot, top: Path, ask: Ask) -> None:
    put(served, "f")
    before = ask("/f").headers["ETag"]

    (top / "f").write_bytes(b"other")

    after = ask("/f")
    assert after.headers["ETag"] != before
    assert "Repr-Digest" not in after.headers


def test_the_same_version_is_looked_at_once(served: AnyRoot) -> None:
    put(served, "f")
    site = Site(served)

    assert site.representation("f") is site.representation("f")


def test_the_representation_of_what_is_not_there_is_an_error(served: AnyRoot) -> None:
    with pytest.raises(NotFound):
        Site(served).representation("f")


def test_the_representation_of_what_is_not_served_is_an_error_that_says_why(served: AnyRoot, top: Path) -> None:
    put(served, "f")
    put(served, ".ours")
    (top / ".dot").write_bytes(b"x")
    (top / ".git").mkdir()
    (top / ".git" / "config").write_bytes(b"x")

    for name in (".dot", ".git/config"):
        with pytest.raises(NotFound, match="leading dot"):
            Site(served).representation(name)
        assert Site(served, dot_files=True).representation(name).validators.size == 1
    with pytest.raises(NotFound, match=r"'f' is not served: '\.dot' is the only file that is"):
        Site(served, only=".dot").representation("f")
    assert Site(served, only=".dot").representation(".dot").validators.size == 1
    assert Site(served).representation(".ours.sha256").validators.size > 64
    with pytest.raises(NotFound, match="no such file"):
        Site(served).representation(".missing")


def test_of_several_names_each_is_served_with_what_is_in_it_and_nothing_beside_them(served: AnyRoot) -> None:
    for name in ("Image", "Image.gz", "other", "boot/dtb/a.dtb", "boot/dtb/.b", "boot/config", "dtb/a.dtb"):
        put(served, name)
    ask = asking(Site(served, only=["Image", "boot/dtb"]))

    found = {name for name in served.created() if ask(f"/{name}").status_code == 200}

    assert found == {"Image", "boot/dtb/a.dtb", "boot/dtb/.b"}
    assert [listed(ask(where, Accept="application/json")) for where in ("/", "/boot")] == [["boot", "Image"], ["dtb"]]
    with pytest.raises(NotFound, match="'other' is not served: 'Image', 'boot/dtb' are all that is"):
        Site(served, only=["Image", "boot/dtb"]).representation("other")


def test_more_files_than_are_remembered_are_served_all_the_same(
    served: AnyRoot, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "MOST_NAMES", 2)
    for number in range(5):
        put(served, f"f{number}", b"%d" % number)

    assert [ask(f"/f{number}").data for number in (0, 1, 2, 3, 4, 0)] == [b"0", b"1", b"2", b"3", b"4", b"0"]


# Names


@each(
    "target",
    [
        pytest.param("/a/b/f", id="plain"),
        pytest.param("//a///b/f", id="doubled slashes"),
        pytest.param("/./a/./b/f", id="dots"),
        pytest.param("/%61/b%2Ff", id="encoded"),
    ],
)
def test_a_file_has_one_name_however_it_is_written_and_needs_no_redirect(served: AnyRoot, target: str) -> None:
    put(served, "a/b/f")

    assert raw(Site(served), target)[:2] == ("200 OK", CONTENT)


@each(
    "name",
    [
        "a b",
        "a#b",
        "a?b",
        "100%",
        "a+b",
        "a&b=c;d",
        "grün",
        "日本語.bin",
        "a:b",
        "'\"<>",
        "[x]*",
        "x" * 200,
        "new\nline",
        "~",
        "...",
    ],
)
def test_every_legal_name_is_found_under_its_encoded_form(served: AnyRoot, ask: Ask, name: str) -> None:
    put(served, name)

    assert ask("/" + quote(name)).data == CONTENT


def raw(site: Site, target: str, method: str = "GET") -> tuple[str, bytes, dict[str, str]]:
    """Ask for a target as it would come off the wire, which werkzeug's client would tidy up."""
    environ = create_environ("/", method=method)
    environ["PATH_INFO"] = http_path(target)
    body, status, headers = run_wsgi_app(site, environ, buffered=True)
    return status, b"".join(body), dict(headers)


def http_path(target: str) -> str:
    def decoded(match: re.Match[str]) -> str:
        return chr(int(match[1], 16))

    return re.sub(r"%([0-9A-Fa-f]{2})", decoded, target)


@each(
    "target",
    [
        "/../secret",
        "/..",
        "/../",
        "/d/../../secret",
        "/d/..",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/d%5c..%5c..%5csecret",
        "/..%00/secret",
        "/d/f%00",
        "/d/f%00.txt",
        "/%c0%ae%c0%ae/secret",
        "/%c0%af..%c0%afsecret",
        "/%e0%80%ae%e0%80%ae/secret",
        "/%ff",
        "/%ed%a0%80",
        "/d/%20",
        "/%20d/f",
        "/d/f%20",
        "/d/f%0a",
        "/d/f/",
        "/d/f/g",
        "/" + "x" * 300,
        "/" + "x/" * 3000,
        "/.httpserve-secret",
    ],
)
def test_no_target_leads_out_or_to_another_name(served: AnyRoot, top: Path, target: str) -> None:
    put(served, "d/f")
    (top.parent / "secret").write_bytes(b"secret")
    (top / ".httpserve-secret").write_bytes(b"secret")

    status, body, _ = raw(Site(served), target)

    assert (status, b"secret" in body, CONTENT in body) == ("404 Not Found", False, False)


@given(st.text(st.characters(codec="latin-1"), max_size=30))
def test_no_path_breaks_the_app(path: str) -> None:
    root = Root(None).open()
    try:
        environ = EnvironBuilder().get_environ()
        environ["PATH_INFO"] = path
        status = run_wsgi_app(Site(root), environ, buffered=True)[1]
    finally:
        root.close()

    assert status.split()[0] in ("200", "404")


def test_a_name_that_is_refused_is_logged_with_the_reason(served: AnyRoot, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "httpserve"):
        raw(Site(served), "/a%5cb")

    assert "backslash" in caplog.text


def test_a_path_may_be_left_out(served: AnyRoot) -> None:
    environ = create_environ("/", headers={"Accept": "application/json"})
    del environ["PATH_INFO"]

    body, status, _ = run_wsgi_app(Site(served), environ, buffered=True)

    assert (status, json.loads(b"".join(body))) == ("200 OK", [])


# Symlinks


def test_a_symlink_that_leads_out_is_neither_served_nor_listed(served: AnyRoot, top: Path, ask: Ask) -> None:
    (top.parent / "secret").write_bytes(b"secret")
    (top.parent / "outside").mkdir()
    (top.parent / "outside" / "f").write_bytes(b"secret")
    (top / "file").symlink_to("../secret")
    (top / "directory").symlink_to("../outside")

    statuses = [ask(target).status_code for target in ("/file", "/directory", "/directory/", "/directory/f")]

    assert statuses == [404, 404, 404, 404]
    assert listed(ask("/", Accept="application/json")) == []


def test_a_symlink_that_stays_inside_is_served_and_listed(served: AnyRoot, top: Path, ask: Ask) -> None:
    put(served, "d/f")
    (top / "file").symlink_to("d/f")
    (top / "directory").symlink_to("d")

    assert [ask("/file").data, ask("/directory/f").data] == [CONTENT, CONTENT]
    assert listed(ask("/", Accept="application/json")) == ["d", "directory", "file"]
    assert listed(ask("/directory/", Accept="application/json")) == ["f"]


def test_an_index_that_leads_out_is_not_served(served: AnyRoot, top: Path, ask: Ask) -> None:
    (top.parent / "secret").write_bytes(b"secret")
    (top / "index.html").symlink_to("../secret")

    response = ask("/", Accept="application/json")

    assert (response.status_code, listed(response)) == (200, [])


def test_a_symlink_that_is_turned_outwards_later_is_not_followed(served: AnyRoot, top: Path, ask: Ask) -> None:
    put(served, "inside")
    (top.parent / "secret").write_bytes(b"secret")
    (top / "link").symlink_to("inside")
    before = ask("/link").status_code

    (top / "link").unlink()
    (top / "link").symlink_to("../secret")

    assert (before, ask("/link").status_code) == (200, 404)


# Dot files


def test_dot_files_of_others_are_neither_served_nor_listed(served: AnyRoot, top: Path, ask: Ask) -> None:
    (top / ".git").mkdir()
    (top / ".git" / "config").touch()
    (top / ".env").touch()
    (top / "d").mkdir()
    (top / "d" / ".env").touch()

    targets = ["/.git", "/.git/", "/.git/config", "/.env", "/d/.env", "//.env", "/%2egit/config"]

    assert {raw(Site(served), target)[0] for target in targets} == {"404 Not Found"}
    assert listed(ask("/", Accept="application/json")) == ["d"]
    assert listed(ask("/d/", Accept="application/json")) == []


def test_dot_files_that_came_in_through_us_are_served_and_listed(served: AnyRoot, ask: Ask) -> None:
    put(served, ".config")
    put(served, "d/.config")

    assert [ask("/.config").data, ask("/d/.config").data] == [CONTENT, CONTENT]
    assert listed(ask("/", Accept="application/json")) == ["d", ".config"]
    assert listed(ask("/d/", Accept="application/json")) == [".config"]


def test_dot_files_of_others_are_served_and_listed_when_asked_for(served: AnyRoot, top: Path) -> None:
    (top / ".well-known").mkdir()
    (top / ".well-known" / "f").write_bytes(b"f")
    ask = asking(Site(served, dot_files=True))

    assert ask("/.well-known/f").data == b"f"
    assert listed(ask("/", Accept="application/json")) == [".well-known"]


def test_our_own_temporaries_are_not_served_though_dot_files_are(root: Root) -> None:
    put(root, "f")
    ask = asking(Site(root, dot_files=True))

    with root.incoming("f") as incoming:
        incoming.write(b"half")
        temporary = os.path.basename(incoming.temporary)

        assert ask(f"/{temporary}").status_code == 404
        assert listed(ask("/", Accept="application/json")) == ["f"]


# Directories


def test_a_directory_is_answered_with_its_index(served: AnyRoot, ask: Ask) -> None:
    put(served, "d/index.html", b"<p>hello")
    put(served, "index.html", b"<p>root")

    assert [ask("/d/").data, ask("/d").data, ask("/").data] == [b"<p>hello", b"<p>hello", b"<p>root"]
    assert ask("/d/").headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask("/d/", Range="bytes=0-2").data == b"<p>"


BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}


@each(
    ("target", "location"),
    [("/a%20d", "a%20d/"), ("/a%20d?x=1&y", "a%20d/?x=1&y"), ("/e/f", "f/"), ("/a%20d/", None), ("/", None)],
)
def test_a_browser_is_sent_to_the_slash_of_a_directory_with_an_index(
    served: AnyRoot, ask: Ask, target: str, location: str | None
) -> None:
    for name in ("index.html", "a d/index.html", "e/f/index.html"):
        put(served, name, b"<a href=other.html>")

    browser, board = ask(target, **BROWSER), ask(target)

    assert (browser.status_code, browser.headers.get("Location")) == (301 if location else 200, location)
    assert (board.status_code, board.data) == (200, b"<a href=other.html>")


def test_a_listing_needs_no_slash_in_a_browser_either(served: AnyRoot, ask: Ask) -> None:
    put(served, "d/f", b"")

    assert ask("/d", **BROWSER).status_code == 200


def test_a_directory_named_like_an_index_is_listed(served: AnyRoot, top: Path, ask: Ask) -> None:
    (top / "index.html").mkdir()

    assert listed(ask("/", Accept="application/json")) == ["index.html"]


@each("target", ["/d", "/d/"])
def test_a_directory_is_listed_with_and_without_a_slash_and_no_redirect(served: AnyRoot, ask: Ask, target: str) -> None:
    put(served, "d/f g")
    put(served, "d/sub/f")

    response = ask(target)

    links = re.findall(r'href="([^"]*)"', response.text)
    assert response.status_code == 200
    assert [urljoin(f"http://bench{target}", link) for link in links] == [
        "http://bench/",  # on the way to it, and as `../`
        "http://bench/",
        "http://bench/d/sub/",
        "http://bench/d/f%20g",
    ]


@each(
    ("accept", "kind"),
    [
        ("*/*", "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
    ],
)
def test_a_listing_comes_as_the_client_would_have_it(served: AnyRoot, ask: Ask, accept: str, kind: str) -> None:
    response = ask("/", Accept=accept)

    assert dict(response.headers) == {
        "Content-Type": kind,
        "Content-Length": str(len(response.data)),
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }


def test_head_of_a_listing_sends_nothing(served: AnyRoot, ask: Ask) -> None:
    response = ask("/", "HEAD")

    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == ask("/").headers["Content-Length"]


def test_a_listing_follows_the_directory(served: AnyRoot, top: Path, ask: Ask) -> None:
    before = listed(ask("/", Accept="application/json"))
    (top / "f").touch()

    assert (before, listed(ask("/", Accept="application/json"))) == ([], ["f"])


@pytest.mark.parametrize("name", ["a\\b", " a", "a ", "a\n"])
def test_what_no_target_can_name_is_not_listed(served: AnyRoot, top: Path, ask: Ask, name: str) -> None:
    (top / name).touch()

    assert listed(ask("/", Accept="application/json")) == []


def test_every_name_that_is_listed_is_found_under_its_link(served: AnyRoot, top: Path, ask: Ask) -> None:
    names = ["<b>", "a:b", '"', "'", "a b", "%41", "#", "?", "&amp;", "new\nline", "grün"]
    for number, name in enumerate(names):
        (top / name).write_bytes(b"%d" % number)

    links = re.findall(r'href="([^"]*)"', ask("/").text)

    assert sorted(int(ask(f"/{link}").data) for link in links) == list(range(len(names)))


def test_listings_can_be_switched_off(served: AnyRoot) -> None:
    put(served, "d/f")
    put(served, "e/index.html", b"<p>")
    ask = asking(Site(served, listing=False))

    assert [ask(target).status_code for target in ("/", "/d", "/d/", "/e/", "/d/f")] == [404, 404, 404, 200, 200]


def at_once(site: Site, target: str, **fields: str) -> object:
    """Return what a server gets that may not block now."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    environ = create_environ(target, headers=headers)
    environ[MAY_NOT_BLOCK] = True
    answer: object = site(environ, lambda status, headers, exc_info=None: lambda data: None)
    if isinstance(answer, Plan):
        answer.close()
    return answer


@each(
    "fields",
    [
        {"Range": "bytes=" + ",".join(f"{at * 4}-{at * 4}" for at in range(17))},
        {"If_None_Match": '"a", ' * 1000},
        {"If_Match": '"a", ' * 1000},
        {"Range": "bytes=" + " " * 60_000},
    ],
)
@pytest.mark.local_root("a store always takes more than a moment")
def test_what_takes_more_than_a_moment_is_handed_over(served: AnyRoot, fields: dict[str, str]) -> None:
    put(served, "f")
    site = Site(served)
    before = len(os.listdir("/proc/self/fd"))

    assert at_once(site, "/f", **fields) is NEEDS_THREAD
    assert isinstance(at_once(site, "/f", Range="bytes=0-1,4-5"), Plan)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("target", "needs_no_disk"), [("/a%5Cb", True), ("/..%2fx", True), ("/out", False), ("/fifo", False)]
)
def test_what_is_logged_is_handed_over_and_else_what_needs_no_disk_is_answered_at_once(
    served: AnyRoot, top: Path, caplog: pytest.LogCaptureFixture, target: str, needs_no_disk: bool
) -> None:
    (top / "out").symlink_to("/etc/passwd")
    os.mkfifo(top / "fifo")
    caplog.set_level(logging.WARNING, "httpserve.server")
    quiet = at_once(Site(served), target)

    caplog.set_level(logging.INFO, "httpserve.server")
    loud = at_once(Site(served), target)
    before = len(caplog.records)

    assert isinstance(quiet, Plan) is needs_no_disk
    assert loud is NEEDS_THREAD
    assert not before
    assert asking(Site(served))(target).status_code == 404
    assert caplog.records


@each("target", ["/" + "a/" * 8000, "/" + "a/" * 8000 + "a", "/" + "a/" * 300, "/" + "x" * 16_000])
def test_what_no_disk_can_hold_is_not_looked_for(
    served: AnyRoot, ask: Ask, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    for name in ("open", "stat", "lstat", "scandir"):
        monkeypatch.setattr(os, name, lambda *args, name=name, **kwargs: pytest.fail(f"{name} of {args}"))

    assert ask(target).status_code == 404


def test_a_listing_is_handed_over_by_a_server_that_may_not_block_now(served: AnyRoot) -> None:
    environ = create_environ("/")
    environ[MAY_NOT_BLOCK] = True

    answer: object = Site(served)(environ, unexpected)

    assert answer is NEEDS_THREAD


def unexpected(*args: Any) -> Any:
    pytest.fail("no answer should begin")


def test_a_directory_that_may_not_be_read_is_not_there(
    served: AnyRoot, top: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(directory: int) -> Any:
        raise PermissionError(13, "Permission denied")

    (top / "d").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)

    assert ask("/d").status_code == 404


# Methods


def test_options_says_what_is_allowed(served: AnyRoot, ask: Ask) -> None:
    response = ask("/whatever", "OPTIONS")

    assert (response.status, response.data) == ("204 No Content", b"")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


@each("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"])
def test_a_known_method_that_is_not_allowed_says_which_are(served: AnyRoot, method: str) -> None:
    status, body, fields = raw(Site(served), "/f", method)

    assert (status, fields["Allow"]) == ("405 Method Not Allowed", "GET, HEAD, OPTIONS")
    assert body == b"405 Method Not Allowed: files are read with GET, HEAD, OPTIONS\n"


@each("method", ["BREW", "PROPFIND", "get", "M-SEARCH"])
def test_an_unknown_method_is_not_implemented(served: AnyRoot, method: str) -> None:
    status, body, _ = raw(Site(served), "/f", method)

    assert status == "501 Not Implemented"
    assert body


# Conditions and ranges


def test_a_client_that_has_the_version_is_told_so(served: AnyRoot, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    put(served, "f")
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)  # until then the date of a store is weak
    first = ask("/f")

    for fields in (
        {"If_None_Match": first.headers["ETag"]},
        {"If_None_Match": "W/" + first.headers["ETag"]},
        {"If_Modified_Since": first.headers["Last-Modified"]},
    ):
        response = ask("/f", **fields)

        assert (response.status, response.data) == ("304 Not Modified", b"")
        assert response.headers["ETag"] == first.headers["ETag"]
        assert response.headers["Cache-Control"] == "no-cache"
        assert "Content-Type" not in response.headers


def test_a_version_that_is_not_the_one_meant_fails(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    response = ask("/f", If_Match='"other"', Range="bytes=0-1")  # as EDK2 resumes

    assert response.status == "412 Precondition Failed"
    assert response.data == b"412 Precondition Failed: the file is not the version meant\n"


@each(
    ("value", "start", "stop"),
    [("bytes=0-3", 0, 4), ("bytes=1000-", 1000, 1024), ("bytes=-24", 1000, 1024), ("bytes=1000-9999", 1000, 1024)],
)
def test_one_range_is_answered_with_exactly_what_was_asked(
    served: AnyRoot, ask: Ask, value: str, start: int, stop: int
) -> None:
    put(served, "f")

    response = ask("/f", Range=value)

    assert (response.status, response.data) == ("206 Partial Content", CONTENT[start:stop])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/1024"
    assert response.headers["Content-Length"] == str(stop - start)
    assert response.headers["Accept-Ranges"] == "bytes"  # Custota asks for it in 206 too


def test_a_range_beyond_the_end_is_told_the_size(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    response = ask("/f", Range="bytes=1024-")  # as curl -C - on a whole file

    assert response.status == "416 Range Not Satisfiable"
    assert dict(response.headers) == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(response.data)),
        "Content-Range": "bytes */1024",
        "Accept-Ranges": "bytes",
    }


def test_head_ignores_range(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    response = ask("/f", "HEAD", Range="bytes=0-1")

    assert (response.status_code, response.headers["Content-Length"]) == (200, "1024")


def test_a_resumption_of_another_version_gets_the_whole(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    assert ask("/f", Range="bytes=5-", If_Range='"other"').status_code == 200
    assert ask("/f", Range="bytes=5-", If_Range=ask("/f").headers["ETag"]).data == CONTENT[5:]


RESUMED = [
    {"If_Range": "{etag}"},
    {"If_Range": "{modified}"},
    {"If_Match": "{etag}"},
    {"If_Unmodified_Since": "{modified}"},
]


def resumed(ask: Ask, fields: dict[str, str]) -> int:
    """Return the status of a resumption under the validators that stand."""
    known = ask("/f", "HEAD").headers
    given = {name: value.format(etag=known["ETag"], modified=known["Last-Modified"]) for name, value in fields.items()}
    return ask("/f", Range="bytes=5-", **given).status_code


@pytest.mark.parametrize("fields", RESUMED)
@pytest.mark.parametrize("age", [0, 1, -3600])
def test_a_file_that_others_may_be_writing_is_not_resumed(
    served: AnyRoot, top: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, age: int, fields: dict[str, str]
) -> None:
    (top / "f").write_bytes(CONTENT)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    os.utime(top / "f", (now - age, now - age))
    young = resumed(ask, fields)
    monkeypatch.setattr(time, "time", lambda: now + 7200)

    assert young == 200
    assert ask("/f", Range="bytes=5-").status_code == 206
    assert resumed(ask, fields) == 200, "the validators are those that were given out while it was young"
    assert resumed(asking(Site(served)), fields) == 206


@pytest.mark.parametrize("fields", RESUMED)
def test_a_file_that_has_rested_or_that_we_put_there_is_resumed(
    served: AnyRoot, top: Path, ask: Ask, fields: dict[str, str]
) -> None:
    put(served, "f")
    ours = resumed(ask, fields)
    (top / "f").unlink()
    (top / "f").write_bytes(CONTENT)
    os.utime(top / "f", (1_700_000_000, 1_700_000_000))

    assert (ours, resumed(ask, fields)) == (206, 206)


def test_who_only_looks_at_a_young_file_does_not_keep_it_from_being_resumed(
    served: AnyRoot, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "f").write_bytes(CONTENT)
    site = Site(served)
    site.representation("f")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)

    assert resumed(asking(site), {"If_Range": "{etag}"}) == 206


def test_many_ranges_come_in_the_form_that_zchunk_and_swupdate_can_read(
    served: AnyRoot, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda count: "0123456789abcdef01234567")
    put(served, "f.bin")

    response = ask("/f.bin", Range="bytes=100-101,0-0,-1")

    assert response.status == "206 Partial Content"
    assert response.data == (
        b"\r\n--0123456789abcdef01234567\r\n"
        b"Content-Type: application/octet-stream\r\n"
        b"Content-Range: bytes 100-101/1024\r\n"
        b"\r\nde"
        b"\r\n--0123456789abcdef01234567\r\n"
        b"Content-Type: application/octet-stream\r\n"
        b"Content-Range: bytes 0-0/1024\r\n"
        b"\r\n\0"
        b"\r\n--0123456789abcdef01234567\r\n"
        b"Content-Type: application/octet-stream\r\n"
        b"Content-Range: bytes 1023-1023/1024\r\n"
        b"\r\n\xff"
        b"\r\n--0123456789abcdef01234567--\r\n"
    )
    assert response.headers["Content-Type"] == "multipart/byteranges; boundary=0123456789abcdef01234567"
    assert response.headers["Content-Length"] == str(len(response.data))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "Content-Range" not in response.headers


def test_the_boundary_is_of_hexadecimal_digits_and_another_one_each_time(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    kinds = [ask("/f", Range="bytes=0-1,4-5").headers["Content-Type"] for _ in range(2)]

    assert all(re.fullmatch(r"multipart/byteranges; boundary=[0-9a-f]{24}", kind) for kind in kinds)
    assert kinds[0] != kinds[1]


def test_255_ranges_are_answered_part_by_part(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")
    ranges = ",".join(f"{at * 4}-{at * 4 + 1}" for at in range(255))

    response = ask("/f", Range=f"bytes={ranges}")

    found = re.findall(rb"Content-Range: bytes (\d+)-(\d+)/1024\r\n\r\n(..)", response.data, re.S)
    assert len(found) == 255
    assert all(data == CONTENT[int(start) : int(stop) + 1] for start, stop, data in found)


def plan_of(served: AnyRoot, target: str, *, method: str = "GET", **fields: str) -> Plan:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    environ = create_environ(target, method=method, headers=headers)
    answer = Site(served)(environ, lambda status, headers, exc_info=None: lambda data: None)
    assert isinstance(answer, Plan)
    return answer


def test_a_plan_says_for_the_record_which_bytes_stand_where(served: AnyRoot) -> None:
    put(served, "f")

    plan = plan_of(served, "/f", Range="bytes=100-109,0-4")
    body = b"".join(plan)
    plan.close()

    assert plan.length == len(body)
    assert plan.subject is not None
    assert (plan.subject.name, plan.subject.total) == ("f", 1024)
    assert [body[at : at + stop - start] for at, start, stop in plan.subject.pieces] == [CONTENT[100:110], CONTENT[:5]]
    assert all(first.body_offset < second.body_offset for first, second in pairwise(plan.subject.pieces))


def test_the_plan_of_a_304_carries_no_bytes(served: AnyRoot) -> None:
    put(served, "f")

    plan = plan_of(served, "/f", If_None_Match="*")

    assert (plan.steps, plan.length, plan.subject and plan.subject.pieces) == ((), 0, ())


def test_the_plan_of_a_whole_has_its_fields_ready(served: AnyRoot) -> None:
    put(served, "f")

    plan = plan_of(served, "/f")
    plan.close()

    assert plan.raw_fields is not None
    assert plan.raw_fields.startswith(b"Content-Type: application/octet-stream\r\nContent-Length: 1024\r\n")


def test_a_failed_precondition_of_a_head_has_no_content(served: AnyRoot) -> None:
    put(served, "f")

    plan = plan_of(served, "/f", method="HEAD", If_Match='"other"')

    assert b"".join(plan) == b""


def test_a_whole_can_be_had_again_until_the_file_changes(served: AnyRoot, top: Path) -> None:
    put(served, "f")
    plan = plan_of(served, "/f")
    plan.close()
    assert plan.repeatable is not None

    buffer = memoryview(bytearray(len(CONTENT)))

    before = (plan.repeatable.read(buffer), plan.repeatable.is_unchanged())
    content = bytes(buffer)
    (top / "f").write_bytes(b"other")

    assert (before, content) == ((True, True), CONTENT)
    assert (plan.repeatable.read(buffer), plan.repeatable.is_unchanged()) == (False, False)


def test_no_descriptor_stays_open_whatever_the_answer(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")
    put(served, "index.html")
    before = len(os.listdir("/proc/self/fd"))

    for fields in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=9999-"}, {"Range": "bytes=0-1,3-4"}):
        ask("/f", **fields)
    for fields in ({"If_None_Match": "*"}, {"If_Match": '"x"'}):
        ask("/f", **fields)
    for target in ("/f", "/"):
        ask(target, "HEAD")

    assert len(os.listdir("/proc/self/fd")) == before


# Failures


def test_what_may_not_be_read_is_not_there(served: AnyRoot, top: Path, ask: Ask) -> None:
    os.mkfifo(top / "fifo")

    assert ask("/fifo").status_code == 404


def test_a_root_that_is_closed_has_nothing(served: AnyRoot, ask: Ask) -> None:
    put(served, "f")

    served.close()

    assert [ask("/f").status_code, ask("/").status_code] == [404, 404]


@pytest.mark.local_root("an error of the file system")
def test_a_disk_that_fails_is_an_error_of_the_server_and_a_line_in_the_log(
    served: AnyRoot, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(served, "f")

    def fail(path: str, flags: int) -> int:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(os, "open", fail)
    response = ask("/f")

    assert (response.status_code, response.data) == (500, b"500 Internal Server Error: the file cannot be read\n")
    assert "input/output error" in caplog.text.lower()


def test_head_of_what_is_not_there_sends_nothing(served: AnyRoot, ask: Ask) -> None:
    response = ask("/f", "HEAD")

    assert (response.status_code, response.data) == (404, b"")


# Another server


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""


def test_it_runs_under_a_server_that_does_not_know_plans(served: AnyRoot) -> None:
    put(served, "f")
    server = make_server("127.0.0.1", 0, Site(served), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()

    def get(**fields: str) -> tuple[int, bytes, list[tuple[str, str]]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        try:
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request("GET", "/f", headers=headers)
            response = connection.getresponse()
            return response.status, response.read(), response.getheaders()
        finally:
            connection.close()

    try:
        answers = [get(), get(If_None_Match="*"), get(Range="bytes=0-3"), get(Range="bytes=0-3,8-9"), get()]
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()

    assert [status for status, _, _ in answers] == [200, 304, 206, 206, 200]
    assert [answers[0][1], answers[2][1], answers[4][1]] == [CONTENT, CONTENT[:4], CONTENT]
    for _, _, fields in answers:  # a server may add to the list that it is given; the next answer must not show it
        names = [name for name, _ in fields]
        assert len(names) == len(set(names))
