"""Queries about the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.store import queries, step_size
from app.store.models import AuditEntry
from app.store.queries import equal


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


def add(**values: object) -> int:
    """Write an entry, and return its id. Call it in the transaction of the recorded action, if there is one."""
    key: int = AuditEntry.insert(**values).execute()
    return key


def newest(limit: int, sought: AuditFilter, seen: Seen, *, before: int | None = None) -> list[AuditEntry]:
    """Return entries, newest first, `before` an id for the next page."""
    own, others = AuditEntry.account == seen.account, AuditEntry.action.in_(list(seen.actions))
    if seen.customers is not None:
        own &= AuditEntry.customer.in_(["", *seen.customers])  # the user may have seen more at that time
        others &= AuditEntry.customer.in_(list(seen.customers))  # entries about no customer may name anyone
    query = AuditEntry.select().where(own | others)
    query = equal(query, (AuditEntry.who, sought.who or None), (AuditEntry.action, sought.action or None))
    if sought.text:  # wildcards are taken literally
        details = AuditEntry.details.cast("TEXT")
        query = query.where(AuditEntry.object.contains(sought.text) | details.contains(sought.text))
    if sought.start is not None:
        query = query.where(AuditEntry.recorded_at >= sought.start)
    if sought.end is not None:
        query = query.where(AuditEntry.recorded_at <= sought.end)
    return queries.newest(query, AuditEntry.id, limit, before)


def purge(before: int) -> int:
    """Remove the entries from before a time, and return their number."""
    return step_size.purge(AuditEntry.id, AuditEntry.recorded_at < before)
