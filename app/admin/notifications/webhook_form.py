"""Form of a webhook: its name, its URL, and the event types that it wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import render_template
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SelectMultipleField, StringField

from app.admin.blueprint import services
from app.admin.form_errors import attach_errors
from app.admin.notifications.webhooks import PATH, show_secret
from app.admin.pages import action, link_to, page, redirect_with
from app.auth import caller
from app.exceptions import InputInvalid
from app.schemas.webhooks import EVENT_TYPES
from app.services.rows import Webhook


class WebhookForm(FlaskForm):
    """Form for a webhook; its field names are those of the request."""

    name = StringField("Name")
    url = StringField("URL")
    types = SelectMultipleField("Events", choices=(), validate_choice=False)

    def to_request(self) -> dict[str, Any]:
        """Return the request."""
        name, url = ((field.data or "").strip() for field in (self.name, self.url))
        return {"name": name, "url": url, "types": self.types.data or []}


@page("/reports/webhooks/new", "reports")
def new_webhook() -> str:
    return _render_form(WebhookForm())


@action("/reports/webhooks/new", "reports")
def add_webhook() -> ResponseReturnValue:
    """Create a webhook and show its secret once, which is why the response is a page rather than a redirect."""
    form = WebhookForm()
    try:
        added = services().webhooks.add(caller(), form.to_request())
    except InputInvalid as error:
        return _render_form(form, general=attach_errors(form, error.field_errors, blank_is_missing=True)), 400
    return show_secret(added.webhook, added.secret, title=f"{added.webhook.name} is added")


@page(f"{PATH}/edit", "reports")
def edit_webhook(key: int) -> str:
    found = services().webhooks.get(caller(), key)
    return _render_form(WebhookForm(None, name=found.name, url=found.url, types=found.types), found)


@action(f"{PATH}/edit", "reports")
def change_webhook(key: int) -> ResponseReturnValue:
    """Change a webhook, or show the form with its errors."""
    found, form = services().webhooks.get(caller(), key), WebhookForm()
    try:
        current = services().webhooks.change(caller(), found, form.to_request())
    except InputInvalid as error:
        return _render_form(form, found, attach_errors(form, error.field_errors, blank_is_missing=True)), 400
    return redirect_with(f"{current.name} is changed.", link_to("webhook", key=key))


def _render_form(form: WebhookForm, webhook: Webhook | None = None, general: Sequence[str] = ()) -> str:
    permitted = {name: words for name, (words, permission) in EVENT_TYPES.items() if caller().may(permission)}
    values = {"types": permitted, "servers": services().webhooks.allowed, "general": general}
    return render_template("admin/notifications/webhook_form.html", form=form, webhook=webhook, **values)
