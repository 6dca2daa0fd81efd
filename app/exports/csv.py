"""CSV according to RFC 4180 with a chosen delimiter, byte for byte as PostgreSQL's COPY writes it.

The standard library's writer cannot distinguish null from an empty string before Python 3.12, so the rules are
implemented here. A null is an empty cell, an empty string is `""`, and a text with a quote, the delimiter or a line end
is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence

from app.exports.blocks import Block, ended, of_pieces, steps
from app.exports.cells import Cell, Context, cells, items
from app.exports.layout import FORMULA_STARTS, Layout
from app.exports.plain import Lines, plain_lines

LINE_END = "\n"

Row = tuple[int, str, str | Context]  # timestamp, type, context: a list or its JSON text
Line = Callable[[int, str, str | Context], str]


def line_writer(delimiter: str, *, safe: bool = False) -> Callable[[Sequence[Cell]], bytes]:
    """Return a function that converts a row's cells to a line of UTF-8.

    Args:
        safe: put `'` before a cell that a spreadsheet would run as a formula.
    """
    write = _cell_writer(delimiter, safe)

    def line(row: Sequence[Cell]) -> bytes:
        return (delimiter.join(map(write, row)) + LINE_END).encode()

    return line


def lines(rows: Iterable[Row], layout: Layout, width: int, delimiter: str, *, safe: bool = False) -> Generator[bytes]:
    """Yield the lines of a report, and close the rows when the iteration ends for any reason.

    Raises:
        RowTooWide: in positional layout, a context has more items than `width`.
    """
    plain, careful = _event_lines(layout, width, delimiter, safe)
    with ended(rows) as left:
        for row in left:
            yield _joined([row], plain, careful).encode()


def blocks(rows: Iterable[Row], layout: Layout, width: int, delimiter: str, *, safe: bool = False) -> Generator[Block]:
    """Yield the same lines in blocks, which is faster."""
    plain, careful = _event_lines(layout, width, delimiter, safe)
    with ended(rows) as left:
        yield from of_pieces((_joined(step, plain, careful).encode(), len(step)) for step in steps(left))


def _joined(rows: Sequence[Row], plain: Lines, careful: Line) -> str:
    """Return the lines of rows whose contexts are all lists, or all JSON texts."""
    if isinstance(rows[0][2], str):
        return plain(rows)
    return "".join([careful(*row) for row in rows])


def _event_lines(layout: Layout, width: int, delimiter: str, safe: bool) -> tuple[Lines, Line]:
    write, fill = _cell_writer(delimiter, safe), cells(layout, width)

    def careful(timestamp: int, event_type: str, context: str | Context) -> str:
        row = [str(timestamp), event_type, *fill(event_type, items(context))]
        return delimiter.join(map(write, row)) + LINE_END

    return plain_lines(layout, width, delimiter, write, careful, safe=safe), careful


def _cell_writer(delimiter: str, safe: bool) -> Callable[[Cell], str]:
    special = re.compile(f'["\r\n{re.escape(delimiter)}]')

    def cell(text: Cell) -> str:
        if text is None:
            return ""
        if not text or special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def harmless(text: Cell) -> str:
        return cell("'" + text if text and text[0] in FORMULA_STARTS else text)

    return harmless if safe else cell
