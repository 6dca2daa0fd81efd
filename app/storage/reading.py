"""Input files: their fingerprint, and their content, decompressed by its format and not by the file's name."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import zstandard

from app.exceptions import BodyMalformed

BLOCK_BYTES = 64 * 1024
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # the first bytes of each format


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
    """Yield a file's content in blocks, decompressed, without its first `skip` bytes. The file may be a pipe.

    Raises:
        BodyMalformed: the content does not have the format of its first bytes, or is cut short. The content before the
            error is yielded first.
    """
    first = file.read(BLOCK_BYTES)
    blocks: Iterator[bytes] = itertools.chain([first], iter(lambda: file.read(BLOCK_BYTES), b""))
    if first.startswith(GZIP):
        blocks = _decompress(blocks, "gzip", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16))
    elif first.startswith(ZSTD):
        blocks = _decompress(blocks, "zstd", lambda: zstandard.ZstdDecompressor().decompressobj())
    for block in blocks:
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


def _decompress(
    blocks: Iterable[bytes], name: str, begin: Callable[[], zlib._Decompress | zstandard.ZstdDecompressionObj]
) -> Iterator[bytes]:
    """Yield the content of gzip members or zstd frames, one behind the other."""
    part = begin()
    for block in blocks:
        data = block
        while data:
            if part.eof and name == "gzip":
                data = data.lstrip(b"\0")  # zeros may pad a tape's block
            if part.eof and data:
                part = begin()
            if data:
                try:
                    yield part.decompress(data)
                except (zlib.error, zstandard.ZstdError) as error:
                    raise BodyMalformed(f"The file is not the {name} that it begins as: {error}.") from None
                data = part.unused_data
    if not part.eof:
        raise BodyMalformed("The file is cut short: its compressed content has no end.")
