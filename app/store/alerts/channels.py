"""Queries about alert channels."""

from __future__ import annotations

from collections.abc import Collection

from peewee import fn

from app.store.database import transaction
from app.store.models import AlertChannel, Delivery
from app.store.notifications import deliveries
from app.store.queries import among, change_unique, create_unique, execute, find_one


def every(ids: Collection[int] | None = None) -> list[AlertChannel]:
    """Return the channels by name, optionally only some."""
    return list(
        among(AlertChannel.select(), AlertChannel.id, None if ids is None else [*ids]).order_by(AlertChannel.name)
    )


def by_id(key: int) -> AlertChannel | None:
    return find_one(AlertChannel, "id", key)


def add(**values: object) -> AlertChannel | None:
    """Store a channel, or return None if there is another of its name."""
    return create_unique(AlertChannel, **values)


def change(key: int, **values: object) -> int | None:
    """Change a channel, and return 1, 0 if it was removed, or None if there is another of its name."""
    return change_unique(AlertChannel, key, **values)


def remove(key: int) -> bool:
    """Remove a channel and the record of its deliveries, and return whether it existed."""
    with transaction():
        deliveries.remove_all(Delivery.channel == key)
        return execute(AlertChannel.delete().where(AlertChannel.id == key)) == 1


def note_works(key: int, now: int) -> None:
    """Record that a channel accepted a message."""
    execute(AlertChannel.update(sent_at=now, failed_at=None, problem=None).where(AlertChannel.id == key))


def note_problem(key: int, now: int, problem: str) -> None:
    """Record why a channel did not accept a message, and since when it does not."""
    since = fn.COALESCE(AlertChannel.failed_at, now)
    execute(AlertChannel.update(problem=problem, failed_at=since).where(AlertChannel.id == key))
