"""Faults and holds in suites: how they are written, how long they last, and what the log says."""

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
Fault Of A Test
    Inject Fault    a.bin    status@503,retry-after=1,times=9
    Inject Fault    ${None}    refuse    client=127.0.0.9
    Hold Download    a.bin    at=1
    Board Gets    a.bin    503
    Board Gets    b.bin    404
    Type On Board    curl -s --interface 127.0.0.9 -o out ${URL}/a.bin
    Transfers Have Ended
Next Test
    Board Gets    a.bin    200
    Board Gets    b.bin    404
    Clear Faults
    Board Gets    b.bin    200

*** Keywords ***
Begin
    ${url}=    Start HTTP Server
    VAR    ${URL}    ${url}    scope=GLOBAL
    Put Text    a.bin    firmware
    Put Text    b.bin    firmware
    Put Text    c.bin    firmware
    Inject Fault    b.bin    status    code=404
    Inject Fault    c.bin    status    code=410
"""
SECOND = """
*** Test Cases ***
Next Suite
    Board Gets    c.bin    200
    Stop All HTTP Servers

*** Keywords ***
"""
GETS = """
Board Gets
    [Arguments]    ${name}    ${status}
    Type On Board    curl -s -o out ${URL}/${name}
    ${requests}=    Get Requests    ${name}    client=127.0.0.1
    Should Be Equal As Integers    ${requests[-1].status}    ${status}
"""


def test_faults_of_a_test_end_with_it_and_those_of_a_suite_setup_with_the_suite(tmp_path: Path) -> None:
    (tmp_path / "board").mkdir()
    suites = [tmp_path / f"{number}.robot" for number in (1, 2)]
    for suite, cases in zip(suites, (FIRST, SECOND), strict=True):
        suite.write_text(SETTINGS + cases + GETS + BOARD.replace("*** Keywords ***\n", "").lstrip())

    done = run(tmp_path, *suites)

    assert done.all_passed()
    case = done["Fault Of A Test"]
    lines = [line.message.partition(" default: ")[2] for line in case.lines]
    assert lines[0].startswith("127.0.0.1 GET /a.bin: 0 bytes in ")
    assert lines[0].endswith(" s, 503 Service Unavailable, on purpose: Status(503, retry_after=1.0)")
    assert lines[1].endswith(" s, 404 Not Found, on purpose: Status(404)")
    assert lines[2].startswith("127.0.0.9 connected: 0 bytes in ")
    assert lines[2].endswith(" s, refused, on purpose: Refuse()")
    rows = {row[0]: row for row in case.rows}
    assert rows["any"][5] == "refused, on purpose: Refuse()"
    assert rows["a.bin"][5].endswith("on purpose: Status(503, retry_after=1.0)")


def test_faults_are_written_as_people_do(ran: Ran, tmp_path: Path) -> None:
    done = ran("""
Ways
    Start HTTP Server
    ${fault}=    Inject Fault    *.bin    stall    at=50 %    seconds=1 min 2 s    method=get    seed=7    chance=0.5
    Should Be Equal As Strings    ${fault.faults}    (Chance(0.5, Stall(0.5, 62.0)),)
    Should Be Equal    ${fault.seed}    7
    ${fault}=    Inject Fault    ${None}    status@500;none    times=${2}    after=1
    Should Be Equal As Strings    ${fault}    Sequence((Status(500), None)) for everything, 2 times left
    ${fault}=    Inject Fault    /a.bin    Wrong Length    by=${-1}
    Should Be Equal As Strings    ${fault.faults}    (WrongLength(-1),)
    ${fault}=    Inject Fault    a.bin    headers    set=ETag:    drop=Date2 Age
    ${fault}=    Inject Fault    a.bin    cut@-1,how=reset,after=2    times=1
    Should Be Equal As Strings    ${fault}    Cut(-1, how='reset') for a.bin, 1 time left
    ${hold}=    Hold Download    /a.bin    at=64 KiB
    Should Be Equal As Strings    ${hold}    Hold(65536) for a.bin
    Wait For Held Download    a.bin    timeout=20 ms
Nothing Held
    Start HTTP Server
    Release Download    a.bin
No Fault
    Inject Fault    a.bin
Wrong Fault
    Inject Fault    a.bin    cutt    at=50%
Wrong Value
    Inject Fault    a.bin    cut    at=half
Misspelt
    Inject Fault    a.bin    cut    at=1    timess=2
Wrong Place
    Hold Download    a.bin    at=half
Waits
    ${url}=    Put Text    a.bin    firmware
    Inject Fault    a.bin    cut    at=50%
    Type On Board    curl -s -o out ${url}
    Wait For Download    a.bin    timeout=20 ms
""")

    told = {name: done[name].message for name in done.cases}
    assert told["Ways"].startswith("no answer about 'a.bin' came to the hold at 65536 in 0.02 s: nobody asked for it")
    assert told["Nothing Held"] == "nothing holds 'a.bin': use Hold Download first"
    assert told["No Fault"].startswith("Inject Fault needs a fault, such as: Inject Fault")
    assert told["Wrong Fault"].startswith("there is no fault 'cutt' (did you mean cut?)")
    assert told["Wrong Value"].startswith("cannot read at='half' as AT; write cut@AT[,how=fin|reset]")
    assert told["Misspelt"] == "timess= is not an argument; there is times="
    assert "write a part such as 50%, a byte such as 4096 or 64 KiB, or -1 from the end" in told["Wrong Place"]
    assert "; on purpose: 127.0.0.1 met Cut(0.5); " in told["Waits"]
    assert told["Waits"].endswith("; faults on purpose end with Clear Faults")
