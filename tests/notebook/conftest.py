"""Kernels for the tests of notebooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.notebook.kernel import PRELUDE, Kernel, kernel_in

SOON = "from httpserve.notebook import live_table; live_table.SECONDS = 0.1; del live_table"  # between two looks


@pytest.fixture(scope="session")
def running_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel that the tests share: to start one takes a second."""
    with kernel_in(tmp_path_factory.mktemp("k")) as kernel:
        kernel.printed("import ipywidgets\nwith HttpServerClient(host='127.0.0.1') as client: pass")
        kernel.forget()
        kernel.printed("import gc; gc.freeze()")  # collecting need not look at all of IPython each time
        yield kernel


@pytest.fixture
def kernel(running_kernel: Kernel) -> Iterator[Kernel]:
    """A kernel with no variables but what the prelude defines; what a test's cells have made is gone afterwards."""
    running_kernel.printed(f"{PRELUDE}\n{SOON}")
    running_kernel.messages.clear()
    yield running_kernel
    running_kernel.forget()
