"""Queries about groups of similar rejected events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peewee import SQL, Expression, ModelSelect, fn

from app.store import queries
from app.store.models import RejectedEvent as Row
from app.store.queries import among, fetch, fetch_column

Customers = Sequence[str] | None  # customers visible to the user; None means all, and events without a customer


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

    def where(self) -> Expression:
        """Return the condition that selects the events of the group."""
        alike = (Row.field == self.field) & (Row.fault == self.fault)
        return alike & (Row.product == self.product) & (Row.type == self.type)


ALIKE = (Row.field, Row.fault, Row.product, Row.type)


def every(customers: Customers, limit: int) -> list[tuple[Key, int, int, int]]:
    """Return the groups with the most events: (key, number of events, number of customers, time of the latest)."""
    number = fn.count(Row.id)
    query = Row.select(*ALIKE, number, fn.count(Row.customer.distinct()), fn.max(Row.received_at))
    query = among(query, Row.customer, customers).group_by(*ALIKE).order_by(number.desc(), *ALIKE).limit(limit)
    return [(Key(*row[:4]), row[4], row[5], row[6]) for row in fetch(query)]


def one(key: Key, customers: Customers) -> tuple[int, int, int, int] | None:
    """Return a group's number of events, number of customers, latest time and latest id, or None if it is empty."""
    query = Row.select(fn.count(Row.id), fn.count(Row.customer.distinct()), fn.max(Row.received_at), fn.max(Row.id))
    (row,) = fetch(among(query.where(key.where()), Row.customer, customers))
    return row if row[0] else None


def trend(customers: Customers, since: int, step: int) -> list[tuple[Key, int, int]]:
    """Return the number of events of each group per step since a time: (key, first millisecond of the step, number)."""
    first = Row.received_at / step * step  # whole numbers on both databases
    query = Row.select(*ALIKE, first, fn.count(Row.id)).where(Row.received_at >= since)
    query = among(query, Row.customer, customers).group_by(*ALIKE, SQL("5"))
    return [(Key(*row[:4]), row[4], row[5]) for row in fetch(query)]


def events(key: Key, customers: Customers, limit: int, *, before: int | None = None) -> list[Row]:
    """Return a group's newest events, `before` an id for the next page."""
    return queries.newest(among(Row.select().where(key.where()), Row.customer, customers), Row.id, limit, before)


def oldest(key: Key, customers: Customers, limit: int, *, after: int, up_to: int) -> list[Row]:
    """Return a group's oldest events with ids after `after` and up to `up_to`."""
    return list(_between(key, customers, after, up_to).order_by(Row.id).limit(limit))


def number(key: Key, customers: Customers, *, after: int, up_to: int) -> int:
    """Return the number of a group's events with ids after `after` and up to `up_to`."""
    return _between(key, customers, after, up_to).count()


def ids(key: Key, customers: Customers, limit: int, *, up_to: int) -> list[int]:
    """Return the lowest ids of a group's events, up to `up_to`."""
    return fetch_column(_between(key, customers, 0, up_to).select(Row.id).order_by(Row.id).limit(limit))


def _between(key: Key, customers: Customers, after: int, up_to: int) -> ModelSelect[Row]:
    query = Row.select().where(key.where(), Row.id > after, Row.id <= up_to)
    return among(query, Row.customer, customers)
