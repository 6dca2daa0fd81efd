"""Erasing events: in chunks, so that nobody waits for long, and with the counts beside them kept right.

Only what is counted is erased: whoever counts (`hours.count_up`) never looks back, so a count of an event that went
before it was counted could never be taken off. So erasing counts first, and goes no further than the counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from peewee import fn

from app.store import hours
from app.store.database import database
from app.store.events import Selection
from app.store.models import Report, Seen

CHUNK = 2_000  # events in one transaction: a few hundredths of a second
START = (-1, -1)  # before every event

Position = tuple[int, int]  # timestamp, id


@dataclass(frozen=True)
class Doomed:
    """Which events are to go; what is None or empty is not asked about.

    Attributes:
        after, before: milliseconds; the first is included, the second is not.
        item: a text that is one of the context's items, whole.
        cut: the id of the last event that counts.
    """

    customer: str | None = None
    product: str | None = None
    types: Sequence[str] = ()
    after: int | None = None
    before: int | None = None
    batch: str | None = None
    item: str | None = None
    cut: int | None = None

    def where(self) -> tuple[str, list[object]]:
        """The SQL condition and its parameters."""
        mark = database.param
        asked = [
            (f"customer = {mark}", self.customer),
            (f"product = {mark}", self.product),
            (f"timestamp >= {mark}", self.after),
            (f"timestamp < {mark}", self.before),
            (f"batch = {mark}", self.batch),
            (database.has_item(), self.item),
            (f"id <= {mark}", self.cut),
        ]
        parts = [condition for condition, value in asked if value is not None]
        values = [value for _, value in asked if value is not None]
        if self.types:
            parts.append(f"type IN ({', '.join([mark] * len(self.types))})")
        return " AND ".join(parts), [*values, *self.types]


def counted_cut() -> int:
    """Count what came until now; the id of the last event that may be erased."""
    with database.atomic():
        newest = database.acceptance_cut(hours.PATIENCE_MS)
    while hours.counted_to() < newest and hours.count_up():
        pass
    return hours.counted_to()


def number(doomed: Doomed) -> int:
    """How many events are to go."""
    where, values = doomed.where()
    return database.execute_sql(f"SELECT count(*) FROM event WHERE {where}", values).fetchone()[0]  # noqa: S608


def has_any(doomed: Doomed, selection: Selection) -> bool:
    """Whether some of them are in a report's selection."""
    (one, values), (other, more) = doomed.where(), selection.where()
    query = f"SELECT 1 FROM event WHERE {one} AND {other} LIMIT 1"  # noqa: S608
    return database.execute_sql(query, [*values, *more]).fetchone() is not None


def reports(doomed: Doomed) -> list[Report]:
    """The reports that have a file, or are to have one, and whose filter meets what is to go."""
    query = Report.select().where(Report.status.in_(["RUNNING", "COMPLETE"]), ~Report.removed).order_by(Report.id)
    asked = ((Report.customer, doomed.customer), (Report.product, doomed.product))
    for field, code in asked:
        query = query if code is None else query.where(field == code)
    if doomed.after is not None:
        query = query.where(Report.end.is_null() | (Report.end >= doomed.after))
    if doomed.before is not None:
        query = query.where(Report.start.is_null() | (Report.start < doomed.before))
    return [one for one in query if not (one.types and doomed.types) or set(one.types) & set(doomed.types)]


def newest_report() -> int:
    """The id of the last report that was accepted."""
    return Report.select(fn.max(Report.id)).scalar() or 0


def counted_to() -> int:
    """The id of the last event that may be erased as things stand."""
    return hours.counted_to()


def erase(doomed: Doomed) -> Iterator[int]:
    """Erase events, a chunk at a time, each committed when its number is given."""
    for customer, product in _pairs(doomed):
        part = replace(doomed, customer=customer, product=product)
        position = START
        try:
            while chunk := _chunk(part, position):
                position = chunk[-1]
                yield _erase([key for _, key in chunk])
        finally:
            if position != START:
                _forget_seen(customer, product)


def _pairs(doomed: Doomed) -> list[tuple[str, str]]:
    query = Seen.select(Seen.customer, Seen.product).distinct()
    for field, code in ((Seen.customer, doomed.customer), (Seen.product, doomed.product)):
        query = query if code is None else query.where(field == code)
    return sorted(query.tuples())


def _chunk(doomed: Doomed, position: Position) -> list[Position]:
    """The next events behind a position, along the index."""
    # One bound on either side: of two, SQLite takes the first for the index, and walks to the other.
    where, values = replace(doomed, after=max(doomed.after or 0, position[0])).where()
    mark = database.param
    query = (
        f"SELECT timestamp, id FROM event WHERE {where} AND (timestamp, id) > ({mark}, {mark}) "  # noqa: S608
        f"ORDER BY timestamp, id LIMIT {CHUNK}"
    )
    return database.execute_sql(query, [*values, *position]).fetchall()


def _erase(keys: Sequence[int]) -> int:
    """Erase some by their ids; how many of them were still there."""
    marks = ", ".join([database.param] * len(keys))
    hour = f"timestamp / {hours.HOUR_MS} * {hours.HOUR_MS}"
    query = f"DELETE FROM event WHERE id IN ({marks}) RETURNING customer, product, type, {hour}"  # noqa: S608
    with database.atomic():
        database.erase_alone()
        gone = database.execute_sql(query, keys).fetchall()
        hours.take_off(Counter(gone))
    return len(gone)


def _forget_seen(customer: str, product: str) -> None:
    """The types of which a customer's product has no event any more are not shown as seen.

    Their rows stay: processes remember that they noted them and how wide the contexts were, and reports rely on it.
    """
    mark = database.param
    same = "customer = seen.customer AND product = seen.product AND type = seen.type"
    query = (
        f"UPDATE seen SET gone = TRUE WHERE customer = {mark} AND product = {mark} "
        f"AND NOT EXISTS (SELECT 1 FROM hourly_count WHERE {same}) "
        f"AND NOT EXISTS (SELECT 1 FROM event WHERE {same} AND id > {mark})"
    )
    database.execute_sql(query, [customer, product, hours.counted_to()])
