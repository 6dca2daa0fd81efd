"""CSV according to RFC 4180 with a chosen delimiter, byte for byte as PostgreSQL's COPY writes it.

The standard library's writer cannot distinguish null from an empty string before Python 3.12, so the rules are
implemented here. A null is an empty cell, an empty string is `""`, and a text with a quote, the delimiter or a line end
is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cache, lru_cache, partial
from itertools import repeat

from app.exports.file import Block, closed_at_end, gather, steps
from app.exports.layout import COLUMNS, EXTRA, FORMULA_STARTS, Cell, Context, Layout, cells, items, picker

LINE_END = "\n"
ITEM_BORDER = '","'  # between two items in the JSON text of a plain context
MAX_CACHED_TYPES = 1_000

Row = tuple[int, str, str | Context]  # timestamp, type, context: a list or its JSON text
PlainLine = Callable[[int, str, str | Context], str | None]


def line_writer(delimiter: str, *, safe: bool = False) -> Callable[[Sequence[Cell]], bytes]:
    """Return a function that converts a row's cells to a line of UTF-8.

    Args:
        safe: put `'` before a cell that a spreadsheet would run as a formula.
    """
    write = _cell_writer(delimiter, safe)
    return lambda row: (delimiter.join(map(write, row)) + LINE_END).encode()


def blocks(rows: Iterable[Row], layout: Layout, width: int, delimiter: str, *, safe: bool = False) -> Generator[Block]:
    """Yield the lines of a report, and close the rows at the end. Raise RowTooWide for a context wider than `width`."""
    write, fill = _cell_writer(delimiter, safe), cells(layout, width)
    plain_line = _plain_line_writer(layout, width, delimiter, write, safe)

    def line(timestamp: int, event_type: str, context: str | Context) -> str:
        row = [str(timestamp), event_type, *fill(event_type, items(context))]
        return delimiter.join(map(write, row)) + LINE_END

    is_joined = layout.kind != COLUMNS and delimiter != "," and not delimiter.isdecimal() and not safe
    write_type = lru_cache(MAX_CACHED_TYPES)(write)

    def text(step: Sequence[Row]) -> str:
        joined = _joined_lines(step, width, delimiter, write_type) if is_joined else None
        return joined or "".join([plain_line(*row) or line(*row) for row in step])

    with closed_at_end(rows) as left:
        yield from gather((text(step).encode(), len(step)) for step in steps(left))


def _cell_writer(delimiter: str, safe: bool) -> Callable[[Cell], str]:
    special = re.compile(f'["\r\n{re.escape(delimiter)}]')

    def write(text: Cell) -> str:
        if text is None:
            return ""
        if not text or special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def write_safe(text: Cell) -> str:
        return write("'" + text if text and text[0] in FORMULA_STARTS else text)

    return write_safe if safe else write


def _plain_line_writer(
    layout: Layout, width: int, delimiter: str, write: Callable[[Cell], str], safe: bool
) -> PlainLine:
    """Return a function that cuts a row's line from the JSON text of a plain context, or returns None if it is not.

    A context is plain if nothing in its text is escaped, no item is null or empty, and no item needs quotes or is wider
    than the columns. Most contexts are, and cutting takes half the time of parsing them (see docs/decisions.md).
    """
    columns = len(layout.columns) if layout.kind == COLUMNS else width
    if not columns or delimiter.isdecimal():  # the timestamp may need quotes
        return lambda timestamp, event_type, context: None
    write_type = lru_cache(MAX_CACHED_TYPES)(write)
    is_formula = re.compile(f'"[{re.escape(FORMULA_STARTS)}]').search
    cut = _named_cut(layout, delimiter) if layout.kind == COLUMNS else _positional_cut(width, delimiter)

    def line(timestamp: int, event_type: str, context: str | Context) -> str | None:
        if not isinstance(context, str) or "\\" in context or '""' in context or "null" in context:
            return None
        rest = cut(event_type, context[2:-2])
        if rest is None or rest.count(delimiter) != columns - 1 or (safe and is_formula(context)):
            return None
        return f"{timestamp}{delimiter}{write_type(event_type)}{delimiter}{rest}\n"

    return line


def _joined_lines(rows: Sequence[Row], width: int, delimiter: str, write_type: Callable[[str], str]) -> str | None:
    """Return the lines of plain rows that fill all columns, cut together, which is faster, or None."""
    contexts = [context for _, _, context in rows if isinstance(context, str)]
    text = "\n".join(contexts)  # JSON text contains no unescaped line feed
    # With two quotes per column, every context fills the columns, and all its items are non-empty strings.
    is_filled = set(map(str.count, contexts, repeat(ITEM_BORDER))) == {width - 1}
    if not is_filled or text.count('"') != 2 * width * len(rows) or delimiter in text or "\\" in text or '""' in text:
        return None
    rests = text[2:-2].replace('"]\n["', "\n").replace(ITEM_BORDER, delimiter).split("\n")
    lines = zip(rows, rests, strict=True)
    return "".join([f"{time}{delimiter}{write_type(kind)}{delimiter}{rest}\n" for (time, kind, _), rest in lines])


def _positional_cut(width: int, delimiter: str) -> Callable[[str, str], str | None]:
    paddings = {items - 1: delimiter * (width - items) for items in range(1, width + 1)}  # by the number of borders

    def cut(event_type: str, text: str) -> str | None:
        padding = paddings.get(text.count(ITEM_BORDER))
        return None if padding is None else text.replace(ITEM_BORDER, delimiter) + padding

    return cut


def _named_cut(layout: Layout, delimiter: str) -> Callable[[str, str], str | None]:
    pick_for = cache(partial(picker, layout))

    @cache
    def has_extras(event_type: str, count: int) -> bool:
        named, unnamed = layout.extras(event_type)
        return EXTRA in layout.columns and count > min((*named, unnamed))

    def cut(event_type: str, text: str) -> str | None:
        found = text.split(ITEM_BORDER)
        count = len(found)
        return None if has_extras(event_type, count) else delimiter.join(pick_for(event_type, count)([*found, ""]))

    return cut
