*** Settings ***
Documentation       Two servers at once: one with the release, one with the build of tonight. The same board takes first
...                 the one, then the other.
...
...                 Run it:    robot examples/robot/two_servers.robot
Library             Process
Library             httpserve.robot.HttpServe    host=127.0.0.1    auto_close=TEST
Suite Setup         Start HTTP Server    alias=release
Test Setup          Start HTTP Server    alias=tonight

*** Test Cases ***
Each Server Has Its Own Version
    Put Text    version    2.0    server=release
    Put Text    version    2.1-rc1    server=tonight
    The Board Reads    2.0    from=release
    The Board Reads    2.1-rc1    from=tonight

Only The Release Is Asked
    ${before}=    Switch HTTP Server    release
    Should Be Equal    ${before}    tonight
    Put Text    version    2.0
    The Board Reads    2.0    from=release
    File Should Not Have Been Requested    version    server=tonight

*** Keywords ***
The Board Reads
    [Arguments]    ${version}    ${from}
    ${url}=    Get File URL    version    server=${from}
    ${board}=    Run Process    busybox    wget    -q    -O    -    ${url}
    Should Be Equal    ${board.stdout}    ${version}
    Wait For Download    version    timeout=10 s    server=${from}
