*** Settings ***
Documentation       A bench in small: a kernel is put on the server, the board is told to fetch it, and the test goes on
...                 when the board has every byte. The board is a busybox here; on your bench Type On Board would write
...                 to a serial line.
...
...                 Run it:    robot examples/robot/boot.robot
Library             Process
Library             OperatingSystem
Library             httpserve.robot.HttpServe    peer=127.0.0.1
Suite Setup         Prepare The Bench
Suite Teardown      Clear The Bench

*** Test Cases ***
The Board Boots The New Kernel
    ${sum}=    Put The Kernel On The Server
    ${download}=    Expect Download    boot/Image    timeout=1 min
    ${command}=    Get Download Command    boot/Image    busybox
    Type On Board    ${command}
    ${record}=    Wait For Download    ${download}
    Log    ${record.client} has ${record.bytes} bytes after ${record.seconds} s
    The Board Says    sha256sum Image    ${sum}
    File Should Not Have Been Requested    boot/Image.old

The Board Asks For What Is Not There
    ${url}=    Get File URL    boot/Imgae
    Type On Board    wget -q -O Imgae ${url}
    Wait For Request    boot/Imgae    status=404    timeout=1 min
    ${missing}=    Get Missing Files
    Log    the board asked for ${missing[0].name}: did it mean ${missing[0].nearest}?

*** Keywords ***
Prepare The Bench
    Start HTTP Server
    VAR    ${BOARD}    %{TEMPDIR=/tmp}/board-${{ uuid.uuid4() }}    scope=SUITE
    Create Directory    ${BOARD}

Clear The Bench
    Terminate All Processes
    Remove Directory    ${BOARD}    recursive=True

Put The Kernel On The Server
    [Documentation]    Returns its SHA-256. A real bench has a file for this: Put File    boot/Image    build/Image
    ${kernel}=    Evaluate    "a kernel" * 100_000
    Put Text    boot/Image    ${kernel}
    ${sum}=    Evaluate    hashlib.sha256($kernel.encode()).hexdigest()
    RETURN    ${sum}

Type On Board
    [Arguments]    ${line}
    Start Process    busybox    sh    -c    ${line}    cwd=${BOARD}    stdout=DEVNULL    stderr=DEVNULL

The Board Says
    [Arguments]    ${line}    ${expected}
    ${said}=    Run Process    busybox    sh    -c    ${line}    cwd=${BOARD}
    Should Contain    ${said.stdout}    ${expected}
