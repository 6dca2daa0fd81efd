"""Webhooks in the database, without a host that WEBHOOK_HOSTS allows."""

from __future__ import annotations

import uuid

from app.services.notifications import signatures
from app.store.models import Schedule, Webhook
from app.store.notifications import deliveries, webhooks
from app.support.clock import now

URL = "https://hooks.example.com/"


def store_webhook(owner: int, owner_name: str, **values: object) -> Webhook:
    """Store a webhook of a user."""
    times = {name: now() - 1_000 for name in ("created_at", "enabled_at", "subscribed_at")}
    known = {"owner": owner, "owner_name": owner_name, "name": f"hook {uuid.uuid4()}", "url": URL}
    webhook = Webhook.create(**{**known, **times, **values})
    webhooks.add_secret(webhook.id, signatures.PREFIX, "salt", now(), others_expire_at=now())
    return webhook


def link_webhook(schedule: Schedule) -> Webhook:
    """Store a webhook of a recurring report's owner that the recurring report names."""
    webhook = store_webhook(schedule.owner, schedule.owner_name)
    webhooks.link(schedule.id, [webhook.id], now() - 1_000)
    return webhook


def announce(key: str) -> None:
    """Create the deliveries of ended reports, whose ids begin with a key."""
    for number, (report, webhook) in enumerate(deliveries.unannounced(0)):
        deliveries.add_report(f"{key}-{number}", report, webhook, now())
