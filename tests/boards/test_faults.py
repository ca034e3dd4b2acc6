"""What docs/faults.md says of the clients that are everywhere; of all of them, `.ci/do faults` sees to it."""

from __future__ import annotations

import re

import pytest

from tests.boards.clients import ONCE, Client
from tests.boards.matrix import BEGIN, CASES, HANGS, PAGE, Case, committed, measured

QUICK = [client for client in ONCE if client.name in ("curl", "wget", "busybox wget", "requests")]
HUNG_SECONDS = 1.0  # what hangs at all, hangs now


def is_measured(client: Client) -> bool:
    """Say whether a client is here, in a version that the page knows of."""
    if client.missing:
        return False
    product, version = client.version
    found = re.search(rf"\b{product} (\d+)", PAGE.read_text("utf-8").partition(BEGIN)[2])
    return found is not None and found[1] == version.partition(".")[0]


def test_page_says_what_a_fault_does_to_a_client() -> None:
    clients = [client for client in QUICK if is_measured(client)]
    if not clients:
        pytest.skip("curl, wget, busybox and requests are not here, or in versions that docs/faults.md does not know")
    said = {key: cell for key, cell in committed().items() if key[0] in {client.name for client in clients}}
    cases = [case._replace(is_once=False) for case in CASES]  # with one try, all answers are the first one

    def those(are_hung: bool) -> list[tuple[list[Client], list[Case]]]:
        return [
            ([client], [case for case in cases if (said[client.name, case.faults] == HANGS) == are_hung])
            for client in clients
        ]

    seen = measured(those(are_hung=True), HUNG_SECONDS) | measured(those(are_hung=False), 45.0)

    assert seen == said
