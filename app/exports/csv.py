"""CSV by RFC 4180 with a chosen delimiter, byte for byte as PostgreSQL's COPY writes it.

The standard library's writer cannot tell null from an empty string (not before Python 3.12), so the rules stand here:
a null is nothing, an empty string is `""`, and a text with a quote, the delimiter or a line's end is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import orjson

from app.layout import COLUMNS, EXTRA, Layout

LINE_END = "\n"


def line_writer(delimiter: str) -> Callable[[Sequence[str | None]], bytes]:
    """A function that turns one row's cells into a line of UTF-8."""
    special = re.compile(f'["\r\n{re.escape(delimiter)}]')

    def cell(text: str | None) -> str:
        if text is None:
            return ""
        if not text or special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def line(cells: Sequence[str | None]) -> bytes:
        return (delimiter.join([cell(text) for text in cells]) + LINE_END).encode()

    return line


def lines(rows: Generator[tuple[int, str, object]], layout: Layout, width: int, delimiter: str) -> Generator[bytes]:
    """A report's lines from (timestamp, type, context) rows; a context may be JSON text or a list.

    The rows are closed when the lines end, however they do.
    """
    line = line_writer(delimiter)
    cells = _by_name(layout) if layout.kind == COLUMNS else _padded(width)
    with closing(rows):
        for timestamp, event_type, context in rows:
            items = orjson.loads(context) if isinstance(context, str) else context
            yield line([str(timestamp), event_type, *cells(event_type, items)])


def _padded(width: int) -> Callable[[str, list[str | None]], list[str | None]]:
    def cells(event_type: str, items: list[str | None]) -> list[str | None]:
        return items + [None] * (width - len(items))

    return cells


def _by_name(layout: Layout) -> Callable[[str, list[str | None]], list[str | None]]:
    places: dict[str, list[int | None]] = {}

    def cells(event_type: str, items: list[str | None]) -> list[str | None]:
        if event_type not in places:
            places[event_type] = [layout.place(event_type, column) for column in layout.columns]
        count = len(items)
        row = [items[place] if place is not None and place < count else None for place in places[event_type]]
        if EXTRA in layout.columns:
            row[layout.columns.index(EXTRA)] = _extras(layout, event_type, items)
        return row

    return cells


def _extras(layout: Layout, event_type: str, items: list[str | None]) -> str | None:
    kept, unnamed = layout.extras(event_type)
    left = [items[index] for index in kept if index < len(items)] + items[unnamed:]
    return orjson.dumps(left).decode() if left else None
