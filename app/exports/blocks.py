"""Blocks of a file's content: the unit in which rows are written, counted, hashed and compressed.

The same rows always result in the same blocks, so that everything computed from the blocks is the same, too.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

BLOCK_BYTES = 256 * 1024  # approximately; a block ends with the step that reaches it
STEP_ROWS = 32  # joined at once, because single rows are slow, and many more could be a hundred megabytes

Row = TypeVar("Row")
Block = tuple[bytes, int]  # bytes that end at a row's end, and their number of rows


def of_lines(lines: Iterable[bytes]) -> Generator[Block]:
    """Yield lines of a row each as blocks."""
    with ended(lines) as left:
        yield from of_pieces((b"".join(step), len(step)) for step in steps(left))


def of_pieces(pieces: Iterable[Block]) -> Generator[Block]:
    """Combine small blocks into blocks of the usual size."""
    gathered, size, rows = [], 0, 0
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
def ended(rows: Iterable[Row]) -> Iterator[Iterator[Row]]:
    """Yield an iterator of the rows, and close the rows when the body ends, so that the database stops the query."""
    try:
        yield iter(rows)
    finally:
        close = getattr(rows, "close", None)
        if close is not None:
            close()
