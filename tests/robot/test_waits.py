"""Waits in suites: promises, names, how they fail, and what ends them early."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from robot.api import ExecutionResult

from tests.robot.conftest import Ran
from tests.robot.suites import END_SECONDS, REPOSITORY, start, write
from tests.server.wire import eventually


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


def test_name_counts_what_came_since_it_was_put_once(ran: Ran) -> None:
    done = ran("""
By Name
    Start HTTP Server
    ${url}=    Put Text    boot/Image    kernel
    Type On Board    curl -s -o out ${url}
    Transfers Have Ended
    File Should Have Been Downloaded    boot/Image
    Wait For Download    boot/Image    timeout=20 s    client=127.0.0.1
    File Should Have Been Downloaded    boot/Image    client=127.0.0.1
    Run Keyword And Expect Error    *boot/Image*    Wait For Download    boot/Image    timeout=0
    Put Text    boot/Image    another
    Run Keyword And Expect Error    *boot/Image*    File Should Have Been Downloaded    boot/Image
""")

    assert done.all_passed()


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
    assert messages["Fraction"].startswith("until must be 'all'")
    assert "'long' that cannot be converted to timedelta" in messages["Idle"]
    assert messages["Client"].startswith("client must be a board's IP address")
    assert "write a number of boards, or their addresses with commas" in messages["Clients"]
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
    assert "bgi" in messages["Other Names"]
    assert "400000" in messages["Stopped"].replace(",", "")
    assert not any(message.startswith("WaitTimeout") for message in messages.values())


def test_requests_transfers_and_missing_are_given(ran: Ran) -> None:
    done = ran("""
Records
    Start HTTP Server
    ${url}=    Put Text    boot/Image    kernel
    Type On Board    curl -s -o out ${url}; curl -s -o out ${url}x; curl -s -I ${url}
    ${request}=    Wait For Request    boot/Image    method=HEAD    status=200    timeout=20 s
    ${requests}=    Get Requests
    Length Should Be    ${requests}    3
    ${requests}=    Get Requests    boot/Imagex    client=127.0.0.1
    Should Be Equal As Integers    ${requests[0].status}    404
    ${requests}=    Get Requests    client=127.0.0.2
    Should Be Empty    ${requests}
    ${transfers}=    Get Transfers    boot/Image
    Should Be Equal    ${transfers[0].state}    completed
    ${missing}=    Get Missing Files
    Should Be Equal    ${missing[0].name}    boot/Imagex
    Should Be Equal    ${missing[0].nearest[0]}    boot/Image
    File Should Not Have Been Requested    other
    File Should Not Have Been Requested    boot/Image    client=127.0.0.2
    Run Keyword And Expect Error    'boot/Image' was asked for: GET by 127.0.0.1 (200), HEAD by 127.0.0.1 (200)
    ...    File Should Not Have Been Requested    boot/Image
    Run Keyword And Expect Error    '/boot/Imagex' was asked for: GET by 127.0.0.1 (404)
    ...    File Should Not Have Been Requested    /boot/Imagex
    ${url}=    Get Server URL
    Type On Board    curl -s -o out --path-as-is ${url}//boot/./nothing?x
    Transfers Have Ended
    Run Keyword And Expect Error    'boot/nothing' was asked for: GET by 127.0.0.1 (404)
    ...    File Should Not Have Been Requested    boot/nothing
""")

    assert done.all_passed()


def test_command_is_what_the_board_can_run(ran: Ran) -> None:
    done = ran("""
Command
    Start HTTP Server
    Put Text    Image    kernel
    ${command}=    Get Download Command    Image    curl
    Type On Board    ${command}
    Wait For Download    Image    timeout=20 s
    Run Keyword And Expect Error    *u-boot*    Get Download Command    Image    telepathy
""")

    assert done.all_passed()


def test_address_as_a_number_is_written_in_the_base_that_u_boot_reads(ran: Ran) -> None:
    done = ran("""
Number
    Start HTTP Server
    Put Text    Image    kernel
    ${command}=    Get Download Command    Image    u-boot    address=${0x40200000}
    Should Contain    ${command}    wget 0x40200000 127.0.0.1:/Image
    Should Not Contain    ${command}    1075838976
Text
    FOR    ${address}    IN    0x40200000    40200000    $loadaddr
        ${command}=    Get Download Command    Image    u-boot    address=${address}
        Should Contain    ${command}    wget ${address} 127.0.0.1:/Image
    END
