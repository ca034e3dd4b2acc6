"""Waits in suites: promises, names, how they fail, and what ends them early."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.robot.conftest import Ran
from tests.robot.suites import END_SECONDS, REPOSITORY, Run, result_of, start, write
from tests.server.wire import eventually, sleeps


def test_promise_counts_only_what_begins_after_it(ran: Ran) -> None:
    done = ran("""
Too Early
    Start HTTP Server
    ${url}=    Put Text    boot/Image    kernel
    Type On Board    curl -s -o out ${url}
    ${download}=    Expect Download    boot/Image    timeout=100 ms
    Wait For Download    ${download}
After
    ${url}=    Get File URL    boot/Image
    ${download}=    Expect Download    boot/Image    timeout=20 s
    Type On Board    curl -s -o out ${url}
    ${record}=    Wait For Download    ${download}
    Should Be Equal    ${record.name}    boot/Image
    Should Be Equal As Integers    ${record.bytes}    6
    Should Be Equal    ${record.client}    127.0.0.1
""")

    assert not done["Too Early"].passed
    assert "boot/Image" in done["Too Early"].message
    assert done["After"].passed, done["After"].message


def test_until_clients_and_since_are_written_as_people_do(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1_000_000))

    done = ran("""
Until
    Start HTTP Server
    ${url}=    Put File    big    ${CURDIR}/big
    Type On Board    curl -s -r 0-599999 -o out ${url}
    ${record}=    Wait For Download    big    timeout=20 s    until=50 %
    Should Be Equal As Integers    ${record.bytes}    600000
    Wait For Download    big    timeout=20 s    until=started    since=2020-01-01
    Wait For Download    big    timeout=20 s    until=500 KiB    since=2020-01-01
    Wait For Download    big    timeout=20 s    until=0.25    since=2020-01-01
    Wait For Download    big    timeout=20 s    until=idle    idle=50 ms    since=2020-01-01
    ${records}=    Wait For Download    big    timeout=20 s    until=1    clients=127.0.0.1,    since=2020-01-01
    Should Be Equal    ${records[0].client}    127.0.0.1
    Run Keyword And Expect Error    *    Wait For Download    big    timeout=0    until=900 kB    since=2020-01-01
    Run Keyword And Expect Error    *    Wait For Download    big    timeout=0    clients=2    since=2020-01-01
""")

    assert done.all_passed()
    shown = [message.message for message in done["Until"].messages]
    assert any(text.startswith("${records} = 1 record\n") for text in shown), "a table, as of Get Requests"


def test_wait_with_bad_text_says_what_to_write(ran: Ran) -> None:
    done = ran("""
Until
    Start HTTP Server
    Wait For Download    big    until=half
Fraction
    Wait For Download    big    until=150 %
Idle
    Wait For Download    big    idle=long
Client
    Wait For Download    big    client=board
Clients
    Wait For Download    big    clients=,
Names Of Clients
    Wait For Download    big    clients=three
Promise
    Wait For Download    ${{ object() }}
Both
    Put Text    big    text
    ${download}=    Expect Download    big
    Wait For Download    ${download}    until=started
Status
    Wait For Request    big    status=missing
Since
    Wait For Request    big    since=yesterday
""")

    messages = {name: case.message for name, case in done.cases.items()}
    assert not [name for name, case in done.cases.items() if case.passed]
    assert "write all, started, idle, a part such as 50 %, or an amount such as 10 MiB" in messages["Until"]
    assert (
        "'150 %' that cannot be converted to Until: a part is more than 0 % and at most 100 %" in messages["Fraction"]
    )
    assert "'long' that cannot be converted to timedelta" in messages["Idle"]
    assert messages["Client"].startswith("client must be a board's IP address")
    assert "write a number of boards, or their addresses with commas" in messages["Clients"]
    assert messages["Names Of Clients"].startswith(
        "clients must be a number of boards, or their IP addresses with commas"
    )
    assert "write a name on the server, or give what Expect Download returned" in messages["Promise"]
    assert messages["Both"].startswith("what Expect Download returned knows what to wait for")
    assert "'missing' that cannot be converted to integer" in messages["Status"]
    assert "'yesterday' that cannot be converted to datetime" in messages["Since"]


def test_failed_wait_shows_what_has_arrived_in_the_message_itself(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1_000_000))

    done = ran("""
Nobody
    Start HTTP Server
    ${url}=    Put File    big    ${CURDIR}/big
    Wait For Download    big    timeout=100 ms
Other Names
    ${url}=    Get File URL    bgi
    Type On Board    curl -s -o out ${url}
    Wait For Download    big    timeout=100 ms
Stopped
    ${url}=    Get File URL    big
    Type On Board    curl -s -r 0-399999 -o out ${url}
    Wait For Download    big    timeout=100 ms
