"""Servers in suites: aliases, the current one, and when they end."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from httpserve import HttpServerClient, InvalidArgument
from httpserve.robot import HttpServe
from tests.cases import each
from tests.robot.conftest import Ran
from tests.robot.suites import documentation, run, write


def test_import_takes_what_the_constructor_takes() -> None:
    theirs = inspect.signature(HttpServerClient).parameters
    ours = inspect.signature(HttpServe).parameters

    assert list(ours) == [*list(theirs)[:5], "auto_close", *list(theirs)[5:]]
    assert [ours[name].kind for name in theirs] == [parameter.kind for parameter in theirs.values()]


def test_start_takes_what_the_import_takes() -> None:
    (start,) = [keyword for keyword in documentation().keywords if keyword.name == "Start HTTP Server"]
    (init,) = documentation().inits

    start_only, import_only = {"alias", "wait_for_address"}, {"auto_close"}

    assert {*start.args.argument_names} - start_only == {*init.args.argument_names} - import_only


def test_import_starts_nothing(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
Nothing Runs
    Run Keyword And Expect Error    there is no server yet: use Start HTTP Server first    Get Server URL
""",
        arguments="port=1",
    )

    assert done.all_passed()


def test_settings_of_the_import_are_the_defaults_of_start(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / ".secret").write_text("s", encoding="utf-8")

    done = run(
        tmp_path,
        """
Import
    ${url}=    Start HTTP Server
    ${answer}=    Type On Board    curl -s -o out -w '\\%{http_code}' ${url}/.secret
    Should Be Equal    ${answer}    200
Start Overrides
    ${url}=    Start HTTP Server    alias=strict    dot_files=no
    ${answer}=    Type On Board    curl -s -o out -w '\\%{http_code}' ${url}/.secret
    Should Be Equal    ${answer}    404
""",
        arguments=f"root_dir={tmp_path / 'served'}    dot_files=yes",
    )

    assert done.all_passed()


def test_a_misspelt_argument_of_the_import_names_the_one_that_is_like_it() -> None:
    with pytest.raises(InvalidArgument, match=r"^perr= is not an argument; there is peer=$"):
        HttpServe(Path("perr=192.168.7.2"))


