"""A file that somebody hands in: which one it is, and its content, decompressed by what it is and not by its name."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import zstandard

from app.exceptions import BodyMalformed

BLOCK_BYTES = 64 * 1024
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # how they begin
CUT_SHORT = "The file is cut short: its compressed content has no end."


def fingerprint(file: BinaryIO) -> str:
    """The SHA-256 of a file, whose position is at its beginning before and after.

    Of all of it: two exports of the same size may differ in their middle only, and reading is the least of the work.
    """
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def content(file: BinaryIO, skip: int = 0) -> Iterator[bytes]:
    """A file's content in blocks, decompressed.

    Args:
        file: at its beginning; a pipe will do.
        skip: how many bytes of the content are left out at its beginning.

    Raises:
        BodyMalformed: it is not what it begins as, or cut short. What came before that is given out first.
    """
    first = file.read(BLOCK_BYTES)
    blocks = itertools.chain([first], iter(lambda: file.read(BLOCK_BYTES), b""))
    if first.startswith(GZIP):
        blocks = _gunzipped(blocks)
    elif first.startswith(ZSTD):
        blocks = _unzstded(blocks)
    for block in blocks:
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


def _gunzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for block in blocks:
        data = block
        while data:
            if inflater.eof:  # another member, or zeros that fill up a tape's block
                data = data.lstrip(b"\0")
                inflater = zlib.decompressobj(zlib.MAX_WBITS | 16) if data else inflater
            if data:
                try:
                    yield inflater.decompress(data)
                except zlib.error as error:
                    raise BodyMalformed(f"The file is not the gzip that it begins as: {error}.") from None
                data = inflater.unused_data
    if not inflater.eof:
        raise BodyMalformed(CUT_SHORT)


def _unzstded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    for block in blocks:
        data = block
        while data:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                raise BodyMalformed(f"The file is not the zstd that it begins as: {error}.") from None
            data = frame.unused_data
    if not frame.eof:
        raise BodyMalformed(CUT_SHORT)
