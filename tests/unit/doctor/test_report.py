"""What the doctor's report says as text, as data, and of itself."""

from __future__ import annotations

import json

from httpserve import Finding, Report
from tests.cases import each

WELL = Finding("ok", "bind", "listens on port 80 of ::", data={"port": 80})
DOUBT = Finding("warn", "firewall", "ufw may drop", "sudo ufw allow 80/tcp")
ILL = Finding("fail", "server", "it does not run", "call start()")


@each(("findings", "ok"), [((), True), ((WELL,), True), ((WELL, DOUBT), True), ((WELL, ILL, DOUBT), False)])
def test_only_a_failure_makes_a_report_that_is_not_ok(findings: tuple[Finding, ...], ok: bool) -> None:
    assert Report(findings).ok is ok


def test_a_report_prints_a_line_for_each_finding_and_its_next_step() -> None:
    assert str(Report((WELL, DOUBT))) == (
        "ok    bind: listens on port 80 of ::\nwarn  firewall: ufw may drop\n      -> sudo ufw allow 80/tcp"
    )


def test_a_report_shows_itself_as_it_is_printed() -> None:
    assert repr(Report((WELL, DOUBT))) == str(Report((WELL, DOUBT)))
    assert repr(Report(())) == "(nothing found)"
    assert str(Report((WELL, DOUBT)).findings) == str(Report((WELL, DOUBT)))


def test_a_report_is_a_table_on_a_page_with_all_that_is_in_it_escaped() -> None:
    evil = Finding("warn", "missing", "<script>x</script> & y", "say '<b>'")

    report = Report((WELL, evil))
    html = report._repr_html_()

    assert getattr(report.findings, "_repr_html_")() == html  # noqa: B009 - a tuple that has it, too
    assert html.count("<tr>") == 3
    assert WELL.message in html
    assert "<td style=" in html
    assert "&lt;script&gt;x&lt;/script&gt; &amp; y" in html
    assert "→ say &#39;&lt;b&gt;&#39;" in html
    assert html.count("→") == 1
    assert "<script" not in html
    assert evil._repr_html_().count("<tr>") == 2


def test_a_report_goes_into_json() -> None:
    report = json.loads(json.dumps(Report((WELL, ILL)).as_dict()))

    assert report == {
        "ok": False,
        "findings": [
            {"status": "ok", "check": "bind", "message": WELL.message, "next_step": "", "data": {"port": 80}},
            {"status": "fail", "check": "server", "message": ILL.message, "next_step": "call start()", "data": {}},
        ],
    }


def test_a_finding_can_be_a_member_of_a_set() -> None:
    assert len({WELL, WELL, DOUBT}) == 2
