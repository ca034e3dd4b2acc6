"""Files in suites: sources, operators, and what is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.robot.conftest import Ran
from tests.robot.suites import run

KERNEL = b"a kernel" * 1000
DIGEST = hashlib.sha256(KERNEL).hexdigest()
REFUSED = "OpenDAL makes no operator of 's4' with bucket=: scheme is not registered"


def test_put_file_takes_a_path_a_url_and_an_operator(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(KERNEL)

    done = ran(f"""
Path
    Start HTTP Server
    ${{url}}=    Put File    boot/Image    ${{CURDIR}}/Image    sha256=sha256:{DIGEST.upper()}
    Should End With    ${{url}}    /boot/Image
    ${{path}}=    Evaluate    pathlib.Path(r"${{CURDIR}}", "Image")
    Put File    boot/Image    ${{path}}
Url
    Start HTTP Server    alias=other
    ${{url}}=    Get File URL    boot/Image    server=default
    Put File    from-url    ${{url}}    timeout=20 s
    ${{sums}}=    Type On Board    curl -s ${{url}} | cmp - ../Image && echo same
    Should Be Equal    ${{sums}}    same
Service And Options
    Put File    from-service    Image    operator=fs    root=${{CURDIR}}
    File Should Exist    from-service
Operator
    ${{builds}}=    Create Operator    service=fs    root=${{CURDIR}}
    Put File    from-operator    Image    ${{builds}}
    Put File    again    Image    operator=${{builds}}
    ${{names}}=    List Files
    Should Be Equal    ${{names}}    ${{{{ ["again", "from-operator", "from-service", "from-url"] }}}}
""")

    assert done.all_passed()


def test_serve_in_place_shows_what_is_there_now(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(KERNEL)

    done = ran("""
In Place
    Start HTTP Server
    ${url}=    Serve In Place    boot/Image    ${CURDIR}/Image
    Should End With    ${url}    /boot/Image
    ${same}=    Type On Board    curl -s ${url} | cmp - ../Image && echo same
    Should Be Equal    ${same}    same
    File Should Exist    boot/Image
    Run Keyword And Expect Error    delete 'boot/Image': *; change it there    Remove File    boot/Image
    Stop Serving In Place    boot/Image
    Run Keyword And Expect Error    serve: there is no file *    Serve In Place    x    ${CURDIR}/nothing
""")

    assert done.all_passed()


def test_put_directory_reports_what_became_of_each_file(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "tree" / "more").mkdir(parents=True)
    for name in ("Image", "more/a.dtb", "more/b.log"):
        (tmp_path / "tree" / name).write_bytes(KERNEL)

    done = ran("""
Trees
    Start HTTP Server
    ${report}=    Put Directory    boot    ${CURDIR}/tree    exclude=*.log
    Should Be Equal    ${report.copied}    ${{ ("boot/Image", "boot/more/a.dtb") }}
    ${only}=    Create List    *.dtb    *.log
    ${report}=    Put Directory    boot    /    operator=fs    root=${CURDIR}/tree    include=${only}    delete=yes
    Should Be Equal As Strings    ${report}    2 files copied
    Run Keyword And Expect Error    the source * does not exist    Put Directory    boot    ${CURDIR}/nothing
""")

    assert done.all_passed()


def test_put_file_says_what_was_wrong(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(KERNEL)

    done = ran("""
Wrong Digest
    Start HTTP Server
    Put File    Image    ${CURDIR}/Image    sha256=${{ "0" * 64 }}
No Digest
    Put File    Image    ${CURDIR}/Image    sha256=abc
No Source
    Put File    Image    ${CURDIR}/nothing
Unknown Argument
    Put File    Image    ${CURDIR}/Image    bucket=abc
Unknown Service
    Put File    Image    Image    operator=s4    bucket=secret
Lacks An Option
    Create Operator    s3    secret_access_key=geheim
Options Too Late
    ${fs}=    Create Operator    fs    root=${CURDIR}
    Put File    Image    Image    ${fs}    root=/
Bad Time
    Put File    Image    ${CURDIR}/Image    timeout=soon
Negative Time
    Put File    Image    ${CURDIR}/Image    timeout=-1 s
Bad Name
    Put File    ../Image    ${CURDIR}/Image
No Operator
    Put File    Image    Image    operator=${17}
""")

    messages = {name: case.message for name, case in done.cases.items()}
    assert not [name for name, case in done.cases.items() if case.passed]
    assert DIGEST in messages["Wrong Digest"]
    assert messages["No Digest"].startswith("sha256 must be 64 hexadecimal digits, not 'abc'")
    assert "nothing" in messages["No Source"]
    assert messages["Unknown Argument"] == "bucket= is not an argument; a service's options go with operator=NAME"
    assert messages["Unknown Service"].startswith(REFUSED)
    lacks = "OpenDAL makes no operator of 's3' with secret_access_key=: bucket= is missing"
    assert messages["Lacks An Option"] == lacks
    assert messages["Options Too Late"] == "root= comes too late for an operator: give it to Create Operator"
    assert "'timeout' got value 'soon' that cannot be converted to timedelta" in messages["Bad Time"]
    assert "timeout must be a positive number of seconds, not -1.0" in messages["Negative Time"]
    assert messages["Bad Name"].startswith("'../Image' cannot be a name on the server")
    assert "'operator' got value '17' (integer) that cannot be converted to Service" in messages["No Operator"]


def test_names_of_error_classes_are_hidden(tmp_path: Path) -> None:
    done = run(tmp_path, "Stopped\n    Get Server URL\nName\n    Start HTTP Server\n    Put Text    ..    text\n")

    assert done["Stopped"].message == "there is no server yet: use Start HTTP Server first"
    assert not done["Name"].message.startswith("InvalidName")
