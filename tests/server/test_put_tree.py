"""put_tree and put_files: which files, what is unchanged, and what becomes of the others when one fails."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import opendal
import pytest

from httpserve import (
    CopyFailed,
    DigestMismatch,
    HttpServeError,
    HttpServerClient,
    InvalidArgument,
    InvalidType,
    ServerNotRunning,
    SourceNotFound,
    TreeFailed,
    TreeReport,
    WaitTimeout,
)
from httpserve.storage.copying import local
from tests.cases import each
from tests.server.waits import AT_ONCE, PATIENT, fetch
from tests.server.wire import eventually
from tests.stores.servers import Place

FILES = {"Image": b"kernel", "dtb/a.dtb": b"tree", "dtb/more/b.dtb": b"another", "empty": b""}
NAMES = tuple(sorted(f"boot/{name}" for name in FILES))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of files that count as rested at once."""
    monkeypatch.setattr(local, "RESTED_NS", 0)
    fill(tmp_path / "tree", FILES)
    return tmp_path / "tree"


def fill(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def contents(client: HttpServerClient, below: str = "boot/") -> dict[str, bytes]:
    names = [name for name in client.storage.scan(below) if not name.endswith("/")]
    return {name.removeprefix(below): client.storage.read_bytes(name) for name in names}


def rewrite(path: Path, content: bytes) -> None:
    """Change a file in its place, and give it its time of change again: only its ctime tells."""
    before = path.stat()
    path.write_bytes(content)

    def is_told() -> bool:  # the clock of file systems ticks every few milliseconds
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return path.stat().st_ctime_ns != before.st_ctime_ns

    eventually(is_told, "another ctime")


# Which files


def test_a_tree_is_put_whole_and_not_copied_again(
    bench: HttpServerClient, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "httpserve.storage"):
        first = bench.put_tree("boot", tree)
        again = bench.put_tree("/boot/", str(tree))

    assert first == TreeReport(copied=NAMES)
    assert again == TreeReport(unchanged=NAMES)
    assert str(again) == "0 files copied, 4 unchanged"
    assert "boot/Image is unchanged, and was not copied again" in caplog.messages
    assert "put_tree 'boot': 0 files copied, 4 unchanged" in caplog.messages
    assert contents(bench) == FILES
    assert bench.storage.stat("boot/Image").etag == f'"{hashlib.sha256(FILES["Image"]).hexdigest()}"'
    assert bench.put_tree("boot", tree, always=True, threads=3).copied == NAMES


@each(
    ("include", "exclude", "left"),
    [
        ("*.dtb", (), {"dtb/a.dtb", "dtb/more/b.dtb"}),
        (["Image", "more"], (), {"Image", "dtb/more/b.dtb"}),
        ((), "dtb", {"Image", "empty"}),
        ((), ["dtb/more", "emp*"], {"Image", "dtb/a.dtb"}),
        ("dtb/*.dtb", "**/b.dtb", {"dtb/a.dtb"}),
        ("dtb/**/*.dtb", (), {"dtb/a.dtb", "dtb/more/b.dtb"}),
        ("?mage", (), {"Image"}),
    ],
)
def test_patterns_say_which_files(
    include: str | list[str], exclude: str | list[str], left: set[str], bench: HttpServerClient, tree: Path
) -> None:
    bench.storage.remove_all("boot/")

    bench.put_tree("boot", tree, include=include, exclude=exclude)

    assert contents(bench).keys() == left


def test_delete_removes_what_is_not_in_the_source_and_no_more(bench: HttpServerClient, tree: Path) -> None:
    fill(tree, {"old/only": b"1", "old/deep/two": b"2"})
    bench.put_tree("boot", tree)
    for name in ("boot/.hidden", "boot/kept.cfg", "beside"):
        bench.storage.write_bytes(name, b"x")
    (tree / "old/only").unlink()
    (tree / "old/deep/two").unlink()
    in_place = tree.parent / "in place"
    in_place.write_bytes(b"lies elsewhere")
    bench.serve("boot/elsewhere", in_place)

    done = bench.put_tree("boot", tree, exclude="*.cfg", delete=True)

    assert done.removed == ("boot/.hidden", "boot/old/deep/two", "boot/old/only")
    assert contents(bench, "") == {f"boot/{name}": data for name, data in FILES.items()} | {
        "boot/kept.cfg": b"x",
        "boot/elsewhere": b"lies elsewhere",
        "beside": b"x",
    }
    assert not bench.storage.exists("boot/old/")


def test_symlinks_are_followed_below_the_source_only(bench: HttpServerClient, tree: Path) -> None:
    (tree / "latest").symlink_to("Image")
    (tree / "all").symlink_to("dtb")
    (tree / "dtb/circle").symlink_to("..")
    (tree / ".httpserve-x.journal").write_bytes(b"of another server")
    (tree.parent / "secret").write_bytes(b"no")
    (tree / "leads out").symlink_to("../secret")
    (tree / "nowhere").symlink_to("gone")
    (tree / "turns").symlink_to("turns")
    os.mkfifo(tree / "fifo")

    with pytest.raises(TreeFailed) as caught:
        bench.put_tree("boot", tree)

    failed = ("boot/fifo", "boot/leads out", "boot/nowhere", "boot/turns")
    assert caught.value.report.failed == failed
    assert "4 of 11 files failed, the others are there" in str(caught.value)
    assert bench.put_tree("boot", tree, exclude=[name[5:] for name in failed]).failed == ()
    assert contents(bench) == FILES | {"latest": b"kernel", "all/a.dtb": b"tree", "all/more/b.dtb": b"another"}


# What is unchanged


@each(
    ("change", "copied"),
    [
        (lambda path: None, False),
        (lambda path: rewrite(path, b"lenrek"), True),  # the same size and time of change
        (lambda path: path.write_bytes(b"longer than before"), True),
        (lambda path: (path.unlink(), path.write_bytes(b"kernel")), True),
        (lambda path: os.rename(path, path.with_name("moved")), None),
    ],
    ids=["nothing", "rewritten", "longer", "made anew", "moved away"],
)
def test_put_file_copies_a_changed_source_only(
    change: Callable[[Path], object],
    copied: bool | None,
    bench: HttpServerClient,
    tree: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tree / "Image"
    path.write_bytes(b"kernel")
    bench.put_file("Image", path)
    change(path)
    caplog.clear()

    with caplog.at_level(logging.INFO, "httpserve.storage"):
        if copied is None:
            with pytest.raises(SourceNotFound):
                bench.put_file("Image", path)
        else:
            bench.put_file("Image", path)
            assert bench.storage.read_bytes("Image") == path.read_bytes()

    said = {None: [], True: ["Image was copied"], False: ["Image is unchanged, and was not copied again"]}[copied]
    assert caplog.messages == said


def test_what_has_not_rested_is_copied_again(bench: HttpServerClient, tmp_path: Path) -> None:
    fill(tmp_path / "tree", {"Image": b"a write may be under way"})

    done = [bench.put_tree("boot", tmp_path / "tree") for _ in range(2)]

    assert [report.copied for report in done] == [("boot/Image",)] * 2


@each(
    ("change", "copied"),
    [
        (lambda client: client.storage.write_bytes("Image", b"other"), True),
        (lambda client: client.storage.delete("Image"), True),
        (lambda client: (client.storage.rename("Image", "b"), client.storage.copy("b", "Image")), True),
        (lambda client: (client.storage.rename("Image", "b"), client.storage.rename("b", "Image")), False),
    ],
    ids=["written", "deleted", "copied", "moved and back"],
)
def test_a_target_that_does_not_stand_as_it_was_put_is_copied(
    change: Callable[[HttpServerClient], object], copied: bool, bench: HttpServerClient, tree: Path
) -> None:
    bench.put_files({"Image": tree / "Image"})
    change(bench)

    done = bench.put_files({"Image": tree / "Image"})

    assert done == (TreeReport(copied=("Image",)) if copied else TreeReport(unchanged=("Image",)))
    assert bench.storage.read_bytes("Image") == b"kernel"


def test_other_arguments_copy_again_and_the_same_ones_hold(bench: HttpServerClient, tree: Path) -> None:
    path, seen = tree / "Image", []
    digest = hashlib.sha256(b"kernel").hexdigest()
    bench.put_file("Image", path, content_type="application/x-kernel", sha256=digest)
    bench.put_file(
        "Image", path, content_type="application/x-kernel", sha256=digest, progress=lambda *a: seen.append(a)
    )
    with pytest.raises(DigestMismatch):
        bench.put_file("Image", path, content_type="application/x-kernel", sha256=digest[::-1])
    assert fetch(bench, target="/Image") == b"kernel"
    assert seen == [(6, 6)]
    with pytest.raises(InvalidArgument):
        bench.put_file("Image", path, content_type="application/x-kernel", sha256="short")

    bench.put_file("Image", path)

    assert bench.storage.stat("Image").etag == f'"{digest}"'
    with pytest.raises(CopyFailed):
        bench.put_file("Image", path, decompress=True)


def test_what_is_unchanged_counts_as_put_anew_for_waits(bench: HttpServerClient, tree: Path) -> None:
    bench.put_tree("boot", tree)
    fetch(bench, target="/boot/Image")
    bench.wait_for_download("boot/Image", PATIENT)
    fetch(bench, target="/boot/Image")

    assert bench.put_tree("boot", tree).unchanged == NAMES

    with pytest.raises(WaitTimeout):
        bench.wait_for_download("boot/Image", AT_ONCE)
    fetch(bench, target="/boot/Image")
    assert bench.wait_for_download("boot/Image", PATIENT)


# Sources elsewhere


def test_objects_of_a_store_are_copied_once_until_they_change(bench: HttpServerClient, s3: Place) -> None:
    operator, others = s3.operator(), s3.operator()
    for name, content in FILES.items():
        operator.write(f"out/{name}", content)
    large = os.urandom(5 * 1024 * 1024)
    operator.write("out/large", large)

    first = bench.put_tree("boot", "out", operator)
    again = bench.put_tree("boot", "/out/", others)
    operator.write("out/Image", b"lenrek")
    changed = bench.put_tree("boot", "out", operator)

    assert first.copied == tuple(sorted((*NAMES, "boot/large")))
    assert again == TreeReport(unchanged=first.copied)
    assert (changed.copied, len(changed.unchanged)) == (("boot/Image",), len(NAMES))
    assert contents(bench) == FILES | {"Image": b"lenrek", "large": large}
    assert bench.put_files({"boot/Image": "out/Image"}, operator) == TreeReport(unchanged=("boot/Image",))
    with pytest.raises(SourceNotFound):
        bench.put_tree("boot", "missing", operator, delete=True)


def test_an_operator_without_etags_is_copied_each_time(bench: HttpServerClient, operator: opendal.Operator) -> None:
    for name, content in FILES.items():
        operator.write(name, content)

    done = [bench.put_tree("boot", "", operator) for _ in range(2)]

    assert done == [TreeReport(copied=NAMES)] * 2
    assert contents(bench) == FILES


def test_a_directory_that_httpserve_lists_is_put_and_revalidated(
    bench: HttpServerClient, tree: Path, tmp_path: Path
) -> None:
    fill(tree, {"a b/100%#ü": b"odd"})
    with HttpServerClient(tree, host="127.0.0.1", remove_created_on_close=False) as other:
        first = bench.put_tree("boot", other.get_url())
        again = bench.put_tree("boot", f"{other.get_url()}/")
        asked_again = [one.status for one in other.requests[-5:]]
        fill(tree, {"Image": b"another kernel"})
        changed = bench.put_tree("boot", other.get_url())
        (tree / "dtb/circle").symlink_to("..")
        with pytest.raises(TreeFailed, match="circle/: it is the same as a directory above it") as caught:
            bench.put_tree("boot", other.get_url())
        assert caught.value.report.failed == ("boot/dtb/circle",)
        assert bench.put_tree("boot", other.get_url(), exclude="circle").failed == ()
        fill(tree, {"dtb/index.html": b"a page"})
        with pytest.raises(CopyFailed, match="not a list"):
            bench.put_tree("boot", other.get_url("dtb"))
        with pytest.raises(TreeFailed, match="not a list"):  # so nobody knows which are there, and none is removed
            bench.put_tree("boot", other.get_url(), include="*.dtb", delete=True)

    assert len(first.copied) == len(again.unchanged) == 5
    assert asked_again == [304] * 5
    assert changed.copied == ("boot/Image",)
    assert contents(bench) == FILES | {"Image": b"another kernel", "a b/100%#ü": b"odd"}


# What fails


def test_one_failure_is_told_with_the_fate_of_the_others(bench: HttpServerClient, tree: Path) -> None:
    bench.storage.create_dir("boot/Image/")
    (tree / "back\\slash").write_bytes(b"no name on the server")

    with pytest.raises(TreeFailed) as caught:
        bench.put_tree("boot", tree, delete=True)

    error = caught.value
    assert error.report.failed == ("boot/Image", "boot/back\\slash") == tuple(error.errors)
    assert error.report.copied == tuple(name for name in NAMES if name != "boot/Image")
    assert "2 of 5 files failed" in str(error)
    assert "'boot/Image'" in str(error)
    assert bench.storage.exists("boot/Image/")


def test_what_lies_at_a_name_counts_for_each_file_of_a_directory(tmp_path: Path, tree: Path) -> None:
    root = tmp_path / "root"
    fill(root, {"boot/c/inside": b"kept", "boot/d": b"theirs", "target": b"old"})
    (root / "boot/e").symlink_to("../target")
    (root / "boot/f").symlink_to("/etc/hosts")
    fill(tree, {name: name.encode() for name in "abcdefg"})

    with HttpServerClient(root, host="127.0.0.1") as client:
        with pytest.raises(TreeFailed) as failed:
            client.put_tree("boot", tree, include=list("abcdefg"))
        found = {name: (root / name).read_bytes() for name in ("boot/a", "boot/d", "boot/e", "target", "boot/g")}

    assert failed.value.report.failed == ("boot/c", "boot/f")
    assert found == {"boot/a": b"a", "boot/d": b"d", "boot/e": b"e", "target": b"old", "boot/g": b"g"}
    left = sorted(path.name for path in (root / "boot").iterdir())
    assert left == ["c", "d", "e", "f"]  # what was there before, and nothing else
    assert (root / "boot/c/inside").read_bytes() == b"kept"


@each(
    ("call", "error"),
    [
        (lambda client, tree: client.put_tree("boot", tree / "Image"), CopyFailed),
        (lambda client, tree: client.put_tree("boot", tree / "missing"), SourceNotFound),
        (lambda client, tree: client.put_tree("boot", tree, include=5), InvalidType),
        (lambda client, tree: client.put_tree("boot", tree, exclude="/"), InvalidArgument),
        (lambda client, tree: client.put_tree("boot", tree, threads=0), InvalidArgument),
        (lambda client, tree: client.put_tree("../x", tree), HttpServeError),
        (lambda client, tree: client.put_files([("a", "b")]), InvalidType),
        (lambda client, tree: client.put_files({"a": tree / "Image", "/a": tree / "empty"}), InvalidArgument),
        (lambda client, tree: client.put_files({"a": tree / "Image", "b": tree / "missing"}), TreeFailed),
    ],
    ids=["a file", "missing", "include", "exclude", "threads", "name", "no mapping", "twice", "one missing"],
)
def test_what_cannot_be_is_refused(
    call: Callable[[HttpServerClient, Path], object], error: type[Exception], bench: HttpServerClient, tree: Path
) -> None:
    with pytest.raises(error):
        call(bench, tree)


def test_progress_ends_with_the_sum(bench: HttpServerClient, tree: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    total = sum(map(len, FILES.values()))

    for _ in range(2):  # copied, then unchanged
        bench.put_tree("boot", tree, progress=lambda *amounts: seen.append(amounts))

        assert seen.pop() == (total, total)


def test_it_needs_a_server_that_runs(tree: Path) -> None:
    with HttpServerClient(host="127.0.0.1") as client:
        client.stop()
        with pytest.raises(ServerNotRunning):
            client.put_tree("boot", tree)
        with pytest.raises(ServerNotRunning):
            client.put_files({"a": tree / "Image"})


def test_what_progress_raises_ends_it_and_leaves_no_half(tmp_path: Path) -> None:
    sources, root = tmp_path / "sources", tmp_path / "root"
    sources.mkdir()
    root.mkdir()
    os.mkfifo(sources / "never")

    def interrupt(copied: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with HttpServerClient(root, host="127.0.0.1") as client:
        client.put_files({"a": __file__})
        # A fifo that nobody writes: the copy has begun, and waits.
        with open(os.open(sources / "never", os.O_RDWR), "wb"), pytest.raises(KeyboardInterrupt):
            client.put_files({"a": sources / "never"}, progress=interrupt)
        left = sorted(os.listdir(root))

        assert [name for name in left if not name.endswith(".journal")] == ["a"]
        assert client.storage.read_bytes("a") == Path(__file__).read_bytes()


def test_a_store_as_the_root_gets_trees_too(tree: Path, s3: Place) -> None:
    with HttpServerClient(root=s3.operator(), host="127.0.0.1") as client:
        first = client.put_tree("boot", tree)
        again = client.put_tree("boot", tree)
        s3.operator().write("boot/Image", b"by another host")
        (tree / "dtb/a.dtb").unlink()
        mended = client.put_tree("boot", tree, delete=True)

        assert (first.copied, again.unchanged) == (NAMES, NAMES)
        assert mended.copied == ("boot/Image",)
        assert mended.removed == ("boot/dtb/a.dtb",)
        assert fetch(client, target="/boot/Image") == b"kernel"
