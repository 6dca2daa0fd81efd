"""Queries about events: encoding a batch, the newest events, and the rows of a report."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from peewee import fn

from app.exports.layout import COLUMNS, EXTRA, FORMULA_STARTS, Layout
from app.store.backends.row import Block
from app.store.catalog import catalog
from app.store.database import database
from app.store.events import hourly_counts
from app.store.models import Event

AsCell = Callable[[str], str]  # from the SQL of a text to the SQL of its cell

GRIDS = (3_600_000, 60_000, 1_000, 1)  # milliseconds
PATIENCE_MS = 5_000  # an insert takes milliseconds; a stalled insert must not block all others forever


@dataclass(frozen=True)
class Selection:
    """Events of one customer and product in a time range, and in a snapshot.

    Attributes:
        types: the event types; empty means all.
        start, end: milliseconds, both inclusive; None means no limit.
        snapshot_max_id: the last event id that belongs to the snapshot.
        snapshot_min_id: the last event id before the snapshot.
        is_part: whether this is one of many time ranges, so that the index should be used.
    """

    customer: str
    product: str
    types: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    snapshot_max_id: int | None = None
    snapshot_min_id: int | None = None
    is_part: bool = False

    def between(self, start: int | None, end: int | None) -> Selection:
        """Return the part of the selection in a time range; None means no further limit."""
        starts = [time for time in (self.start, start) if time is not None]
        ends = [time for time in (self.end, end) if time is not None]
        return replace(
            self, start=max(starts, default=None), end=min(ends, default=None), is_part=(start, end) != (None, None)
        )

    def where(self) -> tuple[str, list[object]]:
        """Return the SQL condition and its parameters."""
        mark = database.param
        parts = [f"customer = {mark}", f"product = {mark}"]
        values: list[object] = [self.customer, self.product]
        if self.types:
            parts.append(f"type IN ({', '.join([mark] * len(self.types))})")
            values.extend(self.types)
        bounds = (
            ("timestamp >=", self.start),
            ("timestamp <=", self.end),
            ("id <=", self.snapshot_max_id),
            ("id >", self.snapshot_min_id),
        )
        for condition, value in bounds:
            if value is not None:
                parts.append(f"{condition} {mark}")
                values.append(value)
        return " AND ".join(parts), values


@dataclass(frozen=True)
class Measure:
    """Facts about a selection before its rows are read: number of rows, widest context, rows with extra items."""

    total: int
    width: int
    extra_rows: int | None


def acceptance_cut() -> int:
    """Return the last event id of a new report's snapshot. Call it inside the transaction that stores the report."""
    return database.acceptance_cut(PATIENCE_MS)


def newest(limit: int) -> list[Event]:
    """Return the most recently accepted events, newest first."""
    return list(Event.select().order_by(Event.id.desc()).limit(limit))


def count() -> int:
    """Return the number of events."""
    return Event.select().count()


def exist(customer: str, product: str | None = None, kind: str | None = None) -> bool:
    """Return whether a customer, one of its products, or a type of that product has an event.

    Types have no index, so this searches the hourly counts and the events that are not counted yet.
    """
    if kind is None:
        mine = Event.select().where(Event.customer == customer)
        return (mine if product is None else mine.where(Event.product == product)).exists()
    uncounted = {
        "snapshot_min_id": hourly_counts.watermark(),
        "snapshot_max_id": Event.select(fn.max(Event.id)).scalar() or 0,
    }
    wanted = Selection(customer, product, [kind], **uncounted)
    return hourly_counts.has(customer, product, kind) or number_of_newer(wanted) > 0


