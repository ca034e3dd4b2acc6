"""The example notebook, run in a real kernel: what its cells show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernel import PRELUDE, Kernel, Message

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"


def cells() -> list[Any]:  # as the format of notebooks defines them
    """Return the cells of code."""
    return [cell for cell in json.loads(EXAMPLE.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def roots(kernel: Kernel) -> set[str]:
    """Return the private directories that servers of this kernel have."""
    return set(
        kernel.printed("import glob, tempfile; print(*glob.glob(tempfile.gettempdir() + '/httpserve*'))").split()
    )


@pytest.fixture(scope="module")
def shown(running_kernel: Kernel) -> dict[str, list[Message]]:
    """Run the notebook, and return what is below each cell of code, by the cell's last line."""
    running_kernel.printed(PRELUDE)
    before = roots(running_kernel)
    shown = {}
    for number, cell in enumerate(cells()):
        source = "".join(cell["source"])
        done = running_kernel.run(source)
        assert done.error == "", source
        shown[source.splitlines()[-1] + ("" if number else " at first")] = done.outputs
    running_kernel.forget()
    assert roots(running_kernel) <= before, "the notebook closes its server"
    return shown


def html(outputs: list[Message]) -> str:
    """Return the one thing that a cell has shown as a page does."""
    (output,) = outputs
    assert output["type"] == "execute_result"
    return str(output["data"]["text/html"])


def test_client_shows_where_it_is(shown: dict[str, list[Message]]) -> None:
    page = html(shown["client at first"])

    assert re.search(r"<code[^>]*>http://127\.0\.0\.1:\d+</code>", page)
    assert re.search(r'<a href="http://127\.0\.0\.1:\d+/"', page)
    assert "running" in page


def test_put_shows_a_bar_and_returns_the_url(shown: dict[str, list[Message]]) -> None:
    bar, url = shown['client.put_file("board.img", build, progress=True)']

    assert "application/vnd.jupyter.widget-view+json" in bar["data"]
    assert re.fullmatch(r"'http://127\.0\.0\.1:\d+/board\.img'", url["data"]["text/plain"])


def test_command_is_the_line_to_type(shown: dict[str, list[Message]]) -> None:
    printed = "".join(part["text"] for part in shown['print(client.command("board.img", "u-boot"))'])

    assert "board.img" in printed
    assert "wget" in printed


def test_listing_is_a_table_of_names(shown: dict[str, list[Message]]) -> None:
    assert ">board.img</code>" in html(shown['client.storage.list("/")'])


def test_watch_shows_a_table_that_is_saved_and_nothing_else(shown: dict[str, list[Message]]) -> None:
    (view,) = shown["client.watch()"]

    assert view["type"] == "display_data"
    assert view["data"].keys() == {"text/html", "text/plain"}


def test_wait_shows_the_record_of_the_whole_file(shown: dict[str, list[Message]]) -> None:
    page = html(shown["record"])

    assert "<td" in page
    assert "board.img" in page
    assert "9.5 MiB" in page  # 10 MB


def test_tables_show_what_the_board_did(shown: dict[str, list[Message]]) -> None:
    assert ">completed<" in html(shown["client.transfers"])
    requests = html(shown["client.requests"])
    assert requests.index("/bord.img") < requests.index("/board.img")
    assert ">404<" in requests
    missing = html(shown["client.missing"])
    assert ">bord.img<" in missing
    assert ">board.img<" in missing


def test_closed_client_says_so(shown: dict[str, list[Message]]) -> None:
    page = html(shown["client"])

    assert "stopped" in page
    assert "http://" not in page


def test_notebook_is_kept_without_outputs() -> None:
    assert not [cell for cell in cells() if cell["outputs"] or cell["execution_count"]]
