"""Audit log: who did what to what, when, and from which address.

Code that performs an auditable action calls `note`. Inside a transaction, the entry is committed together with the
action or not at all. Outside a transaction, it is committed at once. If the entry cannot be stored, `note` raises, so
that no action happens without a record.

Entries never contain credentials: no password, key, link or session token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from app.exceptions import AuditUnknown
from app.services.people.principal import Principal
from app.store.models import AuditEntry
from app.store.people import audit as store
from app.store.people.audit import AuditFilter as AuditFilter  # for the pages, which may not import the store
from app.support.clock import now

# Actions, and the permission needed to see other users' entries. Add new actions here.
ACTIONS = {
    "signed in": "users",
    "sign-in failed": "users",
    "sign-in throttled": "users",
    "signed out": "users",
    "session ended": "users",
    "user added": "users",
    "user changed": "users",
    "user removed": "users",
    "user deactivated": "users",
    "user activated": "users",
    "password changed": "users",
    "password reset": "users",
    "second factor turned on": "users",
    "second factor turned off": "users",
    "second factor reset": "users",
    "recovery code used": "users",
    "recovery codes replaced": "users",
    "token added": "users",
    "token revoked": "users",
    "key added": "keys",
    "key revoked": "keys",
    "catalog imported": "system",
    "catalog changed": "system",
    "catalog removed": "system",
    "events downloaded": "system",
    "report started": "system",
    "report renamed": "system",
    "report cancelled": "system",
    "report retried": "system",
    "report deleted": "system",
    "report link given": "system",
    "report downloaded": "system",
    "recurring report added": "system",
    "recurring report changed": "system",
    "recurring report removed": "system",
    "recurring report run": "system",
    "recurring report paused": "system",
    "recurring report resumed": "system",
    "alert rule added": "system",
    "alert rule changed": "system",
    "alert rule removed": "system",
    "alert silence added": "system",
    "alert silence ended": "system",
    "alert channel added": "system",
    "alert channel changed": "system",
    "alert channel removed": "system",
    "alert channel tested": "system",
    "recipient removed": "system",
    "mail tested": "system",
    "webhook added": "system",
    "webhook changed": "system",
    "webhook secret replaced": "system",
    "webhook enabled": "system",
    "webhook disabled": "system",
    "webhook removed": "system",
    "webhook tested": "system",
    "webhook sent again": "system",
    "view shared": "system",
    "shared view removed": "system",
    "rejected event sent again": "system",
    "rejected event removed": "system",
    "rejected events purged": "system",
    "rejected request sent again": "system",
    "rejected request removed": "system",
    "events imported": "system",
    "events erased": "system",
    "personal data handed over": "system",
    "erasure of personal data started": "system",
    "personal data erased": "system",
    "audit log exported": "users",
    "settings changed": "system",
    "backup restored": "system",
}
SOUGHT = frozenset({"value", "text"})  # arguments of filters that may be a person's id
MAX_OBJECT = 300  # characters
MAX_DETAIL = 1_000  # characters of a value
MAX_DETAILS = 30


@dataclass(frozen=True)
class AuditRecord:
    """Entry of the audit log."""

    id: int
    recorded_at: int
    account: int | None  # the user's id, or None if no user had been authenticated
    who: str  # the user's name at that time
    action: str
    object: str
    customer: str  # the customer whose data the action concerned; empty if it concerned no single customer
    address: str  # the client's address; empty if the reader may not see it, or if the server itself acted
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Page of entries, and the cursor of the next page if there is one."""

    entries: list[AuditRecord]
    next: int | None


def note(
    who: Principal,
    action: str,
    object: str = "",
    details: Mapping[str, object] | None = None,
    *,
    customer: str = "",
) -> int:
    """Record an action, and return the id of its entry.

    Args:
        who: the user with their address, or `nobody(address)` if no user is authenticated.
        action: a key of ACTIONS; otherwise KeyError is raised.
        object: the target in words: `user olga`, `report JOB-…`, `product PORTFOLIO`.
        details: further details by name: text, numbers, lists of text, which are shortened, or a document, which
            is stored in full and not shown in the list.
        customer: the customer whose data it concerns. Users limited to other customers cannot see the entry.
    """
    if action not in ACTIONS:
        raise KeyError(action)
    values = ({"API token": who.token} if who.token else {}) | dict(details or {})
    return store.add(
        recorded_at=now(),
        account=who.id or None,
        who=who.name,
        action=action,
        object=object[:MAX_OBJECT],
        customer=customer,
        address=who.address,
        details={name[:MAX_OBJECT]: _shorten(value) for name, value in list(values.items())[:MAX_DETAILS]},
    )


def page(who: Principal, sought: AuditFilter, limit: int, before: int | None = None) -> Page:
    """Return the newest entries that a user may see: their own, and those of others that their role permits.

    Entries about a customer are included only if the user may currently see that customer. Only user managers see the
    addresses of other users.
    """
    found = store.newest(limit + 1, sought, _visibility(who), before=before)
    more = found[limit - 1].id if len(found) > limit else None
    return Page([_record(who, row) for row in found[:limit]], more)


def get(who: Principal, key: int, action: str) -> AuditRecord:
    """Return an entry about an action by its id.

    Raises:
        AuditUnknown: there is none, or the user may not see it; see `page`.
    """
    found = store.newest(1, AuditFilter(action=action), _visibility(who), before=key + 1)
    if not found or found[0].id != key:
        raise AuditUnknown(f"There is no audit log entry {key} of this kind, or it is not yours.")
    return _record(who, found[0])


def without_sought(described: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments of a filter with SHA-256 in place of what is sought in contexts.

    It may be a person's id, which an erasure cannot remove from the audit log.
    """
    sought = {f"{name} SHA-256": sha256(str(described[name]).encode()).hexdigest() for name in SOUGHT & {*described}}
    return {name: value for name, value in described.items() if name not in SOUGHT} | sought


def nobody(address: str) -> Principal:
    """Return a principal for a client that is not authenticated."""
    return Principal(0, "", "", (), "", address)


def _visibility(who: Principal) -> store.Seen:
    actions = [action for action, permission in ACTIONS.items() if who.may(permission)]
    return store.Seen(who.id, actions, who.customers)


def _record(who: Principal, row: AuditEntry) -> AuditRecord:
    return AuditRecord(
        row.id,
        row.recorded_at,
        row.account,
        row.who,
        row.action,
        row.object,
        row.customer,
        row.address if row.account == who.id or who.may("users") else "",
        row.details,
    )


def _shorten(value: Any) -> bool | float | str | list[str] | dict[str, Any] | None:
    if value is None or isinstance(value, bool | int | float | dict):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [str(one)[:MAX_OBJECT] for one in list(value)[:MAX_DETAILS]]
    return str(value)[:MAX_DETAIL]
