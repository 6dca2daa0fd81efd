"""Queries about groups of similar rejected events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from peewee import SQL, ModelSelect, fn

from app.store.database import database
from app.store.events.rejected_filter import RejectedFilter, apply, chosen
from app.store.models import RejectedEvent as Row
from app.store.queries import fetch, fetch_column


@dataclass(frozen=True)
class Key:
    """Key of a group of similar rejected events.

    Attributes:
        field: the first invalid field; empty for the event as a whole.
        fault: missing, unknown or wrong; empty for events stored before this was recorded.
        product, type: empty if unknown.
    """

    field: str
    fault: str
    product: str
    type: str

    def within(self, wanted: RejectedFilter) -> RejectedFilter:
        """Return the filter that selects the events of the group that match another one."""
        return replace(wanted, field=self.field, fault=self.fault, product=self.product, type=self.type)


class Totals(NamedTuple):
    """Totals of some events: their number, their customers, their first and last time of arrival, and their last id."""

    number: int
    customers: int
    first_at: int
    last_at: int
    newest: int


ALIKE = ("field", "fault", "product", "type")


def every(wanted: RejectedFilter, limit: int) -> list[tuple[Key, int, int, int]]:
    """Return the groups with the most events: (key, number of events, number of customers, time of the latest)."""
    rows = chosen(wanted)
    number, customers, last_at = fn.count(rows.c.id), fn.count(rows.c.customer.distinct()), fn.max(rows.c.received_at)
    if not database.has_one_writer:
        rows = _by_customer(wanted)
        number, customers, last_at = fn.sum(rows.c.number), fn.count(rows.c.customer), fn.max(rows.c.last_at)
    alike = [getattr(rows.c, name) for name in ALIKE]
    query = Row.select(*alike, number, customers, last_at).from_(rows)
    query = query.group_by(*alike).order_by(number.desc(), *alike).limit(limit)
    with database.many_rows():
        return [(Key(*row[:4]), int(row[4]), row[5], row[6]) for row in fetch(query)]


def totals(wanted: RejectedFilter) -> Totals | None:
    """Return the totals of the events that match, or None if there are none."""
    rows = chosen(wanted)
    of_time = fn.min(rows.c.received_at), fn.max(rows.c.received_at)
    query = Row.select(fn.count(rows.c.id), fn.count(rows.c.customer.distinct()), *of_time, fn.max(rows.c.id))
    (row,) = fetch(query.from_(rows))
    return Totals(*row) if row[0] else None


def customers(wanted: RejectedFilter, limit: int) -> list[tuple[str, int]]:
    """Return the customers with the most matching events: (code, number of events). The code may be empty."""
    rows = chosen(wanted)
    number = fn.count(rows.c.id)
    query = Row.select(rows.c.customer, number).from_(rows).group_by(rows.c.customer)
    return fetch(query.order_by(number.desc(), rows.c.customer).limit(limit))


def has_requests(wanted: RejectedFilter) -> bool:
    """Return whether some of the events that match arrived in a refused request."""
    return apply(Row.select(), wanted).where(Row.request.is_null(False)).exists()


def trend(wanted: RejectedFilter, since: int, step: int) -> list[tuple[Key, int, int]]:
    """Return the number of events of each group per step since a time: (key, first millisecond of the step, number)."""
    rows = chosen(replace(wanted, start=max(since, wanted.start or 0)))
    first, alike = rows.c.received_at / step * step, [getattr(rows.c, name) for name in ALIKE]  # whole numbers
    query = Row.select(*alike, first, fn.count(rows.c.id)).from_(rows).group_by(*alike, SQL("5"))
    return [(Key(*row[:4]), row[4], row[5]) for row in fetch(query)]


def number(wanted: RejectedFilter, *, after: int, up_to: int) -> int:
    """Return the number of matching events with ids after `after` and up to `up_to`."""
    return _between(wanted, after, up_to).count()


def ids(wanted: RejectedFilter, limit: int, *, up_to: int) -> list[int]:
    """Return the lowest ids of the matching events, up to `up_to`."""
    return fetch_column(_between(wanted, 0, up_to).select(Row.id).order_by(Row.id).limit(limit))


def _between(wanted: RejectedFilter, after: int, up_to: int) -> ModelSelect[Row]:
    return apply(Row.select(), wanted).where(Row.id > after, Row.id <= up_to)


def _by_customer(wanted: RejectedFilter) -> ModelSelect[Row]:
    """Return a query for the groups of each customer.

    From these PostgreSQL counts customers by hashing, in a third of the time of sorting all events for a count of
    distinct ones. SQLite sorts either way, and takes four times as long.
    """
    rows = chosen(wanted)
    columns = [getattr(rows.c, name) for name in (*ALIKE, "customer")]
    totals = fn.count(rows.c.id).alias("number"), fn.max(rows.c.received_at).alias("last_at")
    return Row.select(*columns, *totals).from_(rows).group_by(*columns).alias("by_customer")
