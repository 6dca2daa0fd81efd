"""Report file, or a part of it: blocks of rows that are compressed, hashed and counted while they are written.

A block is the unit in which rows are written. The same rows always result in the same blocks, so that everything
computed from the blocks is the same, too. Compressing, hashing and writing run in a thread beside the thread that
fetches the rows. All three release the interpreter lock, so a compressed report takes no longer than an uncompressed
report.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Protocol, TypeVar

import zstandard

BLOCK_BYTES = 256 * 1024  # approximately; a block ends with the step that reaches it
STEP_ROWS = 32  # joined at once, because single rows are slow, and many more could be a hundred megabytes
WAITING_BLOCKS = 8  # maximum blocks between the two threads, which limits memory
LEVEL = 1  # of compression, because higher levels save little for their cost
GZIP = zlib.MAX_WBITS | 16  # zlib's number for gzip's format, without a name or a time

Row = TypeVar("Row")
Block = tuple[bytes, int]  # bytes that end at a row's end, and their number of rows


def gather(pieces: Iterable[Block]) -> Generator[Block]:
    """Combine small blocks into blocks of the usual size."""
    gathered: list[bytes] = []
    size = rows = 0
    for data, count in pieces:
        gathered.append(data)
        size += len(data)
        rows += count
        if size >= BLOCK_BYTES:
            yield b"".join(gathered), rows
            gathered, size, rows = [], 0, 0
    if gathered:
        yield b"".join(gathered), rows


def steps(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield a few rows at a time."""
    while step := list(islice(rows, STEP_ROWS)):
        yield step


@contextmanager
def closed_at_end(rows: Iterable[Row]) -> Iterator[Iterator[Row]]:
    """Yield an iterator of the rows, and close the rows when the body ends, so that the database stops the query."""
    try:
        yield iter(rows)
    finally:
        if isinstance(rows, Generator):
            rows.close()


class Compressor(Protocol):
    """Compresses the bytes of a part, and returns compressed bytes as they become available."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress bytes and return the output available so far, which may be empty."""

    def flush(self) -> bytes:
        """Return the last bytes; even an empty part has some."""


class Uncompressed:
    """Returns the bytes unchanged; see `Compressor`."""

    def compress(self, data: bytes, /) -> bytes:
        """Return the bytes."""
        return data

    def flush(self) -> bytes:
        """Return nothing."""
        return b""


def compressor(name: str) -> Compressor:
    """Return a new compressor for a part: none, gzip (a member, RFC 1952) or zstd (a frame with a checksum, RFC 8878).

    Concatenated gzip members or zstd frames form a valid file, so the parts of a file can simply be joined. The output
    does not depend on the clock or the machine.
    """
    if name == "gzip":
        return zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
    if name == "zstd":
        return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    return Uncompressed()


class ReportFile:
    """Report file that counts what it writes. Use it as a context manager, which ends its thread.

    Attributes:
        rows: number of events added.
        bytes: number of bytes written.
        sha256: hash of these bytes in hexadecimal, once `close` has returned; None for a part, which needs none.
    """

    def __init__(self, write: Callable[[bytes], object], compressor: Compressor, *, is_part: bool = False) -> None:
        self._write = write
        self._compressor = compressor
        self._hash = None if is_part else hashlib.sha256()
        self._blocks: queue.Queue[bytes | None] = queue.Queue(WAITING_BLOCKS)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="file", daemon=True)
        self.rows = 0
        self.bytes = 0
        self.sha256: str | None = None

    def __enter__(self) -> ReportFile:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread.is_alive():
            self._failure = self._failure or RuntimeError("given up")  # write nothing more
            self._blocks.put(None)
            self._thread.join()

    def add(self, data: bytes, rows: int = 0) -> None:
        """Add some rows, or raise the error that occurred while writing earlier rows."""
        self._blocks.put(data)
        self.rows += rows
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Return when everything is written, or raise the error that occurred while writing."""
        self._blocks.put(None)
        self._thread.join()
        if self._failure:
            raise self._failure
        self.sha256 = self._hash.hexdigest() if self._hash else None

    def _work(self) -> None:
        """Process blocks to the end, even after a failure, so that `add` never waits for a full queue forever."""
        is_open = True
        while is_open:
            block = self._blocks.get()
            is_open = block is not None
            if self._failure:
                continue
            try:
                data = self._compressor.flush() if block is None else self._compressor.compress(block)
                if data:
                    self._write(data)
                    if self._hash:
                        self._hash.update(data)
                    self.bytes += len(data)
            except BaseException as error:  # noqa: BLE001 - it is raised where the file is being made
                self._failure = error
