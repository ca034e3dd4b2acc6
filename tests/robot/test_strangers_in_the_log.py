"""What strangers send and call files, in Robot's log, in its table and on its console."""

from __future__ import annotations

import html
from pathlib import Path

from tests import strangers
from tests.robot.conftest import Ran
from tests.robot.suites import REPOSITORY

SENDER = """
import os, socket, sys
from urllib.parse import urlsplit
sys.path.insert(0, {repository!r})
from tests import strangers

def send_all(url, root):
    where = urlsplit(url)
    for text in strangers.TEXTS.values():
        for head in strangers.requests(text)[:8]:
            with socket.create_connection((where.hostname, where.port)) as sock:
                sock.sendall(head)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
    for path in strangers.names(os.fsencode(root)):
        with open(path, "wb") as file:
            file.write(b"x")
"""


def test_nothing_that_strangers_send_forges_a_line_or_a_row(ran: Ran, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (tmp_path / "Sender.py").write_text(SENDER.format(repository=str(REPOSITORY)))

    done = ran(f"""
Strangers
    Import Library    {tmp_path}/Sender.py
    ${{url}}=    Start HTTP Server    root_dir={served}
    Send All    ${{url}}    {served}
    Transfers Have Ended
    Run HTTP Doctor    fail_on=never
    Run Keyword And Expect Error    *    File Should Exist    nothing
    Run Keyword And Expect Error    *    File Should Not Have Been Requested    x
    Run Keyword And Expect Error    *    Wait For Download    nothing    timeout=0 s
    ${{requests}}=    Get Requests
    File Should Exist    nothing
""")

    case = done["Strangers"]
    assert case.lines
    assert not [line for line in case.lines if "\n" in line.message]
    for text in (case.message, case.table, done.console, *(message.message for message in case.messages)):
        strangers.check(html.unescape(text))
    assert all(len(cell) <= 200 for row in case.rows for cell in row)
    assert not done.errors
    assert {message.level for message in case.messages} <= {"INFO", "FAIL"}
