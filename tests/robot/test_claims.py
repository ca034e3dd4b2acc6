"""Claims about keywords that a case of Robot's own can make: one run of all of them."""

from __future__ import annotations

import re
from pathlib import Path

from robot.version import VERSION

from tests.robot.suites import run

CASES = """
Aliases switch and server choose the server
    Start HTTP Server    alias=lab
    Start HTTP Server    alias=field
    Put Text    which    field
    Put Text    which    lab    server=lab
    ${field}=    Get Server URL
    ${lab}=    Get Server URL    server=lab
    Should Not Be Equal    ${lab}    ${field}
    ${before}=    Switch HTTP Server    lab
    Should Be Equal    ${before}    field
    ${now}=    Get Server URL
    Should Be Equal    ${now}    ${lab}
    ${text}=    Type On Board    curl -s ${lab}/which ${field}/which
    Should Be Equal    ${text}    labfield
    Run Keyword And Expect Error    there is no server 'mars'; there are: 'lab', 'field'
    ...    Put Text    which    mars    server=mars
    Run Keyword And Expect Error    there is no server 'mars'; there are: 'lab', 'field'    Switch HTTP Server    mars
Start on a running server keeps it and other settings are refused
    ${first}=    Start HTTP Server
    ${second}=    Start HTTP Server
    Should Be Equal    ${first}    ${second}
    Run Keyword And Expect Error    server 'default' runs already with other settings (listing=): leave them out*
    ...    Start HTTP Server    listing=no
    Start HTTP Server    listing=yes
Stopped server keeps its files until it starts again
    Start HTTP Server
    Put Text    name    text
    HTTP Server Should Be Running
    Stop HTTP Server    timeout=100 ms
    Run Keyword And Expect Error    the current HTTP server does not run: *    HTTP Server Should Be Running
    Start HTTP Server
    File Should Exist    name
Stopped server with other settings is refused and keeps its files
    ${url}=    Start HTTP Server    alias=q    listing=no
    Put Text    f    1
    Stop HTTP Server
    ${port}=    Evaluate    int($url.rsplit(":", 1)[1])
    Run Keyword And Expect Error
    ...    server 'q' was stopped with its files, and has other settings (port=): leave them out, or give this one*
    ...    Start HTTP Server    alias=q    port=${port}
    Run Keyword And Expect Error    *has other settings (listing=, dot_files=)*
    ...    Start HTTP Server    alias=q    listing=yes    dot_files=yes
    Start HTTP Server    alias=q
    File Should Exist    f
    Stop HTTP Server
    Start HTTP Server    alias=q    listing=no
    File Should Exist    f
    Stop All HTTP Servers
    Start HTTP Server    alias=q    port=${port}
    ${now}=    Get Server URL
    Should Be Equal    ${now}    ${url}
    ${names}=    List Files
    Should Be Empty    ${names}
Stop all closes and forgets
    Stop All HTTP Servers
    ${url}=    Start HTTP Server    alias=one
    Start HTTP Server    alias=two
    Stop All HTTP Servers
    Run Keyword And Expect Error    there is no server yet*    Get Server URL
    ${answer}=    Type On Board    curl -s -o out -w '\\%{http_code}' ${url}/
    Should Be Equal    ${answer}    000
Name counts what came since it was put once
    Start HTTP Server
    ${url}=    Put Text    boot/Image    kernel
    Type On Board    curl -s -o out ${url}
    Transfers Have Ended
    File Should Have Been Downloaded    boot/Image
    Wait For Download    boot/Image    timeout=20 s    client=127.0.0.1
    File Should Have Been Downloaded    boot/Image    client=127.0.0.1
    Run Keyword And Expect Error    nobody has downloaded 'boot/Image': nobody asked for it since; *
    ...    Wait For Download    boot/Image    timeout=0
    Put Text    boot/Image    another
    Run Keyword And Expect Error    nobody has downloaded all of 'boot/Image': *an older version*
    ...    File Should Have Been Downloaded    boot/Image
Requests transfers and missing are given
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
Command is what the board can run
    Start HTTP Server
    Put Text    Image    kernel
    ${command}=    Get Download Command    Image    curl
    Type On Board    ${command}
    Wait For Download    Image    timeout=20 s
    Run Keyword And Expect Error    *u-boot*    Get Download Command    Image    telepathy
Name that no file can have is an error of checks too
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
Name is found as clients write it
    ${url}=    Start HTTP Server
    Type On Board    curl -s --request-target 'http://board/boot/recovery.cfg' ${url}
    Type On Board    curl -s --request-target '/größe.cfg' ${url}
    FOR    ${name}    IN    boot/recovery.cfg    größe.cfg
        Run Keyword And Expect Error    '${name}' was asked for: GET by 127.0.0.1 (404)
        ...    File Should Not Have Been Requested    ${name}
    END
List exist and remove
    Start HTTP Server
    Put Text    boot/Image    kernel
    Put Text    boot/dtb/board.dtb    tree
    Put Text    readme    text
    ${names}=    List Files
    Should Be Equal    ${names}    ${{ ["boot/", "readme"] }}
    ${names}=    List Files    boot    recursive=yes
    Should Be Equal    ${names}    ${{ ["boot/Image", "boot/dtb/", "boot/dtb/board.dtb"] }}
    ${names}=    List Files    /boot/dtb/
    Should Be Equal    ${names}    ${{ ["boot/dtb/board.dtb"] }}
    ${names}=    List Files    nowhere
    Should Be Empty    ${names}
    Run Keyword And Expect Error    there is no file 'boot/image' on the server; in 'boot': boot/Image, boot/dtb/
    ...    File Should Exist    boot/image
    Run Keyword And Expect Error    there is no file 'boot' on the server; *    File Should Exist    boot
    Remove File    boot/Image
    Remove File    boot/Image
    Run Keyword And Expect Error    there is no file 'boot/Image'*    File Should Exist    boot/Image
Argument that is misspelt is refused with the one that is like it
    Run Keyword And Expect Error    aliass= is not an argument; there is alias=    Start HTTP Server    aliass=k
    Run Keyword And Expect Error    Host= is not an argument; there is host=    Start HTTP Server    Host=127.0.0.1
    Run Keyword And Expect Error    zzz= is not an argument; the arguments are root_dir, host, *    Start HTTP Server
    ...    zzz=1
    Start HTTP Server
    Run Keyword And Expect Error    clientt= is not an argument; there is client=    Get Requests    clientt=10.0.0.2
    Put Text    boot.env    serverip=192.168.7.1
    ${requests}=    Get Requests    /client=1
    Should Be Equal    ${requests}    ${{ [] }}
Failure of one of several servers says which and where the file is
    Start HTTP Server
    Put Text    boot/Image    kernel
    Start HTTP Server    alias=tonight
    ${which}=    Set Variable    (on server 'tonight'; there is one on 'default')
    Run Keyword And Expect Error    no file 'boot/Image' is on the server ${which}
    ...    Wait For Download    boot/Image    timeout=0
    Run Keyword And Expect Error    there is no file 'boot/Image' on the server; in 'boot': nothing ${which}
    ...    File Should Exist    boot/Image
    Run Keyword And Expect Error    nobody has downloaded 'boot/Image'*(on server 'default')
    ...    Wait For Download    boot/Image    timeout=0    server=default
    Stop HTTP Server
    Run Keyword And Expect Error
    ...    Put Text needs a server that runs, and server 'tonight' does not: Start HTTP Server with alias=tonight *
    ...    Put Text    a    text
    Run Keyword And Expect Error    HTTP server 'tonight' does not run: *    HTTP Server Should Be Running
Only takes names with commas and a list of names
    ${root}=    Set Variable    ${CURDIR}/board
    Type On Board    touch a 'b,c' d
    ${url}=    Start HTTP Server    ${root}    only=a, d
    ${answers}=    Type On Board    curl -s -w '\\%{http_code} ' -o o ${url}/a -o o ${url}/b,c -o o ${url}/d
    Should Be Equal    ${answers.strip()}    200 404 200
    ${url}=    Start HTTP Server    ${root}    only=${{ ["b,c"] }}    alias=list
    ${answers}=    Type On Board    curl -s -w '\\%{http_code} ' -o o ${url}/a -o o ${url}/b,c -o o ${url}/d
    Should Be Equal    ${answers.strip()}    404 200 404
Put text writes the encoding that was asked for
    Start HTTP Server
    ${url}=    Put Text    cfg    größe\\n    encoding=latin-1
    ${hex}=    Type On Board    curl -s ${url} | od -An -tx1
    Should Be Equal    ${hex.strip()}    67 72 f6 df 65 0a
Address as a number is written in the base that u boot reads
    Start HTTP Server
    Put Text    Image    kernel
    ${command}=    Get Download Command    Image    u-boot    address=${0x40200000}
    Should Contain    ${command}    wget 0x40200000 127.0.0.1:/Image
    Should Not Contain    ${command}    1075838976
    FOR    ${address}    IN    0x40200000    40200000    $loadaddr
        ${command}=    Get Download Command    Image    u-boot    address=${address}
        Should Contain    ${command}    wget ${address} 127.0.0.1:/Image
    END
    ${command}=    Get Download Command    Image    curl    output=${5}
    Should Contain    ${command}    -o 5${SPACE}
Name not asked for cannot be told once requests may be forgotten
    ${url}=    Start HTTP Server    max_records=5
    Put Text    a    x
    Type On Board    curl -s ${url}/recovery.cfg ${url}/a?[1-3]
    File Should Not Have Been Requested    other.cfg
    Run Keyword And Expect Error    'recovery.cfg' was asked for: *
    ...    File Should Not Have Been Requested    recovery.cfg
    ${url}=    Get Server URL
    Type On Board    curl -s ${url}/a?[1-5]
    Run Keyword And Expect Error    'a' was asked for: *    File Should Not Have Been Requested    a
    FOR    ${name}    IN    recovery.cfg    other.cfg
        Run Keyword And Expect Error
        ...    cannot tell whether '${name}' was asked for: the server remembers 5 requests*larger max_records=
        ...    File Should Not Have Been Requested    ${name}
    END
"""
REFUSED_BY_ROBOT = """
Argument that is misspelt is named where Robot refuses the call in other words
    Start HTTP Server
    ${refused}=    Set Variable    Run Keyword And Expect Error
    Run Keyword    ${refused}    timout= is not an argument; there is timeout=    Wait For Download    x    timout=3 s
    Run Keyword    ${refused}    failon= is not an argument; there is fail_on=    Run HTTP Doctor    failon=warn
    Run Keyword    ${refused}    sever= is not an argument; there is server=    Put Text    a    b    sever=x
    Run Keyword    ${refused}    sever= is not an argument; there is server=    Put Text    a=1    b=2    sever=x
    Run Keyword    ${refused}    untill= is not an argument; there is until=
    ...    Expect Download    x    1 s    untill=50 %
    Run Keyword    ${refused}    statsu= is not an argument; there is status=    Wait For Request    x    statsu=404
    Run Keyword    ${refused}    read_onyl= is not an argument; there is read_only=
    ...    Start HTTP Server    alias=q    read_onyl=yes
    Run Keyword    ${refused}    sourc= is not an argument; there is source=    Put File    a    sourc=b
    Run Keyword    ${refused}    sha265= is not an argument; there is sha256=
    ...    Put File    a    b    operator=fs    root=/    sha265=x
    Run Keyword    ${refused}    *expected 2 non-named arguments, got 3*    Put Text    a=b    c=d    e
    Run Keyword    ${refused}    *'timeout' got value 'soon'*
    ...    Put File    a    b    operator=fs    root=/    timeout=soon
"""


def test_each_claim_holds(tmp_path: Path) -> None:
    teardown = "    [Teardown]    Stop All HTTP Servers\n"
    cases = CASES + ("" if VERSION.startswith("7.0") else REFUSED_BY_ROBOT.lstrip())

    done = run(tmp_path, re.sub(r"^\S.*\n", rf"\g<0>{teardown}", cases, flags=re.MULTILINE))

    assert len(done.cases) >= 17
    assert done.all_passed()
