"""Compression of a report file while it is written.

Each part of a file is compressed independently. Concatenated gzip members or zstd frames form a valid file, so the
parts can simply be joined. The output does not depend on the clock or the machine.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import zstandard

# Level 1 of each, because higher levels save little for their cost.
LEVEL = 1
GZIP = zlib.MAX_WBITS | 16  # zlib's number for gzip's format, without a name or a time


class Compressor(Protocol):
    """Compresses the bytes of a part, and returns compressed bytes as they become available."""

    def compress(self, data: bytes) -> bytes:
        """Compress bytes and return the output available so far, which may be empty."""

    def finish(self) -> bytes:
        """Return the last bytes; even an empty part has some."""


def compressor(name: str) -> Compressor:
    """Return a new compressor for a part.

    Args:
        name: none, gzip or zstd.
    """
    return {"none": Uncompressed, "gzip": Gzip, "zstd": Zstd}[name]()


class Uncompressed:
    """Returns the bytes unchanged."""

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return data

    def finish(self) -> bytes:
        """See `Compressor`."""
        return b""


class Gzip:
    """A gzip member (RFC 1952)."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._deflater.compress(data)

    def finish(self) -> bytes:
        """See `Compressor`."""
        return self._deflater.flush()


class Zstd:
    """A zstd frame (RFC 8878), with a checksum like that of a gzip member."""

    def __init__(self) -> None:
        self._frame = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._frame.compress(data)

    def finish(self) -> bytes:
        """See `Compressor`."""
        return self._frame.flush()
