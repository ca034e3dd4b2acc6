"""What users see as `client.storage`: the files that are served, under the names of Jumpstarter's OpenDAL client.

Knows names as users write them, and which call of the accessor each method makes. Does not know HTTP, nor where the
files live; opendal lends its types, so that callers find what they are used to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal, overload

import opendal

from httpserve.base.arguments import quoted_value
from httpserve.base.log import logger
from httpserve.base.names import checked_name
from httpserve.base.outcome import TreeReport
from httpserve.base.progress import Progress
from httpserve.base.text import InPython, Message, printable
from httpserve.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidName,
    InvalidType,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    SourceNotFound,
    StorageError,
)
from httpserve.storage.accessor import Accessor, Presigned
from httpserve.storage.files import ReadFile, StorageFile, WriteFile
from httpserve.storage.metadata import Metadata, Names
from httpserve.storage.served import Fields

if TYPE_CHECKING:
    from opendal.capability import Capability
    from opendal.types import PresignedRequest
    from typing_extensions import Buffer

__all__ = ["Metadata", "Storage", "StorageFile"]

Path = str | os.PathLike[str]

log = logger("httpserve.storage")


class Storage:
    """The files that are served. Safe from any number of threads; every method plainly blocks.

    Paths are relative to the root, with or without a leading `/`; those of directories end in `/`. All methods
    raise `InvalidName` for a path that leads out of the root or that no file here can have. They wait only
    for the disk, except those that copy from or to elsewhere.
    """

    def __init__(self, accessor: Accessor, *, timeout: float, owner: object = None) -> None:
        """Give access to the files of *accessor*, which is opened at the first call.

        Args:
            timeout: seconds that a remote source or target may send nothing.
            owner: kept alive for as long as this object is, because its end closes the accessor.
        """
        self._owner = owner
        self._accessor = accessor
        self._timeout = timeout

    # Whole files

    def write_bytes(self, path: Path, data: Buffer) -> None:
        """Write a file in one step, and its parent directories where they are missing.

        Raises:
            IsADirectory: there is a directory of that name.
            NotADirectory: a part of the path is a file.
            NotPermitted: the system does not let this user write there.
            StorageError: the disk is full or fails; what was there before is untouched.
        """
        with self.open(path, "wb") as file:
            file.write_bytes(data)

    def read_bytes(self, path: Path) -> bytes:
        """Return all bytes of a file.

        Raises:
            NotFound: there is no such file.
            IsADirectory: the path is a directory's.
            NotPermitted: the system does not let this user read it.
        """
        with self.open(path, "rb") as file:
            return file.read_bytes()

    def write_from_path(self, dst: Path, src: Path, operator: opendal.Operator | None = None) -> None:
        """Copy a file into the root, in one step. Blocks until it is there.

        Args:
            dst: the path here.
            src: a local path, an http(s) URL, or a path on *operator*.
            operator: the blocking opendal operator to read from; default: the local disk.

        Raises:
            CopyFailed: the source is missing, fails or stalls; what was there before is untouched.
            StorageError: as `write_bytes`.
        """
        self.store(dst, src, operator, always=True)

    def store(
        self,
        dst: Path,
        src: Path,
        operator: opendal.Operator | None = None,
        *,
        sha256: str | None = None,
        progress: Progress = None,
        timeout: float | None = None,
        fields: Fields = (),
        decompress: bool | Literal["auto"] = False,
        max_bytes: int | None = None,
        always: bool = False,
        overwrite: bool = True,
    ) -> str:
        """Copy a file into the root unless it is unchanged, and return the SHA-256 of what is there in hexadecimal.

        `HttpServerClient.put_file` is this plus a URL to return; it says what each argument means.
        """
        # On first use: a script that puts no file does not need it.
        from httpserve.storage.copying.opening import item_of
        from httpserve.storage.copying.unchanged import Manner
        from httpserve.storage.putting import put

        name = _file_name("write", dst)
        accessor = self._opened()
        item = item_of(name, src, operator, timeout=self._timeout if timeout is None else timeout)
        manner = Manner(fields, decompress, max_bytes)
        if not overwrite and self.exists(name):
            raise AlreadyExists(f"write {name!r}: there is a file of that name, and overwrite=False keeps it", name)
        try:
            done = put(
                *(accessor, name, item, manner),
                begin=accessor.incoming,
                sha256=sha256,
                always=always,
                overwrite=overwrite,
                progress=progress,
            )
        except SourceNotFound as error:
            if operator is None and os.path.exists(dst):
                swapped = InPython(f"; {dst!r} exists: the name on the server comes first, then the source")
                raise SourceNotFound(Message("{}{}", str(error), swapped), error.source, error.name) from None
            raise
        log.info("%s %s", name, done.said)
        return done.sha256

    def store_tree(
        self,
        dst: Path,
        src: Path,
        operator: opendal.Operator | None = None,
        *,
        include: str | Collection[str] = (),
        exclude: str | Collection[str] = (),
        delete: bool = False,
        always: bool = False,
        threads: int | None = None,
        progress: Progress = None,
        timeout: float | None = None,
    ) -> TreeReport:
        """Copy all files below a directory into the root. `HttpServerClient.put_tree` says what each argument means."""
        from httpserve.storage.copying.trees import Wanted, tree_of
        from httpserve.storage.many import Fate, names_on_server, put_many, remove_others

        below, _ = _parts(dst)
        wanted = Wanted(include, exclude)
        accessor = self._opened()
        tree = tree_of(src, operator, wanted, timeout=self._timeout if timeout is None else timeout)
        fate = Fate({f"{below}/{name}".lstrip("/"): error for name, error in tree.errors.items()})
        items = names_on_server(below, tree.items, fate)
        put_many(accessor, items, fate, always=always, threads=threads, is_local=tree.is_local, progress=progress)
        fate.check(f"put_tree {below or '/'!r}")
        if delete:
            remove_others(accessor, below, {name for name, _ in items}, wanted, fate)
        return fate.report()

    def store_files(
        self,
        files: Mapping[str, Path],
        operator: opendal.Operator | None = None,
        *,
        always: bool = False,
        threads: int | None = None,
        progress: Progress = None,
        timeout: float | None = None,
    ) -> TreeReport:
        """Copy several files into the root. `HttpServerClient.put_files` says what each argument means."""
        from httpserve.storage.copying.opening import is_remote, item_of
        from httpserve.storage.many import Fate, put_many

        if not isinstance(files, Mapping):
            raise InvalidType(f"files must be a mapping of names to sources, not {type(files).__name__}")
        seconds = self._timeout if timeout is None else timeout
        items = [(_file_name("write", dst), item_of(dst, src, operator, timeout=seconds)) for dst, src in files.items()]
        twice = len(items) - len({name for name, _ in items})
        if twice:
            raise InvalidArgument("files has a name twice, in two spellings")
        fate = Fate()
        is_local = operator is None and not any(is_remote(item.path) for _, item in items)
        accessor = self._opened()
        put_many(accessor, items, fate, always=always, threads=threads, is_local=is_local, progress=progress)
        fate.check("put_files")
        return fate.report()

    def read_into_path(self, src: Path, dst: Path, operator: opendal.Operator | None = None) -> None:
        """Copy a file out of the root. Blocks until it is there.

        Args:
            src: the path here.
            dst: a local path, or a path on *operator*; not a URL.
            operator: the blocking opendal operator to write to; default: the local disk.

        Raises:
            NotFound: there is no file *src*.
            InvalidArgument: *dst* is a URL, or cannot be a path.
            CopyFailed: the target cannot be written.
        """
        with self.open(src, "rb") as file:
            file.read_into_path(dst, operator)

    @overload
    def open(self, path: Path, mode: Literal["rb"]) -> ReadFile: ...

    @overload
    def open(self, path: Path, mode: Literal["wb"]) -> WriteFile: ...

    def open(self, path: Path, mode: Literal["rb", "wb"]) -> StorageFile:
        """Open a file as Python's `open` does. What is written is seen when the file is closed.

        Raises:
            NotFound: mode "rb", and there is no such file.
            IsADirectory: the path is a directory's.
            InvalidArgument: another mode.
        """
        name = _file_name("open", path)
        if not _is_one_of(mode, ("rb", "wb")):
            raise InvalidArgument(f"open {name!r}: the mode is 'rb' or 'wb', not {quoted_value(mode)}")
        if mode == "rb":
            return ReadFile(self._opened().read(name), self._timeout)
        return WriteFile(self._opened().incoming(name), self._timeout)

    # What is there

    def exists(self, path: Path) -> bool:
        """Say whether there is a file or directory of that name; with a `/` at its end only a directory."""
        try:
            self._stat("exists", path)
        except (NotFound, NotADirectory):
            return False
        return True

    def stat(self, path: Path) -> Metadata:
        """Return size, time and kind of a file or directory, and the ETag of one that came in with a digest.

        Raises:
            NotFound: there is none.
            NotADirectory: the path ends in `/`, but is that of a file.
        """
        return self._stat("stat", path)

    def hash(self, path: Path, algo: Literal["md5", "sha256"] = "sha256") -> str:
        """Return the digest of a file in hexadecimal. Reads all of it, unless its SHA-256 is known.

        Raises:
            NotFound: there is no such file.
            InvalidArgument: another algorithm.
        """
        name = _file_name("hash", path)
        if not _is_one_of(algo, ("md5", "sha256")):
            raise InvalidArgument(f"hash {name!r}: 'md5' and 'sha256' are known, {quoted_value(algo)} is not")
        with ReadFile(self._opened().read(name), self._timeout) as file:
            if algo == "sha256":
                return file.sha256 or hashlib.file_digest(file, "sha256").hexdigest()
            # A checksum here: systems that forbid MD5 for security allow that.
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def list(self, path: Path) -> Names:
        """Return a directory itself and what is in it, directories with a `/` at the end.

        A path without that `/` means, as in opendal, everything in its parent whose name begins with it. If
        there is nothing, the list is empty.
        """
        return self._listed("list", path, recursive=False)

    def scan(self, path: Path) -> Names:
        """Return what `list` returns, and what is in the directories below."""
        return self._listed("scan", path, recursive=True)

    def capability(self) -> Capability:
        """Return what these methods support, as opendal words it."""
        return self._opened().capability()

    def get_created_resources(self) -> set[str]:
        """Return the files and directories that were created here, without `/` at either end."""
        return self._accessor.created()

    # Changes

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file over whatever is at *target*, in one step.

        Raises:
            NotFound: there is no file *source*.
            IsADirectory: either is a directory.
        """
        old, new = _file_name("copy", source), _file_name("copy to", target)
        _check_differ("copy", old, new)
        self._opened().copy(old, new)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file or a directory in one step; a file replaces whatever is at *target*.

        Raises:
            NotFound: there is no *source*.
            IsADirectory: *target* is a directory, and *source* is a file.
            NotADirectory: *target* is a file, and *source* is a directory.
        """
        (old, old_is_directory), (new, new_is_directory) = _parts(source), _parts(target)
        if not old or not new:
            raise NotPermitted(f"rename {old or '/'!r} to {new or '/'!r}: the root keeps its place", old)
        _check_differ("rename", old, new)
        if old_is_directory or new_is_directory:
            self._stat("rename", f"{old}/")
        self._opened().rename(old, new)

    def create_dir(self, path: Path) -> None:
        """Make a directory, and its parents. Harmless when it exists.

        Raises:
            NotADirectory: the path does not end in `/`.
            AlreadyExists: there is a file of that name.
        """
        name, is_directory = _parts(path)
        if not is_directory:
            raise NotADirectory(f"create_dir {name!r}: the path of a directory ends in '/'", name)
        self._opened().create_dir(name)

    def delete(self, path: Path) -> None:
        """Remove a file or an empty directory. Harmless when there is none.

        Raises:
            StorageError: the directory is not empty; `remove_all` removes it.
        """
        name, is_directory = _parts(path)
        if not name:
            raise NotPermitted("delete '/': the root stays; remove_all('/') removes what is in it", "/")
        is_file = is_directory and self.exists(name) and not self.exists(f"{name}/")
        if not is_file:  # what is asked for does not exist, else
            self._opened().delete(name)

    def remove_all(self, path: Path) -> None:
        """Remove a file, or a directory with all in it. Harmless when there is none."""
        name, is_directory = _parts(path)
        if not is_directory or self.exists(f"{name}/"):
            self._opened().remove_all(name)

    # Requests that a store has signed

    def presign_stat(self, path: Path, expire_second: int) -> PresignedRequest:
        """Return a request that tells what `stat` does, for anybody, for so many seconds.

        Raises:
            Unsupported: the store cannot sign, or this is a local directory.
        """
        return self._presigned("stat", path, expire_second)

    def presign_read(self, path: Path, expire_second: int) -> PresignedRequest:
        """Return a request that reads a file, for anybody, for so many seconds. Raises what `presign_stat` raises."""
        return self._presigned("read", path, expire_second)

    def presign_write(self, path: Path, expire_second: int) -> PresignedRequest:
        """Return a request that writes a file, for anybody, for so many seconds. Raises what `presign_stat` raises."""
        return self._presigned("write", path, expire_second)

    def __repr__(self) -> str:
        try:
            return f"<Storage of {printable(self._accessor.label)}>"
        except StorageError:  # a private directory that does not exist yet
            return "<Storage>"

    def _opened(self) -> Accessor:
        self._accessor.open()
        return self._accessor

    def _listed(self, operation: str, path: Path, *, recursive: bool) -> Names:
        name, is_directory = _parts(path)
        return self._opened().list(operation, name, is_directory=is_directory, recursive=recursive)

    def _stat(self, operation: str, path: Path) -> Metadata:
        name, is_directory = _parts(path)
        return self._opened().stat(operation, name, is_directory=is_directory)

    def _presigned(self, operation: Presigned, path: Path, seconds: int) -> PresignedRequest:
        name, _ = _parts(path)
        return self._opened().presign(operation, name, seconds)


def _parts(path: Path) -> tuple[str, bool]:
    """Return the normal form of a path, and whether it is written as that of a directory."""
    name = checked_name(path, directory=True)
    return name, not name or os.fspath(path).endswith(("/", "/."))


def _file_name(operation: str, path: Path) -> str:
    name, is_directory = _parts(path)
    if not os.fspath(path):
        raise InvalidName("", "it is empty, and a file is meant")
    if is_directory:
        reason = "a path that ends in '/' is a directory's; add the file's own name"
        raise IsADirectory(f"{operation} {os.fspath(path)!r}: {reason}", name)
    return name


def _is_one_of(word: object, words: tuple[str, ...]) -> bool:
    return isinstance(word, str) and word in words


def _check_differ(operation: str, source: str, target: str) -> None:
    if source == target:
        raise StorageError(f"{operation} {source!r}: source and target are the same", source)
