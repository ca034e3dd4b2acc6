# PYTHON_ARGCOMPLETE_OK
"""`python -m httpserve`: the same as the command `httpserve`."""

from __future__ import annotations

import sys

from httpserve.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
