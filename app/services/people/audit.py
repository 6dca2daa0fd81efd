"""The audit log: who did what to what, when, and from which address.

Whoever does something that people may ask about later calls `note`. Called inside a transaction, the entry is committed
with the act or not at all; called outside, it stands at once. A database that does not take the entry raises, as for
anything else: what cannot be noted is not done.

Nothing that opens a door belongs in here: no password, key, link, or word that a session is known by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.services.people.principal import Principal
from app.store.models import AuditEntry
from app.store.people import audit as store
from app.store.people.audit import AuditFilter
from app.support.clock import now

# What may be noted, and the permission without which nobody sees others' entries of it. A new act is a line here.
ACTIONS = {
    "signed in": "users",
    "sign-in failed": "users",
    "sign-in throttled": "users",
    "signed out": "users",
    "session ended": "users",
    "user added": "users",
    "user changed": "users",
    "user removed": "users",
    "password changed": "users",
    "password reset": "users",
    "key added": "keys",
    "key revoked": "keys",
    "catalog imported": "system",
    "catalog changed": "system",
    "catalog removed": "system",
    "report started": "system",
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
    "rejected event sent again": "system",
    "rejected event removed": "system",
    "rejected events purged": "system",
    "rejected request sent again": "system",
    "rejected request removed": "system",
    "events imported": "system",
    "events erased": "system",
    "audit log exported": "users",
    "settings changed": "system",
}
MAX_OBJECT = 300  # characters
MAX_DETAIL = 1_000  # characters of one value
MAX_DETAILS = 30


@dataclass(frozen=True)
class AuditRecord:
    """Somebody did something.

    Attributes:
        account: the user's id; None: nobody who had proved to be one.
        who: the user's name at that time.
        customer: whose data it was about; empty: no single customer's.
        address: from where; empty where it is not for the reader, or the server itself did it.
    """

    id: int
    moment: int
    account: int | None
    who: str
    action: str
    object: str
    customer: str
    address: str
    details: Mapping[str, object]


@dataclass(frozen=True)
class Page:
    """Some entries, and the cursor of the next page if there is one."""

    entries: list[AuditRecord]
    next: int | None


class Audit:
    """The audit log. It keeps nothing in the process: any number may be made."""

    def note(
        self,
        who: Principal,
        action: str,
        object: str = "",
        details: Mapping[str, object] | None = None,
        *,
        customer: str = "",
    ) -> None:
        """Write that somebody did something.

        Args:
            who: with the address from which they came; `nobody(address)` for whoever has not proved to be a user.
            action: one of ACTIONS.
            object: what it was done to, in words: `user olga`, `report JOB-…`, `product PORTFOLIO`.
            details: what else matters, by name: text, numbers, lists of text.
            customer: whose data it was about, so that people limited to others do not see it.

        Raises:
            KeyError: there is no such action.
            StoreUnavailable: the database does not take it.
        """
        if action not in ACTIONS:
            raise KeyError(action)
        store.add(
            moment=now(),
            account=who.id or None,
            who=who.name,
            action=action,
            object=object[:MAX_OBJECT],
            customer=customer,
            address=who.address,
            details=_bounded(details or {}),
        )

    def page(self, who: Principal, sought: AuditFilter, limit: int, before: int | None = None) -> Page:
        """Return the newest entries that a user may see: their own, and those of others that their role permits.

        Entries about a customer are included only if the user may currently see that customer.

        Only user managers see the addresses of other users.
        """
        actions = [action for action, permission in ACTIONS.items() if who.may(permission)]
        found = store.newest(limit + 1, sought, store.Seen(who.id, actions, who.customers), before=before)
        more = found[limit - 1].id if len(found) > limit else None
        return Page([_entry(row, who) for row in found[:limit]], more)


def nobody(address: str) -> Principal:
    """Somebody who is at the door, and has not proved to be anyone."""
    return Principal(0, "", "", (), "", address)


def _entry(row: AuditEntry, reader: Principal) -> AuditRecord:
    address = row.address if row.account == reader.id or reader.may("users") else ""
    return AuditRecord(
        row.id, row.moment, row.account, row.who, row.action, row.object, row.customer, address, row.details
    )


def _bounded(details: Mapping[str, object]) -> dict[str, object]:
    return {name[:MAX_OBJECT]: _short(value) for name, value in list(details.items())[:MAX_DETAILS]}


def _short(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [str(one)[:MAX_OBJECT] for one in list(value)[:MAX_DETAILS]]
    return str(value)[:MAX_DETAIL]
