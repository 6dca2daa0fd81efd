"""A report file compressed as it is written.

Each part of a file is compressed by itself. One gzip member or zstd frame behind another is one valid file, so parts
become a whole by being put together. Nothing of the clock or the machine goes into them.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import zstandard

# Level 1 of each: what a further level saves is little beside what it costs.
LEVEL = 1
GZIP = zlib.MAX_WBITS | 16  # zlib's number for gzip's format; it writes neither a name nor a time


class Compressor(Protocol):
    """Takes a part's bytes, gives the compressed ones as they are ready."""

    def compress(self, data: bytes) -> bytes:
        """The next bytes, which may be none yet."""

    def finish(self) -> bytes:
        """The last bytes; a part of nothing has some, too."""


def compressor(name: str) -> Compressor:
    """A new one, for one part.

    Args:
        name: none, gzip or zstd.
    """
    return {"none": Uncompressed, "gzip": Gzip, "zstd": Zstd}[name]()


class Uncompressed:
    """As it is."""

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return data

    def finish(self) -> bytes:
        """See `Compressor`."""
        return b""


class Gzip:
    """One member, as RFC 1952 has it."""

    def __init__(self) -> None:
        self._deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._deflater.compress(data)

    def finish(self) -> bytes:
        """See `Compressor`."""
        return self._deflater.flush()


class Zstd:
    """One frame, as RFC 8878 has it, with a checksum, as a member of gzip has one."""

    def __init__(self) -> None:
        self._frame = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

    def compress(self, data: bytes) -> bytes:
        """See `Compressor`."""
        return self._frame.compress(data)

    def finish(self) -> bytes:
        """See `Compressor`."""
        return self._frame.flush()
