"""Queries about events: encoding a batch, the newest events, and the rows of a report."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from peewee import fn

from app.event_columns import NAMES, StoredRow
from app.exports.layout import COLUMNS, EXTRA, FORMULA_STARTS, Layout
from app.store.backends.backend import Block
from app.store.catalog import catalog
from app.store.database import database
from app.store.events import hourly_counts
from app.store.events.filters import Condition, EventFilter
from app.store.models import Event
from app.store.queries import Codes, fetch_int, of_codes
from app.support.clock import HOUR_MS, MINUTE_MS

AsCell = Callable[[str], str]  # from the SQL of a text to the SQL of its cell

GRIDS = (HOUR_MS, MINUTE_MS, 1_000, 1)  # milliseconds
PATIENCE_MS = 5_000  # an insert takes milliseconds; a stalled insert must not block all others forever


@dataclass(frozen=True)
class Selection(EventFilter):
    """Selection of events for a report about one or several customers and products.

    Attributes:
        customer, product: None if `customers` or `products` is used instead.
        is_part: whether this is one of many time ranges, so that the index should be used.
    """

    customer: str | None
    product: str | None
    is_part: bool = False

    @property
    def pair(self) -> tuple[Codes, Codes]:
        """Return the customer or customers, and the product or products."""
        customer = self.customer if self.customer is not None else self.customers
        product = self.product if self.product is not None else self.products
        return customer or (), product or ()

    def between(self, start: int | None, end: int | None) -> Self:
        """Return the part of the selection in a time range; None means no further limit."""
        return replace(super().between(start, end), is_part=(start, end) != (None, None))


@dataclass(frozen=True)
class Measure:
    """Facts about a selection before its rows are read: number of rows, widest context, rows with extra items."""

    total: int
    width: int
    extra_rows: int | None


def acceptance_cut() -> int:
    """Return the last event id of a new report's snapshot. Call it inside the transaction that stores the report."""
    return database.acceptance_cut(PATIENCE_MS)


def count(wanted: EventFilter | None = None) -> int:
    """Return the number of matching events. It reads each of them."""
    where, values = (wanted or EventFilter()).where()
    return database.fetch_int(f"SELECT count(*) FROM event WHERE {where}", values)


def exist(customer: Codes, product: Codes | None = None, kind: str | None = None) -> bool:
    """Return whether there is an event of the customer, product and type. Customer and product may be several.

    Types have no index, so this searches the hourly counts and the events that are not counted yet.
    """
    if kind is None or product is None:
        query = of_codes(Event.select(), Event.customer, customer)
        return (query if product is None else of_codes(query, Event.product, product)).exists()
    customers, products = ([codes] if isinstance(codes, str) else codes for codes in (customer, product))
    counted, newest = hourly_counts.watermark(), fetch_int(Event.select(fn.max(Event.id)))
    is_counted = hourly_counts.has(customer, product, kind)
    wanted = EventFilter(types=[kind], customers=customers, products=products)
    return is_counted or number_of_newer(wanted, counted, newest) > 0


def number_of_newer(selection: EventFilter, begin: int, end: int) -> int:
    """Return the number of rows of a selection among the events after one id and up to another. It reads each event."""
    where, values = replace(selection, snapshot_min_id=None, snapshot_max_id=None).where()
    mark = database.param
    newer = f"SELECT * FROM event WHERE id > {mark} AND id <= {mark} ORDER BY id LIMIT {mark}"
    query = f"SELECT count(*) FROM ({newer}) AS newer WHERE {where}"
    with database.many_rows():
        return database.fetch_int(query, [begin, end, max(0, end - begin), *values])


def measure(selection: Selection, layout: Layout) -> Measure:
    """Count a selection's rows and collect the facts that its layout needs, in one pass."""
    facts, names = _facts(layout)
    where, values = selection.where()
    with database.many_rows():
        found = database.execute_sql(f"SELECT {facts} FROM event WHERE {where}", [*names, *values]).fetchone()
    return _summed(layout, [found])


