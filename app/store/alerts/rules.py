"""Queries about alert rules and silences."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.database import transaction
from app.store.models import AlertRule, AlertSilence
from app.store.queries import among, change_unique, create_unique, execute, find_one

Customers = Sequence[str] | None  # customers visible to the user; None means all


def rules(customers: Customers = None) -> list[AlertRule]:
    """Return the rules by name, optionally only those limited to one of some customers."""
    return list(among(AlertRule.select(), AlertRule.customer, customers).order_by(AlertRule.name))


def rule(key: int) -> AlertRule | None:
    return find_one(AlertRule, "id", key)


def add_rule(**values: object) -> AlertRule | None:
    """Store a rule, or return None if there is another of its name."""
    return create_unique(AlertRule, **values)


def change_rule(key: int, **values: object) -> int | None:
    """Change a rule, and return 1, 0 if it was removed, or None if there is another of its name."""
    return change_unique(AlertRule, key, **values)


def remove_rule(key: int) -> bool:
    """Remove a rule and its silences, and return whether it existed. Its alerts remain as the history."""
    with transaction():
        execute(AlertSilence.delete().where(AlertSilence.rule == key))
        return execute(AlertRule.delete().where(AlertRule.id == key)) == 1


def silences(now: int, customers: Customers = None) -> list[AlertSilence]:
    """Return the silences that have not ended, the next to end first, optionally only those about some customers."""
    query = among(AlertSilence.select().where(AlertSilence.until_at > now), AlertSilence.customer, customers)
    return list(query.order_by(AlertSilence.until_at, AlertSilence.id))


def silence(key: int) -> AlertSilence | None:
    return find_one(AlertSilence, "id", key)


def add_silence(**values: object) -> AlertSilence:
    added: AlertSilence = AlertSilence.create(**values)
    return added


def end_silence(key: int, now: int) -> bool:
    """End a silence, and return whether it had not ended yet."""
    query = AlertSilence.update(until_at=now).where(AlertSilence.id == key, AlertSilence.until_at > now)
    return execute(query) == 1