@each(
    ("argument", "value", "takes"),
    [
        ("auto_close", "TSET", "SUITE, TEST or MANUAL"),
        ("port", "80a", "a whole number"),
        ("max_records", "None", "a whole number"),
        ("listing", "yess", "yes or no"),
        ("lost_after", "soon", "a duration such as 2 min"),
    ],
)
def test_a_value_that_an_import_cannot_have_is_one_sentence_with_those_it_can(
    argument: str, value: str, takes: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{argument}= takes {takes}, not '{value}'$"):
        HttpServe(**{argument: value})  # type: ignore[arg-type]  # text, as Robot passes it


def test_a_wrong_value_at_the_import_leaves_a_log(tmp_path: Path) -> None:
    done = run(tmp_path, "Nothing\n    Start HTTP Server\n", arguments="port=80a")

    assert "port= takes a whole number, not '80a'" in done.errors[0]
    assert done["Nothing"].message == "No keyword with name 'Start HTTP Server' found."


def test_what_needs_a_running_server_names_the_keyword_that_starts_one(ran: Ran) -> None:
    calls = (
        "Put File    a    ${CURDIR}/suite.robot",
        "Put Text    a    text",
        "Get File URL    a",
        "Get Server URL",
        "Get Download Command    a    curl",
        "Expect Download    a",
        "Wait For Download    a    timeout=1 s",
        "Wait For Download    ${promise}",
        "Wait For Request    timeout=1 s",
        "File Should Have Been Downloaded    a",
        "Stop HTTP Server",
    )
    asserted = "\n".join(f"Call {number}\n    {call}" for number, call in enumerate(calls))

    done = ran(f"""
Stop
    Start HTTP Server
    Put Text    a    text
    ${{promise}}=    Expect Download    a
    Set Suite Variable    ${{promise}}
    Stop HTTP Server
{asserted}
Should Run
    HTTP Server Should Be Running
Doctor
    Run HTTP Doctor
Looks Only
    Get Requests
    Get Transfers
    Get Missing Files
    File Should Exist    a
    File Should Not Have Been Requested    a
""")

    messages = {name: case.message for name, case in done.cases.items() if not case.passed}
    failing = {f"Call {number}": call.partition("    ")[0] for number, call in enumerate(calls)}
    assert {*messages} == {*failing, "Should Run", "Doctor"}
    for name, keyword in failing.items():
        expected = f"{keyword} needs a server that runs, and this one does not: Start HTTP Server starts it again"
        if "${promise}" in calls[int(name.removeprefix("Call "))]:  # it ran when that was made
            expected = "the server was stopped or closed while a download of 'a' was waited for: nobody connected"
        assert messages[name] == expected
    assert messages["Should Run"] == "the current HTTP server does not run: Start HTTP Server starts it again"
    assert "-> use Start HTTP Server" in messages["Doctor"]
    assert not [message for message in messages.values() if "()" in message]


def test_start_without_the_address_names_the_keyword_that_waits_for_it(ran: Ran) -> None:
    done = ran("""
No Address
    Start HTTP Server    host=198.51.100.7
""")

    message = done["No Address"].message
    assert "; Start HTTP Server with wait_for_address=30 s waits for it, " in message
    assert "start(" not in message


@pytest.mark.parametrize(
    ("auto_close", "of_setup", "of_test"),
    [("SUITE", "runs", "runs"), ("TEST", "runs", "gone"), ("MANUAL", "runs", "runs")],
)
def test_auto_close_at_the_end_of_a_test(tmp_path: Path, auto_close: str, of_setup: str, of_test: str) -> None:
    suite = write(
        tmp_path,
        f"""
First
    Start HTTP Server    alias=of test
Second
    Is {of_setup}    of setup
    Is {of_test}    of test
    [Teardown]    Stop All HTTP Servers

*** Keywords ***
Is Runs
    [Arguments]    ${{alias}}
    HTTP Server Should Be Running    server=${{alias}}
Is Gone
    [Arguments]    ${{alias}}
    Run Keyword And Expect Error    there is no server 'of test'; *    Get Server URL    server=${{alias}}

*** Settings ***
Suite Setup    Start HTTP Server    alias=of setup
""",
        arguments=f"auto_close={auto_close}",
    )

    done = run(tmp_path, suite)

    assert done.all_passed()


@pytest.mark.parametrize(("auto_close", "after"), [("SUITE", "gone"), ("TEST", "gone"), ("MANUAL", "there")])
def test_auto_close_at_the_end_of_a_suite(tmp_path: Path, auto_close: str, after: str) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    end = "Stop All HTTP Servers" if after == "there" else "HTTP Server Should Be Running    server=parent"
    (suites / "__init__.robot").write_text(
        "*** Settings ***\n"
        f"Library    httpserve.robot.HttpServe    host=127.0.0.1    auto_close={auto_close}\n"
        "Suite Setup    Start HTTP Server    alias=parent\n"
        f"Suite Teardown    {end}\n",
        encoding="utf-8",
    )
    write(suites, "First\n    Start HTTP Server    alias=child\n", f"auto_close={auto_close}", "1")
    there = "HTTP Server Should Be Running    server=child"
    error = "there is no server 'child'; there are: 'parent'"
    gone = f"Run Keyword And Expect Error    {error}    Get Server URL    server=child"
    write(
        suites,
        f"Second\n    {there if after == 'there' else gone}\n    HTTP Server Should Be Running    server=parent\n",
        f"auto_close={auto_close}",
        "2",
    )

    done = run(tmp_path, suites)

    assert done.all_passed()
