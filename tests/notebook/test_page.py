"""The blocks of docs/jupyter.md run as cells of one notebook, in their order, while a board fetches."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from tests.docs.blocks import REPOSITORY, blocks_of
from tests.docs.playing import as_here, build
from tests.notebook.kernel import Kernel
from tests.ports import free_port

PAGE = REPOSITORY / "docs" / "jupyter.md"


def test_cells_of_the_page_run_and_show_what_it_says(kernel: Kernel, tmp_path: Path) -> None:
    build(tmp_path)
    kernel.printed(f"os.chdir({str(tmp_path)!r})")
    port = free_port()
    blocks = [as_here(block.text, port) for block in blocks_of(PAGE) if block.language == "python"]
    assert len(blocks) == 7

    pages = [shown(kernel, blocks[0])]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/board.img", timeout=10) as answer:
        assert len(answer.read()) == 300_000
    pages += [shown(kernel, block) for block in blocks[1:]]
    again = shown(kernel, blocks[0])

    client, record, transfers, missing, listing, *_ = pages
    assert f"http://127.0.0.1:{port}</code>" in client
    assert "board.img" in record
    assert "completed" in transfers
    assert "nothing yet" in missing
    assert "board.img" in listing
    assert f"http://127.0.0.1:{port}</code>" in again


def shown(kernel: Kernel, code: str) -> str:
    """Return the page below a cell that must not fail."""
    cell = kernel.run(code)
    assert cell.error == ""
    return "".join(str(output["data"].get("text/html", "")) for output in cell.outputs if "data" in output)


def test_pictures_of_the_page_are_there_and_small() -> None:
    pictures = [PAGE.parent / name for name in re.findall(r"!\[.+?\]\((.+?)\)", PAGE.read_text(encoding="utf-8"))]

    assert len(pictures) == 2
    assert all(0 < Path(picture).stat().st_size < 150_000 for picture in pictures)
