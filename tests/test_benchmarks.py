"""The benchmark runs as one command, and its report computes what it says."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import peers, report, stores, uploads
from benchmarks.cases import CASES, Case, Target
from benchmarks.load import Generator, Sample
from benchmarks.peers import running
from tests.cases import each

REPOSITORY = Path(__file__).resolve().parents[1]
RATE = Case("keep1", "1 KiB", "requests/s", ("httpserve", "aiohttp"), (Target("aiohttp", 4.5),))
COPY = Case("put", "{size} put", "s", ("put", "cp"), (Target("cp", 2.5, ours="put"),))
START = Case("life", "start", "ms", ("start()",), (Target(limit=10.0, ours="start()"),))


def samples(*values: float) -> list[Sample]:
    return [Sample(value) for value in values]


def test_ratio_of_rates_is_ours_over_theirs() -> None:
    results = {"keep1": {"httpserve": samples(900, 1000, 5000), "aiohttp": samples(100, 200, 300)}}

    assert report.ratio(RATE, "httpserve", "aiohttp", results) == 5.0


def test_ratio_of_times_is_theirs_over_ours() -> None:
    results = {"put": {"put": samples(0.5), "cp": samples(2.0)}}

    assert report.ratio(COPY, "put", "cp", results) == 4.0


def test_ratio_to_what_was_not_measured_is_unknown() -> None:
    results = {"keep1": {"httpserve": samples(900)}}

    assert report.ratio(RATE, "httpserve", "aiohttp", results) is None


@each(("aiohttp", "expected"), [(100.0, "yes"), (300.0, "**no**")])
def test_target_is_judged(aiohttp: float, expected: str) -> None:
    results = {"keep1": {"httpserve": samples(1000), "aiohttp": samples(aiohttp)}}

    (row, *_) = report.target_rows(RATE, results)

    assert row[-1] == expected


@each(("milliseconds", "expected"), [(9.0, "yes"), (10.0, "**no**")])
def test_limit_is_judged(milliseconds: float, expected: str) -> None:
    (row,) = report.target_rows(START, {"life": {"start()": samples(milliseconds)}})

    assert row[-1] == expected


def test_failed_requests_are_shown_beside_the_median() -> None:
    assert report.cell([Sample(10.0, 2), Sample(12.0, 1)], "requests/s") == "11 (3 failed)"


def test_result_replaces_what_stood_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    report.write_into(page, "new")

    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"


def test_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")

    with pytest.raises(ValueError, match="no place for results"):
        report.write_into(page, "new")


def test_page_of_the_repository_has_the_marks(tmp_path: Path) -> None:
    page = Path(shutil.copy(REPOSITORY / "docs" / "performance.md", tmp_path))

    report.write_into(page, "new")
    report.write_into(page, "also new", report.STORES_BEGIN)

    assert "\nnew\n" in page.read_text()
    assert "\nalso new\n" in page.read_text()


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept", "new"])
def test_generator_in_python_counts_whole_answers(keep_alive: bool, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"1" * 1024)
    with running("werkzeug", tmp_path) as server:
        generator = Generator(f"http://127.0.0.1:{server.port}/small", keep_alive=keep_alive)

        rate = generator.run(2, 0.3)

    assert rate > 0
    assert generator.answers > 0
    assert generator.errors == 0


def test_generator_in_python_counts_what_failed(tmp_path: Path) -> None:
    with running("werkzeug", tmp_path) as server:
        generator = Generator(f"http://127.0.0.1:{server.port}/missing", keep_alive=False)

        generator.run(1, 0.2)

    assert generator.errors == generator.answers > 0


def test_every_case_has_what_is_to_be_reached() -> None:
    assert all(case.targets for case in CASES)


def test_a_python_without_the_lock_takes_part_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert peers.interpreter("httpserve") == sys.executable
    monkeypatch.setenv("PATH", str(tmp_path))

    absent = peers.missing(peers.FREE_THREADED)
    os.symlink(sys.executable, tmp_path / "python3.14t")
    locked = peers.missing(peers.FREE_THREADED)

    assert absent is not None
    assert "python3.14t" in absent
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert ("-m pip install" in (locked or "")) is has_lock
    assert peers.interpreter(peers.FREE_THREADED) == str(tmp_path / "python3.14t")


def test_figures_of_a_store_are_medians_of_ratios_beside_their_aims() -> None:
    rate = stores.Figure("rate", "ours / theirs", "MB/s", lambda lab, turn: (), least=2)
    memory = stores.Figure("memory", "memory", "MiB", lambda lab, turn: (), most=8)
    samples: stores.Results = {"rate": [(4.0, 1.0), (9.0, 3.0), (8.0, 8.0)], "memory": [(9.0,), (8.5,), (1.0,)]}

    rows = [[cell.strip() for cell in line.split("|")] for line in stores.table([rate, memory], samples).splitlines()]

    assert rows[2][4:9] == ["8", "3", "3", ">= 2", "yes"]
    assert rows[3][4:9] == ["8.50", "", "8.5", "<= 8", "**no**"]
    assert all((figure.least is None) != (figure.most is None) for figure in stores.FIGURES)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_uploads_are_measured_beside_the_digest_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uploads, "ROUNDS", 1)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (tmp_path / "sent").write_bytes(bytes(1 << 20))

    uploads.measured(tmp_path / "sent", 1)

    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(uploads.WAYS)
    assert all(" MiB/s, ratio " in line for line in lines)
