"""Events newest first, a page at a time, each page as fast as the first: `GET /events` and the pages that list events.

There is one index on events, (customer, product, timestamp), because each costs every insert. A question that names
customer and product walks it backwards. One that names less asks every pair of the two that was ever seen, and merges:
pairs are few. One for a type that is rare among its neighbours would walk through millions of others; the hourly
counts say in which hours it is, and only those are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from peewee import SQL

from app.store import hours
from app.store.database import database
from app.store.models import Seen

FULL = "customer, product, type, version, timestamp, context, sequence, batch, received, id"
TERMS = 100  # in one UNION; SQLite takes 500
PARAMETERS = 30_000  # in one query; SQLite takes 32,766
RARE = 50  # a type is rare where fewer than one in so many of its neighbours is of it
HOURS = 100  # in which a rare type is looked for at a time

Position = tuple[int, int]  # timestamp, id: where a page ends
Span = tuple[int, int]  # milliseconds: from, to before
Condition = tuple[str, list[object]]  # SQL and its parameters


@dataclass(frozen=True)
class Wanted:
    """Which events; None or empty: all.

    Attributes:
        customers: those the asker may see.
        start, end: milliseconds, both included.
        after: the position of the last event of the page before.
    """

    customers: Sequence[str] | None = None
    customer: str | None = None
    product: str | None = None
    types: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    after: Position | None = None

    @property
    def last(self) -> int | None:
        """The latest timestamp that can be on the page."""
        times = [time for time in (self.end, self.after and self.after[0]) if time is not None]
        return min(times) if times else None


def page(wanted: Wanted, limit: int) -> list[tuple]:
    """The newest events by timestamp, then by acceptance: rows of the columns in FULL."""
    counted = hours.counted_to()  # before the hours are read: what is counted meanwhile is found twice, never missed
    dense, rare = [], []
    for part in _parts(wanted):
        (dense if not part.types or _is_dense(part, limit) else rare).append(part)
    found = set(_newest([_condition(part) for part in dense], limit))
    if rare:
        found.update(_uncounted(wanted, counted, limit))
        found.update(_of_rare(rare, limit))
    newest = sorted(found, reverse=True)[:limit]
    return _rows([key for _, key in newest])


def _parts(wanted: Wanted) -> list[Wanted]:
    """What is wanted of each pair of customer and product that has such events, with the types that it has of them."""
    query = Seen.select(Seen.customer, Seen.product, Seen.type if wanted.types else SQL("NULL")).distinct()
    if wanted.customers is not None:
        query = query.where(Seen.customer.in_(list(wanted.customers)))
    if wanted.customer is not None:
        query = query.where(Seen.customer == wanted.customer)
    if wanted.product is not None:
        query = query.where(Seen.product == wanted.product)
    if wanted.types:
        query = query.where(Seen.type.in_(list(wanted.types)))
    types: dict[tuple[str, str], list[str]] = defaultdict(list)
    for customer, product, kind in query.tuples():
        types[customer, product] += [kind] if wanted.types else []
    return [
        replace(wanted, customers=None, customer=customer, product=product, types=some)
        for (customer, product), some in types.items()
    ]


def _is_dense(part: Wanted, limit: int) -> bool:
    """Whether somebody who walks back to the end of the page meets few events of other types."""
    number = 0
    found = hours.newest(part.customer, part.product, part.types, part.start, part.last, limit + 1)
    for hour, count in found:
        number += count
        if number >= limit:
            return hours.total(part.customer, part.product, hour, found[0][0]) <= number * RARE
    return False


def _newest(conditions: Sequence[Condition], limit: int) -> Iterator[Position]:
    """The newest positions under each condition: each walks the index backwards, as far as it must."""
    parameters = max((len(values) for _, values in conditions), default=0)
    at_once = min(TERMS, PARAMETERS // (parameters + 1))
    for begin in range(0, len(conditions), at_once):
        parts, values = [], []
        for condition, given in conditions[begin : begin + at_once]:
            newest = f"SELECT timestamp, id FROM event WHERE {condition} ORDER BY timestamp DESC, id DESC LIMIT {limit}"
            parts.append(f"SELECT * FROM ({newest}) AS part")
            values += given
        yield from database.execute_sql(" UNION ALL ".join(parts), values).fetchall()


def _uncounted(wanted: Wanted, counted: int, limit: int) -> list[Position]:
    """The newest positions among the events that are too new to be counted."""
    condition, values = _condition(wanted)
    # They are found by their ids alone, whatever else is asked: the planner must not walk the other index for it.
    query = (
        f"WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {database.param}) SELECT timestamp, id FROM tail "
        f"WHERE {condition} ORDER BY timestamp DESC, id DESC LIMIT {limit}"
    )
    return database.execute_sql(query, [counted, *values]).fetchall()


def _of_rare(parts: Sequence[Wanted], limit: int) -> list[Position]:
    """The newest positions of rare types among the counted events of several pairs.

    Together the pairs fill the page from fewer hours than each would alone, so those are read first.
    """
    for start in (_page_begin(parts, limit), None):
        bounded = [replace(part, start=max(part.start or 0, start)) if start else part for part in parts]
        found = [position for part in bounded for position in _counted(part, limit)]
        if len(found) >= limit:
            break
    return found


def _page_begin(parts: Sequence[Wanted], limit: int) -> int | None:
    """The hour from which on the pairs together surely have a page of events; None where all they have is less."""
    counts = [hours.newest(part.customer, part.product, part.types, part.start, part.last, limit) for part in parts]
    merged = sorted((row for count in counts for row in count), reverse=True)
    number = 0
    for hour, count in merged:
        number += count if hour < merged[0][0] else 0  # of the newest hour a part may lie behind the page's end
        if number >= limit:
            return hour
    return None


def _counted(part: Wanted, limit: int) -> list[Position]:
    """The newest positions of a rare type among the counted events, from the hours that have some."""
    found: list[Position] = []
    end = part.last
    while len(found) < limit:
        newest = hours.newest(part.customer, part.product, part.types, part.start, end, HOURS)
        spans = _spans(newest, limit - len(found))
        if not spans:
            break
        found += _newest([_condition(part, span) for span in spans], limit)
        end = spans[-1][0] - 1
    return found


def _spans(newest: Sequence[tuple[int, int]], limit: int) -> list[Span]:
    """The newest hours, as many as should fill the page: of the first one a part may lie behind the page's end."""
    spans: dict[int, Span] = {}
    number = 0
    for hour, count in newest:
        if number >= limit and hour not in spans:
            break
        spans[hour] = (hour, hour + hours.HOUR_MS)
        number += count
    return list(spans.values())


