"""Answers that are no files, in suites: how they are written, and how long they last."""

from __future__ import annotations

from tests.robot.conftest import Ran


def test_answers_are_written_as_suites_have_them_and_end_with_the_test(ran: Ran) -> None:
    done = ran("""
Ways
    ${url}=    Start HTTP Server
    VAR    ${URL}    ${url}    scope=SUITE
    VAR    &{update}    version=1.2
    VAR    @{polls}    ${None}    ${update}    a=b
    Respond With    /poll    ${polls}
    VAR    &{fields}    X-Why=tired
    ${refused}=    Respond With    /devices/*/log    no=thing    method=put    status=403
    ...    headers=${fields}    times=1
    ${said}=    Type On Board    for i in 1 2 3; do curl -s -w '\\%{http_code};' ${url}/poll; done
    Should Be Equal    ${said}    204;{"version": "1.2"}200;a=b200;
    ${said}=    Type On Board    curl -si -X PUT -d log ${url}/devices/7/log
    Should Contain    ${said}    HTTP/1.1 403 Forbidden
    Should Contain    ${said}    X-Why: tired
    Should End With    ${said}    no=thing
    Should Be Equal As Strings    ${refused.hits[0].content}    log
Ended
    ${said}=    Type On Board    curl -s -o out -w '\\%{http_code}' ${URL}/poll
    Should Be Equal    ${said}    404
Wrong
    Respond With    /poll?x=1    text
Misspelt
    Respond With    /poll    text    statuss=404
""")

    told = {name: done[name].message for name in done.cases}
    assert (told["Ways"], told["Ended"]) == ("", "")
    assert "takes a path without a query" in told["Wrong"]
    assert told["Misspelt"] == "statuss= is not an argument; there is status="
