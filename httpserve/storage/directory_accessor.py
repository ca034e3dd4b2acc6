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

from httpserve.errors import NotADirectory, StorageError, Unsupported
from httpserve.storage.accessor import Presigned
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.os_errors import translating
from httpserve.storage.directory.root import Root
from httpserve.storage.entries import listed
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
            return listed(self._root.open().ground, name, is_directory=is_directory, recursive=recursive)

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
