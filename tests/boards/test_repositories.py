"""Clients that take many small files, and probe for some that are not there: ostree, git, apt."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.boards.programs import needs, noise, put_tree, run, tree, type_line

FILES = 60


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A directory with many small files."""
    for number in range(FILES):
        path = tmp_path / "system" / f"d{number % 10}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(100 + number, number))
    return tmp_path / "system"


@pytest.fixture
def ostree(bench: HttpServerClient, tmp_path: Path, system: Path) -> list[str]:
    """The names of a repository with one commit, as it is served."""
    needs("ostree")
    run("ostree", "init", "--mode=archive", "--repo=repo", cwd=tmp_path)
    run("ostree", "commit", "--fsync=false", "--repo=repo", "-b", "board/main", f"--tree=dir={system}", cwd=tmp_path)
    run("ostree", "summary", "-u", "--repo=repo", cwd=tmp_path)
    run("ostree", "init", "--mode=archive", "--repo=board", cwd=tmp_path)
    return put_tree(bench, tmp_path / "repo", "repo")


def test_ostree_pulls_a_commit(bench: HttpServerClient, tmp_path: Path, system: Path, ostree: list[str]) -> None:
    line = bench.command("repo", "ostree", ref="board/main", repo=tmp_path / "board")
    done = type_line(line, cwd=tmp_path)

    objects = {name for name in ostree if "/objects/" in name}
    requests = bench.requests
    assert done.returncode == 0, done.stderr
    run("ostree", "checkout", "--repo=board", "-U", "board/main", "got", cwd=tmp_path)
    assert tree(tmp_path / "got") == tree(system)
    assert objects <= {request.name for request in requests}
    assert all(request.completed for request in requests)
    assert {request.status for request in requests} == {200, 404}  # it probes for signatures and deltas
    assert all(request.user_agent.startswith("libostree/") for request in requests)
    for name in objects:
        assert bench.wait_for_download(name, 20).ranges == ()
    assert bench.wait_for_request("repo/summary", timeout=5).status == 200
    assert {missing.name for missing in bench.missing} >= {"repo/summary.sig"}


def test_ostree_uses_few_connections_and_keeps_them_over_a_404(
    bench: HttpServerClient, tmp_path: Path, ostree: list[str]
) -> None:
    type_line(bench.command("repo", "ostree", ref="board/main", repo=tmp_path / "board"), cwd=tmp_path)

    first = bench.requests[0]
    assert first.status == 404
    assert len([one for one in bench.requests if one.client_port == first.client_port]) > 1
    assert len({one.client_port for one in bench.requests}) < len(bench.requests) / 2


def test_ostree_takes_nothing_twice(bench: HttpServerClient, tmp_path: Path, ostree: list[str]) -> None:
    line = bench.command("repo", "ostree", ref="board/main", repo=tmp_path / "board")
    type_line(line, cwd=tmp_path)
    before = len(bench.requests)

    done = type_line(line, cwd=tmp_path)

    assert done.returncode == 0
    assert not [one for one in bench.requests[before:] if "/objects/" in one.name]


def test_ostree_fails_where_there_is_no_such_branch(bench: HttpServerClient, tmp_path: Path, ostree: list[str]) -> None:
    done = type_line(bench.command("repo", "ostree", ref="other", repo=tmp_path / "board"), cwd=tmp_path)

    assert done.returncode != 0


@pytest.fixture(params=["loose", "packed"])
def git(request: pytest.FixtureRequest, bench: HttpServerClient, tmp_path: Path, system: Path) -> list[str]:
    """The names of a bare repository, its objects loose or in one pack, as it is served."""
    needs("git")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    run("git", "init", "-q", "-b", "main", cwd=system)
    run("git", "add", "-A", cwd=system)
    run("git", *who, "commit", "-q", "-m", "all", cwd=system)
    run("git", "clone", "-q", "--bare", system, "system.git", cwd=tmp_path)
    if request.param == "packed":
        run("git", "-C", "system.git", "repack", "-q", "-a", "-d", cwd=tmp_path)
    run("git", "-C", "system.git", "update-server-info", cwd=tmp_path)
    return put_tree(bench, tmp_path / "system.git", "system.git")