Other Values Are Text
    ${command}=    Get Download Command    Image    curl    output=${5}
    Should Contain    ${command}    -o 5${SPACE}
""")

    assert done.all_passed()


def test_name_not_asked_for_cannot_be_told_once_requests_may_be_forgotten(ran: Ran) -> None:
    done = ran("""
Few
    ${url}=    Start HTTP Server    max_records=5
    Put Text    a    x
    Type On Board    curl -s ${url}/recovery.cfg ${url}/a?[1-3]
    File Should Not Have Been Requested    other.cfg
    Run Keyword And Expect Error    'recovery.cfg' was asked for: *
    ...    File Should Not Have Been Requested    recovery.cfg
Many
    ${url}=    Get Server URL
    Type On Board    curl -s ${url}/a?[1-5]
    Run Keyword And Expect Error    'a' was asked for: *    File Should Not Have Been Requested    a
    FOR    ${name}    IN    recovery.cfg    other.cfg
        Run Keyword And Expect Error
        ...    cannot tell whether '${name}' was asked for: the server remembers 5 requests*larger max_records=
        ...    File Should Not Have Been Requested    ${name}
    END
""")

    assert done.all_passed()


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
    Refused    Expect Download    a    clients=127.0.0.1, localhost

*** Keywords ***
Refused
    [Arguments]    @{call}    &{named}
    Run Keyword And Expect Error    client must be a board's IP address, such as 192.168.7.2, not *
    ...    @{call}    &{named}
""")

    assert done.all_passed()


def test_name_that_no_file_can_have_is_an_error_of_checks_too(ran: Ran) -> None:
    done = ran("""
No Name
    ${url}=    Start HTTP Server
    Type On Board    curl -s ${url}/recovery.cfg
    FOR    ${keyword}    IN    File Should Not Have Been Requested    Get Requests    Get Transfers
        Run Keyword And Expect Error    '../recovery.cfg' cannot be a name on the server: '..' would leave the root
        ...    ${keyword}    ../recovery.cfg
        Run Keyword And Expect Error    '${url}/recovery.cfg' is a URL, and the name on the server is meant*
        ...    ${keyword}    ${url}/recovery.cfg
    END
    Run Keyword And Expect Error    '' cannot be a name on the server: it is empty*
    ...    File Should Not Have Been Requested    ${EMPTY}
    Run Keyword And Expect Error    '../a' cannot be a name on the server*    Wait For Download    ../a
    Run Keyword And Expect Error    '../a' cannot be a name on the server*    Get File URL    ../a
""")

    assert done.all_passed()


def test_name_is_found_as_clients_write_it(ran: Ran) -> None:
    done = ran("""
Written Otherwise
    ${url}=    Start HTTP Server
    Type On Board    curl -s --request-target 'http://board/boot/recovery.cfg' ${url}
    Type On Board    curl -s --request-target '/größe.cfg' ${url}
    FOR    ${name}    IN    boot/recovery.cfg    größe.cfg
        Run Keyword And Expect Error    '${name}' was asked for: GET by 127.0.0.1 (404)
        ...    File Should Not Have Been Requested    ${name}
    END
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
Waits For Ever
    [Timeout]    500 ms
    Start HTTP Server
    Put Text    Image    kernel
    Wait For Download    Image    timeout=${None}
Goes On
    HTTP Server Should Be Running
""",
    )

    with start(tmp_path, suite) as process:
        output, _ = process.communicate(timeout=END_SECONDS)

    result = ExecutionResult(str(tmp_path / "out" / "output.xml"))
    waits, goes_on = result.suite.tests
    assert waits.message == "Test timeout 500 milliseconds exceeded.", output
    assert goes_on.passed
    assert waits.elapsed_time.total_seconds() < 30


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT, which only POSIX has")
def test_ctrl_c_ends_a_wait_and_the_server(tmp_path: Path) -> None:
    suite = write(
        tmp_path,
        """
Waits For Ever
    Start HTTP Server
    Put Text    Image    kernel
    Create File    ${CURDIR}/waits
    Wait For Download    Image    timeout=${None}

*** Settings ***
Library    OperatingSystem
""",
    )

    with start(tmp_path, suite) as process:
        eventually((tmp_path / "waits").exists, "the wait")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=END_SECONDS)

    result = ExecutionResult(str(tmp_path / "out" / "output.xml"))
    assert result.suite.tests[0].message == "Execution terminated by signal", output
    assert str(REPOSITORY) not in output, "no traceback"
