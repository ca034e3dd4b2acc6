"""One answer of a site, held to what it says of itself, and whether a descriptor stayed open.

Knows the site as a WSGI app. Knows no fuzzer and no socket.
"""

from __future__ import annotations

import os
from typing import Any

from httpserve.plan import Data, Plan, Region
from httpserve.site.app import Site


class Asked:
    """One answer of a site, its body read and its files closed."""

    def __init__(self, site: Site, method: str, path: str, fields: dict[str, str]) -> None:
        self.status = 0
        self.fields: dict[str, str] = {}
        self._lines: list[tuple[str, str]] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, **fields}
        plan = site(environ, self._start_response)
        assert isinstance(plan, Plan)
        self.plan = plan
        try:
            self.pieces = [_read(step) for step in plan.steps]
            self.body = b"".join(plan)
        finally:
            plan.close()

    def _start_response(self, status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert not self.status, "an answer begins once"
        self.status = int(status[:3])
        self._lines = fields
        self.fields = dict(fields)
        assert len(self.fields) == len(fields)
        for name, value in fields:
            assert (name + value).isascii()
            assert (name + value).isprintable()

    def check(self, method: str) -> None:
        """Hold the answer to what it says of itself."""
        length = self.fields.get("Content-Length")
        assert len(self.body) == self.plan.length
        if method == "HEAD" or self.status in (204, 304):
            assert not self.body
        else:
            assert length == str(len(self.body))
        raw = "".join(f"{name}: {value}\r\n" for name, value in self._lines).encode()
        assert self.plan.raw_fields in (None, raw)
        if self.plan.repeatable is not None:
            again = bytearray(self.plan.length)
            assert self.plan.repeatable.read(memoryview(again))
            assert again == self.body
            assert self.plan.repeatable.is_unchanged()


def _read(step: object) -> bytes:
    if isinstance(step, Region):
        return os.pread(step.file.fd, step.length, step.offset)
    assert isinstance(step, Data)
    return step.data


class Descriptors:
    """Tells whether a descriptor was left open: the system gives out the lowest that is free."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._free = self._next()

    def _next(self) -> int:
        fd = os.dup(self._null)
        os.close(fd)
        return fd

    def check(self) -> None:
        """Raise AssertionError where one was left open since the last time."""
        free = self._next()
        assert free <= self._free
        self._free = free  # the collector may have closed what others left open

    def close(self) -> None:
        """Give up the one that this took."""
        os.close(self._null)