def test_git_clones_over_dumb_http(bench: HttpServerClient, tmp_path: Path, system: Path, git: list[str]) -> None:
    run("git", "clone", "-q", bench.get_url("system.git"), "got", cwd=tmp_path)

    def content(path: Path) -> dict[str, bytes]:
        return {name: data for name, data in tree(path).items() if not name.startswith(".git/")}

    objects = {name for name in git if name.endswith(".pack")} or {
        name for name in git if "/objects/" in name and "/info/" not in name
    }
    assert content(tmp_path / "got") == content(system)
    assert objects <= {request.name for request in bench.requests}
    first = bench.wait_for_request("system.git/info/refs", timeout=5)
    assert first.target == "/system.git/info/refs?service=git-upload-pack"
    assert first.fields["Git-Protocol"] == "version=2"
    assert all(request.user_agent.startswith("git/") for request in bench.requests)
    for name in objects:
        assert bench.wait_for_download(name, 20).name == name


@pytest.fixture
def packages(bench: HttpServerClient, tmp_path: Path) -> list[str]:
    """The names of three packages in a flat repository, as it is served."""
    needs("apt-get", "dpkg-deb")
    index = ""
    for number in range(3):
        package = tmp_path / f"p{number}"
        (package / "DEBIAN").mkdir(parents=True)
        (package / "content").write_bytes(noise(50_000, number))
        control = f"Package: board-{number}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\n"
        (package / "DEBIAN" / "control").write_text(f"{control}Description: a test\n")
        run("dpkg-deb", "--root-owner-group", "-b", package, f"board-{number}_1_all.deb", cwd=tmp_path)
        data = (tmp_path / f"board-{number}_1_all.deb").read_bytes()
        bench.storage.write_bytes(f"debian/board-{number}_1_all.deb", data)
        index += f"{control}Filename: ./board-{number}_1_all.deb\nSize: {len(data)}\n"
        index += f"SHA256: {hashlib.sha256(data).hexdigest()}\nDescription: a test\n\n"
    bench.storage.write_bytes("debian/Packages", index.encode())
    digest = hashlib.sha256(index.encode()).hexdigest()
    release = f"Date: Wed, 01 Jan 2020 00:00:00 UTC\nSHA256:\n {digest} {len(index)} Packages\n"
    bench.storage.write_bytes("debian/Release", release.encode())
    return [f"debian/board-{number}_1_all.deb" for number in range(3)]


@pytest.fixture
def apt(bench: HttpServerClient, tmp_path: Path) -> list[str]:
    """The command of an apt that has a root of its own, and touches nothing of this system."""
    top = tmp_path / "apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "log"):
        (top / name).mkdir(parents=True)
    (top / "status").touch()
    (top / "etc" / "sources.list").write_text(f"deb [trusted=yes] {bench.get_url('debian')}/ ./\n")
    options = {
        "Dir::State": top / "state",
        "Dir::State::status": top / "status",
        "Dir::Cache": top / "cache",
        "Dir::Etc": top / "etc",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Log": top / "log",
        "APT::Sandbox::User": "",
        "APT::Architecture": "amd64",
        "Acquire::Languages": "none",
    }
    return ["apt-get", "-q", *(text for name, value in options.items() for text in ("-o", f"{name}={value}"))]


def test_apt_updates_and_downloads(
    bench: HttpServerClient, tmp_path: Path, packages: list[str], apt: list[str]
) -> None:
    (tmp_path / "got").mkdir()
    run(*apt, "update", cwd=tmp_path)
    run(*apt, "download", "board-0", "board-1", "board-2", cwd=tmp_path / "got")

    assert {path.name: path.read_bytes() for path in (tmp_path / "got").iterdir()} == {
        name.rpartition("/")[2]: bench.storage.read_bytes(name) for name in packages
    }
    for name in ["debian/Packages", *packages]:
        record = bench.wait_for_download(name, 20)
        assert record.user_agent.startswith("Debian APT-HTTP/")
    first = bench.requests[0]
    assert (first.target, first.status) == ("/debian/./InRelease", 404)  # it probes for this, and goes on
    assert len({one.client_port for one in bench.requests if one.name in packages}) == 1  # in one go


@pytest.mark.local_root("dates of a store have whole seconds: one that is younger than two proves nothing")
def test_apt_fetches_a_list_again_only_when_it_has_changed(
    bench: HttpServerClient, tmp_path: Path, packages: list[str], apt: list[str]
) -> None:
    run(*apt, "update", cwd=tmp_path)
    before = len(bench.requests)

    run(*apt, "update", cwd=tmp_path)

    again = [(one.name, one.status) for one in bench.requests[before:] if one.name]
    assert again == [("debian/Release", 304)]
    assert bench.wait_for_request("debian/Release", status=304, timeout=5).fields["If-Modified-Since"]
