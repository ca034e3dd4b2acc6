"""Where the files of a script live: a directory of this host, or a store of objects that an opendal operator reaches.

Knows the arguments that say so. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import opendal

from httpserve.base.arguments import StrPath, checked_count, checked_directory, checked_seconds
from httpserve.base.outcome import StoreSeen
from httpserve.base.paths import scheme_of
from httpserve.errors import InvalidArgument, InvalidType, Unsupported
from httpserve.site.redirects import Redirects
from httpserve.storage.accessor import Accessor
from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor
from httpserve.storage.operators import new_operator
from httpserve.storage.served import Listeners, ServedRoot

CACHE_BYTES = 8 * 1024**3


class Files(NamedTuple):
    """What is served, and how `storage` gets at it."""

    root: ServedRoot
    accessor: Accessor
    redirects: Redirects | None = None  # whom the site sends on
    look: Callable[[], StoreSeen] | None = None  # what a store is seen to do when it is tried


class StoreTerms(NamedTuple):
    """How a store is served. `HttpServerClient` says what each means."""

    cache_dir: StrPath | None
    cache_bytes: int
    fresh_for: float
    redirect: bool | str | Collection[str]
    look_timeout: float
    look_tries: int
    read_timeout: float
    read_tries: int


def files_of(
    directory: StrPath | None,
    operator: object,
    listeners: Listeners,
    terms: StoreTerms,
    *,
    remove_created: bool | None,
    read_only: bool,
) -> Files:
    """Return the files of a directory, or those that an operator reaches.

    Raises InvalidArgument, InvalidType, and Unsupported where the service of the operator cannot be served.
    """
    if operator is None:
        if read_only and directory is None:
            raise InvalidArgument("read_only=True needs a root_dir: a private directory would stay empty")
        if terms.redirect is not False:
            raise InvalidArgument(f"redirect={terms.redirect!r} sends clients on to a store, and root= names none")
        root = Root(directory, remove_created=remove_created is not False, read_only=read_only, listeners=listeners)
        return Files(root, DirectoryAccessor(root))
    if isinstance(operator, str) and scheme_of(operator):
        operator = new_operator(operator, {})
    if directory is not None:
        raise InvalidArgument("root_dir and root are both given; files live in a directory or in a store")
    if isinstance(operator, opendal.AsyncOperator):
        raise InvalidType("root is an AsyncOperator, but this object blocks; pass operator.to_operator()")
    if not isinstance(operator, opendal.Operator):
        raise InvalidType(f"root must be an opendal.Operator or a URL, not {operator!r}; a path is root_dir=")
    # On first use: who serves a directory needs none of it.
    from httpserve.storage.cache.cache import Cache
    from httpserve.storage.store.calls import Patience
    from httpserve.storage.store.root import StoreRoot

    if isinstance(terms.cache_bytes, bool) or not isinstance(terms.cache_bytes, int) or terms.cache_bytes < 0:
        raise InvalidArgument(f"cache_bytes must be a number of bytes, 0 for no cache, not {terms.cache_bytes!r}")
    path = None if terms.cache_dir is None else checked_directory("cache_dir", terms.cache_dir)
    store = StoreRoot(
        operator,
        cache=Cache(path, terms.cache_bytes) if terms.cache_bytes else None,
        fresh_for=checked_seconds("fresh_for", terms.fresh_for, zero=True),
        patience=Patience(
            look=checked_seconds("look_timeout", terms.look_timeout),
            looks=checked_count("look_tries", terms.look_tries),
            read=checked_seconds("read_timeout", terms.read_timeout),
            reads=checked_count("read_tries", terms.read_tries),
        ),
        remove_created=bool(remove_created),
        read_only=read_only,
        listeners=listeners,
    )
    redirects = None
    if terms.redirect is not False:
        if not operator.capability().presign_read:
            raise Unsupported(f"redirect={terms.redirect!r} needs a store that signs URLs, and {store.label} does not")
        redirects = Redirects(terms.redirect, store.signed_url)
    return Files(store, store, redirects, store.seen)
