"""The accessor of a directory that is served.

Knows which call of the root each method makes. Everything goes by the system's own calls, which are atomic, confined to
the root and honest in their errors; opendal lends its types.
"""

from __future__ import annotations

import io
import stat
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

import opendal
from opendal.layers import CapabilityOverrideLayer

from httpserve.base.names import is_name
from httpserve.base.tables import Listing
from httpserve.errors import InvalidName, NotADirectory, StorageError, Unsupported
from httpserve.storage.accessor import Presigned
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.os_errors import translating
from httpserve.storage.directory.places import Ground
from httpserve.storage.directory.root import Root
from httpserve.storage.metadata import Metadata, Names
from httpserve.storage.served import AnyIdentity, Identity

if TYPE_CHECKING:
    from opendal.capability import Capability

# What the fs service of opendal can do, but these methods do not offer.
_NOT_OFFERED = "write_can_append=false,write_with_if_not_exists=false,write_with_user_metadata=false"


class DirectoryReadable:
    """An open file of a directory."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.name: str = file.name
        self.identity: AnyIdentity = file.identity
        self.sha256: str | None = file.sha256
        self.unchanged = file.unchanged
        self.close = file.close

    def raw(self) -> io.RawIOBase:
        # The OpenFile owns the descriptor, so a forgotten object gives no ResourceWarning.
        return io.FileIO(self._file.fd, "rb", closefd=False)


class DirectoryAccessor:
    """Implements `Accessor` for a root that is opened at the first call."""

    is_local = True

    def __init__(self, root: Root) -> None:
        self._root = root
        self.open = root.open
        self.incoming = root.incoming
        self.created = root.created
        self.row = root.row
        self.note_of = root.note_of
        self.renew = root.renew

    @property
    def label(self) -> str:
        return self._root.path

    def stat(self, operation: str, name: str, *, is_directory: bool) -> Metadata:
        with translating(operation, name):
            found = self._root.open().ground.status(name)
        if is_directory and not stat.S_ISDIR(found.st_mode):
            raise NotADirectory(f"{operation} {name!r}: it is a file", name)
        return Metadata.of(found, self._root.digest_on_record(name, Identity.of(found)))

    def read(self, name: str) -> DirectoryReadable:
        return DirectoryReadable(self._root.open().open_file(name))

    def may_change(self, name: str) -> bool:
        return True

    def list(self, operation: str, name: str, *, is_directory: bool, recursive: bool) -> Names:
        with translating(operation, name or "/"):
            return _listed(self._root.open().ground, name, is_directory=is_directory, recursive=recursive)

    def copy(self, source: str, target: str) -> None:
        with (
            translating("copy", source, target),
            closing(self._root.open().open_file(source)) as file,
            self._root.incoming(target) as incoming,
        ):
            incoming.copy_from(file.fd)
            if not file.unchanged():
                raise StorageError(f"copy {source!r}: it changed while it was read", source)
            incoming.commit(file.sha256)

    def rename(self, source: str, target: str) -> None:
        self._root.open().changes.rename(source, target)

    def create_dir(self, name: str) -> None:
        self._root.open().changes.create_dir(name)

    def delete(self, name: str) -> None:
        self._root.open().changes.delete(name)

    def remove_all(self, name: str) -> None:
        self._root.open().changes.remove_all(name)

    def capability(self) -> Capability:
        operator = opendal.Operator("fs", root=self._root.open().path)
        return operator.layer(CapabilityOverrideLayer(_NOT_OFFERED)).capability()

    def presign(self, operation: Presigned, name: str, seconds: int) -> NoReturn:
        text = f"presign_{operation} {name!r}: a local directory signs nothing; get_url() gives the URL"
        raise Unsupported(text, name)


def _listed(ground: Ground, name: str, *, is_directory: bool, recursive: bool) -> Names:
    """Return a directory and its entries, or (not *is_directory*) what begins with *name* in its parent."""
    own: Names = []
    links: set[str] = set()  # to directories: they are shown, but may lead in a circle
    waiting = _entries(ground, name if is_directory else name.rpartition("/")[0], links)
    if waiting is None:
        return Listing()
    if is_directory:
        own.append(f"{name}/")
    else:
        waiting = [entry for entry in waiting if entry.startswith(name)]
    found = []
    while waiting:
        entry = waiting.pop()
        found.append(entry)
        if recursive and entry.endswith("/") and entry not in links:
            waiting += _entries(ground, entry[:-1], links) or []
    return Listing(own + sorted(found))


def _entries(ground: Ground, name: str, links: set[str]) -> Names | None:
    """Return what is in a directory and can be asked for, and add to *links*; None if there is no such directory."""
    found = []
    try:
        with ground.directory(name) as directory:
            for entry in directory:
                below = f"{name}/{entry.name}" if name else entry.name
                if not is_name(below):
                    continue
                if not entry.is_symlink():
                    found.append(f"{below}/" if entry.is_dir(follow_symlinks=False) else below)
                    continue
                try:
                    leads_to = directory.status(entry)
                except (InvalidName, OSError):  # nowhere, in a circle, or out of the root
                    continue
                if stat.S_ISDIR(leads_to.st_mode):
                    below += "/"
                    links.add(below)
                found.append(below)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found
