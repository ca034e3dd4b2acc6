"""The example notebook, run by nbclient in a real kernel: what its cells show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"
LONGEST_SECONDS = 40

Output = dict[str, Any]  # as the format of notebooks defines it


def executed(where: Path) -> Any:  # nbformat has no types
    """Return the notebook as it is when all its cells have run. Its files, and its kernel's, are in `where`."""

    class Manager(AsyncKernelManager):  # sockets of the file system: a test's own TCP sockets are counted
        def __init__(self, **settings: Any) -> None:  # traitlets'
            super().__init__(**settings, transport="ipc", connection_file=str(where / "kernel.json"))

    notebook = read(EXAMPLE)
    NotebookClient(notebook, timeout=LONGEST_SECONDS, kernel_manager_class=Manager).execute(cwd=str(where))
    return notebook


def read(file: Path) -> Any:
    return nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Output]]:
    """Run the notebook, and return what is below each cell of code, by the cell's last line."""
    where = tmp_path_factory.mktemp("k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(where))
        patch.setenv("TMPDIR", str(where))
        patch.delenv("HTTPSERVE_LINK", raising=False)
        notebook = executed(where)
    assert not list(where.glob("httpserve*")), "the notebook closes its server"
    return {
        cell.source.splitlines()[-1] + ("" if number else " at first"): cell.outputs
        for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code")
    }


def html(outputs: list[Output]) -> str:
    """Return the one thing that a cell has shown as a page does."""
    (output,) = outputs
    assert output["output_type"] == "execute_result"
    return str(output["data"]["text/html"])


def test_client_shows_where_it_is(shown: dict[str, list[Output]]) -> None:
    page = html(shown["client at first"])

    assert re.search(r"<code[^>]*>http://127\.0\.0\.1:\d+</code>", page)
    assert re.search(r'<a href="http://127\.0\.0\.1:\d+/"', page)
    assert "running" in page


def test_put_shows_a_bar_and_returns_the_url(shown: dict[str, list[Output]]) -> None:
    bar, url = shown['client.put_file("board.img", build, progress=True)']

    assert "application/vnd.jupyter.widget-view+json" in bar["data"]
    assert re.fullmatch(r"'http://127\.0\.0\.1:\d+/board\.img'", url["data"]["text/plain"])


def test_command_is_the_line_to_type(shown: dict[str, list[Output]]) -> None:
    (printed,) = shown['print(client.command("board.img", "u-boot"))']

    assert "board.img" in printed["text"]
    assert "wget" in printed["text"]


def test_listing_is_a_table_of_names(shown: dict[str, list[Output]]) -> None:
    assert ">board.img</code>" in html(shown['client.storage.list("/")'])


def test_watch_shows_a_widget_and_nothing_else(shown: dict[str, list[Output]]) -> None:
    (view,) = shown["client.watch()"]

    assert view["output_type"] == "display_data"
    assert "application/vnd.jupyter.widget-view+json" in view["data"]


def test_wait_shows_the_record_of_the_whole_file(shown: dict[str, list[Output]]) -> None:
    page = html(shown["record"])

    assert "<td" in page
    assert "board.img" in page
    assert "9.5 MiB" in page  # 10 MB


def test_tables_show_what_the_board_did(shown: dict[str, list[Output]]) -> None:
    assert ">completed<" in html(shown["client.transfers"])
    requests = html(shown["client.requests"])
    assert requests.index("/bord.img") < requests.index("/board.img")
    assert ">404<" in requests
    missing = html(shown["client.missing"])
    assert ">bord.img<" in missing
    assert ">board.img<" in missing


def test_closed_client_says_so(shown: dict[str, list[Output]]) -> None:
    page = html(shown["client"])

    assert "stopped" in page
    assert "http://" not in page


def test_notebook_is_kept_without_outputs() -> None:
    notebook = read(EXAMPLE)

    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
