"""Writes docs/keywords.html, the page of the Robot Framework keywords: `python docs/keywords.py`.

It is what `python -m robot.libdoc httpserve.robot.HttpServe` writes, without the directory of this checkout.
"""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "keywords.html"


def without_directory(page: str) -> str:
    """Return a page of libdoc in which sources stand by their names in the repository."""
    return page.replace(f"{REPOSITORY.as_posix()}/", "")


if __name__ == "__main__":
    from robot.libdoc import libdoc

    libdoc("httpserve.robot.HttpServe", str(PAGE), quiet=True)
    PAGE.write_text(without_directory(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
