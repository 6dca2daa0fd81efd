"""Input files: their fingerprint, and their content, decompressed by its format and not by the file's name."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import zstandard

from app.exceptions import BodyMalformed

BLOCK_BYTES = 64 * 1024
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # the first bytes of each format
CUT_SHORT = "The file is cut short: its compressed content has no end."


def fingerprint(file: BinaryIO) -> str:
    """Return the SHA-256 of a file, whose position is at its beginning before and after.

    It covers the whole file because two exports of the same size may differ only in the middle, and reading is cheap
    compared with the import.
    """
    digest = hashlib.sha256()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def content(file: BinaryIO, skip: int = 0) -> Iterator[bytes]:
    """Yield a file's content in blocks, decompressed.

    Args:
        file: at its beginning; it may be a pipe.
        skip: number of bytes to skip at the beginning of the content.

    Raises:
        BodyMalformed: the content does not have the format of its first bytes, or is cut short. The content before the
            error is yielded first.
    """
    first = file.read(BLOCK_BYTES)
    blocks: Iterator[bytes] = itertools.chain([first], iter(lambda: file.read(BLOCK_BYTES), b""))
    if first.startswith(GZIP):
        blocks = _gunzip(blocks)
    elif first.startswith(ZSTD):
        blocks = _decompress_zstd(blocks)
    for block in blocks:
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for block in blocks:
        data = block
        while data:
            if inflater.eof:  # another member, or zeros that pad a tape's block
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


def _decompress_zstd(blocks: Iterable[bytes]) -> Iterator[bytes]:
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
