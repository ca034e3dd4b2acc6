"""The accessor of a root and of what is served in place beside it, which is read like the rest, and never changed.

Knows which of them a name belongs to. Does not know how any of them reads or writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opendal.types import EntryMode

from httpserve.base.tables import Listing
from httpserve.errors import NotADirectory, NotFound, Unsupported
from httpserve.storage.accessor import Accessor, Presigned, Readable, Writable
from httpserve.storage.in_place import InPlace
from httpserve.storage.joined import Joined
from httpserve.storage.metadata import Metadata, Names

if TYPE_CHECKING:
    from opendal.capability import Capability
    from opendal.types import PresignedRequest


class JoinedAccessor:
    """Implements `Accessor` over that of the root."""

    def __init__(self, joined: Joined, accessor: Accessor) -> None:
        self._joined = joined
        self._accessor = accessor
        self.open = accessor.open
        self.created = accessor.created
        self.note_of = accessor.note_of
        self.is_local = accessor.is_local

    @property
    def label(self) -> str:
        return self._accessor.label

    def stat(self, operation: str, name: str, *, is_directory: bool) -> Metadata:
        owner = self._joined.owner(name)
        try:
            return (owner or self._accessor).stat(operation, name, is_directory=is_directory)
        except NotFound:
            if name not in self._joined.directories():
                raise
            changed = datetime.fromtimestamp(self._joined.changed, UTC)
            return Metadata(mode=EntryMode.Dir, content_length=0, last_modified=changed)

    def read(self, name: str) -> Readable:
        return (self._joined.owner(name) or self._accessor).read(name)

    def incoming(self, name: str) -> Writable:
        self._joined.check_new(name)
        return self._accessor.incoming(name)

    @contextmanager
    def row(self) -> Iterator[Callable[[str], Writable]]:
        with self._accessor.row() as begin:

            def begun(name: str) -> Writable:
                self._joined.check_new(name)
                return begin(name)

            yield begun

    def renew(self, name: str, note: object) -> int | None:
        return self._accessor.renew(name, note) if self.may_change(name) else None

    def may_change(self, name: str) -> bool:
        return self._joined.owner(name) is None

    def list(self, operation: str, name: str, *, is_directory: bool, recursive: bool) -> Names:
        joined = self._joined
        directory = name if is_directory else name.rpartition("/")[0]
        owner = joined.owner(directory)
        try:
            known = (owner.listed if owner is not None else self._accessor.list)(
                operation, name, is_directory=is_directory, recursive=recursive
            )
        except NotADirectory:  # a file that is served in place
            known = []
        found = {one for one in known if joined.owner(one.strip("/")) is owner}
        for one in joined.in_place.values():
            found.update(self._in_place(one, f"{directory}/" if directory else "", operation, recursive=recursive))
        itself = f"{name}/"
        if is_directory and found:
            return Listing([itself, *sorted(found - {itself})])
        return Listing(sorted(entry for entry in found if entry.startswith(name)))

    def copy(self, source: str, target: str) -> None:
        self._check("copy to", target)
        owner = self._joined.owner(source)
        if owner is None:
            self._accessor.copy(source, target)
            return
        # On first use: most scripts copy nothing.
        from httpserve.storage.copying.copy import copy_in
        from httpserve.storage.copying.local import FileSource

        owner.read(source).close()  # raises where it may not be read
        with closing(FileSource(owner.path_of(source))) as opened:
            copy_in(opened, self._accessor.incoming(target))

    def rename(self, source: str, target: str) -> None:
        self._check("rename", source)
        self._check("rename to", target)
        self._accessor.rename(source, target)

    def create_dir(self, name: str) -> None:
        self._check("create_dir", name)
        self._accessor.create_dir(name)

    def delete(self, name: str) -> None:
        self._check("delete", name)
        self._accessor.delete(name)

    def remove_all(self, name: str) -> None:
        self._check("remove_all", name)
        self._accessor.remove_all(name)

    def capability(self) -> Capability:
        return self._accessor.capability()

    def presign(self, operation: Presigned, name: str, seconds: int) -> PresignedRequest:
        owner = self._joined.owner(name)
        if owner is not None:
            raise Unsupported(owner.refusal(f"presign_{operation}", name), name)
        return self._accessor.presign(operation, name, seconds)

    def _check(self, operation: str, name: str) -> None:
        self._joined.check_writable(operation, name)

    def _in_place(self, one: InPlace, prefix: str, operation: str, *, recursive: bool) -> Iterator[str]:
        """Give what is served in place, and the directories that lead to it, as entries of the directory *prefix*."""
        if not one.name.startswith(prefix) or not os.path.exists(one.path):
            return
        parts = one.name[len(prefix) :].split("/")
        for depth in range(1, len(parts) + 1 if recursive else 2):
            is_directory = depth < len(parts) or one.is_directory
            yield prefix + "/".join(parts[:depth]) + ("/" if is_directory else "")
        if recursive and one.is_directory:
            below = one.listed(operation, one.name, is_directory=True, recursive=True)
            yield from (entry for entry in below if self._joined.owner(entry.strip("/")) is one)
