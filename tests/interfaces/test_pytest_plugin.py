"""pytest's plugin, in real runs of pytest on tests that use it. Each run is a process of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

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
HERE = ["--httpserve-host", "127.0.0.1"]
UNUSED = ["labgrid", "hypothesispytest", "pytest_cov", "cacheprovider"]  # they take a second of each run


@pytest.fixture
def user(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a directory for the tests of a user, with a function that fetches a URL."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(fetching=FETCH)


def pytest_of(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest, which finds the plugin by the entry point of the installed package."""
    without = [word for name in UNUSED for word in ("-p", f"no:{name}")]
    return pytester.runpytest_subprocess("-W", "error", *without, *options)


@pytest.mark.usefixtures("user")
def test_each_test_gets_a_running_server_on_a_private_root_that_ends_with_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
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
    """)

    result = pytest_of(pytester, *HERE)

    result.assert_outcomes(passed=3)


@pytest.mark.usefixtures("user")
def test_factory_makes_several_servers_and_closes_all_of_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
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
    """)

    result = pytest_of(pytester, *HERE)

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*PortInUse: port * on 127.0.0.1*"])


@pytest.mark.usefixtures("user")
def test_report_of_a_failing_test_says_what_the_boards_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
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
    """)

    result = pytest_of(pytester, *HERE, "-p", "no:logging")

    result.assert_outcomes(passed=1, failed=3, errors=1)
    text = result.stdout.str()
    assert text.count("- httpserve: <HttpServerClient running http://127.0.0.1:") == 3
    result.stdout.fnmatch_lines(["*test_that_has_no_board*", "*httpserve: *", "requests: 1", "*GET /board.img: 200, *"])
    result.stdout.fnmatch_lines(
        [
            "*test_that_fails*",
            "*httpserve: *",
            "requests: 2",
            "  ??:??:??.??? 127.0.0.1 GET /board.img: 200, 8 bytes in 0.* s, completed (Python-urllib/*)",
            "  ??:??:??.??? 127.0.0.1 GET /baord.img: 404, *",
            "transfers: *",
            "  ??:??:??.??? 127.0.0.1 board.img: 8 of 8 bytes arrived, * bytes/s, completed",
            "missing names: 1",
            "  ??:??:??.??? 127.0.0.1 baord.img (there is board.img)",
        ]
    )
    result.stdout.fnmatch_lines(["requests: 50", "  (10 earlier ones are left out)", "* GET /lib/10: 404, *"])
    assert "GET /lib/9:" not in text


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
@pytest.mark.usefixtures("user")
def test_options_and_ini_keys_say_where_the_servers_listen(
    options: list[str], ini: str, host: str, pytester: pytest.Pytester
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile(f"""
        def test_where(http_server_client):
            assert http_server_client.get_host() == "{host}"
            assert http_server_client.get_url().startswith("http://{host}:")
    """)

    pytest_of(pytester, *options).assert_outcomes(passed=1)


@pytest.mark.usefixtures("user")
def test_plugin_loads_nothing_until_a_fixture_is_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def ours():
            return {name for name in sys.modules if name.partition(".")[0] in ("httpserve", "opendal", "werkzeug")}

        def test_first():
            parts = {"base", "base.lazy", "pytest_plugin"}
            assert ours() == {"httpserve", *(f"httpserve.{part}" for part in parts)}

        def test_second(http_server_client):
            assert "httpserve.client.client" in ours()
    """)

    pytest_of(pytester, *HERE).assert_outcomes(passed=2)


@pytest.mark.usefixtures("user")
def test_fixtures_and_sections_work_in_the_processes_of_xdist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        from fetching import fetch

        @pytest.mark.parametrize("number", range(6))
        def test_boot(http_server_client, number, worker_id):
            assert worker_id in ("gw0", "gw1")
            assert fetch(http_server_client.get_url(f"absent-{number}")) == 404
            assert number != 4
    """)

    result = pytest_of(pytester, *HERE, "-n", "2")

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*httpserve: *", "*127.0.0.1 GET /absent-4: 404, *"])
    assert "GET /absent-3" not in result.stdout.str()


@pytest.mark.usefixtures("user")
def test_help_and_the_list_of_fixtures_say_what_there_is(pytester: pytest.Pytester) -> None:
    helped = pytest_of(pytester, "--help").stdout.str()
    listed = pytest_of(pytester, "--fixtures").stdout.str()

    assert all(f"--httpserve-{name}=ADDRESS" in helped for name in ("host", "peer"))
    assert all(f"httpserve_{name} (string):" in helped for name in ("host", "peer"))
    assert "http_server_client -- " in listed
    assert "make_http_server_client -- " in listed
