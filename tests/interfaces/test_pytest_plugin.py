"""pytest's plugin, in real runs of pytest on tests that use it. Each run is a process of its own."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests import strangers, warm
from tests.interfaces.command import END_SECONDS
from tests.interfaces.conftest import REPOSITORY
from tests.stores.servers import KEYS, Place

FETCH = """
import urllib.error, urllib.request

def fetch(url):
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
"""
LOADING = """
import sys

def ours():
    return {name for name in sys.modules if name.partition(".")[0] in ("httpserve", "opendal", "werkzeug")}

def test_first():
    parts = {"base", "base.lazy", "pytest_plugin"}
    assert ours() == {"httpserve", *(f"httpserve.{part}" for part in parts)}

def test_second(http_server_client):
    assert "httpserve.client.client" in ours()
"""
EACH = """
import os
import socket
import pytest
from fetching import fetch

seen = []

@pytest.mark.parametrize("turn", [1, 2])
def test_boot(http_server_client, tmp_path, turn):
    image = tmp_path / "board.img"
    image.write_bytes(b"an image")
    assert http_server_client.is_running
    assert http_server_client.storage.list("/") == ["/"]
    assert fetch(http_server_client.put_file("board.img", image)) == b"an image"
    assert http_server_client.wait_for_download("board.img", timeout=10).bytes == 8
    seen.append(http_server_client)

def test_afterwards():
    first, second = seen
    assert first is not second
    assert not first.is_running
    assert not second.is_running
"""
FACTORY = """
from fetching import fetch

seen = []

