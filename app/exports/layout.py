"""Layout: the columns of a report file, and the context item that fills each. It is the same for every database.

The layout is computed once, when a report is accepted, and stored with the report, so that later changes of the catalog
do not affect it. `store` converts it to SQL if the database can split the columns itself. Otherwise `cells` applies it
to the rows in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from operator import itemgetter
from typing import Any

import orjson

from app.exceptions import RowTooWide

POSITIONAL = "positional"
COLUMNS = "columns"
EXTRA = "*"  # marks the column for items without their own; layouts stored by older versions may have it before others
LEAD = "\x1f"  # prefix of a column that is not a context item; no code contains this character
EXTRA_NAME = "extra"  # the name of that column in files
COMMON = ("timestamp", "type")  # the first two columns of every report file
# First characters of a cell that a spreadsheet would run as a formula, from OWASP's list, with the full-width forms
# of the four signs (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"

Cell = str | None
Context = list[Cell]
Cells = Callable[[str, Context], Sequence[Cell]]  # an event's type and context items to its cells
Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


@dataclass(frozen=True)
class Layout:
    """Layout of the columns after `timestamp` and `type`.

    Attributes:
        kind: POSITIONAL (the context items in their original order) or COLUMNS (by the catalog's names).
        columns: the product's column names in the catalog's order, then EXTRA unless the catalog drops items without a
            column; empty for POSITIONAL.
        contexts: for each event type, the names of its context items in order; empty for POSITIONAL.
        has_context: whether a file with typed columns also has the whole context, as a list. Layouts stored by older
            versions do not say so, and their files have no such column.
        lead: columns `customer` and `product` of a report about several customers or products. Formats without these
            columns use the layout `led` by them.
        unlisted: the names of the context items of types that are not in `contexts`.
    """

    kind: str
    columns: tuple[str, ...] = ()
    contexts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_context: bool = False
    lead: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    def led(self) -> Layout:
        """Return the layout for contexts that begin with the values of the `lead` columns."""
        lead = tuple(LEAD + name for name in self.lead)
        if self.kind == POSITIONAL:
            return replace(self, unlisted=lead)
        contexts = {code: (*lead, *names) for code, names in self.contexts.items()}
        return replace(self, columns=(*lead, *self.columns), contexts=contexts, unlisted=lead)

    def header(self, width: int) -> list[str]:
        """Return the unique column names of a file whose widest context has `width` items, including the lead."""
        if self.kind == POSITIONAL:
            lead = self.lead if self.unlisted else ()
            return [*COMMON, *lead, *(f"context{number + 1}" for number in range(width - len(lead)))]
        return [*COMMON, *self.names(COMMON)]

    def names(self, taken: Sequence[str], fold: Callable[[str], str] = str) -> list[str]:
        """Return a unique name for each column of a file, with a number appended to duplicates from the catalog.

        Args:
            taken: names of other columns of the file.
            fold: returns the same value for names that a reader of the file treats as equal.
        """
        fixed = [*taken, *(name for name in map(_fixed_name, self.columns) if name)]
        used, names = {fold(name) for name in fixed}, []
        catalogued = {fold(column) for column in self.columns}
        for column in self.columns:
            own, number = _fixed_name(column), 1
            name = own or column
            while not own and (fold(name) in used or (number > 1 and fold(name) in catalogued)):
                number += 1
                name = f"{column}_{number}"
            used.add(fold(name))
            names.append(name)
        return names

    def place(self, event_type: str, column: str) -> int | None:
        """Return the index of the context item that fills `column` for events of a type, or None if there is none."""
        names = self.contexts.get(event_type, self.unlisted)
        return names.index(column) if column in names and column != EXTRA else None

    def extras(self, event_type: str) -> tuple[tuple[int, ...], int]:
        """Return the indexes of a type's named items without a column, and the index of the first unnamed item."""
        names = self.contexts.get(event_type, self.unlisted)
        kept = tuple(
            i for i, name in enumerate(names) if name == EXTRA or name not in self.columns or names.index(name) != i
        )
        return kept, len(names)

    def without_column(self, event_type: str) -> list[str]:
        """Return the names of a type's items that have no column; none if the layout has no columns of its own."""
        if set(self.columns) <= {EXTRA}:
            return []
        names = self.contexts.get(event_type, self.unlisted)
        return [names[place] for place in self.extras(event_type)[0]]

    @property
    def keeps_extras(self) -> bool:
        """Return whether the file contains every context item."""
        return self.kind == POSITIONAL or EXTRA in self.columns

    def to_json(self) -> dict[str, object]:
        """Return a JSON object to be stored with the report."""
        # Another key hides the contexts from older versions, which do not know `lead` and must not write such a report.
        contexts = "led_contexts" if self.lead else "contexts"
        value: dict[str, object] = {"kind": self.kind, "columns": self.columns, contexts: dict(self.contexts)}
        return value | ({"has_context": True} if self.has_context else {}) | ({"lead": self.lead} if self.lead else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """Return the layout that `to_json` returned."""
        lead = tuple(value.get("lead", ()))
        contexts = {code: tuple(names) for code, names in value["led_contexts" if lead else "contexts"].items()}
        return cls(value["kind"], tuple(value["columns"]), contexts, value.get("has_context", False), lead)


def _fixed_name(column: str) -> str | None:
    """Return the name of a column that is not in the catalog."""
    if column == EXTRA:
        return EXTRA_NAME
    return column.removeprefix(LEAD) if column.startswith(LEAD) else None


def items(context: str | Context) -> Context:
    """Return the items of a context, which is a list or its JSON text."""
    return orjson.loads(context) if isinstance(context, str) else context


def cells(layout: Layout, width: int) -> Cells:
    """Return a function that returns the cells of an event after its timestamp and type.

    In positional layout there are `width` cells, and the function raises RowTooWide for a context with more items.
    """
    if layout.kind == COLUMNS:
        return _named_cells(layout)

    def pad(event_type: str, context: Context) -> Context:
        if len(context) > width:
            raise RowTooWide
        return context + [None] * (width - len(context))

    return pad


def _picker(layout: Layout, event_type: str, count: int) -> Pick:
    """Return a function that picks the items of a type with `count` items for the layout's columns, without the extras.

    The function takes the items and a last item, which fills columns without an item. An itemgetter is several times as
    fast as looking up each item.
    """
    indexes = [layout.place(event_type, column) for column in layout.columns]
    places = [index if index is not None and index < count else -1 for index in indexes]
    return itemgetter(*places) if len(places) > 1 else lambda items: tuple(items[place] for place in places)


def _named_cells(layout: Layout) -> Cells:
    extra = layout.columns.index(EXTRA) if EXTRA in layout.columns else None
    pick_for, extras_of = cache(partial(_picker, layout)), cache(layout.extras)

    def fill(event_type: str, context: Context) -> Sequence[Cell]:
        filled = pick_for(event_type, len(context))([*context, None])
        if extra is None:
            return filled
        named, unnamed = extras_of(event_type)
        left = [context[index] for index in named if index < len(context)] + context[unnamed:]
        return *filled[:extra], orjson.dumps(left).decode() if left else None, *filled[extra + 1 :]

    return fill
