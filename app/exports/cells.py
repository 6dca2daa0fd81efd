"""What stands in a row's columns behind `timestamp` and `type`: a layout applied to one event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from app.layout import COLUMNS, EXTRA, Layout

Cell = str | None
Context = list[Cell]
Cells = Callable[[str, Context], Sequence[Cell]]  # an event's type and context items to its cells


def items(context: str | Context) -> Context:
    """A context's items; it comes as a list, or as the JSON text of one."""
    return orjson.loads(context) if isinstance(context, str) else context


def cells(layout: Layout, width: int) -> Cells:
    """The cells of each event.

    Args:
        width: how many there are in positional layout: as many as the widest context has items.
    """
    return _by_name(layout) if layout.kind == COLUMNS else _padded(width)


def _padded(width: int) -> Cells:
    def row(event_type: str, context: Context) -> Context:
        return context + [None] * (width - len(context))

    return row


def _by_name(layout: Layout) -> Cells:
    places: dict[str, list[int | None]] = {}
    extra = layout.columns.index(EXTRA) if EXTRA in layout.columns else None

    def row(event_type: str, context: Context) -> Context:
        if event_type not in places:
            places[event_type] = [layout.place(event_type, column) for column in layout.columns]
        count = len(context)
        filled = [context[place] if place is not None and place < count else None for place in places[event_type]]
        if extra is not None:
            filled[extra] = _extras(layout, event_type, context)
        return filled

    return row


def _extras(layout: Layout, event_type: str, context: Context) -> str | None:
    kept, unnamed = layout.extras(event_type)
    left = [context[index] for index in kept if index < len(context)] + context[unnamed:]
    return orjson.dumps(left).decode() if left else None
