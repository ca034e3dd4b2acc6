"""What Robot's log says of transfers."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

import pytest

from httpserve.base.text import Hint, size
from httpserve.robot.python_log import MOST_RECORDS, PythonLog
from httpserve.robot.transfers_log import MOST_LINES, MOST_ROWS
from tests.robot.conftest import Ran
from tests.robot.suites import Run, run


def test_each_test_has_one_table_and_a_line_for_each_transfer(ran: Ran) -> None:
    done = ran("""
First
    Start HTTP Server
    ${url}=    Put Text    boot/Image    kernel
    ${missing}=    Get File URL    boot/<b>Image
    Type On Board    curl -s -o out '${url}'; curl -s -o out '${missing}'; curl -s -I '${url}'; curl -s -r 0-1 '${url}'
    Transfers Have Ended
    Type On Board    curl -s -o out '${url}'
Second
    ${url}=    Get File URL    boot/Image
    Type On Board    curl -s -o out '${url}'
Third
    Get Server URL
""")

    assert done.all_passed()
    names = [(name, client, size, state, times) for name, client, size, _, _, state, times in done["First"].rows]
    assert names == [
        ("boot/Image", "127.0.0.1", "14", "completed", "4"),
        ("boot/<b>Image", "127.0.0.1", done["First"].rows[1][2], "404 Not Found", "1"),
    ]
    missing = int(done["First"].rows[1][2])
    name, client, size, began, _, state, times = done["First"].total
    assert (name, client, size, state, times) == ("total", "", f"{14 + missing}", "", "5")
    assert began == done["First"].rows[0][3]
    assert "<b>" not in done["First"].table
    assert [(name, times) for name, *_, times in done["Second"].rows] == [("boot/Image", "1")]
    assert done["Third"].table == ""


def test_what_is_put_and_what_is_looked_at_stand_in_the_log(ran: Ran, tmp_path: Path) -> None:
    done = ran("""
Shown
    ${url}=    Start HTTP Server
    Put Text    a    text
    Put File    b    ${CURDIR}/suite.robot
    Type On Board    curl -s -o out '${url}/a' '${url}/<b>'
    Transfers Have Ended
    ${requests}=    Get Requests
    Get Transfers
    Get Missing Files
    FOR    ${_}    IN RANGE    30
        Get Requests
    END
""")

    case = done["Shown"]
    shown = [message.message for message in case.messages if message.html]
    links = [re.fullmatch(r'<a href="(.*)">\1</a>(.*)', text) for text in shown]
    assert [(link[1].partition("://")[2].partition("/")[2], link[2]) for link in links if link] == [
        ("", ""),
        ("a", ", 4 B"),
        ("b", f", {size((tmp_path / 'suite.robot').stat().st_size)}"),
    ]
    tables = [text for text in shown if text.startswith("<table") and "HTTP transfers" not in text]
    assert sum(table.count("<tr>") - 1 for table in tables) == MOST_ROWS
    assert not [text for text in shown if "<b>" in text]
    assert "2 records, without a table: this test has shown its 50 rows already" in shown
    assert any(message.message.startswith("${requests} = 2 records\ntime ") for message in case.messages)


def test_lines_stand_in_time_order_with_their_own_time(ran: Ran) -> None:
    done = ran("""
Lines
    Start HTTP Server
    ${url}=    Put Text    boot/Image    kernel
    Type On Board    for i in 1 2 3; do curl -s -o out '${url}'?$i; sleep 0.05; done
    Transfers Have Ended
    Type On Board    curl -s -o out '${url}'?4
    Transfers Have Ended
""")

    lines = done["Lines"].lines
    times = [line.timestamp for line in lines]
    assert [f"?{number}:" in line.message for number, line in enumerate(lines, 1)] == [True] * 4
    assert times == sorted(times)
    assert len(set(times)) == 4, "each has the time of its end, not that of the keyword that told of it"
    assert all(line.message.startswith(line.timestamp.strftime("%H:%M:%S.")) for line in lines)
    assert "default: 127.0.0.1 GET /boot/Image?1: 6 bytes in 0." in lines[0].message
    assert lines[0].message.endswith("s, completed")
    told = [message.message for message in done["Lines"].messages if "GET /boot/Image?1" in message.message]
    assert len(told) == 1, "the server's threads log nothing beside it"


def test_a_thousand_requests_do_not_make_a_log_of_a_thousand_lines(tmp_path: Path) -> None:
    done = _many(tmp_path, 1000, "boot/Image")

    case = done["Many"]
    assert len(case.lines) == MOST_LINES
    assert [(row[0], row[6]) for row in case.rows] == [("boot/Image", "1,000")]
    assert f"{1000 - MOST_LINES} more transfers have no line of their own" in case.table


def test_a_thousand_names_do_not_make_a_table_of_a_thousand_rows(tmp_path: Path) -> None:
    done = _many(tmp_path, 300, "n{number}")

    case = done["Many"]
    assert len(case.rows) == MOST_ROWS
    assert f"and {300 - MOST_ROWS} more requests for other names" in case.table
    assert case.total[-1] == "300", "those without a row count too"


def _many(directory: Path, count: int, name: str) -> Run:
    (directory / "board.py").write_text(
        "import http.client, sys\n"
        "connection = http.client.HTTPConnection(sys.argv[1])\n"
        f"for number in range({count}):\n"
        f"    connection.request('GET', '/' + {name!r}.format(number=number))\n"
        "    connection.getresponse().read()\n",
        encoding="utf-8",
    )
    return run(
        directory,
        """
