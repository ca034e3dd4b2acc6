"""A source that is decompressed on its way in: gzip, xz, bzip2 and zstd, told apart by their first bytes.

Knows the four formats by the standard library's decoders (zstd before Python 3.14: `backports.zstd`). Knows nothing of
where the bytes come from.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

from httpserve.base.arguments import checked_count
from httpserve.base.text import size
from httpserve.errors import CopyFailed, InvalidArgument, MissingExtra
from httpserve.storage.copying.ends import SourceChanged, TracedSource
from httpserve.storage.copying.messages import unreadable
from httpserve.storage.copying.unchanged import Origin

Decompress = bool | Literal["auto"]

READ_BYTES = 64 * 1024
MOST_BYTES = 16 * 1024**3  # of what comes out, unless the user says otherwise
MAGIC_BYTES = 6
PADDING = b"\0"


class Decoder(Protocol):
    """What decodes one member, as the decoders of bz2, lzma and compression.zstd do."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """One gzip member: zlib keeps its input outside, where the others keep it inside."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._left = b""

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._left

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        decoded = self._decoder.decompress(self._left + data, max_length)
        self._left = self._decoder.unconsumed_tail
        return decoded


def _zstd() -> Decoder:
    try:
        if sys.version_info >= (3, 14):  # pragma: no cover - not on the machine of every developer
            from compression.zstd import ZstdDecompressor
        else:
            from backports.zstd import ZstdDecompressor
    except ImportError:
        raise MissingExtra("zstd before Python 3.14", "zstd") from None
    decoder: Decoder = ZstdDecompressor()
    return decoder


_FORMATS: dict[bytes, tuple[str, Callable[[], Decoder]]] = {
    b"\x1f\x8b": ("gzip", _Gzip),
    b"\xfd7zXZ\0": ("xz", lzma.LZMADecompressor),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    # Frames that zstd skips, which pzstd and the seekable format have before, between or after the others.
    **{bytes([number]) + b"\x2a\x4d\x18": ("zstd", _zstd) for number in range(0x50, 0x60)},
}
_NAMES = "gzip, xz, bzip2 or zstd"


def checked_decompress(decompress: object) -> Decompress:
    """Return the argument. Raises InvalidArgument for anything but a bool and 'auto'."""
    if isinstance(decompress, bool):
        return decompress
    if isinstance(decompress, str) and decompress == "auto":
        return "auto"
    raise InvalidArgument(f"decompress must be True, False or 'auto', not {decompress!r}")


def _format_of(beginning: bytes) -> tuple[str, Callable[[], Decoder]] | None:
    return next((known for magic, known in _FORMATS.items() if beginning.startswith(magic)), None)


class DecompressedSource:
    """What another source is once it is decompressed: all its members, and nothing behind them but padding.

    Args:
        source: The other one, which it closes.
        decompress: True: a source that is not compressed is an error; "auto": it is taken as it is.
        max_bytes: The most that may come out.
    """

    def __init__(self, source: TracedSource, decompress: Decompress, max_bytes: int = MOST_BYTES) -> None:
        self._source = source
        self._must_be = decompress is True
        self._most = checked_count("max_bytes", max_bytes)
        self.interruptible = source.interruptible
        self._begin()

    def _begin(self) -> None:
        self._kind = ""  # the name of the format, once its first bytes have come; what is none stays without
        self._decoder: Decoder | None = None
        self._make: Callable[[], Decoder] | None = None
        self._ahead = b""  # read and not decoded
        self._is_known = False
        self._is_over = False
        self._given = 0

    @property
    def label(self) -> str:
        return self._source.label

    @property
    def size(self) -> int | None:
        """What the source says, where it is taken as it is."""
        return self._source.size if self._is_known and self._make is None else None

    @property
    def origin(self) -> Origin | None:
        return self._source.origin

    def readinto(self, buffer: memoryview) -> int:
        try:
            return self._readinto(buffer)
        except SourceChanged:
            self._begin()
            raise

    def _readinto(self, buffer: memoryview) -> int:
        if not self._is_known:
            self._look()
        if self._make is None:
            return self._as_it_is(buffer)
        while not self._is_over:
            data = self._decoded(len(buffer))
            if data:
                buffer[: len(data)] = data
                self._given += len(data)
                if self._given > self._most:
                    raise self._failed(f"decompressed it has more than {size(self._most)}; max_bytes= allows more")
                return len(data)
        return 0

    def _look(self) -> None:
        """Find out what it is, by its first bytes."""
        while len(self._ahead) < MAGIC_BYTES and (data := self._read()):
            self._ahead += data
        found = _format_of(self._ahead)
        if found is not None:
            self._kind, self._make = found
            self._decoder = self._make()
        elif self._must_be:
            raise self._failed(f"decompress=True, and it is not {_NAMES}; 'auto' takes it as it is")
        self._is_known = True

    def _as_it_is(self, buffer: memoryview) -> int:
        if not self._ahead:
            return self._source.readinto(buffer)
        data, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def _decoded(self, most: int) -> bytes:
        """Return what comes next, perhaps nothing yet."""
        decoder = self._decoder
        if decoder is None:
            return self._next_member()
        data = b""
        if decoder.needs_input:
            data, self._ahead = self._ahead or self._read(), b""
            if not data:
                raise self._failed(f"it ends in the middle of its {self._kind} data")
        try:
            decoded = decoder.decompress(data, most)
        except (OSError, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise self._failed(f"its {self._kind} data is damaged: {error}") from error
        except Exception as error:  # zstd has a class of its own, in a module that may not be there
            if type(error).__name__ != "ZstdError":
                raise
            raise self._failed(f"its {self._kind} data is damaged: {error}") from error
        if decoder.eof:
            self._ahead, self._decoder = decoder.unused_data, None
        return decoded

    def _next_member(self) -> bytes:
        """Begin with the next member, if there is one. Padding is no member."""
        while True:
            self._ahead = self._ahead.lstrip(PADDING)
            if len(self._ahead) >= MAGIC_BYTES or not (data := self._read()):
                break
            self._ahead += data
        if not self._ahead:
            self._is_over = True
            return b""
        found = _format_of(self._ahead)
        if found is None or found[0] != self._kind:
            raise self._failed(f"something else comes after its {self._kind} data")
        self._decoder = found[1]()
        return b""

    def _read(self) -> bytes:
        buffer = bytearray(READ_BYTES)
        count = self._source.readinto(memoryview(buffer))
        return bytes(buffer[:count])

    def finish(self) -> None:
        self._source.finish()

    def close(self) -> None:
        self._source.close()

    def _failed(self, why: str) -> CopyFailed:
        return unreadable(self.label, why)


def decompressed(source: TracedSource, decompress: Any, max_bytes: int | None) -> TracedSource:
    """Return a source as `put_file` is to read it. Raises InvalidArgument, and closes it then."""
    try:
        if max_bytes is not None and not decompress:
            raise InvalidArgument("max_bytes= bounds what decompress= gives; pass decompress=True or 'auto' with it")
        if not checked_decompress(decompress):
            return source
        return DecompressedSource(source, decompress, MOST_BYTES if max_bytes is None else max_bytes)
    except BaseException:  # a Ctrl-C too: nobody else has the source
        source.close()
        raise