""")

    messages = {name: case.message for name, case in done.cases.items()}
    assert not [name for name, case in done.cases.items() if case.passed]
    assert "nobody connected" in messages["Nobody"]
    assert messages["Nobody"].endswith("; Run HTTP Doctor looks for the reason")
    assert "bgi" in messages["Other Names"]
    assert "400000" in messages["Stopped"].replace(",", "")
    assert not any(message.startswith("WaitTimeout") for message in messages.values())


def test_client_is_one_address_in_any_spelling_and_an_error_where_it_is_none(ran: Ran) -> None:
    done = ran("""
Spelling
    ${url}=    Start HTTP Server
    Put Text    a    x
    Type On Board    curl -s ${url}/recovery.cfg ${url}/a
    Transfers Have Ended
    FOR    ${client}    IN    127.0.0.1    ::ffff:127.0.0.1    [::ffff:7f00:1]
        Run Keyword And Expect Error    'recovery.cfg' was asked for: *
        ...    File Should Not Have Been Requested    recovery.cfg    client=${client}
        File Should Have Been Downloaded    a    client=${client}
        ${requests}=    Get Requests    client=${client}
        ${transfers}=    Get Transfers    client=${client}
        ${missing}=    Get Missing Files    client=${client}
        Should Be Equal    ${{ len($requests), len($transfers), len($missing) }}    ${{ (2, 1, 1) }}
    END
No Address
    FOR    ${client}    IN    localhost    10.0.0.256    ${EMPTY}    ${5}
        Refused    File Should Not Have Been Requested    a    client=${client}
        Refused    File Should Have Been Downloaded    a    client=${client}
        Refused    Wait For Download    a    timeout=1 s    client=${client}
        Refused    Expect Download    a    client=${client}
        Refused    Wait For Request    a    timeout=1 s    client=${client}
        Refused    Get Requests    client=${client}
        Refused    Get Transfers    client=${client}
        Refused    Get Missing Files    client=${client}
    END
    Run Keyword And Expect Error    clients must be *, not 'localhost'
    ...    Expect Download    a    clients=127.0.0.1, localhost

*** Keywords ***
Refused
    [Arguments]    @{call}    &{named}
    Run Keyword And Expect Error    client must be a board's IP address, such as 192.168.7.2, not *
    ...    @{call}    &{named}
""")

    assert done.all_passed()


def test_doctor_logs_its_findings_and_fails_as_it_is_told(ran: Ran) -> None:
    done = ran("""
Never
    Start HTTP Server
    ${report}=    Run HTTP Doctor    fail_on=never
    Should Not Be Empty    ${report.findings}
Warn
    Run HTTP Doctor    fail_on=warn
Text
    Run HTTP Doctor    fail_on=often
""")

    assert done["Never"].passed, done["Never"].message
    assert any("bind" in message.message for message in done["Never"].messages)
    assert "127.0.0.1" in done["Warn"].message
    assert "warn" in done["Warn"].message.split()
    assert "'fail_on' got value 'often' that cannot be converted to 'fail', 'warn' or 'never'" in done["Text"].message


def test_timeout_of_a_test_ends_a_wait(tmp_path: Path) -> None:
    suite = write(
        tmp_path,
        """
Starts
    Start HTTP Server
    Put Text    Image    kernel
Waits For Ever
    [Timeout]    500 ms
    Wait For Download    Image    timeout=${None}
Goes On
    HTTP Server Should Be Running
""",
    )

    with start(tmp_path, suite) as process:
        output, _ = process.communicate(timeout=END_SECONDS)

    result = result_of(tmp_path / "out" / "output.xml")
    _, waits, goes_on = result.suite.tests
    assert waits.message == "Test timeout 500 milliseconds exceeded.", output
    assert goes_on.passed
    assert waits.elapsed_time.total_seconds() < 30


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc, which only Linux has")
def test_ctrl_c_ends_a_wait_whose_log_says_how_far_it_was_and_the_server(tmp_path: Path) -> None:
    suite = write(
        tmp_path,
        """
Waits For Ever
    Start HTTP Server
    ${url}=    Put Text    Image    kernel
    ${download}=    Expect Download    Image    timeout=${None}
    Type On Board    curl -s -r 0-1 -o out ${url}
    Create File    ${CURDIR}/waits
    Wait For Download    ${download}

*** Settings ***
Library    OperatingSystem
""",
    )

    with start(tmp_path, suite) as process:
        eventually((tmp_path / "waits").exists, "the wait")
        # Not in the middle of what Robot writes into its output, which that breaks.
        eventually(lambda: sleeps(process, 20), "the wait")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=END_SECONDS)

    case = Run(process.returncode, tmp_path / "out" / "output.xml", output)["Waits For Ever"]
    assert case.message == "Execution terminated by signal", output
    how_far = "the wait for 'Image' was ended: 127.0.0.1 had 2 of 2 bytes, completed"
    assert how_far in [message.message for message in case.messages]
    assert str(REPOSITORY) not in output, "no traceback"
