"""Queries about rejected events."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import fn

from app.store.database import database
from app.store.models import RejectedDrop, RejectedEvent


def add(rows: Sequence[dict], dropped: int) -> None:
    """Keep rejected events, and count those for which there was no room."""
    with database.atomic():
        if rows:
            RejectedEvent.insert_many(rows).execute()
        if dropped:
            RejectedDrop.update(number=RejectedDrop.number + dropped).execute()


def newest(limit: int, *, before: int | None = None) -> list[RejectedEvent]:
    """The newest ones; `before` an id, for the next page."""
    query = RejectedEvent.select().order_by(RejectedEvent.id.desc()).limit(limit)
    return list(query if before is None else query.where(RejectedEvent.id < before))


def by_id(key: int) -> RejectedEvent | None:
    """One of them."""
    return RejectedEvent.get_or_none(RejectedEvent.id == key)


def by_field() -> list[tuple[str, int]]:
    """How many for each wrong field, most first."""
    number = fn.count(RejectedEvent.id)
    query = RejectedEvent.select(RejectedEvent.field, number).group_by(RejectedEvent.field).order_by(number.desc())
    return list(query.tuples())


def dropped() -> int:
    """How many were not kept."""
    return RejectedDrop.select(fn.sum(RejectedDrop.number)).scalar() or 0


def remove(key: int) -> bool:
    """Forget one; whether it was there."""
    return RejectedEvent.delete().where(RejectedEvent.id == key).execute() == 1


def purge(before: int, most: int) -> int:
    """Forget those received before a time, and the oldest beyond a number; how many."""
    last = RejectedEvent.select(RejectedEvent.id).order_by(RejectedEvent.id.desc()).offset(most).limit(1).scalar()
    old = RejectedEvent.received < before
    return RejectedEvent.delete().where(old if last is None else old | (RejectedEvent.id <= last)).execute()
