"""What the tests of the pure parts share: how hypothesis searches."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The examples of a test are the same in every run, and nothing measures the machine; a database would leave a folder
# behind. Fuzzing searches for longer.
settings.register_profile(
    "httpserve",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("httpserve")
