"""Build CSV lines directly from a context's JSON text, for plain contexts, which most rows have.

A context is plain if nothing in its text is escaped, no item is null or empty, and none contains the delimiter. Then
`","` occurs only between two items, and no cell needs quotes. `careful` parses every other row and writes the same
line. It also receives rows that are wider than the columns, and rejects them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from itertools import repeat

from app.exports.cells import picker
from app.exports.layout import COLUMNS, EXTRA, FORMULA_STARTS, Layout

BETWEEN = '","'
TYPES = 1_000  # maximum types whose cells are cached

Row = tuple[int, str, str]  # timestamp, type, context as JSON text
Line = Callable[[int, str, str], str]
PlainLine = Callable[[int, str, str], str | None]  # None if the row is not plain
Lines = Callable[[Sequence[Row]], str]


def plain_lines(
    layout: Layout, width: int, delimiter: str, write: Callable[[str], str], careful: Line, *, safe: bool = False
) -> Lines:
    """Return a function that returns the lines of several rows.

    Args:
        width: items of the widest context, in positional layout.
        write: returns a cell with quotes if needed; used for the type.
        careful: returns the line of a row that is not plain.
        safe: whether a cell that begins like a formula is not plain.
    """
    if delimiter.isdecimal() or (layout.kind == COLUMNS and not layout.columns):  # the short form does not cover these
        return lambda rows: "".join([careful(*row) for row in rows])
    code, is_plain = lru_cache(TYPES)(write), _test(delimiter, safe)
    if layout.kind != COLUMNS and delimiter != "," and not safe:
        return _positional_lines(code, width, delimiter, careful)
    cut = _by_name(layout, delimiter) if layout.kind == COLUMNS else _padded(width, delimiter)

    def line(timestamp: int, event_type: str, context: str) -> str | None:
        if not is_plain(context):
            return None
        rest = cut(event_type, context[2:-2])
        return None if rest is None else f"{timestamp}{delimiter}{code(event_type)}{delimiter}{rest}\n"

    return lambda rows: "".join([line(*row) or careful(*row) for row in rows])


def _positional_lines(code: Callable[[str], str], width: int, delimiter: str, careful: Line) -> Lines:
    """Return the same function for the most common case: plain rows that fill all columns are split together."""
    line = _positional_line(code, width, delimiter)

    def lines(rows: Sequence[Row]) -> str:
        contexts = [context for _, _, context in rows]
        text = "\n".join(contexts)  # JSON strings contain no unescaped line feed
        # With two quotes per column, every context fills the columns, and all its items are non-empty strings.
        is_plain = set(map(str.count, contexts, repeat(BETWEEN))) == {width - 1}
        is_plain = is_plain and text.count('"') == 2 * width * len(rows)
        if not is_plain or delimiter in text or "\\" in text or '""' in text:
            return "".join([line(*row) or careful(*row) for row in rows])
        cut = text[2:-2].replace('"]\n["', "\n").replace(BETWEEN, delimiter).split("\n")
        begun = zip(rows, cut, strict=True)
        return "".join(
            [f"{timestamp}{delimiter}{code(kind)}{delimiter}{rest}\n" for (timestamp, kind, _), rest in begun]
        )

    return lines


def _positional_line(code: Callable[[str], str], width: int, delimiter: str) -> PlainLine:
    """Return a function for the line of a row, without calls of other functions, which take a third of its time."""
    fillings = {width - 1 - missing: delimiter * missing for missing in range(width)}  # by the number of separators

    def line(timestamp: int, event_type: str, context: str) -> str | None:
        if delimiter in context or "\\" in context or '""' in context or "null" in context or context == "[]":
            return None
        rest = context[2:-2]
        filling = fillings.get(rest.count(BETWEEN))
        if filling is None:
            return None
        return f"{timestamp}{delimiter}{code(event_type)}{delimiter}{rest.replace(BETWEEN, delimiter)}{filling}\n"

    return line


def _test(delimiter: str, safe: bool) -> Callable[[str], bool]:
    formula = re.compile(f'"[{re.escape(FORMULA_STARTS)}]').search if safe else lambda text: None

    def is_plain(text: str) -> bool:
        if "\\" in text or '""' in text or "null" in text or text == "[]":
            return False
        return not (_has_comma(text[2:-2]) if delimiter == "," else delimiter in text) and not formula(text)

    return is_plain


def _has_comma(text: str) -> bool:
    """Return whether an item contains a comma, apart from those that JSON puts between items."""
    return text.count(",") != text.count(BETWEEN)


def _padded(width: int, delimiter: str) -> Callable[[str, str], str | None]:
    def cut(event_type: str, text: str) -> str | None:
        missing = width - 1 - text.count(BETWEEN)
        return None if missing < 0 else text.replace(BETWEEN, delimiter) + delimiter * missing

    return cut


def _by_name(layout: Layout, delimiter: str) -> Callable[[str, str], str | None]:
    has_extras, pick_for = cache(partial(_has_extras, layout)), cache(partial(picker, layout))

    def cut(event_type: str, text: str) -> str | None:
        found = text.split(BETWEEN)
        count = len(found)
        if has_extras(event_type, count):
            return None
        found.append("")
        return delimiter.join(pick_for(event_type, count)(found))

    return cut


def _has_extras(layout: Layout, event_type: str, count: int) -> bool:
    """Return whether some of `count` items belong in the column for items without their own column."""
    kept, unnamed = layout.extras(event_type)
    return EXTRA in layout.columns and (unnamed < count or any(index < count for index in kept))