def test_two_networks(make_http_server_client, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    kernels = make_http_server_client(tmp_path, read_only=True)
    updates = make_http_server_client(host="127.0.0.2", listing=False)
    assert kernels.get_host() == "127.0.0.1"
    assert updates.get_host() == "127.0.0.2"
    assert fetch(kernels.get_url("one")) == b"1"
    assert fetch(updates.get_url()) == 404
    seen.extend([kernels, updates])
    updates.stop()

def test_afterwards():
    assert [client.is_running for client in seen] == [False, False]

def test_no_server_that_cannot_start_is_left(make_http_server_client):
    first = make_http_server_client()
    make_http_server_client(port=first.get_port())
"""
REPORT = """
import pytest
from fetching import fetch

@pytest.fixture
def board(http_server_client, tmp_path):
    image = tmp_path / "board.img"
    image.write_bytes(b"an image")
    url = http_server_client.put_file("board.img", image)
    assert fetch(url) == b"an image"
    return url

def test_that_passes(board):
    pass

def test_that_fails(board):
    assert fetch(board.replace("board", "baord")) == 200

@pytest.fixture
def second_board(board):
    raise RuntimeError("no power")

def test_that_has_no_board(second_board):
    pass

def test_that_asked_for_no_server():
    assert 1 == 2

def test_of_a_crowd(http_server_client):
    for number in range(50):
        fetch(http_server_client.get_url(f"lib/{number}"))
    assert http_server_client.requests == ()
"""
SESSION = """
import pytest
from fetching import fetch

@pytest.fixture(scope="session")
def bench():
    from httpserve import HttpServerClient  # not while tests are collected: the first of them loads nothing

    with HttpServerClient(host="127.0.0.1") as client:
        yield client

@pytest.fixture
def board(bench):
    return bench.get_url

def test_that_passes_before(board):
    assert fetch(board("early")) == 404

def test_on_a_server_of_my_own(board):
    assert fetch(board("late")) == 200

@pytest.fixture(scope="session")
def faulty(bench):
    from httpserve.faults import Status

    bench.fault("of-the-fixture", Status(410))
    return bench

def test_that_is_wrong_on_purpose(faulty):
    from httpserve.faults import Status

    faulty.storage.write_bytes("a", b"firmware")
    faulty.fault("a", Status(503))
    faulty.hold("b")
    faulty.accept_uploads("c")
    faulty.respond("d", "x")
    assert fetch(faulty.get_url("a")) == b"firmware"

def test_that_is_not(faulty):
    assert fetch(faulty.get_url("a")) == b"firmware"
    assert fetch(faulty.get_url("of-the-fixture")) == 410
    assert not faulty.holds
    assert not faulty.accepted_uploads
    assert not faulty.own_answers
"""
STRANGERS = """
import os, socket
from pathlib import Path
from tests import strangers

def test_strangers(make_http_server_client, tmp_path):
    for path in strangers.names(os.fsencode(tmp_path)):
        Path(os.fsdecode(path)).write_bytes(b"x")
    client = make_http_server_client(tmp_path, read_only=True)
    heads = [head for text in strangers.TEXTS.values() for head in strangers.requests(text)][:36]
    heads += [b"GET /%61%1b%5d0%3bpwned HTTP/1.0\\r\\n\\r\\n", b"M" * 15_000 + b" / HTTP/1.0\\r\\n\\r\\n"]
    for head in heads:
        with socket.create_connection((client.get_host(), client.get_port())) as sock:
            sock.sendall(head)
            while sock.recv(65536):
                pass
    assert 0, "it fails"
"""
HERE = ["--httpserve-host", "127.0.0.1"]
UNUSED = ["labgrid", "hypothesispytest", "pytest_cov", "cacheprovider"]  # they take a second of each run


def pytest_of(where: Path, *options: str, **files: str) -> pytest.RunResult:
    """Run pytest on these files in a directory; it finds the plugin by the entry point of the installed package."""
    for name, text in {"fetching": FETCH, **files}.items():
        (where / f"{name}.py").write_text(text, encoding="utf-8")
    words = ["-W", "error", f"--basetemp={where}/tmp", *(f"-pno:{name}" for name in UNUSED), *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "--rootdir", str(where), *words]
    done = warm.run(command, cwd=where, env=environment, timeout=END_SECONDS)
    return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> pytest.RunResult:
    """One run on several files, in this order."""
    files = {"test_1_loading": LOADING, "test_2_each": EACH, "test_3_factory": FACTORY, "test_4_report": REPORT}
    files |= {"test_5_strangers": STRANGERS, "test_6_session": SESSION}
    return pytest_of(tmp_path_factory.mktemp("user"), *HERE, "-p", "no:logging", "-v", **files)


def ends(done: pytest.RunResult, file: str) -> list[tuple[str, str]]:
    """Return each test of a file, and how it ended."""
    return re.findall(rf"^{file}\.py::(\S+) ([A-Z]+)", done.stdout.str(), re.MULTILINE)


def report(done: pytest.RunResult, test: str) -> pytest.LineMatcher:
    """Return what is told of a test that failed."""
    told = re.split(r"^_+ (?:ERROR at setup of )?(test_\w+) _+$|^=+ .* =+$", done.stdout.str(), flags=re.MULTILINE)
    return pytest.LineMatcher(told[told.index(test) + 1].splitlines())


def test_each_test_gets_a_running_server_on_a_private_root_that_ends_with_it(done: pytest.RunResult) -> None:
    assert {end for _, end in ends(done, "test_2_each")} == {"PASSED"}
    assert len(ends(done, "test_2_each")) == 3


def test_factory_makes_several_servers_and_closes_all_of_them(done: pytest.RunResult) -> None:
    assert [end for _, end in ends(done, "test_3_factory")] == ["PASSED", "PASSED", "FAILED"]
    failed = report(done, "test_no_server_that_cannot_start_is_left")
    failed.fnmatch_lines(["*PortInUse: port * on 127.0.0.1*"])
    failed.no_fnmatch_line("*httpserve/*.py:*")  # the user's lines alone
    done.stdout.fnmatch_lines(["FAILED test_3_factory.py::test_no_server_that_cannot_start_is_left - Port*"])


def test_report_of_a_failing_test_says_what_the_boards_asked_for(done: pytest.RunResult) -> None:
    ended = [end for _, end in ends(done, "test_4_report")]
    failed = report(done, "test_that_fails")
    of_a_crowd = report(done, "test_of_a_crowd")

    assert ended == ["PASSED", "FAILED", "ERROR", "FAILED", "FAILED"]
    assert "httpserve: " not in report(done, "test_that_asked_for_no_server").str()
    report(done, "test_that_has_no_board").fnmatch_lines(["*httpserve: *", "requests: 1", "*GET /board.img: 200, *"])
    failed.fnmatch_lines(
        [
            "*- httpserve: <HttpServerClient running http://127.0.0.1:*",
            "requests: 2",
            "  ??:??:??.??? 127.0.0.1 GET /board.img: 200, 8 bytes in 0.* s, completed (Python-urllib/*)",
            "  ??:??:??.??? 127.0.0.1 GET /baord.img: 404, *",
            "transfers: *",
            "  ??:??:??.??? 127.0.0.1 board.img: 8 of 8 bytes arrived, *B/s, completed",
            "missing names: 1",
            "  ??:??:??.??? 127.0.0.1 baord.img (there is board.img)",
        ]
    )
    assert failed.str().count("- httpserve: ") == 1
    of_a_crowd.fnmatch_lines(["requests: 50", "  (10 earlier ones are left out)", "* GET /lib/10: 404, *"])
    assert "GET /lib/9:" not in of_a_crowd.str()


def test_report_has_what_came_during_the_test_to_a_server_of_a_fixture_of_ones_own(done: pytest.RunResult) -> None:
    failed = report(done, "test_on_a_server_of_my_own")

    failed.fnmatch_lines(["*- httpserve: <HttpServerClient running *", "requests: 1", "* GET /late: 404, *"])
    assert failed.str().count("- httpserve: ") == 1
    assert "early" not in failed.str()


def test_what_a_test_asks_for_to_be_wrong_is_in_its_report_and_ends_with_it(done: pytest.RunResult) -> None:
    ended = dict(ends(done, "test_6_session"))

    report(done, "test_that_is_wrong_on_purpose").fnmatch_lines(
        ["* GET /a: 503, 0 bytes in * s, completed, on purpose: Status(503) (Python-urllib/*"]
    )
    assert ended["test_that_is_not"] == "PASSED"


def test_report_prints_whatever_strangers_sent(done: pytest.RunResult) -> None:
    told = report(done, "test_strangers").str()

    strangers.check(told)
    assert "requests: 38" in told
    assert max(map(len, told.splitlines())) < 2_000


def test_plugin_loads_nothing_until_a_fixture_is_asked_for(done: pytest.RunResult) -> None:
    assert [end for _, end in ends(done, "test_1_loading")] == ["PASSED", "PASSED"]


@pytest.mark.parametrize(
    ("options", "ini", "host"),
    [
        (["--httpserve-peer", "127.0.0.3"], "", "127.0.0.1"),
        ([], "httpserve_host = 127.0.0.2", "127.0.0.2"),
        (["--httpserve-host", "127.0.0.4"], "httpserve_host = 127.0.0.2", "127.0.0.4"),
        ([], "httpserve_peer = 127.0.0.3", "127.0.0.1"),
    ],
    ids=["peer", "ini host", "host before ini host", "ini peer"],
)
def test_options_and_ini_keys_say_where_the_servers_listen(
    options: list[str], ini: str, host: str, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="utf-8")
    test = f"""
def test_where(http_server_client):
    assert http_server_client.get_host() == "{host}"
    assert http_server_client.get_url().startswith("http://{host}:")
"""

    pytest_of(tmp_path, *options, test_where=test).assert_outcomes(passed=1)


def test_ini_keys_name_the_store_that_is_served(s3: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.operator().write("Image", b"kernel")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret_access_key"])
    ini = f"""[pytest]
httpserve_host = 127.0.0.1
httpserve_root = s3://bench{s3.root}
httpserve_root_options =
    region = us-east-1
    disable_ec2_metadata=true
    endpoint={s3.endpoint}
httpserve_cache_dir = {tmp_path}/cache
httpserve_cache_bytes = 10 MiB
httpserve_fresh_for = 1.5
"""
    (tmp_path / "pytest.ini").write_text(ini, encoding="utf-8")
    test = """
from fetching import fetch

def test_store(http_server_client):
    assert fetch(http_server_client.get_url("Image")) == b"kernel"

def test_directory(make_http_server_client, tmp_path):
    assert fetch(make_http_server_client(tmp_path).get_url("Image")) == 404
    assert fetch(make_http_server_client(cache_bytes=0).get_url("Image")) == b"kernel"
"""

    pytest_of(tmp_path, test_store=test).assert_outcomes(passed=2)
    (tmp_path / "pytest.ini").write_text(ini.replace("region =", "regoin ="), encoding="utf-8")
    failed = pytest_of(tmp_path, test_store=test)
    failed.stdout.fnmatch_lines(
        ["no server for this test; look at *httpserve_root of the ini *: s3 has no option regoin=*"]
    )


LAZY = """
import pytest

class Lazy:  # as lazy proxies are, that connect when they are touched
    @property
    def __class__(self):
        raise RuntimeError("touched")

@pytest.fixture
def lazy():
    return Lazy()

def test_with_a_proxy(http_server_client, lazy):
    assert 0, "it fails"
"""


def test_report_touches_no_proxy_among_the_fixtures(tmp_path: Path) -> None:
    result = pytest_of(tmp_path, *HERE, test_lazy=LAZY)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*it fails*", "*- httpserve: <HttpServerClient running *"])


def test_an_option_of_which_no_server_can_be_made_is_one_sentence(tmp_path: Path) -> None:
    done = pytest_of(tmp_path, "--httpserve-host", "192.0.2.9", test_where="def test_it(http_server_client): pass")

    done.assert_outcomes(errors=1)
    assert len(done.outlines) < 16
    done.stdout.fnmatch_lines(["no server for this test; look at --httpserve-host (httpserve_host of *: no interface*"])


def test_fixtures_and_sections_work_in_the_processes_of_xdist(tmp_path: Path) -> None:
    test = """
import pytest
from fetching import fetch

@pytest.mark.parametrize("number", range(6))
def test_boot(http_server_client, number, worker_id):
    assert worker_id in ("gw0", "gw1")
    assert fetch(http_server_client.get_url(f"absent-{number}")) == 404
    assert number != 4
"""

    result = pytest_of(tmp_path, *HERE, "-n", "2", test_boot=test)

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*httpserve: *", "*127.0.0.1 GET /absent-4: 404, *"])
    assert "GET /absent-3" not in result.stdout.str()


def test_help_and_the_list_of_fixtures_say_what_there_is(tmp_path: Path) -> None:
    helped = pytest_of(tmp_path, "--help").stdout.str()
    listed = pytest_of(tmp_path, "--fixtures").stdout.str()

    assert all(f"--httpserve-{name}=ADDRESS" in helped for name in ("host", "peer"))
    assert all(f"httpserve_{name} (string):" in helped for name in ("host", "peer"))
    assert "http_server_client -- " in listed
    assert "make_http_server_client -- " in listed
