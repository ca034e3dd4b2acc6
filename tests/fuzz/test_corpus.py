"""Replays what the fuzzer found worth keeping: no stored input breaks a promise. Needs no fuzzer."""

from __future__ import annotations

import pytest

from tests.fuzz.minimise import MOST_ENTRIES, MOST_ENTRY_BYTES
from tests.fuzz.targets import NAMES, check_of, stored

MOST_CORPUS_BYTES = 1024 * 1024


@pytest.fixture(autouse=True)
def _nothing_is_left() -> None:
    """Look for nothing left: no socket is opened and no thread started here."""


@pytest.mark.parametrize("name", NAMES)
def test_no_stored_input_breaks_a_promise(name: str) -> None:
    entries = stored(name)

    with check_of(name) as check:
        outcomes = {check(path.read_bytes()) for path in entries}

    assert len(outcomes) > 5  # they are not all refused for the same reason


@pytest.mark.parametrize("name", NAMES)
def test_a_corpus_stays_small(name: str) -> None:
    sizes = [path.stat().st_size for path in stored(name)]

    assert len(sizes) <= MOST_ENTRIES
    assert max(sizes) <= MOST_ENTRY_BYTES


def test_all_corpora_together_stay_small() -> None:
    assert sum(path.stat().st_size for name in NAMES for path in stored(name)) < MOST_CORPUS_BYTES
