"""What the tests of the pure parts share: how hypothesis searches."""

from __future__ import annotations

from hypothesis import settings

# A deadline would measure the machine, and a database would leave a folder behind. Fuzzing searches for longer.
settings.register_profile("httpserve", max_examples=40, deadline=None, database=None)
settings.load_profile("httpserve")
