"""Webhooks: servers that are notified of events, each with the event types that it wants and a secret of its own.

A webhook belongs to a user, and gets only what this user may see at the moment of sending. Recurring reports name
webhooks as well. `webhook_sender` makes what is sent.

A secret is derived from the installation's secret and a salt, and only the salt is stored. A new secret does not end
the previous one at once: for OVERLAP_HOURS both sign, so that receivers can switch to the new one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.exceptions import FieldError, InputInvalid, WebhookUnknown
from app.schemas.json import shown
from app.schemas.webhooks import EVENT_TYPES, WebhookSchema
from app.services.notifications import signatures
from app.services.people import audit
from app.services.people.accounts import owner
from app.services.people.principal import SYSTEM, Principal
from app.store.database import transaction
from app.store.models import Schedule, Webhook
from app.store.notifications import webhooks as store
from app.support.clock import HOUR_MS, now
from app.support.url_origin import Origin, named, split

OVERLAP_HOURS = 24
MAX_WEBHOOKS = 200  # of a user
MAX_NAME = 128
# Why a webhook is disabled, for display.
GONE = "Its owner is no user any more, so it gets nothing more."
PAUSED = "Its owner is deactivated. It is enabled again together with its owner."


@dataclass(frozen=True)
class AddedWebhook:
    """New webhook, and its secret, which is not available again."""

    webhook: Webhook
    secret: str


class Webhooks:
    """Service for webhooks.

    Args:
        allowed: the servers that the operator allows in WEBHOOK_HOSTS.
        secret: returns the installation's secret, from which each webhook's secret is derived.
    """

    def __init__(self, allowed: Sequence[str], secret: Callable[[], str]) -> None:
        self._allowed = frozenset(named(text) for text in allowed)
        self._secret = secret

    @property
    def allowed(self) -> list[str]:
        """Return the allowed servers, for people."""
        return sorted(map(str, self._allowed))

    def check(self, url: str, field: str = "url") -> tuple[Origin, str]:
        """Return the server of a URL, and its path and query. Raise InputInvalid if the server is not allowed."""
        server, path = split(url)
        if server not in self._allowed:
            allowed = " or ".join(self.allowed) or "none"
            message = f"{field} goes to {server}, which WEBHOOK_HOSTS does not allow; it allows {allowed}."
            raise InputInvalid("The webhook may not go there.", [FieldError(message, field=field)])
        return server, path

    def secrets(self, webhook: Webhook) -> list[str]:
        """Return the secrets that sign what a webhook gets now, the current one first."""
        return [self._derive(one.prefix, one.salt) for one in store.secrets(webhook.id, now())]

    def visible(self, who: Principal) -> list[Webhook]:
        """Return the webhooks that the caller may see and change, by name."""
        return store.every(None if _sees_all(who) else who.id)

    def is_visible(self, who: Principal, webhook: Webhook) -> bool:
        """Return whether the caller may see and change a webhook."""
        return webhook.owner == who.id or _sees_all(who)

    def get(self, who: Principal, key: int) -> Webhook:
        """Return a webhook. Raise WebhookUnknown if it does not exist, or the caller may not see it."""
        found = store.by_id(key)
        if found is None or not self.is_visible(who, found):
            raise WebhookUnknown(f"There is no webhook {key}, or it is not yours.")
        return found

    def schedules(self, who: Principal, webhook: Webhook) -> list[Schedule]:
        """Return the recurring reports that name a webhook and whose customer the caller may see."""
        return [one for one in store.schedules_of(webhook.id) if who.sees(one.customer)]

    def add(self, owner: Principal, wanted: Mapping[str, object], *, by: Principal | None = None) -> AddedWebhook:
        """Create a webhook of an owner from unvalidated input, by another user if given.

        Raises:
            InputInvalid: a field is invalid, the server is not allowed, or the owner may not get an event type.
        """
        values = self._check(owner, wanted)
        moment = now()
        values |= {"owner": owner.id, "owner_name": owner.name, "created_at": moment}
        values |= {"enabled_at": moment, "subscribed_at": moment}
        with transaction():
            if len(store.names(owner.id)) >= MAX_WEBHOOKS:
                raise _invalid("name", f"is one too many: the user has {MAX_WEBHOOKS} webhooks, the most allowed")
            added = store.add(**values)
            if added is None:
                raise _name_taken(values["name"])
            salt = secrets.token_urlsafe(16)
            store.add_secret(added.id, signatures.PREFIX, salt, moment, others_expire_at=moment)
            _note(by or owner, "added", added, _describe(added))
        return AddedWebhook(added, self._derive(signatures.PREFIX, salt))

    def add_for(self, owner: Principal, name: str, url: str, *, by: Principal) -> AddedWebhook:
        """Create a webhook for the recurring report with a name, which it gets with a number if it is taken."""
        taken = store.names(owner.id)
        names = (name, *(f"{name[: MAX_NAME - 4]} {number}" for number in range(2, MAX_WEBHOOKS + 2)))
        free = next(one for one in names if one not in taken)
        return self.add(owner, {"name": free, "url": url}, by=by)

    def change(self, by: Principal, webhook: Webhook, wanted: Mapping[str, object]) -> Webhook:
        """Change a webhook. What waits is sent to the new URL, with the same secret. Raise as `add` does."""
        values = self._check(by, wanted)
        if set(values["types"]) - set(webhook.types):  # what ended before is not what is wanted now
            values["subscribed_at"] = now()
        with transaction():
            changed = store.change(webhook.id, **values)
            if changed is None:
                raise _name_taken(values["name"])
            current = store.by_id(webhook.id)
            if not changed or current is None:
                raise _removed(webhook.id)
            _note(by, "changed", current, _describe(current))
        return current

    def rotate(self, by: Principal, webhook: Webhook, *, at_once: bool = False) -> str:
        """Create a new secret and return it; it is not available again.

        Args:
            at_once: the previous secrets stop signing now, because somebody may know them.
        """
        salt, moment = secrets.token_urlsafe(16), now()
        ends = moment if at_once else moment + OVERLAP_HOURS * HOUR_MS
        with transaction():
            if store.by_id(webhook.id) is None:
                raise _removed(webhook.id)
            store.add_secret(webhook.id, signatures.PREFIX, salt, moment, others_expire_at=ends)
            _note(by, "secret replaced", webhook, {"previous secret": "ended" if at_once else "signs for 24 hours"})
        return self._derive(signatures.PREFIX, salt)

    def disable(self, by: Principal, webhook: Webhook, reason: str | None = None) -> None:
        """Send nothing more to a webhook, and give up what waits."""
        with transaction():
            if store.disable(webhook.id, now(), reason):
                _note(by, "disabled", webhook, {"reason": reason} if reason else {})

    def enable(self, by: Principal, webhook: Webhook) -> None:
        """Notify a webhook again, of what happens from now on. Raise Forbidden if its owner is gone or deactivated."""
        owner(webhook.owner, webhook.owner_name)
        with transaction():
            if not store.change(webhook.id, disabled_at=None, reason=None, enabled_at=now()):
                raise _removed(webhook.id)
            _note(by, "enabled", webhook)

    def follow_owners(self) -> None:
        """End the webhooks of removed users, pause those of deactivated ones, and resume those of active ones."""
        for webhook, account in store.with_owners():
            reason = GONE if account is None else PAUSED if account.deactivated_at is not None else None
            if reason and webhook.disabled_at is None:
                self.disable(SYSTEM, webhook, reason)
            elif webhook.reason == PAUSED and reason is None:
                self.enable(SYSTEM, webhook)
            elif webhook.reason == PAUSED and reason == GONE:
                store.change(webhook.id, reason=GONE)

    def remove(self, by: Principal, webhook: Webhook) -> None:
        """Remove a webhook with the record of its deliveries."""
        with transaction():
            if not store.remove(webhook.id):
                raise _removed(webhook.id)
            _note(by, "removed", webhook)

    def _check(self, owner: Principal, wanted: Mapping[str, object]) -> dict[str, Any]:
        values = WebhookSchema().check(wanted)
        self.check(values["url"])
        for name in values["types"]:
            if not owner.may(EVENT_TYPES[name][1]):
                raise _invalid("types", f'has "{name}", which {owner.name} may not see')
        return values

    def _derive(self, prefix: str, salt: str) -> str:
        key = hmac.digest(self._secret().encode(), f"webhook:{salt}".encode(), hashlib.sha256)
        return signatures.as_text(prefix, key)


def _sees_all(who: Principal) -> bool:
    """Return whether a user sees the webhooks of others: they may contain secrets, and get data of any customer."""
    return who.sees_all_reports and who.customers is None


def _note(by: Principal, act: str, webhook: Webhook, details: Mapping[str, object] | None = None) -> None:
    audit.note(by, f"webhook {act}", f"webhook {webhook.id}: {webhook.name}", details)


def _describe(webhook: Webhook) -> dict[str, object]:
    """Return the audit details of a webhook. They omit the path of its URL, which may contain a secret."""
    return {"owner": webhook.owner_name, "server": str(split(webhook.url)[0]), "types": webhook.types}


def _removed(key: int) -> WebhookUnknown:
    return WebhookUnknown(f"There is no webhook {key} any more: somebody removed it.")


def _name_taken(name: str) -> InputInvalid:
    return _invalid("name", f"is {shown(name)}, and its owner has another webhook of that name")


def _invalid(field: str, because: str) -> InputInvalid:
    return InputInvalid("The webhook cannot be saved.", [FieldError(f"{field} {because}.", field=field)])
