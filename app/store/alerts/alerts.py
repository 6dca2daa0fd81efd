"""Queries about alerts and the messages about them."""

from __future__ import annotations

from collections.abc import Sequence

from app.store import queries
from app.store.models import Alert, AlertMessage
from app.store.queries import among, equal, execute, find_one

PENDING, FIRING, RESOLVED = "pending", "firing", "resolved"
Customers = Sequence[str] | None  # customers visible to the user; None means all


def by_id(key: int) -> Alert | None:
    return find_one(Alert, "id", key)


def current(customers: Customers = None) -> list[Alert]:
    """Return the alerts that are pending or firing, firing ones first, then the newest first."""
    query = among(Alert.select().where(Alert.state != RESOLVED), Alert.customer, customers)
    return list(query.order_by(Alert.state, Alert.id.desc()))


def history(limit: int, customers: Customers = None, rule: int | None = None, before: int | None = None) -> list[Alert]:
    """Return the newest alerts that fired, `before` an id for the next page."""
    fired = equal(Alert.select().where(Alert.firing_at.is_null(False)), (Alert.rule, rule))
    return queries.newest(among(fired, Alert.customer, customers), Alert.id, limit, before)


def count_firing(customers: Customers = None) -> int:
    """Return the number of firing alerts."""
    return among(Alert.select().where(Alert.state == FIRING), Alert.customer, customers).count()


# The queue of messages.


def waiting_messages(limit: int) -> list[AlertMessage]:
    """Return the oldest messages that were not handed to the channels yet."""
    query = AlertMessage.select().where(AlertMessage.dispatched_at.is_null())
    return list(query.order_by(AlertMessage.id).limit(limit))


def dispatch_message(key: int, now: int) -> bool:
    """Mark a message as handed to the channels, and return whether this call did so.

    Call it first in the transaction that stores what each channel shall send, so that one scheduler does it once.
    """
    query = AlertMessage.update(dispatched_at=now)
    return execute(query.where(AlertMessage.id == key, AlertMessage.dispatched_at.is_null())) == 1
