"""The targets by name, their seeds, and where their corpora lie. Knows no fuzzer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.fuzz.conditions import check_conditions
from tests.fuzz.contents import check_content
from tests.fuzz.forms import check_form
from tests.fuzz.heads import check_head
from tests.fuzz.names import names
from tests.fuzz.plans import plans

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("head", "content", "form", "conditions", "plans", "names")

Check = Callable[[bytes], str]


@contextmanager
def check_of(name: str) -> Iterator[Check]:
    """Give the check of a target, with what it needs on the disk, which is removed at the end."""
    if name in _PURE:
        yield _PURE[name]
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory, _ON_DISK[name](Path(directory)) as check:
        yield check


_PURE: dict[str, Check] = {
    "head": check_head,
    "content": check_content,
    "form": check_form,
    "conditions": check_conditions,
}
_ON_DISK: dict[str, Callable[[Path], AbstractContextManager[Check]]] = {"plans": plans, "names": names}


def stored(name: str) -> list[Path]:
    """Return the corpus of a target, in an order that stays."""
    return sorted((CORPUS / name).iterdir())


def is_seed(path: Path) -> bool:
    """Tell whether an entry was written by hand, and stays whatever it reaches."""
    return path.name.startswith("seed-")
