"""What the command line leaves beside the URL once it is ready: the file with the port, and the picture for a phone.

Knows files and terminals. Does not know the server.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

from httpserve import MissingExtra, StorageError


@contextlib.contextmanager
def port_file(path: str | None, port: int) -> Iterator[None]:
    """Have a file with the port in it while the block runs. It appears whole; a pipe or a device is written to."""
    if path is None:
        yield
        return
    try:
        ours = write_whole(path, f"{port}\n")
    except OSError as error:
        raise StorageError(f"the port could not be written to {path!r}: {error.strerror}", path) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            there = os.stat(path)
            if (there.st_dev, there.st_ino) == ours:  # else another server has written its own meanwhile
                os.unlink(path)


def write_whole(path: str, text: str) -> tuple[int, int] | None:
    """Write a file in one step, and return which it is; None for what is no regular file and was there before."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="ascii") as there:
            there.write(text)
        return None
    sibling = f"{path}.{os.getpid()}"
    try:
        with open(sibling, "x", encoding="ascii") as new:
            new.write(text)
            status = os.fstat(new.fileno())
        os.replace(sibling, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(sibling)
        raise
    return status.st_dev, status.st_ino


def qr_code(url: str, encoding: str) -> str:
    """Return a picture of a URL for a terminal, drawn in half blocks where the encoding has them."""
    try:
        import segno
    except ImportError:
        raise MissingExtra("--qr", "qr") from None
    picture = io.StringIO()
    try:
        "\u2580".encode(encoding)
        has_blocks = True
    except UnicodeEncodeError:
        has_blocks = False
    segno.make(url, micro=False).terminal(picture, compact=has_blocks)
    return picture.getvalue().rstrip("\n")
