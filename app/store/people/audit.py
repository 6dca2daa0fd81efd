"""Queries about the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peewee import ModelSelect

from app.store import purge as purging
from app.store.models import AuditEntry


@dataclass(frozen=True)
class AuditFilter:
    """Filter for entries. None or empty means no condition.

    Attributes:
        text: text that the target or the details contain, ignoring case.
        start, end: both inclusive.
    """

    who: str = ""
    action: str = ""
    text: str = ""
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Seen:
    """Rule for the entries that a user may see.

    Attributes:
        account: the user whose own entries are visible, regardless of the action.
        actions: the actions of other users that are visible.
        customers: the customers that any visible entry may concern. None means all.
    """

    account: int
    actions: Sequence[str]
    customers: Sequence[str] | None


def add(**values: object) -> None:
    """Write an entry. Call it in the transaction of the recorded action, if there is one."""
    AuditEntry.insert(**values).execute()


def newest(limit: int, sought: AuditFilter, seen: Seen, *, before: int | None = None) -> list[AuditEntry]:
    """Return entries, newest first, `before` an id for the next page."""
    query = _seen(AuditEntry.select(), seen)
    for condition in _conditions(sought):
        query = query.where(condition)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return list(query.order_by(AuditEntry.id.desc()).limit(limit))


def purge(before: int) -> int:
    """Remove the entries from before a time, and return their number."""
    return purging.purge(AuditEntry, AuditEntry.moment < before)


def _seen(query: ModelSelect, seen: Seen) -> ModelSelect:
    own, others = AuditEntry.account == seen.account, AuditEntry.action.in_(list(seen.actions))
    if seen.customers is not None:
        own &= AuditEntry.customer.in_(["", *seen.customers])  # the user may have seen more at that time
        others &= AuditEntry.customer.in_(list(seen.customers))  # entries about no customer may name anyone
    return query.where(own | others)


def _conditions(sought: AuditFilter) -> list[object]:
    asked = [
        (sought.who, AuditEntry.who == sought.who),
        (sought.action, AuditEntry.action == sought.action),
        (sought.text, _mentions(sought.text)),
        (sought.start is not None, AuditEntry.moment >= sought.start),
        (sought.end is not None, AuditEntry.moment <= sought.end),
    ]
    return [condition for is_asked, condition in asked if is_asked]


def _mentions(text: str) -> object:
    """Return the condition that an entry contains a text, with wildcards taken literally."""
    return AuditEntry.object.contains(text) | AuditEntry.details.cast("TEXT").contains(text)