def _condition(wanted: Wanted, span: Span | None = None) -> Condition:
    """The SQL of what is wanted; within a span, if one is given."""
    mark = database.param
    parts, values = [], []
    for name, value in (("customer", wanted.customer), ("product", wanted.product)):
        if value is not None:
            parts.append(f"{name} = {mark}")
            values.append(value)
    for name, several in (("customer", wanted.customers), ("type", wanted.types or None)):
        if several is not None:
            parts.append(f"{name} IN ({', '.join([mark] * len(several))})")
            values += several
    # One bound on either side: of two, SQLite takes the first for the index, and walks to the other.
    begins = [time for time in (wanted.start, span and span[0]) if time is not None]
    ends = [time for time in (wanted.last, span and span[1] - 1) if time is not None]
    for condition, times, nearest in (("timestamp >=", begins, max), ("timestamp <=", ends, min)):
        if times:
            parts.append(f"{condition} {mark}")
            values.append(nearest(times))
    if wanted.after:
        parts.append(f"(timestamp, id) < ({mark}, {mark})")
        values += wanted.after
    return " AND ".join(parts), values


def _rows(keys: Sequence[int]) -> list[tuple]:
    """The events of these ids, in this order."""
    marks = ", ".join([database.param] * len(keys))
    if not keys:
        return []
    rows = database.execute_sql(f"SELECT {FULL} FROM event WHERE id IN ({marks})", keys).fetchall()  # noqa: S608
    by_id = {row[-1]: row for row in rows}
    return [by_id[key] for key in keys if key in by_id]
