"""`NAME.sha256`: the digest of a file, in the form that `sha256sum -c` reads, as a file that lies on no disk.

Knows what came in with a digest. Reads no file, and knows no request.
"""

from __future__ import annotations

import hashlib

from httpserve.errors import InvalidName, IsADirectory, NotFound, NotPermitted
from httpserve.storage.served import Identity, Served

SUFFIX = ".sha256"


class MemoryFile:
    """A file that lies in memory: one version, as an open file is."""

    __slots__ = ("data", "identity", "name", "sha256", "shares_second")

    def __init__(self, name: str, data: bytes, identity: Identity, *, shares_second: bool) -> None:
        self.name = name
        self.data = data
        self.identity = identity._replace(size=len(data))  # a new version of the file is one of its digest too
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.shares_second = shares_second

    def close(self) -> None:
        """Do nothing: no descriptor is held."""


def digest_file(served: Served, name: str) -> MemoryFile | None:
    """Return the digest that `name`, with the suffix, asks for; None where no file of that name came in with one.

    Raises:
        StorageError: The disk fails.
    """
    file_name = name.removesuffix(SUFFIX)
    if file_name == name or not file_name or file_name.endswith("/"):
        return None
    try:
        found = served.status(file_name)
    except (NotFound, IsADirectory, NotPermitted, InvalidName):
        return None
    if found.sha256 is None:
        return None
    data = _line(found.sha256, file_name.rpartition("/")[2])
    return MemoryFile(name, data, found.identity, shares_second=found.shares_second)


def _line(digest: str, name: str) -> bytes:
    # A leading backslash tells sha256sum that the name is escaped; no name of ours contains a backslash.
    escaped = name.replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{digest}  {escaped}\n".encode("utf-8", "surrogateescape")
