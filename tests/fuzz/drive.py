"""Lets atheris search for what breaks one target: `python -m tests.fuzz.drive TARGET [libFuzzer's arguments]`.

For `python -m tests.fuzz`, as libFuzzer ends its process. Needs `pip install httpserve[fuzz]`.
"""

from __future__ import annotations

import logging
import sys

import atheris

atheris.enabled_hooks.add("RegEx")
COVERED = ["httpserve.server", "httpserve.site", "httpserve.base.names", "tests.fuzz"]
with atheris.instrument_imports(include=COVERED):
    from tests.fuzz.targets import check_of


def main() -> None:
    """Search until libFuzzer's arguments say that it is enough, or something breaks."""
    program, name, *arguments = sys.argv
    logging.getLogger("httpserve").setLevel(logging.CRITICAL)
    with check_of(name) as check:

        def one_input(data: bytes) -> None:
            check(data)

        atheris.Setup([program, *arguments], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
