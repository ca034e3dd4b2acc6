"""Tables as HTML and as lines: everything in them escaped, and long ones cut."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from opendal.types import EntryMode

from httpserve.base.tables import (
    MOST_LINES,
    MOST_NAMES,
    MOST_ROWS,
    Column,
    Listing,
    RecordList,
    Records,
    as_html,
    code,
    html,
    html_table,
    report_html,
    text_table,
)
from httpserve.errors import WaitTimeout
from httpserve.records.events import DownloadEvent, ProgressEvent, RequestEvent, ServerEvent
from httpserve.records.model import DownloadRecord, Missing, RequestRecord, Transfer
from httpserve.storage.metadata import Metadata
from tests.cases import each

EVIL = "<script>alert('\"&')</script>"
ESCAPED = "&lt;script&gt;alert(&#39;&#34;&amp;&#39;)&lt;/script&gt;"


def request(**changed: Any) -> RequestRecord:  # of any field
    fields: dict[str, Any] = {
        "time": 1.0,
        "client": "10.0.0.2",
        "client_port": 4000,
        "local": "10.0.0.1",
        "method": "GET",
        "target": "/image",
        "status": 200,
        "range": "",
        "bytes": 2048,
        "seconds": 0.5,
        "user_agent": "curl/8",
        "completed": True,
        "name": "image",
        "outcome": "completed",
    }
    return RequestRecord(**{**fields, **changed})


TRANSFER = Transfer(
    time=1.0,
    name=EVIL,
    client=EVIL,
    client_port=4000,
    local="10.0.0.1",
    method=EVIL,
    target=EVIL,
    status=206,
    ranges=((0, 5),),
    sent=5,
    acknowledged=3,
    total=5,
    rate=1.0,
    seconds=2.0,
    user_agent=EVIL,
    state="under way",
    known="acked",
)
DOWNLOAD = DownloadRecord(EVIL, EVIL, 5, 1.0, EVIL, (), 5)
RECORDS = [
    request(target=EVIL, method=EVIL, client=EVIL, outcome=EVIL, user_agent=EVIL),
    TRANSFER,
    Missing(1.0, EVIL, EVIL, (EVIL,)),
    DOWNLOAD,
]


@each("record", RECORDS, ids=lambda record: type(record).__name__)
def test_record_shows_itself_escaped(record: RequestRecord | Transfer | Missing | DownloadRecord) -> None:
    html = record._repr_html_()

    assert "<script" not in html
    assert ESCAPED in html
    assert html.count("<tr>") == 2


@each("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_show_themselves_escaped_and_as_lines(record: object) -> None:
    records = Records([record, record])

    assert "<script" not in records._repr_html_()
    assert records._repr_html_().count("<tr>") == 3
    assert repr(records).startswith("2 records\n")
    assert len(repr(records).splitlines()) == 4


@each(
    "record, line",
    [
        (
            request(),
            "client 10.0.0.2, method GET, target /image, status 200, received 2.0 KiB, seconds 0.500, state completed",
        ),
        (
            replace(TRANSFER, name="a", client="10.0.0.2"),
            "client 10.0.0.2, file a, status 206, received 3 B, of 5 B, rate 1 B/s, seconds 2.000, state under way",
        ),
        (Missing(1.0, "10.0.0.2", "b", ("a", "c")), "client 10.0.0.2, file b, nearest names a, c"),
        (
            DownloadRecord("a", "10.0.0.2", 5, 1.0, "curl", (), 5),
            "client 10.0.0.2, file a, received 5 B, of 5 B, seconds 1.000",
        ),
        (Metadata(EntryMode.File, 5, datetime(2026, 1, 1, tzinfo=UTC)), "kind file, size 5 B"),
        (
            Metadata(EntryMode.Dir, 0, datetime(2026, 1, 1, tzinfo=UTC), etag='"a"'),
            'kind directory, size 0 B, ETag "a"',
        ),
    ],
    ids=lambda case: type(case[0]).__name__,
)
def test_a_record_is_printed_as_one_line_that_people_read(record: Any, line: str) -> None:
    assert re.sub(r"(, )?(time|changed) [0-9]{4}[0-9: -]+(, client)?", r"\3", str(record)).removeprefix(", ") == line
    assert repr(record).startswith(f"{type(record).__name__}(")
    assert record._repr_html_().count("<tr>") == 2


def test_a_wait_that_failed_shows_itself_as_a_table() -> None:
    error = WaitTimeout(
        f"nobody has {EVIL}",
        EVIL,
        0.5,
        happened="ranges missing",
        received=4096,
        total=65536,
        missing=((4096, 5000), (6000, 65536)),
        url="http://10.0.0.1:8000/f",
        peer="10.0.0.2",
        obstacles=("no route", "no network"),
        next_step="look",
    )

    facts = [re.sub("(<.*?>)+", "|", row) for row in error._repr_html_().split("<tr>")]

    assert "<script" not in error._repr_html_()
    assert [row.strip("|").replace("|", ": ") for row in facts[1:]] == [
        f"waited for: {ESCAPED}",
        "timeout: 0.5 s",
        "what happened: ranges missing",
        "received: 4 of 64 KiB",
        "missing bytes: 4096 to 4999, 6000 to 65535",
        "URL: http://10.0.0.1:8000/f",
        "peer: 10.0.0.2",
        "obstacle: no route",
        "obstacle: no network",
        "next step: look",
    ]
    assert WaitTimeout("", "f", 1, happened="nobody connected")._repr_html_().count("<tr>") == 3
    assert error._repr_html_().count("<th") == len(facts) - 1
    assert ">http://10.0.0.1:8000/f</code>" in error._repr_html_()


def test_a_list_of_records_shows_itself_as_a_table_and_stays_a_list() -> None:
    records = RecordList([DOWNLOAD, DOWNLOAD])

    assert isinstance(records, list)
    assert records == [DOWNLOAD, DOWNLOAD]
    assert str(records).startswith("2 records\n")
    assert records._repr_html_().count("<tr>") == 3


def test_events_show_what_each_is_about_in_one_table() -> None:
    asked = request(name="", outcome="completed", status=404)
    events = Records(
        [
            ServerEvent(1, 1.0, "started", "10.0.0.1", 8000),
            RequestEvent(2, 1.0, "begun", 2, asked, None),
            ProgressEvent(3, 1.0, "progress", 2, replace(TRANSFER, name="image", state="cut")),
            DownloadEvent(4, 1.0, "downloaded", replace(DOWNLOAD, name="dtb")),
        ]
    )

    lines = [re.sub(r"\d+-\d+-\d+ [\d:]+", "when", line).split() for line in str(events).splitlines()]
    assert lines[:2] == [
        ["4", "events"],
        ["number", "time", "event", "client", "file", "status", "received", "of", "state"],
    ]
    assert lines[2:4] == [["1", "when", "started"], ["2", "when", "begun", "10.0.0.2", "404"]]
    assert lines[4][-6:] == ["206", "3", "B", "5", "B", "cut"]
    assert lines[5][4] == "dtb"
    assert '">cut</strong>' in events._repr_html_()


def test_a_listing_is_a_list_whose_names_next_takes_one_by_one() -> None:
    names = Listing(["a", "b"])

    assert [next(names), next(names), next(names, "no more")] == ["a", "b", "no more"]
    assert (names, list(names)) == (["a", "b"], ["a", "b"])


def test_listing_of_very_many_names_shows_some_and_how_many_there_are() -> None:
    html = Listing(f"{number}" for number in range(MOST_NAMES + 3))._repr_html_()

    assert html.count("<tr>") == MOST_NAMES + 1
    assert f"{MOST_NAMES + 3} names" in html
    assert "and 3 more" in html


def test_records_are_a_tuple_whose_slices_show_themselves_too() -> None:
    records = Records([request(status=number) for number in range(5)])

    assert records == tuple(records)
    assert records[0].status == 0
    assert isinstance(records[1:3], Records)
    assert [record.status for record in records[-2:]] == [3, 4]


def test_very_many_records_show_the_latest_and_how_many_there_are() -> None:
    records = Records([request(target=f"/{number}") for number in range(1000)])

    html, text = records._repr_html_(), repr(records)

    assert html.count("<tr>") == MOST_ROWS + 1
    assert "/999<" in html
    assert f"and {1000 - MOST_ROWS} more" in html
    assert len(text.splitlines()) == MOST_LINES + 3
    assert text.endswith(f"({1000 - MOST_LINES} before these)")


def test_no_records_say_so() -> None:
    assert repr(Records()) == "(nothing yet)"
    assert "nothing yet" in Records()._repr_html_()
    assert as_html([request()], most=0) == ""


def test_line_of_a_record_has_no_control_characters_and_an_end() -> None:
    text = repr(Records([request(target="/\x1b[31m" + "long" * 100)]))

    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 200


# Any table

COLUMNS = [Column("name"), Column("bytes", True)]


def test_html_escapes_values_makes_them_printable_and_leaves_markup() -> None:
    assert html("<b>{}</b>{}", "<\x1b", Markup("<i>")) == "<b>&lt;\\x1b</b><i>"


def test_text_to_copy_is_escaped() -> None:
    assert code("<a>") == '<code style="user-select:all">&lt;a&gt;</code>'


def test_lines_have_numbers_on_the_right() -> None:
    assert text_table(COLUMNS, [["image", "7"], ["a", "1024"]]) == ["name   bytes", "image      7", "a       1024"]


def test_table_of_a_page_has_a_caption_and_a_border_if_asked_for() -> None:
    table = html_table(COLUMNS, [[EVIL, 7]], caption="<HTTP>", border=True)

    assert "<caption>&lt;HTTP&gt;</caption>" in table
    assert 'border="1"' in table
    assert ESCAPED in table
    assert "caption" not in html_table(COLUMNS, [])


def test_report_shows_what_to_do_where_there_is_something() -> None:
    shown = report_html([("warn", "url", EVIL, "do <it>"), ("ok", "port", "fine", "")])

    assert ESCAPED in shown
    assert len(set(re.findall(r'<strong style="color:(#\w+)">(?:ok|warn)</strong>', shown))) == 2
    assert shown.count("→") == 1
    assert "do &lt;it&gt;" in shown