Many
    ${url}=    Start HTTP Server
    Put Text    boot/Image    kernel
    Type On Board    ${{sys.executable}} ${CURDIR}/board.py ${url.removeprefix("http://")}
    Transfers Have Ended
""",
    )


def test_what_is_under_way_stands_in_the_table_and_has_its_line_in_the_next_test(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(30_000_000))

    done = ran("""
First
    Start HTTP Server
    ${url}=    Put File    big    ${CURDIR}/big
    Start Process    curl    -s    --limit-rate    1k    ${url}    stdout=DEVNULL    stderr=DEVNULL    alias=board
    FOR    ${i}    IN RANGE    500
        ${requests}=    Get Requests
        IF    $requests    BREAK
        Sleep    20 ms
    END
Second
    Terminate Process    board    kill=yes
    Transfers Have Ended
""")

    assert done.all_passed()
    assert [(row[0], row[5]) for row in done["First"].rows] == [("big", "under way")]
    assert done["First"].lines == []
    assert [row[0] for row in done["Second"].rows] == ["big"]
    assert len(done["Second"].lines) == 1


def test_table_names_the_server_where_there_are_several(ran: Ran) -> None:
    done = ran("""
Two
    ${one}=    Start HTTP Server    alias=one
    ${two}=    Start HTTP Server    alias=two
    Type On Board    curl -s -o out ${one}/; curl -s -o out ${two}/
    Transfers Have Ended    one
    Transfers Have Ended    two
""")

    assert [row[0] for row in done["Two"].rows] == ["one", "two"]


def test_warning_of_a_thread_of_ours_stands_in_the_log_and_on_the_console(ran: Ran) -> None:
    peer = "198.51.100.7"

    done = ran(f"""
Peer
    Start HTTP Server    peer={peer}
    Start HTTP Server    alias=second
""")

    (warning,) = [message for message in done["Peer"].messages if message.level == "WARN"]
    assert warning.message.startswith(f"peer={peer} ") or f" faces peer={peer} " in warning.message
    assert done.errors == [warning.message]
    assert f"[ WARN ] {warning.message}" in done.console


def test_python_log_keeps_a_bounded_number_of_lines_and_never_loses_the_first_warnings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("httpserve.server")
    log.setLevel(logging.INFO)

    def flood() -> None:
        for number in range(MOST_RECORDS + 7):
            log.info("asked %d", number)
        log.warning("the disk is full: %s", Hint("root_dir", "/srv"))
        logging.getLogger("httpserve.access").warning("has a line of its own")

    kept = PythonLog()
    kept.begin()
    try:
        flooder = threading.Thread(target=flood)
        flooder.start()
        flooder.join()
        log.warning("of this thread, which Robot reads")
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "RobotFramework"):
            kept.write()
    finally:
        kept.end()
        log.setLevel(logging.NOTSET)

    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told[0] == ("DEBUG", "asked 0")
    assert told[MOST_RECORDS:] == [
        ("WARNING", "the disk is full: root_dir=/srv"),
        ("DEBUG", "and 7 more lines of Python's logging"),
    ]


def test_library_under_two_names_writes_one_table(ran: Ran) -> None:
    done = ran("""
Two Names
    ${url}=    Http.Start HTTP Server
    Type On Board    curl -s -o out ${url}/
    httpserve.robot.HttpServe.Get Server URL

*** Settings ***
Library    httpserve.robot.HttpServe    host=127.0.0.1    AS    Http
""")

    assert done.all_passed()
    assert [row[0] for row in done["Two Names"].rows] == ["/"]


def test_table_of_a_failed_test_is_there_too(ran: Ran) -> None:
    done = ran("""
Fails
    ${url}=    Start HTTP Server
    Type On Board    curl -s -o out ${url}/nothing
    Fail    as it should
""")

    assert [row[5] for row in done["Fails"].rows] == ["404 Not Found"]
