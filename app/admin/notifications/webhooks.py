"""Pages that list webhooks, show one with its deliveries, test it, replace its secret, disable or remove it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template, request
from werkzeug.wrappers import Response

from app.admin.blueprint import services
from app.admin.notifications.delivery_rows import delivery_rows
from app.admin.pages import Values, action, confirm, link_to, live_page, page, redirect_with
from app.admin.states import WEBHOOK, State
from app.auth import caller
from app.services.notifications.webhooks import GONE, PAUSED
from app.services.rows import Webhook

PATH = "/reports/webhooks/<int:key>"
DELIVERY_PATH = f"{PATH}/deliveries/<int:number>"
SHOWN_DELIVERIES = 50


@dataclass(frozen=True)
class WebhookRow:
    """Webhook, ready to be shown.

    Attributes:
        webhook: the database row.
        schedules: how many recurring reports name it.
    """

    webhook: Webhook
    state: State
    schedules: int


@page("/reports/webhooks", "reports")
def webhooks() -> str:
    lines = [webhook_row(one) for one in services().webhooks.visible(caller())]
    return render_template("admin/notifications/webhooks.html", lines=lines, servers=services().webhooks.allowed)


@live_page(PATH, "reports", "admin/notifications/webhook.html")
def webhook(key: int) -> Values:
    found = services().webhooks.get(caller(), key)
    deliveries = delivery_rows(services().deliveries.newest(found, SHOWN_DELIVERIES))
    return {
        "line": webhook_row(found),
        "schedules": services().webhooks.schedules(caller(), found),
        "previous": len(services().webhooks.secrets(found)) - 1,
        "deliveries": deliveries,
        "can_enable": found.reason not in (GONE, PAUSED),
        "most": SHOWN_DELIVERIES,
        "moving": any(row.delivery.state == "waiting" for row in deliveries),
    }


@action(f"{PATH}/test", "reports")
def test_webhook(key: int) -> Response:
    """Send a test, and show its delivery with the answer."""
    found = services().webhooks.get(caller(), key)
    delivery = services().deliveries.test(caller(), found)
    said = "The server accepted the test." if delivery.state == "delivered" else "The server rejected the test."
    return redirect_with(said, link_to("webhook_delivery", key=key, number=delivery.id))


@action(f"{PATH}/enable", "reports")
def enable_webhook(key: int) -> Response:
    found = services().webhooks.get(caller(), key)
    services().webhooks.enable(caller(), found)
    return redirect_with(f"{found.name} is enabled.", link_to("webhook", key=key))


@action(f"{PATH}/disable", "reports")
def disable_webhook(key: int) -> Response:
    found = services().webhooks.get(caller(), key)
    services().webhooks.disable(caller(), found)
    return redirect_with(f"{found.name} is disabled. What waited is not sent.", link_to("webhook", key=key))


@page(f"{PATH}/rotate", "reports")
def confirm_rotate_webhook(key: int) -> str:
    found = services().webhooks.get(caller(), key)
    return confirm("admin/notifications/confirm_rotate_webhook.html", link_to("webhook", key=key), webhook=found)


@action(f"{PATH}/rotate", "reports")
def rotate_webhook(key: int) -> str:
    """Create a new secret and show it once, which is why the response is a page rather than a redirect."""
    found = services().webhooks.get(caller(), key)
    secret = services().webhooks.rotate(caller(), found, at_once="at_once" in request.form)
    return show_secret(found, secret)


@page(f"{PATH}/remove", "reports")
def confirm_remove_webhook(key: int) -> str:
    found = services().webhooks.get(caller(), key)
    values = {"webhook": found, "schedules": services().webhooks.schedules(caller(), found)}
    return confirm("admin/notifications/confirm_remove_webhook.html", link_to("webhook", key=key), **values)


@action(f"{PATH}/remove", "reports")
def remove_webhook(key: int) -> Response:
    found = services().webhooks.get(caller(), key)
    services().webhooks.remove(caller(), found)
    return redirect_with(f"{found.name} is removed.", link_to("webhooks"))


@page(DELIVERY_PATH, "reports")
def webhook_delivery(key: int, number: int) -> str:
    found = services().webhooks.get(caller(), key)
    (row,) = delivery_rows([services().deliveries.get(found, number)])
    here = link_to("send_webhook_delivery", key=key, number=number) if found.disabled_at is None else None
    values = {"back": link_to("webhook", key=key), "name": found.name, "send": here}
    return render_template("admin/notifications/delivery.html", line=row, **values)


@action(DELIVERY_PATH, "reports")
def send_webhook_delivery(key: int, number: int) -> Response:
    """Queue a delivery to be sent again."""
    found = services().webhooks.get(caller(), key)
    services().deliveries.send_again(caller(), found, services().deliveries.get(found, number))
    message = "It will be sent again within a few seconds."
    return redirect_with(message, link_to("webhook_delivery", key=key, number=number))


def webhook_row(webhook: Webhook) -> WebhookRow:
    disabled = "stopped" if webhook.reason else "disabled"
    state = WEBHOOK["enabled" if webhook.disabled_at is None else disabled]
    named = len(services().webhooks.schedules(caller(), webhook))
    return WebhookRow(webhook, state, named)


def show_secret(webhook: Webhook, secret: str, *, back: str | None = None, title: str | None = None) -> str:
    """Return the page with a new secret, which is shown once."""
    values = {"back": back or link_to("webhook", key=webhook.id), "title": title or f"Secret of {webhook.name}"}
    return render_template("admin/notifications/webhook_secret.html", webhook=webhook, secret=secret, **values)
