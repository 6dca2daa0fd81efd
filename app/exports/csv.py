"""CSV by RFC 4180 with a chosen delimiter, byte for byte as PostgreSQL's COPY writes it.

The standard library's writer cannot tell null from an empty string (not before Python 3.12), so the rules stand here:
a null is nothing, an empty string is `""`, and a text with a quote, the delimiter or a line's end is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence

from app.exports.blocks import ended
from app.exports.cells import Cell, Context, cells, items
from app.layout import FORMULA_STARTS, Layout

LINE_END = "\n"


def line_writer(delimiter: str, *, safe: bool = False) -> Callable[[Sequence[Cell]], bytes]:
    """A function that turns one row's cells into a line of UTF-8.

    Args:
        safe: put `'` before a cell that a spreadsheet would run as a formula.
    """
    special = re.compile(f'["\r\n{re.escape(delimiter)}]')

    def cell(text: Cell) -> str:
        if text is None:
            return ""
        if not text or special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def harmless(text: Cell) -> str:
        return cell("'" + text if text and text[0] in FORMULA_STARTS else text)

    write = harmless if safe else cell

    def line(row: Sequence[Cell]) -> bytes:
        return (delimiter.join([write(text) for text in row]) + LINE_END).encode()

    return line


def lines(
    rows: Iterable[tuple[int, str, str | Context]], layout: Layout, width: int, delimiter: str, *, safe: bool = False
) -> Generator[bytes]:
    """A report's lines from (timestamp, type, context) rows; a context may be JSON text or a list.

    The rows are closed when the lines end, however they do.
    """
    line, fill = line_writer(delimiter, safe=safe), cells(layout, width)
    with ended(rows) as left:
        for timestamp, event_type, context in left:
            yield line([str(timestamp), event_type, *fill(event_type, items(context))])