def survey(selection: Selection, layout: Layout) -> tuple[Measure, list[tuple[int, int]]]:
    """Return the same as `measure`, and the number of rows of each hour that has any, as (hour, number) in order."""
    facts, names = _facts(layout)
    where, values = selection.where()
    query = f"SELECT {_at(GRIDS[0])}, {facts} FROM event WHERE {where} GROUP BY 1 ORDER BY 1"
    with database.many_rows():
        found = database.execute_sql(query, [*names, *values]).fetchall()
    return _summed(layout, [facts for _, *facts in found]), [(hour, number) for hour, number, *_ in found]


def shape(selection: Selection, layout: Layout, total: int) -> Measure | None:
    """Return the same from the recorded types without reading every row, or None if they are not sufficient.

    The recorded types may be incomplete. Therefore `csv_blocks` and `exports.csv` check each row that they write, and
    raise RowTooWide for a wider one. The number of rows that lose items is always counted, never inferred.

    Args:
        total: about how many rows there are.
    """
    if layout.kind == COLUMNS:
        return Measure(total, 0, None) if layout.keeps_extras else None
    widest = max(catalog.widths(*selection.pair, selection.types).values(), default=0)
    where, values = selection.where()
    query = f"SELECT 1 FROM event WHERE {where} AND {database.context_width()} = {widest:d} LIMIT 1"
    with database.many_rows():  # usually the first row has the width
        has_one_of_width = database.execute_sql(query, values).fetchone() is not None
    return Measure(total, widest, None) if has_one_of_width else None


def rows(selection: Selection, lead: Sequence[str] = ()) -> Generator[tuple[int, str, str | list[str | None]]]:
    """Return a selection's (timestamp, type, context) in report order, with the context as the database stores it.

    Args:
        lead: columns of the event whose values come before the items of the context.
    """
    where, values = selection.where()
    query = f"SELECT timestamp, type, {database.led_context(lead)} FROM event WHERE {where} ORDER BY timestamp, id"
    return database.stream(query, values)


def full_rows(selection: Selection) -> Generator[StoredRow]:
    """Return all columns of a selection's events, in report order."""
    where, values = selection.where()
    return database.stream(f"SELECT {NAMES} FROM event WHERE {where} ORDER BY timestamp, id", values)


def csv_blocks(
    selection: Selection, layout: Layout, width: int, delimiter: str, *, safe: bool = False
) -> Generator[Block] | None:
    """Return a report's rows as CSV lines that the database splits and quotes, or None if it cannot.

    Args:
        safe: prefix `'` to cells that a spreadsheet would execute as formulas.

    Raises:
        RowTooWide: in positional layout, a context has more items than `width`. It is raised during iteration.
    """
    as_cell = _escape_formula if safe else str
    where, values = selection.where()
    order = "ORDER BY timestamp, id"
    if layout.kind == COLUMNS:
        # Comparing the type's text once per row instead of once per column saves a sixth of the server's time.
        number = _by_type([str(number) for number in range(len(layout.contexts))], "NULL")
        context = f"{database.led_context(layout.lead)} AS context"
        rows = f"SELECT timestamp, id, type, {context}, {number} AS type_number FROM event WHERE {where} {order}"
        query = f"SELECT timestamp, {as_cell('type')}{_named_cells(layout, as_cell)} FROM ({rows}) AS event {order}"
        values = [*layout.contexts, *values]
    else:
        cells = "".join(f", {as_cell(database.context_item(index))}" for index in range(width))
        time = database.unless_wider("timestamp", width)
        rows = f"event WHERE {where}"
        if layout.lead:
            context = f"{database.led_context(layout.lead)} AS context"
            rows = f"(SELECT timestamp, id, type, {context} FROM event WHERE {where} OFFSET 0) AS event"
        query = f"SELECT {time}, {as_cell('type')}{cells} FROM {rows} {order}"
    return database.csv_blocks(query, values, delimiter, picked=selection.is_part)


