"""`NAME.sha256`: the digest of a file, in the form that `sha256sum -c` reads, as a file that lies on no disk.

Knows which files have a digest, and how long to wait for one that is being computed. Reads no file, and knows no
request.
"""

from __future__ import annotations

import hashlib

from httpserve.errors import InvalidName, IsADirectory, NotFound, NotPermitted
from httpserve.storage.served import DigestPending, Identity, MemoryFile, Served, Status

SUFFIX = ".sha256"
# Most clients on boards do not ask again after a 503, so the answer waits: two seconds until a file that was just
# written has rested, and two more to read one or two GB. The clients' own patience is 15 s and more.
WAIT_SECONDS = 4.0


def probe_file(name: str, data: bytes, time_ns: int) -> MemoryFile:
    """Return a file that is on no disk, with a time in ns since the epoch."""
    identity = Identity(0, 0, len(data), time_ns, time_ns)
    return MemoryFile(Status(name, identity, hashlib.sha256(data).hexdigest(), shares_second=False), data)


def digest_version(served: Served, name: str) -> Status | None:
    """Return which version of a digest `name`, with the suffix, asks for; None if there is no file for it.

    Costs one look at the file.

    Raises:
        StorageError: The disk fails.
    """
    found = _file_of(served, name)
    return None if found is None else _version(name, found)


def digest_file(served: Served, name: str) -> MemoryFile | None:
    """Return the digest that `name`, with the suffix, asks for; None if there is no file for it.

    Blocks for at most WAIT_SECONDS if the digest has to be computed.

    Raises:
        DigestPending: That was not enough.
        StorageError: The disk fails.
        InvalidName: A symlink leads out of what is served by now.
    """
    found = _file_of(served, name)
    if found is None:
        return None
    sha256 = found.sha256 or served.digest(found.name, found.identity, WAIT_SECONDS)
    if sha256 is None:
        raise DigestPending(f"the digest of {found.name!r} is not known yet", name)
    return MemoryFile(_version(name, found), _line(sha256, found.name))


def _file_of(served: Served, name: str) -> Status | None:
    file_name = name.removesuffix(SUFFIX)
    if file_name == name or not file_name or file_name.endswith("/"):
        return None
    try:
        return served.status(file_name)
    except (NotFound, IsADirectory, NotPermitted, InvalidName):
        return None


def _version(name: str, file: Status) -> Status:
    """Return the version of the digest of a file: a new one for each version of the file.

    Its validators are known before the digest is, and stay the same: only if the file came in with a digest are they
    made from it.
    """
    line = _line(file.sha256 or 64 * "0", file.name)
    own = hashlib.sha256(line).hexdigest() if file.sha256 is not None else None
    # A file as long as its own digest must not be taken for it.
    return Status(name, file.identity.of_digest(len(line)), own, file.shares_second)


def _line(digest: str, name: str) -> bytes:
    last = name.rpartition("/")[2]
    # A leading backslash tells sha256sum that the name is escaped; no name of ours contains a backslash.
    escaped = last.replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != last else ""
    return f"{mark}{digest}  {escaped}\n".encode("utf-8", "surrogateescape")
