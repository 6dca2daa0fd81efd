"""Exact numbers of events by their codes, the hour or day, and an item of their context.

Whole hours come from the counts that the scheduler has made (`hourly_counts`, or `daily_counts` if the customer or the
type does not matter). The events of the first and last hour that are only partly in the range, and those too new to be
counted, are read themselves. An item of the context is in no counts, so that question reads every event. Everything is
read in one snapshot, so the result is what a count of all events at that moment would be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from peewee import SQL

from app.store.database import database
from app.store.events import daily_counts, daily_customer_counts, hourly_counts
from app.store.events.count_slices import HOUR
from app.store.events.filters import Condition, EventFilter
from app.store.models import Counted
from app.store.queries import fetch
from app.support.clock import HOUR_MS

CODES = ("customer", "product", "type")
VALUE = "value"

Range = tuple[int | None, int | None]  # of times, both included; None: no limit


@dataclass(frozen=True)
class Grouping:
    """What numbers are grouped by.

    Attributes:
        codes: of CODES.
        step: length of a step of time in milliseconds, an hour or a day, or None.
        items: the index of the context item, by product and type; None if it is not asked for. Events of other types
            are not counted.
    """

    codes: Collection[str] = ()
    step: int | None = None
    items: Mapping[tuple[str, str], int] | None = None

    @property
    def keys(self) -> list[str]:
        """Return the columns of a group, without the time."""
        return [code for code in CODES if code in self.codes] + ([] if self.items is None else [VALUE])


class Row(NamedTuple):
    """Number of events of a group in a step, or in the whole range if there are no steps."""

    time: int | None
    values: tuple[str | None, ...]  # of the grouping's keys
    number: int


@dataclass(frozen=True)
class Numbers:
    """Numbers of the largest groups.

    Attributes:
        rows: by time, then the largest group first.
        groups: how many groups there are.
        total: of all groups.
    """

    rows: list[Row] = field(default_factory=list)
    groups: int = 0
    total: int = 0


@dataclass(frozen=True)
class _Counted:
    """What the counts include: events up to an id, and on SQLite the first groups of a slice after it.

    Attributes:
        slice_end: the last event of the slice, or None if there is none.
        last_group: the last group of the slice that is in the counts (customer, product, type, hour), if some are not.
        has_customers: whether the daily counts by customer are complete.
    """

    up_to: int
    newest: int
    slice_end: int | None
    last_group: Sequence[object] | None
    has_customers: bool


def read(
    wanted: EventFilter, grouping: Grouping, *, max_groups: int, max_rows: int, max_read: int
) -> tuple[Numbers | None, int, int]:
    """Return the numbers, or None if too many events would have to be read, and two numbers of events.

    Args:
        max_groups: how many groups to return; one more row than `max_rows` means that there are too many.
        max_read: how many events may be read.

    Returns:
        The numbers, how many counted events are read, and how many that are too new to be counted.
    """
    with database.snapshot():
        counted = _counted()
        new = max(0, counted.newest - counted.up_to)
        whole, edges = _divided(wanted) if grouping.items is None else (None, [(wanted.start, wanted.end)])
        old = sum(_number_within(wanted, edge) for edge in edges)
        if old > max_read or new > max_read:
            return None, old, new
        parts = [_of_counts(wanted, grouping, whole, counted)] if whole else []
        parts += [_of_events(wanted, grouping, edge, counted) for edge in edges]
        parts += [_of_new(wanted, grouping, whole, counted)] if new else []
        return _grouped(parts, grouping, max_groups, max_rows), old, new


def _counted() -> _Counted:
    columns = (Counted.up_to, Counted.slice_end, Counted.slice_groups, SQL(daily_customer_counts.IS_COMPLETE))
    ((up_to, slice_end, groups, has_customers),) = fetch(Counted.select(*columns))
    newest = database.fetch_int("SELECT coalesce(max(id), 0) FROM event")
    last = None
    if slice_end is not None and groups:
        query = (
            f"SELECT customer, product, type, {HOUR} FROM event WHERE id > {up_to:d} AND id <= {slice_end:d} "
            f"GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT 1 OFFSET {groups - 1:d}"
        )
        last = database.execute_sql(query).fetchone()
    return _Counted(up_to, newest, slice_end if groups else None, last, bool(has_customers))


def _divided(wanted: EventFilter) -> tuple[Range | None, list[Range]]:
    """Return the whole hours of a filter's range, if there are any, and the parts of hours at its ends."""
    start, end = wanted.start, wanted.end
    first = None if start is None else -(-start // HOUR_MS) * HOUR_MS
    last = None if end is None else (end + 1) // HOUR_MS * HOUR_MS - 1
    if first is not None and last is not None and first > last:
        return None, [(start, end)]
    edges: list[Range] = []
    if first is not None and start != first:
        edges.append((start, first - 1))
    if last is not None and end != last:
        edges.append((last + 1, end))
    return (first, last), edges


def _number_within(wanted: EventFilter, edge: Range) -> int:
    """Return how many counted events the hours of a range have, of all types, because the index lacks the type."""
    begin, end = edge
    query, values = hourly_counts.selection(replace(wanted, types=()), begin, None if end is None else end + 1)
    return int(database.fetch_int(f"SELECT coalesce(sum(number), 0) FROM ({query}) AS counts", values))  # noqa: S608


# Each part is a query for the time, customer, product, type and number, with the context if it is asked for.


def _of_counts(wanted: EventFilter, grouping: Grouping, whole: Range, counted: _Counted) -> Condition:
    begin, end = whole[0], None if whole[1] is None else whole[1] + 1
    has_customer = "customer" in grouping.codes or not wanted.of_all_customers
    if not has_customer and counted.slice_end is None:
        query, values = daily_counts.OF_TYPES.selection(wanted, begin, end, by_hour=grouping.step == HOUR_MS)
    elif "type" not in grouping.codes and not wanted.types and counted.has_customers:
        query, values = daily_counts.OF_CUSTOMERS.selection(wanted, begin, end, by_hour=grouping.step == HOUR_MS)
    else:
        query, values = hourly_counts.selection(wanted, begin, end)
    # Summed here, because the rows of an index come in the order of its codes, unlike those of all parts.
    codes = [code if code in grouping.codes else f"CAST(NULL AS text) AS {code}" for code in CODES]
    columns = ", ".join([f"{_step('time', grouping)} AS time", *codes])
    groups = [code for code in CODES if code in grouping.codes] + ([] if grouping.step is None else ["1"])
    group_by = f"GROUP BY {', '.join(groups)}" if groups else ""
    return f"SELECT {columns}, sum(number) AS number FROM ({query}) AS counts {group_by}", values  # noqa: S608


def _of_events(wanted: EventFilter, grouping: Grouping, edge: Range, counted: _Counted) -> Condition:
    """Return a query for the counted events of a range, through the index."""
    pairs, values = hourly_counts.pairs_within(wanted, *edge)
    within = EventFilter(types=wanted.types, start=edge[0], end=edge[1], snapshot_max_id=counted.up_to)
    condition, more = within.where()
    return _events(database.of_pairs(pairs, condition), grouping), [*values, *more]


def _of_new(wanted: EventFilter, grouping: Grouping, whole: Range | None, counted: _Counted) -> Condition:
    """Return a query for the events that the counts do not include."""
    where, values = wanted.where()
    if whole and counted.slice_end is not None:
        # The first groups of the slice are in the counts already, except for hours whose events are read themselves.
        limits = (("timestamp >= {:d}", whole[0]), ("timestamp <= {:d}", whole[1]))
        inside = " AND ".join(text.format(limit) for text, limit in limits if limit is not None)
        where += f" AND (id > {counted.slice_end:d} OR NOT ({inside or 'TRUE'})"
        if counted.last_group:
            where += f" OR (customer, product, type, {HOUR}) > (?, ?, ?, ?)"
            values = [*values, *counted.last_group]
        where += ")"
    # Both limits, so that the planner selects them by id.
    new = f"SELECT * FROM event WHERE id > {counted.up_to:d} AND id <= {counted.newest:d}"  # noqa: S608
    return _events(f"({new}) AS event WHERE {where}", grouping), values


def _events(source: str, grouping: Grouping) -> str:
    codes = ", ".join(f"event.{code} AS {code}" for code in CODES)
    context = "" if grouping.items is None else ", event.context AS context"
    return f"SELECT event.timestamp AS time, {codes}, 1 AS number{context} FROM {source}"  # noqa: S608


def _grouped(parts: Sequence[Condition], grouping: Grouping, max_groups: int, max_rows: int) -> Numbers:
    if not parts:
        return Numbers()
    keys, values = grouping.keys, [value for _, given in parts for value in given]
    columns = [code for code in keys if code != VALUE]
    condition = "TRUE"
    if grouping.items is not None:
        value, given = _item(grouping.items)
        columns.append(f"{value} AS {VALUE}")
        condition = f"(product, type) IN ({_pairs(len(grouping.items))})"
        values += [*given, *(code for pair in grouping.items for code in pair)]
    step = _step("time", grouping)
    names = "".join(f", {key}" for key in keys)
    order = "".join(f", {key} IS NULL, {key}" for key in keys)  # the databases put NULL at different ends
    partition = f"PARTITION BY {', '.join(keys)}" if keys else ""
    query = f"""
        WITH parts AS ({" UNION ALL ".join(query for query, _ in parts)}),
        numbers AS (
            SELECT {", ".join([f"{step} AS step", *columns])}, sum(number) AS number FROM parts WHERE {condition}
            GROUP BY {", ".join(str(place + 1) for place in range(1 + len(keys)))}),
        totals AS (SELECT step{names}, number, sum(number) OVER ({partition}) AS total FROM numbers WHERE number > 0),
        ranked AS (SELECT step{names}, number, dense_rank() OVER (ORDER BY total DESC{order}) AS place FROM totals)
        SELECT step, number, (SELECT max(place) FROM ranked), (SELECT sum(number) FROM ranked){names} FROM ranked
        WHERE place <= {max_groups:d} ORDER BY step, place LIMIT {max_rows + 1:d}"""  # noqa: S608
    found = database.execute_sql(query, values).fetchall()
    rows = [Row(time, tuple(values), int(number)) for time, number, _, _, *values in found]
    return Numbers(rows, found[0][2], int(found[0][3])) if found else Numbers()


def _step(time: str, grouping: Grouping) -> str:
    return "CAST(NULL AS bigint)" if grouping.step is None else f"{time} / {grouping.step:d} * {grouping.step:d}"


def _item(items: Mapping[tuple[str, str], int]) -> Condition:
    """Return the SQL of the context item of an event, by its product and type."""
    by_index: defaultdict[int, list[str]] = defaultdict(list)
    for pair, index in items.items():
        by_index[index] += pair
    cases = " ".join(
        f"WHEN (product, type) IN ({_pairs(len(codes) // 2)}) THEN {database.context_item(index)}"
        for index, codes in by_index.items()
    )
    return f"CASE {cases} END", [code for codes in by_index.values() for code in codes]


def _pairs(number: int) -> str:
    """Return the parameters of so many pairs."""
    return "VALUES " + ", ".join([f"({database.param}, {database.param})"] * number)
