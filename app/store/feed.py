"""Events newest first, a page at a time, each page as fast as the first: `GET /events` and the pages that list events.

There is one index on events, (customer, product, timestamp), because each costs every insert. A question that names
customer and product walks it backwards. One that names less asks every pair of the two that was ever seen, and merges:
pairs are few. One for a type that is rare among its neighbours would walk through millions of others; the hourly
counts say in which hours it is, and only those are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.store import hours
from app.store.database import database
from app.store.models import Seen

FULL = "customer, product, type, version, timestamp, context, sequence, batch, received, id"
TERMS = 100  # in one UNION; SQLite takes 500
PARAMETERS = 30_000  # in one query; SQLite takes 32,766
RARE = 50  # a type is rare where fewer than one in so many of its neighbours is of it
HOURS = 100  # in which a rare type is looked for at a time

Position = tuple[int, int]  # timestamp, id: where a page ends
Pair = tuple[str, str]  # customer, product
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
    pairs = _pairs(wanted)
    dense = {pair for pair in pairs if not wanted.types or _is_dense(pair, wanted, limit)}
    found = set(_newest([_of_pair(pair, wanted) for pair in dense], limit))
    if len(dense) < len(pairs):
        found.update(_uncounted(wanted, counted, limit))
    for pair in pairs:
        if pair not in dense:
            found.update(_of_rare(pair, wanted, limit))
    newest = sorted(found, reverse=True)[:limit]
    return _rows([key for _, key in newest])


def _pairs(wanted: Wanted) -> list[Pair]:
    """The pairs of customer and product that have such events."""
    query = Seen.select(Seen.customer, Seen.product).distinct()
    if wanted.customers is not None:
        query = query.where(Seen.customer.in_(list(wanted.customers)))
    if wanted.customer is not None:
        query = query.where(Seen.customer == wanted.customer)
    if wanted.product is not None:
        query = query.where(Seen.product == wanted.product)
    if wanted.types:
        query = query.where(Seen.type.in_(list(wanted.types)))
    return list(query.tuples())


def _is_dense(pair: Pair, wanted: Wanted, limit: int) -> bool:
    """Whether somebody who walks back to the end of the page meets few events of other types."""
    number = 0
    found = hours.newest(*pair, wanted.types, wanted.start, wanted.last, limit + 1)
    for hour, count in found:
        number += count
        if number >= limit:
            return hours.total(*pair, hour, found[0][0]) <= number * RARE
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
    condition, values = _of_anybody(wanted)
    # They are found by their ids alone, whatever else is asked: the planner must not walk the other index for it.
    query = (
        f"WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {database.param}) SELECT timestamp, id FROM tail "
        f"WHERE {condition} ORDER BY timestamp DESC, id DESC LIMIT {limit}"
    )
    return database.execute_sql(query, [counted, *values]).fetchall()


def _of_rare(pair: Pair, wanted: Wanted, limit: int) -> list[Position]:
    """The newest positions of a rare type among the counted events, from the hours that have some."""
    found: list[Position] = []
    end = wanted.last
    while len(found) < limit:
        spans = _spans(hours.newest(*pair, wanted.types, wanted.start, end, HOURS), limit - len(found))
        if not spans:
            break
        found += _newest([_of_pair(pair, wanted, span) for span in spans], limit)
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


def _of_pair(pair: Pair, wanted: Wanted, span: Span | None = None) -> Condition:
    """The wanted events of a customer and product; within a span, if one is given."""
    mark = database.param
    condition, values = _of_anybody(replace(wanted, customers=None, customer=pair[0], product=pair[1]))
    if span:
        condition, values = f"{condition} AND timestamp >= {mark} AND timestamp < {mark}", [*values, *span]
    return condition, values


def _of_anybody(wanted: Wanted) -> Condition:
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
    for condition, value in (("timestamp >=", wanted.start), ("timestamp <=", wanted.last)):
        if value is not None:
            parts.append(f"{condition} {mark}")
            values.append(value)
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
