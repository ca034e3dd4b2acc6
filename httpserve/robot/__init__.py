"""The library for Robot Framework: `Library    httpserve.robot.HttpServe`.

Knows Robot Framework and, like the other front ends, our public API. Inert unless imported: Robot is an optional
package, `pip install 'httpserve[robot]'`.
"""

from httpserve import MissingExtra

try:
    import robot as _robot  # noqa: F401  # only to say which extra is missing
except ImportError as error:
    raise MissingExtra("httpserve.robot", "robot") from error

from httpserve.robot.library import HttpServe

__all__ = ["HttpServe"]
