"""Queries about rejected events that are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peewee import SQL, Expression, ModelSelect, fn

from app.store.models import RejectedEvent as Row

Customers = Sequence[str] | None  # those that somebody may see; None: all, and nobody's


@dataclass(frozen=True)
class Key:
    """What makes rejected events alike.

    Attributes:
        field: the first wrong field; empty: the event as a whole.
        fault: missing, unknown or wrong; empty: kept before that was told.
        product, type: empty: none that could be told.
    """

    field: str
    fault: str
    product: str
    type: str

    def where(self) -> Expression:
        """The condition of such an event."""
        alike = (Row.field == self.field) & (Row.fault == self.fault)
        return alike & (Row.product == self.product) & (Row.type == self.type)


ALIKE = (Row.field, Row.fault, Row.product, Row.type)


def every(customers: Customers, limit: int) -> list[tuple[Key, int, int, int]]:
    """The groups with most events: each with their number, how many customers they are of, and when the last came."""
    number = fn.count(Row.id)
    query = Row.select(*ALIKE, number, fn.count(Row.customer.distinct()), fn.max(Row.received))
    query = _of(query, customers).group_by(*ALIKE).order_by(number.desc(), *ALIKE).limit(limit)
    return [(Key(*row[:4]), *row[4:]) for row in query.tuples()]


def one(key: Key, customers: Customers) -> tuple[int, int, int, int] | None:
    """A group's events: their number, of how many customers, when the last came, and its id; None: there is none."""
    query = Row.select(fn.count(Row.id), fn.count(Row.customer.distinct()), fn.max(Row.received), fn.max(Row.id))
    row = _of(query.where(key.where()), customers).tuples().get()
    return row if row[0] else None


def trend(customers: Customers, since: int, step: int) -> list[tuple[Key, int, int]]:
    """How many events of each group came in each step since a time: (group, the step's first millisecond, number)."""
    first = Row.received / step * step  # whole numbers on both databases
    query = Row.select(*ALIKE, first, fn.count(Row.id)).where(Row.received >= since)
    query = _of(query, customers).group_by(*ALIKE, SQL("5"))
    return [(Key(*row[:4]), row[4], row[5]) for row in query.tuples()]


def events(key: Key, customers: Customers, limit: int, *, before: int | None = None) -> list[Row]:
    """A group's newest events; `before` an id, for the next page."""
    query = _of(Row.select().where(key.where()), customers).order_by(Row.id.desc()).limit(limit)
    return list(query if before is None else query.where(Row.id < before))


def oldest(key: Key, customers: Customers, limit: int, *, after: int, up_to: int) -> list[Row]:
    """A group's oldest events with ids between two, the second included."""
    query = _of(Row.select().where(key.where(), Row.id > after, Row.id <= up_to), customers)
    return list(query.order_by(Row.id).limit(limit))


def number(key: Key, customers: Customers, *, after: int, up_to: int) -> int:
    """How many of a group's events have ids between two, the second included."""
    return _of(Row.select().where(key.where(), Row.id > after, Row.id <= up_to), customers).count()


def ids(key: Key, customers: Customers, limit: int, *, up_to: int) -> list[int]:
    """The ids of some of a group's events, none beyond the last that counts."""
    query = _of(Row.select(Row.id).where(key.where(), Row.id <= up_to), customers)
    return [row for (row,) in query.order_by(Row.id).limit(limit).tuples()]


def _of(query: ModelSelect, customers: Customers) -> ModelSelect:
    return query if customers is None else query.where(Row.customer.in_(list(customers)))
