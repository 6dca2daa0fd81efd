"""Queries about rejected events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from peewee import ModelSelect, fn

from app.store.database import database
from app.store.models import RejectedCount, RejectedDrop, RejectedEvent


def add(rows: Sequence[dict], dropped: int) -> None:
    """Keep rejected events, and count those for which there was no room."""
    with database.atomic():
        write(rows, dropped)


def write(rows: Sequence[dict], dropped: int) -> None:
    """The same inside a transaction."""
    if rows:
        RejectedEvent.insert_many(rows).execute()
        _count(rows)
    if dropped:
        RejectedDrop.update(number=RejectedDrop.number + dropped).execute()


def newest(limit: int, *, before: int | None = None, customers: Sequence[str] | None = None) -> list[RejectedEvent]:
    """The newest ones; `before` an id, for the next page; of some customers only, if named."""
    query = _of(RejectedEvent.select(), customers).order_by(RejectedEvent.id.desc()).limit(limit)
    return list(query if before is None else query.where(RejectedEvent.id < before))


def oldest(limit: int, *, after: int, up_to: int) -> list[RejectedEvent]:
    """The oldest ones with ids between two, the second included."""
    query = RejectedEvent.select().where(RejectedEvent.id > after, RejectedEvent.id <= up_to)
    return list(query.order_by(RejectedEvent.id).limit(limit))


def of_customer(customer: str, limit: int, *, after: int) -> list[RejectedEvent]:
    """The oldest ones of a customer, as far as that could be told; `after` an id, for the next page."""
    query = RejectedEvent.select().where(RejectedEvent.customer == customer, RejectedEvent.id > after)
    return list(query.order_by(RejectedEvent.id).limit(limit))


def by_id(key: int) -> RejectedEvent | None:
    """One of them."""
    return RejectedEvent.get_or_none(RejectedEvent.id == key)


def by_field(customers: Sequence[str] | None = None) -> list[tuple[str, int]]:
    """How many for each wrong field, most first; of some customers only, if named."""
    number = fn.count(RejectedEvent.id)
    query = _of(RejectedEvent.select(RejectedEvent.field, number), customers)
    return list(query.group_by(RejectedEvent.field).order_by(number.desc(), RejectedEvent.field).tuples())


def dropped() -> int:
    """How many were not kept."""
    return RejectedDrop.select(fn.sum(RejectedDrop.number)).scalar() or 0


def remove(keys: Sequence[int]) -> int:
    """Forget some; how many were there."""
    return RejectedEvent.delete().where(RejectedEvent.id.in_(list(keys))).execute()


def purge(before: int, most: int) -> int:
    """Forget those received before a time, and the oldest beyond a number; how many."""
    last = RejectedEvent.select(RejectedEvent.id).order_by(RejectedEvent.id.desc()).offset(most).limit(1).scalar()
    old = RejectedEvent.received < before
    return RejectedEvent.delete().where(old if last is None else old | (RejectedEvent.id <= last)).execute()


def _count(rows: Sequence[dict]) -> None:
    """In one order always, so that two who count wait for each other instead of for ever."""
    for (field, fault), number in sorted(Counter((row["field"], row["fault"]) for row in rows).items()):
        RejectedCount.insert(field=field, fault=fault, number=number).on_conflict(
            conflict_target=["field", "fault"], update={RejectedCount.number: RejectedCount.number + number}
        ).execute()


def _of(query: ModelSelect, customers: Sequence[str] | None) -> ModelSelect:
    return query if customers is None else query.where(RejectedEvent.customer.in_(list(customers)))
