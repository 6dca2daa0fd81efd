"""Reading of event files: split them into records at line ends, and a CSV record into cells.

What `csv` writes is read back exactly: an empty cell is a null, `""` an empty string. An invalid CSV record ends with
its line, so that a stray quote affects that line only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain

MAX_CHUNK_RECORDS = 2_000  # a chunk is one transaction that other writers wait for
CHUNK_BYTES = 2 * 1024 * 1024  # approximately
MAX_RECORD_BYTES = 8 * 1024 * 1024  # the largest event has 5 million if all its text is escaped
OVERLONG_BYTES = 1024 * 1024  # kept of a longer record
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Splits bytes into records, and returns the rest, which belongs to the next bytes; it is empty for the last bytes.
Cut = Callable[[bytes, bool], tuple[list[bytes], bytes]]


class Overlong(bytes):
    """Beginning of a record that exceeds the maximum length, by `more` bytes."""

    more = 0


@dataclass(frozen=True)
class Chunk:
    """Consecutive records.

    Attributes:
        records: without their line ends; a blank line is a record, too.
        line: the line of the file in which the first record begins, from 1.
        end: the offset in the file's content after the last record and its line end.
    """

    records: list[bytes]
    line: int
    end: int

    @cached_property
    def lines(self) -> list[int]:
        """Return the line of the file in which each record begins, and last, that of the next chunk."""
        return list(accumulate((record.count(b"\n") + 1 for record in self.records), initial=self.line))


def chunks(blocks: Iterable[bytes], cut: Cut, *, end: int = 0, line: int = 1) -> Iterator[Chunk]:
    """Yield the records that `cut` splits from content, whose blocks begin at a record, given by `end` and `line`."""
    gathered = _gather(blocks)
    if not end:
        first, is_last = next(gathered)
        plain = first.removeprefix(BYTE_ORDER_MARK)
        end, gathered = len(first) - len(plain), chain([(plain, is_last)], gathered)
    for records in _cut_all(gathered, cut):
        for begin in range(0, len(records), MAX_CHUNK_RECORDS):
            some = records[begin : begin + MAX_CHUNK_RECORDS]
            end += sum(map(len, some)) + len(some) + sum(one.more for one in some if isinstance(one, Overlong))
            chunk = Chunk(some, line, end)
            line = chunk.lines[-1]
            yield chunk


def lines(data: bytes, is_last: bool) -> tuple[list[bytes], bytes]:
    """Split at every line end."""
    records = data.split(b"\n")
    rest = records.pop()
    return ([*records, rest], b"") if is_last and rest else (records, rest)


class CsvRecords:
    """CSV with a delimiter, as `csv.line_writer` writes it."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        mark = re.escape(delimiter)
        quoted, plain = r'"[^"]*(?:""[^"]*)*"', rf'(?:(?!{mark})[^"\n])*'
        self._cell = re.compile(rf"({quoted}|{plain})({mark}|\Z)")
        self._whole = re.compile(rf"(?:{quoted}|{plain})(?:{mark}(?:{quoted}|{plain}))*\r?".encode())

    def cut(self, data: bytes, is_last: bool) -> tuple[list[bytes], bytes]:
        """Split at every line end that is not inside quotes."""
        physical, rest = lines(data, is_last)
        if b'"' not in data:
            return physical, rest
        records: list[bytes] = []
        begin = 0
        while begin < len(physical):
            end = self._end(physical, begin)
            if end is None:
                is_open = b"\n".join([*physical[begin:], rest])
                if not is_last and len(is_open) <= MAX_RECORD_BYTES:
                    return records, is_open
                end = begin + 1
            records.append(b"\n".join(physical[begin:end]))
            begin = end
        return records, rest

    def cells(self, record: str) -> list[str | None]:
        """Return the cells of a record. Raise ValueError if a quote is misplaced."""
        record = record.removesuffix("\r")
        if '"' not in record:
            return [cell or None for cell in record.split(self._delimiter)]
        cells, place = [], 0
        while True:
            match = self._cell.match(record, place)
            if match is None:
                raise ValueError(f"a quote is out of its place at character {place + 1} or behind it")
            cell, place = match[1], match.end()
            cells.append(cell[1:-1].replace('""', '"') if cell.startswith('"') else cell or None)
            if not match[2]:
                return cells

    def _end(self, physical: Sequence[bytes], begin: int) -> int | None:
        """Return the index after the last line of the record that begins at `begin`, or None if it has no end here."""
        quotes = 0
        for end in range(begin, len(physical)):
            quotes += physical[end].count(b'"')
            if quotes % 2 == 0:
                is_one = end == begin or self._whole.fullmatch(b"\n".join(physical[begin : end + 1]))
                return end + 1 if is_one else begin + 1
        return None


def _cut_all(gathered: Iterable[tuple[bytes, bool]], cut: Cut) -> Iterator[list[bytes]]:
    rest, overlong = b"", None
    for block, is_last in gathered:
        data = rest + block
        records: list[bytes] = []
        if overlong is not None:
            tail, line_end, data = data.partition(b"\n")
            overlong.more += len(tail)
            if line_end or is_last:
                records, overlong = [overlong], None
        more, rest = cut(data, is_last)
        if len(rest) > MAX_RECORD_BYTES:
            overlong = Overlong(rest[:OVERLONG_BYTES])
            overlong.more, rest = len(rest) - OVERLONG_BYTES, b""
        yield records + more


def _gather(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield blocks of about CHUNK_BYTES, and whether each is the last."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        if size >= CHUNK_BYTES:
            yield b"".join(parts), False
            parts, size = [], 0
        parts.append(block)
        size += len(block)
    yield b"".join(parts), True
