"""The example in each keyword's documentation runs as it stands there."""

from __future__ import annotations

import shutil

import pytest

from httpserve import __version__
from tests.cases import each
from tests.robot.suites import Run, documentation, run

KEYWORDS = (
    "Start HTTP Server",
    "Stop HTTP Server",
    "HTTP Server Should Be Running",
    "Put Directory",
    "Put File",
    "Put Text",
    "Serve In Place",
    "Stop Serving In Place",
    "Get File URL",
    "Get Server URL",
    "Get Download Command",
    "Expect Download",
    "Wait For Download",
    "Wait For Request",
    "File Should Have Been Downloaded",
    "File Should Not Have Been Requested",
    "Get Requests",
    "Get Transfers",
    "Get Missing Files",
    "List Files",
    "File Should Exist",
    "Remove File",
    "Switch HTTP Server",
    "Stop All HTTP Servers",
    "Run HTTP Doctor",
    "Create Operator",
    "Inject Fault",
    "Clear Faults",
    "Hold Download",
    "Wait For Held Download",
    "Release Download",
    "Respond With",
    "Accept Uploads",
    "Stop Accepting Uploads",
    "Expect Upload",
    "Wait For Upload",
    "Uploaded File Should Contain",
)


# Nobody waits for a download that an example still holds.
STOP = "Run Keyword And Ignore Error    Stop HTTP Server    timeout=0 s"
TEARDOWN = f"Run Keywords    {STOP}    AND    Stop All HTTP Servers"


def example_of(documentation: str) -> list[str]:
    """Return the lines below `Example:`."""
    _, found, example = documentation.partition("Example:\n")
    assert found, "a keyword's documentation has an example"
    return [line.removeprefix("| ") for line in example.splitlines() if line]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of all examples, each a test of its own."""
    if shutil.which("wget") is None or shutil.which("busybox") is None:
        pytest.skip("the examples' board runs wget and busybox: one of them is not installed")
    directory = tmp_path_factory.mktemp("examples")
    (directory / "Image").write_bytes(b"a kernel")
    cases = []
    for keyword in documentation().keywords:
        lines = [*example_of(keyword.doc), f"[Teardown]    {TEARDOWN}"]
        cases += [keyword.name, *(f"    {line}" for line in lines), ""]
    return run(directory, "\n".join(cases))


def test_keywords_are_those_that_were_promised() -> None:
    assert sorted(keyword.name for keyword in documentation().keywords) == sorted(KEYWORDS)


@each("name", KEYWORDS)
def test_example_of_the_documentation_passes(name: str, examples: Run) -> None:
    case = examples[name]

    assert case.passed, case.message


@each("name", KEYWORDS)
def test_example_uses_its_keyword(name: str) -> None:
    (keyword,) = [keyword for keyword in documentation().keywords if keyword.name == name]

    assert name in "\n".join(example_of(keyword.doc))


@each("name", KEYWORDS)
def test_keyword_has_tags_and_a_short_documentation(name: str) -> None:
    (keyword,) = [keyword for keyword in documentation().keywords if keyword.name == name]

    assert keyword.tags
    assert keyword.short_doc.endswith(".")


def test_each_keyword_takes_a_server() -> None:
    apart = {"Start HTTP Server", "Switch HTTP Server", "Stop All HTTP Servers", "Create Operator"}

    without = {keyword.name for keyword in documentation().keywords if "server" not in keyword.args.argument_names}

    assert without == apart


def test_library_says_its_version_and_scope() -> None:
    assert (documentation().version, documentation().scope) == (__version__, "GLOBAL")
