"""Events newest first, a page at a time, each page as fast as the first: `GET /events` and the pages that list events.

There is one index on events, (customer, product, timestamp), because each costs every insert. A question that names
customer and product walks it backwards. One that names less asks every pair of the two that was ever seen, and merges:
pairs are few. One for a type that is rare among its neighbours would walk through millions of others; the hourly
counts say in which hours it is, and only those are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store import hours
from app.store.database import database
from app.store.models import Seen

FULL = "customer, product, type, version, timestamp, context, sequence, batch, received, id"
PAIRS_AT_ONCE = 100  # SQLite takes 500 terms in one UNION
RARE = 50  # a type is rare where fewer than one in so many of its neighbours is of it

Position = tuple[int, int]  # timestamp, id: where a page ends
Pair = tuple[str, str]  # customer, product
Span = tuple[int, int]  # milliseconds: from, to before


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
    found: set[Position] = set()
    dense = []
    for pair in _pairs(wanted):
        spans = _rare_hours(pair, wanted, limit) if wanted.types else None
        if spans is None:
            dense.append(pair)
        else:
            found.update(_rare_positions(pair, wanted, spans, limit))
    for begin in range(0, len(dense), PAIRS_AT_ONCE):
        found.update(_positions(dense[begin : begin + PAIRS_AT_ONCE], wanted, limit))
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


def _positions(pairs: Sequence[Pair], wanted: Wanted, limit: int) -> list[Position]:
    """The newest positions of each pair: each walks the index backwards, as far as it must."""
    parts, values = [], []
    for pair in pairs:
        condition, parameters = _condition(pair, wanted)
        newest = f"SELECT timestamp, id FROM event WHERE {condition} ORDER BY timestamp DESC, id DESC LIMIT {limit}"
        parts.append(f"SELECT * FROM ({newest}) AS pair")
        values += parameters
    return database.execute_sql(" UNION ALL ".join(parts), values).fetchall()


def _rare_positions(pair: Pair, wanted: Wanted, spans: Sequence[Span], limit: int) -> list[Position]:
    """The newest positions of a rare type: those in its hours, and those too new to be counted."""
    condition, parameters = _condition(pair, wanted)
    mark = database.param
    # The tail is found by its ids alone, whatever else is asked: the planner must not walk the other index for it.
    parts = [
        f"SELECT timestamp, id FROM (WITH tail AS MATERIALIZED (SELECT * FROM event WHERE id > {mark}) "
        f"SELECT * FROM tail WHERE {condition}) AS tail"
    ]
    values = [hours.counted_to(), *parameters]
    for begin, end in spans:
        parts.append(
            f"SELECT timestamp, id FROM event WHERE {condition} AND timestamp >= {mark} AND timestamp < {mark}"
        )
        values += [*parameters, begin, end]
    union = " UNION ALL ".join(parts)
    query = f"SELECT timestamp, id FROM ({union}) AS found ORDER BY timestamp DESC, id DESC LIMIT {limit}"
    return database.execute_sql(query, values).fetchall()


def _rare_hours(pair: Pair, wanted: Wanted, limit: int) -> list[Span] | None:
    """The spans that surely hold a page of a rare type's counted events; None where the type is not rare."""
    newest = hours.newest(*pair, wanted.types, wanted.last, limit + 1)
    if newest and _is_dense(pair, newest):
        return None
    spans: list[Span] = []
    sure = 0
    for place, (hour, number) in enumerate(newest):
        if spans and spans[-1][0] == hour + hours.HOUR_MS:
            spans[-1] = (hour, spans[-1][1])
        elif not spans or spans[-1][0] != hour:
            spans.append((hour, hour + hours.HOUR_MS))
        sure += number if place else 0  # of the newest hour a part may lie behind the page's end
        if sure >= limit:
            break
    return spans


def _is_dense(pair: Pair, newest: Sequence[tuple[int, int]]) -> bool:
    """Whether the types make up enough of the newest hour in which they occur to be met soon by walking."""
    hour, number = newest[0]
    return number * RARE >= hours.total(*pair, hour)


def _condition(pair: Pair, wanted: Wanted) -> tuple[str, list[object]]:
    mark = database.param
    parts, values = [f"customer = {mark}", f"product = {mark}"], list(pair)
    if wanted.types:
        parts.append(f"type IN ({', '.join([mark] * len(wanted.types))})")
        values += wanted.types
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
