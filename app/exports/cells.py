"""Cells of a row after `timestamp` and `type`, by applying a layout to an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import itemgetter

import orjson

from app.exceptions import RowTooWide
from app.exports.layout import COLUMNS, EXTRA, Layout

Cell = str | None
Context = list[Cell]
Pick = Callable[[Sequence], Sequence]
Cells = Callable[[str, Context], Sequence[Cell]]  # an event's type and context items to its cells


def items(context: str | Context) -> Context:
    """Return the items of a context, which is a list or its JSON text."""
    return orjson.loads(context) if isinstance(context, str) else context


def cells(layout: Layout, width: int) -> Cells:
    """Return a function that returns the cells of an event.

    Args:
        width: number of cells in positional layout, which is the number of items of the widest context.

    The returned function raises RowTooWide for a context that has more items.
    """
    return _by_name(layout) if layout.kind == COLUMNS else _padded(width)


def _padded(width: int) -> Cells:
    def row(event_type: str, context: Context) -> Context:
        if len(context) > width:
            raise RowTooWide
        return context + [None] * (width - len(context))

    return row


def picker(layout: Layout, event_type: str, count: int) -> Pick:
    """Return a function that picks the items of a type with `count` items for the layout's columns, without the extras.

    The function takes the items and a last item, which fills columns without an item. An itemgetter is several times as
    fast as looking up each item.
    """
    found = [layout.place(event_type, column) for column in layout.columns]
    places = [place if place is not None and place < count else -1 for place in found]
    return itemgetter(*places) if len(places) > 1 else lambda items: tuple(items[place] for place in places)


def _by_name(layout: Layout) -> Cells:
    extra = layout.columns.index(EXTRA) if EXTRA in layout.columns else None
    pick_for = cache(partial(picker, layout))

    def row(event_type: str, context: Context) -> Sequence[Cell]:
        filled = pick_for(event_type, len(context))([*context, None])
        if extra is None:
            return filled
        return *filled[:extra], _extras(layout, event_type, context), *filled[extra + 1 :]

    return row


def _extras(layout: Layout, event_type: str, context: Context) -> str | None:
    kept, unnamed = layout.extras(event_type)
    left = [context[index] for index in kept if index < len(context)] + context[unnamed:]
    return orjson.dumps(left).decode() if left else None
