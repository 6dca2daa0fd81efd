"""Lines of CSV cut straight out of a context's JSON text, for rows that need no thought: most of them.

A context is plain where nothing in its text is escaped, no item is null or empty, and none has the delimiter. Then
`","` stands between two items and nowhere else, and no cell needs quotes. Every other row is parsed and written with
care, to the same line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter

from app.layout import COLUMNS, EXTRA, FORMULA_STARTS, Layout

BETWEEN = '","'
TYPES = 1_000  # whose cells are kept

# timestamp, type, context as JSON text to a line; None where that one is not plain
PlainLine = Callable[[int, str, str], str | None]
Pick = Callable[[list[str]], Sequence[str]]


def plain_line(
    layout: Layout, width: int, delimiter: str, write: Callable[[str], str], *, safe: bool = False
) -> PlainLine:
    """A function that makes a plain row's line.

    Args:
        width: of the widest context, in positional layout.
        write: how a cell is written with care; for the type.
        safe: whether a cell that begins like a formula is not plain.
    """
    if delimiter.isdecimal():  # a timestamp would have to be quoted
        return lambda timestamp, event_type, context: None
    code, is_plain = lru_cache(TYPES)(write), _test(delimiter, safe)
    cut = _by_name(layout, delimiter) if layout.kind == COLUMNS else _padded(width, delimiter)

    def line(timestamp: int, event_type: str, context: str) -> str | None:
        if not is_plain(context):
            return None
        rest = cut(event_type, context[2:-2])
        return None if rest is None else f"{timestamp}{delimiter}{code(event_type)}{delimiter}{rest}\n"

    return line


def _test(delimiter: str, safe: bool) -> Callable[[str], bool]:
    formula = re.compile(f'"[{re.escape(FORMULA_STARTS)}]').search if safe else lambda text: None

    def is_plain(text: str) -> bool:
        if "\\" in text or '""' in text or "null" in text or text == "[]":
            return False
        return not (_has_comma(text[2:-2]) if delimiter == "," else delimiter in text) and not formula(text)

    return is_plain


def _has_comma(text: str) -> bool:
    """Whether an item has one, beside those that JSON puts between items."""
    return text.count(",") != text.count(BETWEEN)


def _padded(width: int, delimiter: str) -> Callable[[str, str], str]:
    def cut(event_type: str, text: str) -> str:
        return text.replace(BETWEEN, delimiter) + delimiter * (width - 1 - text.count(BETWEEN))

    return cut


def _by_name(layout: Layout, delimiter: str) -> Callable[[str, str], str | None]:
    picks: dict[tuple[str, int], Pick | None] = {}

    def cut(event_type: str, text: str) -> str | None:
        found = text.split(BETWEEN)
        key = event_type, len(found)
        if key not in picks:
            picks[key] = _pick(layout, *key)
        pick = picks[key]
        found.append("")  # the last one: for what nothing fills
        return None if pick is None else delimiter.join(pick(found))

    return cut


def _pick(layout: Layout, event_type: str, count: int) -> Pick | None:
    """Which of so many items go where; None where some have no column of their own but a place to go."""
    kept, unnamed = layout.extras(event_type)
    has_extras = unnamed < count or any(index < count for index in kept)
    if len(layout.columns) < 2 or (EXTRA in layout.columns and has_extras):  # an itemgetter of one gives no tuple
        return None
    places = [layout.place(event_type, column) for column in layout.columns]
    return itemgetter(*(place if place is not None and place < count else -1 for place in places))