def stretches(selection: Selection, size: int, by_hour: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Split a selection into time ranges of about `size` rows: (start, end), both inclusive, in order.

    An hour with too many rows is split into minutes, those into seconds, and those into milliseconds.

    Args:
        by_hour: the number of rows per hour, in order. If it is exact, the same rows are always split in the same way.
    """
    return _pack(by_hour, size, selection, GRIDS)


def _pack(
    counts: Sequence[tuple[int, int]], size: int, selection: Selection, grids: Sequence[int]
) -> list[tuple[int, int]]:
    cut: list[tuple[int, int]] = []
    begin: int | None = None
    rows = 0
    for at, number in counts:
        finer = grids[1:] if number > size else ()
        if begin is not None and (finer or rows + number > size):
            cut.append((begin, at - 1))
            begin, rows = None, 0
        if finer:
            within = selection.between(at, at + grids[0] - 1)
            where, values = within.where()
            query = f"SELECT {_at(finer[0])}, count(*) FROM event WHERE {where} GROUP BY 1 ORDER BY 1"
            with database.many_rows():
                histogram = database.execute_sql(query, values).fetchall()
            cut.extend(_pack(histogram, size, within, finer))
        else:
            begin, rows = (at if begin is None else begin), rows + number
    if begin is not None:
        cut.append((begin, counts[-1][0] + grids[0] - 1))
    return cut


def _at(grid: int) -> str:
    return f"timestamp / {grid} * {grid}"


def _facts(layout: Layout) -> Condition:
    """Return the SQL of the facts that a layout needs, and its parameters: number of rows, widest context, extras."""
    width = database.context_width()
    if layout.kind != COLUMNS:
        return f"count(*), coalesce(max({width}), 0), NULL", []
    begin = _by_type([str(_extras_begin(layout, code)) for code in layout.contexts], "0")
    return f"count(*), 0, coalesce(sum(CASE WHEN {width} > {begin} THEN 1 ELSE 0 END), 0)", list(layout.contexts)


def _summed(layout: Layout, found: Sequence[Sequence[int | None]]) -> Measure:
    totals, widths, extras = ([row[index] or 0 for row in found] for index in range(3))
    return Measure(sum(totals), max(widths, default=0), None if layout.keeps_extras else sum(extras))


def _named_cells(layout: Layout, as_cell: AsCell) -> str:
    """Return the SQL of the layout's columns, each preceded by a comma. Types are selected by number."""
    cells = ""
    for column in layout.columns:
        if column == EXTRA:
            lead = len(layout.unlisted)
            behind = _array_behind(lead, f"context[{lead + 1}:]" if lead else "context")
            items, otherwise = [_extras(layout, code) for code in layout.contexts], behind
        else:
            places = [layout.place(code, column) for code in layout.contexts]
            items = [as_cell(database.context_item(at)) if at is not None else "" for at in places]
            led = layout.unlisted.index(column) if column in layout.unlisted else None
            otherwise = "NULL" if led is None else as_cell(database.context_item(led))
        cases = " ".join(f"WHEN {number} THEN {item}" for number, item in enumerate(items) if item)
        cells += f", CASE type_number {cases} ELSE {otherwise} END" if cases else f", {otherwise}"
    return cells


def _by_type(values: Sequence[str], otherwise: str) -> str:
    """Return the SQL of a value for each of some types, whose codes are its parameters."""
    cases = " ".join(f"WHEN {database.param} THEN {value}" for value in values)
    return f"CASE type {cases} ELSE {otherwise} END" if cases else otherwise


def _escape_formula(text: str) -> str:
    """Return the SQL of a text that spreadsheets do not execute. Only PostgreSQL splits columns."""
    starts = ", ".join(str(ord(sign)) for sign in FORMULA_STARTS)
    return f"CASE WHEN ascii({text}) IN ({starts}) THEN '''' || {text} ELSE {text} END"


def _extras(layout: Layout, code: str) -> str:
    """Return SQL for a JSON array of a type's items without a column, or NULL. Its bracket cannot start a formula."""
    kept, unnamed = layout.extras(code)
    slices = [f"context[{index + 1}:{index + 1}]" for index in kept] + [f"context[{unnamed + 1}:]"]
    return _array_behind(_extras_begin(layout, code), " || ".join(slices))


def _array_behind(begin: int, items: str) -> str:
    # The length is compared first, because most rows have no such items and the array costs several times as much.
    return f"CASE WHEN {database.context_width()} > {begin} THEN array_to_json({items})::text END"


def _extras_begin(layout: Layout, code: str) -> int:
    """Return the index of a type's first item that has no column."""
    kept, unnamed = layout.extras(code)
    return min((*kept, unnamed))
