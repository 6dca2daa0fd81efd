"""Queries about webhooks, their secrets, and the schedules that name them."""

from __future__ import annotations

from collections.abc import Iterable

from peewee import Expression

from app.store.database import transaction
from app.store.models import Account, Delivery, Schedule, ScheduleWebhook, Webhook, WebhookSecret
from app.store.notifications import deliveries
from app.store.queries import change_unique, create_unique, equal, execute, find_one


def by_id(key: int) -> Webhook | None:
    return find_one(Webhook, "id", key)


def every(owner: int | None = None) -> list[Webhook]:
    """Return webhooks by name, optionally only those of a user."""
    query = equal(Webhook.select(), (Webhook.owner, owner))
    return sorted(query, key=lambda webhook: (webhook.name.casefold(), webhook.id))


def with_owners() -> list[tuple[Webhook, Account | None]]:
    """Return the webhooks of users, each with its owner. None means that there is no such user any more."""
    rows = list(Webhook.select().where(Webhook.owner != 0).order_by(Webhook.id))
    users = {one.id: one for one in Account.select().where(Account.id.in_([row.owner for row in rows]))}
    return [(row, users.get(row.owner)) for row in rows]


def enabled() -> list[Webhook]:
    return list(Webhook.select().where(Webhook.disabled_at.is_null()).order_by(Webhook.id))


def names(owner: int) -> set[str]:
    return {webhook.name for webhook in Webhook.select(Webhook.name).where(Webhook.owner == owner)}


def add(**values: object) -> Webhook | None:
    """Store a webhook, or return None if its owner has another of that name."""
    return create_unique(Webhook, **values)


def change(key: int, **values: object) -> int | None:
    """Change a webhook, and return 1, 0 if it was removed, or None if its owner has another of that name."""
    return change_unique(Webhook, key, **values)


def disable(key: int, now: int, reason: str | None) -> bool:
    """Disable a webhook, give up what waits for it, and return whether it was enabled."""
    with transaction():
        is_enabled = (Webhook.id == key) & Webhook.disabled_at.is_null()
        changed = execute(Webhook.update(disabled_at=now, reason=reason).where(is_enabled))
        deliveries.give_up_all(webhook=key)
    return changed == 1


def remove(key: int) -> bool:
    """Remove a webhook with its secrets and deliveries, and return whether it existed."""
    with transaction():
        deliveries.remove_all(Delivery.webhook == key)
        execute(WebhookSecret.delete().where(WebhookSecret.webhook == key))
        execute(ScheduleWebhook.delete().where(ScheduleWebhook.webhook == key))
        return execute(Webhook.delete().where(Webhook.id == key)) == 1


def secrets(key: int, now: int) -> list[WebhookSecret]:
    """Return the secrets of a webhook that have not expired, the current one first."""
    is_valid = WebhookSecret.expires_at.is_null() | (WebhookSecret.expires_at > now)
    query = WebhookSecret.select().where(WebhookSecret.webhook == key, is_valid)
    return list(query.order_by(WebhookSecret.id.desc()))


def add_secret(key: int, prefix: str, salt: str, now: int, *, others_expire_at: int) -> None:
    """Add the new current secret of a webhook; each other one expires at a time, unless it does so before."""
    is_later = WebhookSecret.expires_at.is_null() | (WebhookSecret.expires_at > others_expire_at)
    with transaction():
        execute(WebhookSecret.update(expires_at=others_expire_at).where(WebhookSecret.webhook == key, is_later))
        WebhookSecret.create(webhook=key, prefix=prefix, salt=salt, created_at=now)


def of_schedule(schedule: int) -> list[Webhook]:
    """Return the webhooks that a schedule names, in the order in which they were added."""
    query = Webhook.select().join(ScheduleWebhook, on=ScheduleWebhook.webhook == Webhook.id)
    return list(query.where(ScheduleWebhook.schedule == schedule).order_by(Webhook.id))


def schedules_of(key: int) -> list[Schedule]:
    """Return the schedules that name a webhook, by id."""
    query = Schedule.select().join(ScheduleWebhook, on=ScheduleWebhook.schedule == Schedule.id)
    return list(query.where(ScheduleWebhook.webhook == key).order_by(Schedule.id))


def link(schedule: int, webhooks: Iterable[int], now: int) -> None:
    """Set the webhooks that a schedule names. What waits for one that it named before is given up."""
    wanted = set(webhooks)
    with transaction():
        linked = ScheduleWebhook.select(ScheduleWebhook.webhook).where(ScheduleWebhook.schedule == schedule)
        before = {row.webhook for row in linked}
        for webhook in before - wanted:
            execute(ScheduleWebhook.delete().where(_is_link(schedule, webhook)))
            deliveries.give_up_all(schedule=schedule, webhook=webhook)
        for webhook in sorted(wanted - before):
            ScheduleWebhook.create(schedule=schedule, webhook=webhook, added_at=now)


def is_linked(schedule: int | None, webhook: int | None) -> bool:
    """Return whether a schedule names a webhook."""
    return ScheduleWebhook.select().where(_is_link(schedule, webhook)).exists()


def purge_secrets(before: int) -> None:
    """Remove the secrets that expired before a time."""
    execute(WebhookSecret.delete().where(WebhookSecret.expires_at < before))


def _is_link(schedule: int | None, webhook: int | None) -> Expression:
    return (ScheduleWebhook.schedule == schedule) & (ScheduleWebhook.webhook == webhook)