def number_of_newer(selection: Selection) -> int:
    """Return the number of rows of a selection after its `snapshot_min_id`. It reads each event after that."""
    where, values = replace(selection, snapshot_min_id=None, snapshot_max_id=None).where()
    mark = database.param
    newer = f"SELECT * FROM event WHERE id > {mark} AND id <= {mark} ORDER BY id LIMIT {mark}"
    bounds = [
        selection.snapshot_min_id,
        selection.snapshot_max_id,
        max(0, selection.snapshot_max_id - selection.snapshot_min_id),
    ]
    query = f"SELECT count(*) FROM ({newer}) AS newer WHERE {where}"
    with database.many_rows():
        return database.execute_sql(query, [*bounds, *values]).fetchone()[0]


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
    widest = max(catalog.widths(selection.customer, selection.product, selection.types).values(), default=0)
    return Measure(total, widest, None) if _has_one_of_width(selection, widest) else None


def _has_one_of_width(selection: Selection, width: int) -> bool:
    """Return whether any row has a context with this number of items. Usually the first row does."""
    where, values = selection.where()
    query = f"SELECT 1 FROM event WHERE {where} AND {database.context_width()} = {int(width)} LIMIT 1"
    with database.many_rows():
        return database.execute_sql(query, values).fetchone() is not None


def rows(selection: Selection) -> Generator[tuple[int, str, object]]:
    """Return a selection's (timestamp, type, context) in report order, with the context as the database stores it."""
    where, values = selection.where()
    return database.stream(f"SELECT timestamp, type, context FROM event WHERE {where} ORDER BY timestamp, id", values)


def full_rows(selection: Selection) -> Generator[tuple]:
    """Return all columns of a selection's events, in report order.

    The columns are customer, product, type, version, timestamp, context, sequence, batch and received.
    """
    where, values = selection.where()
    columns = "customer, product, type, version, timestamp, context, sequence, batch, received"
    return database.stream(f"SELECT {columns} FROM event WHERE {where} ORDER BY timestamp, id", values)


def csv_blocks(
    selection: Selection, layout: Layout, width: int, delimiter: str, *, safe: bool = False
) -> Generator[Block] | None:
    """Return a report's rows as CSV lines that the database splits and quotes, or None if it cannot.

    Args:
        safe: prefix `'` to cells that a spreadsheet would execute as formulas.

    Raises:
        RowTooWide: in positional layout, a context has more items than `width`. It is raised during iteration.
    """
    as_cell = _harmless if safe else str
    cells, names = _cells(layout, width, as_cell)
    where, values = selection.where()
    time = "timestamp" if layout.kind == COLUMNS else database.unless_wider("timestamp", width)
    query = f"SELECT {time}, {as_cell('type')}{cells} FROM event WHERE {where} ORDER BY timestamp, id"
    return database.csv_blocks(query, [*names, *values], delimiter, picked=selection.is_part)


