"""Uploads in suites: how they are written, how long they last, and what the log says."""

from __future__ import annotations

from pathlib import Path

from tests.robot.conftest import Ran
from tests.robot.suites import BOARD, run

SETTINGS = """
*** Settings ***
Library    Process
Library    httpserve.robot.HttpServe    host=127.0.0.1    auto_close=MANUAL
"""
FIRST = """
Suite Setup    Begin

*** Test Cases ***
Uploads Of A Test
    Accept Uploads    logs/    max_bytes=1 KiB    count=9
    Expect Upload    late
    Board Sends    logs/a    4    201
    Board Sends    logs/a    4    409
    Board Sends    logs/b    1025    413
    Board Sends    kept    3    201
    Type On Board    curl -s -o out -F a=@4 -F 'b=@3;filename=c' ${URL}/logs/
    Transfers Have Ended
Next Test
    Board Sends    logs/c    3    405
    Board Sends    late    3    405
    Board Sends    kept    4    204
    Stop Accepting Uploads
    Board Sends    kept    3    405

*** Keywords ***
Begin
    ${url}=    Start HTTP Server
    VAR    ${URL}    ${url}    scope=GLOBAL
    Type On Board    for size in 3 4 1025; do head -c $size /dev/zero >$size; done
    Accept Uploads    kept    overwrite=yes
    Accept Uploads    other
"""
SECOND = """
*** Test Cases ***
Next Suite
    Board Sends    other    3    405
    Stop All HTTP Servers

*** Keywords ***
"""
SENDS = """
Board Sends
    [Arguments]    ${name}    ${size}    ${status}
    ${said}=    Type On Board    curl -s -o out -w '\\%{http_code}' -T ${size} ${URL}/${name}
    Should Be Equal    ${said}    ${status}
    Transfers Have Ended
"""


def test_uploads_of_a_test_end_with_it_and_those_of_a_suite_setup_with_the_suite(tmp_path: Path) -> None:
    (tmp_path / "board").mkdir()
    suites = [tmp_path / f"{number}.robot" for number in (1, 2)]
    for suite, cases in zip(suites, (FIRST, SECOND), strict=True):
        suite.write_text(SETTINGS + cases + SENDS + BOARD.replace("*** Keywords ***\n", "").lstrip())

    done = run(tmp_path, *suites)

    assert done.all_passed()
    case = done["Uploads Of A Test"]
    lines = [line.message.partition(" default: 127.0.0.1 ")[2] for line in case.lines]
    assert [line.partition(" in ")[0] for line in lines if line.endswith(" s, 201 Created")] == [
        "PUT /logs/a: 4 bytes",
        "PUT /kept: 3 bytes",
        "POST /logs/ logs/4: 4 bytes",
        "POST /logs/ logs/c: 3 bytes",
    ]
    assert [line.partition(":")[0] for line in lines if ", 4" in line] == ["PUT /logs/a", "PUT /logs/b"]
    rows = {row[0]: (row[2], row[5]) for row in case.rows}
    assert rows["kept"] == ("3", "201 Created")
    assert rows["logs/c"] == ("3", "201 Created")


def test_uploads_are_written_as_people_do(ran: Ran) -> None:
    done = ran("""
Ways
    ${url}=    Start HTTP Server
    ${upload}=    Expect Upload    a.xml    timeout=20 s    max_bytes=${9}    client=127.0.0.1
    Type On Board    curl -s --data-binary 'one\\ntwo' ${url}/a.xml
    ${record}=    Wait For Upload    ${upload}
    Should Be Equal As Strings    ${record.read()}    one\\ntwo
    ${said}=    Type On Board    curl -s --data-binary x ${url}/a.xml
    Should Start With    ${said}    405
    ${logs}=    Accept Uploads    /    max_bytes=1 MiB    overwrite=True
    Should Be Equal As Strings    ${logs}    <accepts / up to 1.0 MiB>
    Type On Board    curl -s --data-binary three ${url}/a.xml
    ${record}=    Wait For Upload    ${logs}    timeout=20 s
    FOR    ${one}    IN    ${record}    a.xml    /a.xml
        Uploaded File Should Contain    ${one}    three
    END
    Stop Accepting Uploads    ${logs}
    Stop Accepting Uploads    ${logs}
    VAR    ${FIRST}    ${upload}    scope=SUITE
Replaced
    Uploaded File Should Contain    ${FIRST}    two
Other Text
    Start HTTP Server
    Uploaded File Should Contain    a.xml    four\\n
Nothing Sent
    Uploaded File Should Contain    b.xml    four
Directory
    Uploaded File Should Contain    logs/    four
Not Accepted
    Wait For Upload    b.xml    timeout=20 ms
Too Late
    ${upload}=    Expect Upload    b.xml    timeout=20 ms
    Wait For Upload    ${upload}
Not Waited For
    ${upload}=    Expect Upload    b.xml
    Uploaded File Should Contain    ${upload}    four
Told Twice
    ${upload}=    Expect Upload    b.xml
    Wait For Upload    ${upload}    timeout=1 s
Not In Force
    Accept Uploads    logs/
    Stop Accepting Uploads    logs
Wrong Size
    Accept Uploads    logs/    max_bytes=many
Misspelt
    Accept Uploads    logs/    maxbytes=3
""")

    told = {name: done[name].message for name in done.cases}
    replaced = "the upload 'a.xml' was replaced since: the file has another SHA-256"
    assert (told["Ways"], told["Replaced"]) == ("", replaced)
    assert told["Other Text"] == "'a.xml' (5 B by 127.0.0.1) does not contain 'four\\n': 'three'"
    assert told["Nothing Sent"].startswith("nobody has uploaded 'b.xml': asked for instead: /a.xml (201, by 127.0.0.1)")
    assert told["Directory"].startswith("'logs/' is a directory: give the name of a file, or what Wait For Upload")
    assert told["Not Accepted"].endswith("; nothing accepts it: use Accept Uploads    b.xml first")
    assert told["Too Late"].startswith("nobody has uploaded 'b.xml' within 0.02 s: nobody asked for anything")
    assert told["Not Waited For"] == "the upload has not been waited for: use Wait For Upload first"
    assert told["Told Twice"].endswith("give the arguments there")
    assert told["Not In Force"] == "no uploads of 'logs' are accepted; accepted is: 'logs/'"
    assert "'many' is not a size: write a number of bytes, or one with a unit such as 10 MiB" in told["Wrong Size"]
    assert told["Misspelt"] == "maxbytes= is not an argument; there is max_bytes="
