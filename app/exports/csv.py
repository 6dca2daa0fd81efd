"""CSV according to RFC 4180 with a chosen delimiter, byte for byte as PostgreSQL's COPY writes it.

The standard library's writer cannot distinguish null from an empty string before Python 3.12, so the rules are
implemented here. A null is an empty cell, an empty string is `""`, and a text with a quote, the delimiter or a line end
is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple

from app.exports.file import Block, closed_at_end, gather, steps
from app.exports.layout import COLUMNS, EXTRA, FORMULA_STARTS, Cell, Context, Layout, cells, items

LINE_END = "\n"
ITEM_BORDER = '","'  # between two items in the JSON text of a plain context
QUOTED_BORDER = ITEM_BORDER.replace('"', '""')
MAX_CACHED_TYPES = 1_000

Row = tuple[int, str, str | Context]  # timestamp, type, context: a list or its JSON text
PlainLine = Callable[[int, str, str | Context], str | None]
Pick = Callable[[Sequence[str]], object]


class _Template(NamedTuple):
    """Line of a type with a number of items.

    Attributes:
        line: the line after its time, with `%s` for each picked item.
        pick: picks the items in the order of the columns.
        delimiters: the number of delimiters of a line whose items have none.
    """

    line: str
    pick: Pick
    delimiters: int


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
    templates = _Templates(layout, delimiter, write) if layout.kind == COLUMNS else None
    plain_line = _plain_line_writer(templates, width, delimiter, write, safe)

    def line(timestamp: int, event_type: str, context: str | Context) -> str:
        row = [str(timestamp), event_type, *fill(event_type, items(context))]
        return delimiter.join(map(write, row)) + LINE_END

    is_joined = delimiter != "," and not delimiter.isdecimal() and not safe
    write_type = lru_cache(MAX_CACHED_TYPES)(write)

    def join(step: Sequence[Row]) -> str | None:
        return templates.lines(step) if templates is not None else _joined_lines(step, width, delimiter, write_type)

    def text(step: Sequence[Row]) -> str:
        joined = join(step) if is_joined else None
        return joined or "".join([plain_line(*row) or line(*row) for row in step])

    with closed_at_end(rows) as left:
        yield from gather((text(step).encode(), len(step)) for step in steps(left))


def cell_escaper(*, safe: bool) -> Callable[[Cell], Cell]:
    """Return a function that returns a cell as a reader of the file gets it; see `line_writer`."""
    return lambda text: "'" + text if safe and text and text[0] in FORMULA_STARTS else text


def _cell_writer(delimiter: str, safe: bool) -> Callable[[Cell], str]:
    special = re.compile(f'["\r\n{re.escape(delimiter)}]')

    def write(text: Cell) -> str:
        if text is None:
            return ""
        if not text or special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    escape = cell_escaper(safe=True)
    return (lambda text: write(escape(text))) if safe else write


def _plain_line_writer(
    templates: _Templates | None, width: int, delimiter: str, write: Callable[[Cell], str], safe: bool
) -> PlainLine:
    """Return a function that cuts a row's line from the JSON text of a plain context, or returns None if it is not.

    A context is plain if nothing in its text is escaped, no item is null or empty, and no item needs quotes or is wider
    than the columns. Most contexts are, and cutting takes half the time of parsing them (see docs/decisions.md).
    """
    if delimiter.isdecimal() or (templates is None and not width):  # the timestamp may need quotes
        return lambda timestamp, event_type, context: None
    is_formula = re.compile(f'"[{re.escape(FORMULA_STARTS)}]').search
    cut = templates.cut if templates is not None else _positional_cut(width, delimiter, write)

    def line(timestamp: int, event_type: str, context: str | Context) -> str | None:
        if not isinstance(context, str) or not _is_plain(context) or (safe and is_formula(context)):
            return None
        rest = cut(event_type, context)
        return None if rest is None else f"{timestamp}{rest}"

    return line


def _is_plain(text: str) -> bool:
    """Return whether nothing is escaped, null or empty in the JSON text of contexts."""
    return "\\" not in text and '""' not in text and "null" not in text and "[]" not in text


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


class _Templates(dict[tuple[str, int], _Template]):
    """Templates of the lines by named columns, for each type and number of items (see docs/decisions.md)."""

    def __init__(self, layout: Layout, delimiter: str, write: Callable[[Cell], str]) -> None:
        self._layout = layout
        self._delimiter = delimiter
        self._write = write

    def __missing__(self, key: tuple[str, int]) -> _Template:
        event_type, count = key
        named, unnamed = self._layout.extras(event_type)
        extras = [place for place in (*named, *range(unnamed, count)) if place < count]
        cells, picked = [self._write(event_type).replace("%", "%%")], list[int]()
        for column in self._layout.columns:
            place = self._layout.place(event_type, column)
            if column == EXTRA:
                picked += extras
                array = QUOTED_BORDER.join(["%s"] * len(extras))  # of JSON, in a quoted cell
                cells.append(f'"[""{array}""]"' if extras else "")
            elif place is not None and place < count:
                picked.append(place)
                cells.append("%s")
            else:
                cells.append("")
        line = self._delimiter.replace("%", "%%").join(["", *cells]) + LINE_END
        pick: Pick = itemgetter(*picked) if picked else lambda items: ()
        made = _Template(line, pick, (line % (("",) * len(picked))).count(self._delimiter))
        if len(self) < MAX_CACHED_TYPES:
            self[key] = made
        return made

    def lines(self, rows: Sequence[Row]) -> str | None:
        """Return the lines of plain rows, which are checked together, or None if one of them is not plain."""
        contexts = [context for _, _, context in rows if isinstance(context, str)]
        text = "\n".join(contexts)
        if len(contexts) < len(rows) or not _is_plain(text) or self._delimiter in text:
            return None
        lines = []
        for (time, event_type, _), context in zip(rows, contexts, strict=True):
            found = context[2:-2].split(ITEM_BORDER)
            line, pick, _ = self[event_type, len(found)]
            lines.append(f"{time}{line % pick(found)}")
        return "".join(lines)

    def cut(self, event_type: str, context: str) -> str | None:
        """Return the line of a plain context after its time, or None if an item contains the delimiter."""
        found = context[2:-2].split(ITEM_BORDER)
        line, pick, delimiters = self[event_type, len(found)]
        rest = line % pick(found)
        return rest if rest.count(self._delimiter) == delimiters else None


def _positional_cut(width: int, delimiter: str, write: Callable[[Cell], str]) -> Callable[[str, str], str | None]:
    paddings = {items - 1: delimiter * (width - items) for items in range(1, width + 1)}  # by the number of borders
    write_type = lru_cache(MAX_CACHED_TYPES)(write)

    def cut(event_type: str, context: str) -> str | None:
        text = context[2:-2]
        padding = paddings.get(text.count(ITEM_BORDER))
        rest = None if padding is None else text.replace(ITEM_BORDER, delimiter) + padding
        if rest is None or rest.count(delimiter) != width - 1:
            return None
        return f"{delimiter}{write_type(event_type)}{delimiter}{rest}\n"

    return cut
