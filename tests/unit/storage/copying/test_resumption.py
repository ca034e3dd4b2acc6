"""What an answer to a resumed request means, by tables."""

from __future__ import annotations

from requests.structures import CaseInsensitiveDict

from httpserve.storage.copying.resumption import Representation, Resume, how_to_resume, representation_of
from tests.cases import each

HELD = Representation(100, '"v1"', '"v1"')
OLD = "Mon, 01 Jan 2024 00:00:00 GMT"
LATER = "Mon, 01 Jan 2024 00:00:01 GMT"
MD5 = '"d41d8cd98f00b204e9800998ecf8427e"'


def fields(**values: str) -> CaseInsensitiveDict[str]:
    return CaseInsensitiveDict({name.replace("_", "-"): value for name, value in values.items()})


@each(
    ("head", "expected"),
    [
        (fields(), Representation(None, None, None)),
        (fields(content_length="0"), Representation(0, None, None)),
        (fields(content_length="12"), Representation(12, None, None)),
        (fields(content_length="12, 12"), Representation(None, None, None)),
        (fields(content_length="12", transfer_encoding="chunked"), Representation(None, None, None)),
        (fields(etag='"a"'), Representation(None, '"a"', '"a"')),
        (fields(etag='W/"a"'), Representation(None, 'W/"a"', None)),
        (fields(etag="bare"), Representation(None, "bare", None)),
        (fields(etag='W/"a"', last_modified=OLD), Representation(None, 'W/"a"', OLD)),
        (fields(etag='"a"', last_modified=OLD), Representation(None, '"a"', '"a"')),
        (fields(etag='"a"', last_modified=OLD, date=OLD), Representation(None, '"a"', None)),
        (fields(etag=MD5, last_modified=OLD, date=OLD), Representation(None, MD5, MD5)),
        (fields(last_modified=OLD, date=LATER), Representation(None, None, OLD)),
        (fields(last_modified=OLD, date=OLD), Representation(None, None, None)),
        (fields(last_modified=LATER, date=OLD), Representation(None, None, None)),
        (fields(last_modified=OLD, date="yesterday"), Representation(None, None, OLD)),
        (fields(last_modified="yesterday"), Representation(None, None, None)),
        (fields(content_length="-5"), Representation(None, None, None)),
        (fields(content_length="٥"), Representation(None, None, None)),
        (fields(content_length="9" * 5000), Representation(None, None, None)),
        (fields(last_modified="Mon, 01 Jan 2999 00:00:00 GMT"), Representation(None, None, None)),
    ],
)
def test_a_head_says_what_its_representation_is(head: CaseInsensitiveDict[str], expected: Representation) -> None:
    assert representation_of(head) == expected


@each(
    ("head", "held", "verdict"),
    [
        (fields(content_range="bytes 40-99/100", etag='"v1"'), HELD, Resume.CONTINUE),
        (fields(content_range="bytes 40-99/100"), HELD, Resume.CONTINUE),
        (fields(content_range="BYTES  40-99/*"), HELD, Resume.CONTINUE),
        (fields(content_range="bytes 40-59/100"), HELD, Resume.CONTINUE),
        (fields(content_range="bytes 40-99/100"), Representation(None, None, OLD), Resume.CONTINUE),
        (fields(content_range="bytes 40-99/100", etag='"v2"'), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-98/99", etag='"v1"'), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 39-99/100", etag='"v1"'), HELD, Resume.ASK_ANEW),
        (fields(content_range="items 40-99/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes */100"), HELD, Resume.ASK_ANEW),
        (fields(content_type="multipart/byteranges"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-99/100", content_length="60"), HELD, Resume.CONTINUE),
        (fields(content_range="bytes 40-99/100", content_length="61"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-99/100", content_length="0"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-100/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-39/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-99/*"), Representation(None, None, OLD), Resume.ASK_ANEW),
        (fields(content_range="bytes 40-99/100, bytes 40-99/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes +40-99/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 4_0-99/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes ٤٠-99/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-99/" + "9" * 5000), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes " + "9" * 5000 + "-99/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range="bytes 40-" + "9" * 5000 + "/100"), HELD, Resume.ASK_ANEW),
        (fields(content_range=""), HELD, Resume.ASK_ANEW),
    ],
)
def test_a_206_continues_only_what_is_held(
    head: CaseInsensitiveDict[str], held: Representation, verdict: Resume
) -> None:
    assert how_to_resume(206, head, 40, held) is verdict


def test_a_206_that_nobody_asked_for_is_of_no_use() -> None:
    assert how_to_resume(206, fields(content_range="bytes 0-99/100"), None, HELD) is Resume.ASK_ANEW


@each(
    ("status", "verdict"),
    [
        *((200, Resume.ANEW), (412, Resume.ASK_ANEW), (416, Resume.ASK_ANEW), (408, Resume.RETRY)),
        *((429, Resume.RETRY), (500, Resume.RETRY), (502, Resume.RETRY), (503, Resume.RETRY), (504, Resume.RETRY)),
        *((204, Resume.FAIL), (304, Resume.FAIL), (401, Resume.FAIL), (403, Resume.FAIL), (404, Resume.FAIL)),
        (501, Resume.FAIL),
    ],
)
def test_a_status_says_what_to_do(status: int, verdict: Resume) -> None:
    assert how_to_resume(status, fields(), 40, HELD) is verdict


MANY = "9" * 20


@each(
    "date",
    [
        *("", " ", ",", ",,,,", ":::::", "-", "Mon,", "x", "0", "9" * 5000, MANY, "\xff\xff", "\x85Mon"),
        *("Mon, ١ Jan 2020", f"Mon, 01 Jan {MANY} 00:00:00 GMT", f"Mon, 01 Jan 2020 {MANY}:00:00 GMT"),
        *(f"Mon, 01 Jan 2020 00:{MANY}:00 GMT", f"Mon, 01 Jan 2020 00:00:{MANY} GMT"),
        *(f"Mon, 01 Jan 2020 00:00:00 +{MANY}", f"Mon, 01 Jan 2020 00:00:00 -{MANY}"),
        *(f"Mon, {MANY} Jan 2020 00:00:00 GMT", "Mon, 99 Jan 2020 00:00:00 GMT"),
        "Mon, 01 Jan 2020 00:00:00 +9999999999",
        "Mon, 01 Jan 9999999999 00:00:00 GMT",
    ],
)
def test_a_date_that_cannot_be_is_none(date: str) -> None:
    assert representation_of(fields(last_modified=date)).validator is None
    # Where the date of the answer cannot be, the time of now is as good.
    assert representation_of(fields(last_modified=OLD, date=date)).validator == OLD


@each("zone", ["+1400", "-1400", "-0000"])
@each("year", ["0000", "0001", "0099", "9999"])
def test_a_date_at_either_end_of_time_harms_nothing(year: str, zone: str) -> None:
    date = f"Mon, 01 Jan {year} 00:00:00 {zone}"

    assert representation_of(fields(last_modified=date)).validator in (None, date)