def stretches(selection: Selection, size: int, by_hour: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Split a selection into time ranges of about `size` rows: (start, end), both inclusive, in order.

    An hour with too many rows is split into minutes, those into seconds, and those into milliseconds.

    Args:
        by_hour: the number of rows per hour, in order. If it is exact, the same rows are always split in the same way.
    """
    return _packed(by_hour, size, selection, GRIDS)


def _packed(
    counts: Sequence[tuple[int, int]], size: int, selection: Selection, grids: Sequence[int]
) -> list[tuple[int, int]]:
    cut, begin, rows = [], None, 0
    for at, number in counts:
        finer = grids[1:] if number > size else ()
        if begin is not None and (finer or rows + number > size):
            cut.append((begin, at - 1))
            begin, rows = None, 0
        if finer:
            within = selection.between(at, at + grids[0] - 1)
            cut.extend(_packed(_histogram(within, finer[0]), size, within, finer))
        else:
            begin, rows = (at if begin is None else begin), rows + number
    if begin is not None:
        cut.append((begin, counts[-1][0] + grids[0] - 1))
    return cut


def _histogram(selection: Selection, grid: int) -> list[tuple[int, int]]:
    """Return the number of rows in each interval of the grid: (first millisecond, number), in order."""
    where, values = selection.where()
    query = f"SELECT {_at(grid)}, count(*) FROM event WHERE {where} GROUP BY 1 ORDER BY 1"
    with database.many_rows():
        return database.execute_sql(query, values).fetchall()


def _at(grid: int) -> str:
    """Return the SQL of the grid interval of an event, a whole number on both databases."""
    return f"timestamp / {grid} * {grid}"


def _facts(layout: Layout) -> tuple[str, list[object]]:
    """Return the SQL of the facts that a layout needs, and its parameters: number of rows, widest context, extras."""
    if layout.kind != COLUMNS:
        return f"count(*), coalesce(max({database.context_width()}), 0), NULL", []
    condition, names = _has_extras(layout)
    return f"count(*), 0, coalesce(sum(CASE WHEN {condition} THEN 1 ELSE 0 END), 0)", names


def _summed(layout: Layout, found: Sequence[Sequence[int | None]]) -> Measure:
    totals, widths, extras = zip(*found, strict=True) if found else ((), (), ())
    keeps_all = layout.keeps_extras
    return Measure(sum(totals), max(widths, default=0), None if keeps_all else sum(int(extra) for extra in extras))


def _cells(layout: Layout, width: int, as_cell: AsCell) -> tuple[str, list[object]]:
    """Return the SQL of the columns after timestamp and type, each preceded by a comma, and its parameters."""
    if layout.kind != COLUMNS:
        return "".join(f", {as_cell(database.context_item(index))}" for index in range(width)), []
    cells, names = "", []
    for column in layout.columns:
        cell, parameters = _extras_cell(layout) if column == EXTRA else _column_cell(layout, column, as_cell)
        cells += f", {cell}"
        names.extend(parameters)
    return cells, names


def _column_cell(layout: Layout, column: str, as_cell: AsCell) -> tuple[str, list[object]]:
    places = [(code, layout.place(code, column)) for code in layout.contexts]
    filled = [(code, index) for code, index in places if index is not None]
    if not filled:
        return "NULL", []
    items = [as_cell(database.context_item(index)) for _, index in filled]
    cases = " ".join(f"WHEN {database.param} THEN {item}" for item in items)
    return f"CASE type {cases} END", [code for code, _ in filled]


def _harmless(text: str) -> str:
    """Return the SQL of a text that spreadsheets do not execute. Only PostgreSQL splits columns."""
    starts = ", ".join(str(ord(sign)) for sign in FORMULA_STARTS)
    return f"CASE WHEN ascii({text}) IN ({starts}) THEN '''' || {text} ELSE {text} END"


def _extras_cell(layout: Layout) -> tuple[str, list[object]]:
    """Return SQL for a JSON array of the items without a column, or NULL. Its bracket cannot start a formula.

    The SQL compares the context's length first, because most rows have no such items and the array costs several times
    as much as the comparison.
    """
    cases, names = [], []
    for code in layout.contexts:
        kept, unnamed = layout.extras(code)
        slices = [f"context[{index + 1}:{index + 1}]" for index in kept] + [f"context[{unnamed + 1}:]"]
        cases.append(f"WHEN {database.param} THEN {_array_behind(_extras_begin(layout, code), ' || '.join(slices))}")
        names.append(code)
    whole = _array_behind(0, "context")
    return f"CASE type {' '.join(cases)} ELSE {whole} END" if cases else whole, names


def _array_behind(begin: int, items: str) -> str:
    return f"CASE WHEN {database.context_width()} > {begin} THEN array_to_json({items})::text END"


def _has_extras(layout: Layout) -> tuple[str, list[object]]:
    """Return the SQL condition for rows that have items without a column, because their context is long enough."""
    names = list(layout.contexts)
    cases = [f"WHEN {database.param} THEN {_extras_begin(layout, code)}" for code in names]
    begin = f"CASE type {' '.join(cases)} ELSE 0 END" if cases else "0"
    return f"{database.context_width()} > {begin}", names


def _extras_begin(layout: Layout, code: str) -> int:
    """Return the index of a type's first item that has no column."""
    kept, unnamed = layout.extras(code)
    return min((*kept, unnamed))
