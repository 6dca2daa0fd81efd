"""Pages that list, add, change, test and remove alert channels."""

from __future__ import annotations

from typing import Any

from flask import render_template
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, RadioField, StringField

from app.admin.alerts.alert_rows import channel_row
from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, attach_errors, messages_of, status_of
from app.admin.lines_field import LinesField
from app.admin.notifications.delivery_rows import delivery_rows
from app.admin.pages import Values, action, confirm, link_to, live_page, page, redirect_with
from app.auth import caller
from app.exceptions import InputInvalid, TallyError
from app.services.alerts.channels import Channel, check_may_manage

PATH = "/alerts/channels/<int:key>"
SHOWN_DELIVERIES = 20
# An example of the URL of each service, and its server for ALERT_HOSTS.
EXAMPLES = (
    ("Slack", "https://hooks.slack.com/services/…", "hooks.slack.com"),
    ("Teams", "https://….logic.azure.com:443/workflows/…", "the host of the URL"),
    ("Matrix", "matrixs://TOKEN@matrix.example.com/!room:example.com", "the host of the URL"),
    ("PagerDuty", "pagerduty://INTEGRATION_KEY@API_KEY", "events.pagerduty.com"),
    ("Webhook", "jsons://user:password@hooks.example.com/path", "the host of the URL"),
)


class ChannelForm(FlaskForm):
    """Form for a channel."""

    name = StringField("Name")
    kind = RadioField("Send to", choices=(), default="mail", validate_choice=False)
    addresses = LinesField("Mail to")
    url = StringField("URL")
    active = BooleanField("Send messages to this channel", default=True)

    def to_request(self, channel: Channel | None = None) -> dict[str, Any]:
        """Return the request as a program would send it. A blank URL of a channel with a URL keeps that URL."""
        request = {"name": (self.name.data or "").strip(), "active": bool(self.active.data)}
        url = (self.url.data or "").strip()
        if self.kind.data == "mail":
            return request | {"addresses": self.addresses.lines}
        keeps = channel is not None and not channel.addresses and not url
        return request if keeps else request | {"url": url}

    def attach(self, error: TallyError) -> list[str]:
        """Attach an error to the fields that it concerns, and return the messages that belong to no field."""
        if not isinstance(error, InputInvalid):
            return messages_of(error)
        return attach_errors(self, error.field_errors, blank_is_missing=True)


@live_page("/alerts/channels", "system", "admin/alerts/channels.html")
def alert_channels() -> Values:
    check_may_manage(caller())
    rows = [channel_row(channel) for channel in services().channels.all()]
    return {"rows": rows, "moving": any(row.channel.waiting for row in rows)}


@page("/alerts/channels/new", "system")
def new_alert_channel() -> str:
    check_may_manage(caller())
    return _render_form(ChannelForm())


@action("/alerts/channels/new", "system", has_secrets=True)
def add_alert_channel() -> ResponseReturnValue:
    """Add a channel, or show the form with its errors."""
    form = ChannelForm()
    try:
        channel = services().channels.add(form.to_request(), by=caller())
    except FORM_ERRORS as error:
        return _render_form(form, general=form.attach(error)), status_of(error)
    message = f"{channel.name} is added. Send a test message to see that it works."
    return redirect_with(message, link_to("alert_channel", key=channel.id))


@live_page(PATH, "system", "admin/alerts/channel.html")
def alert_channel(key: int) -> Values:
    channel = services().channels.get(key, by=caller())
    deliveries = services().channels.deliveries(channel, SHOWN_DELIVERIES)
    return {
        "row": channel_row(channel),
        "rules": services().channels.rules(channel),
        "deliveries": delivery_rows(deliveries),
        "most": SHOWN_DELIVERIES,
        "moving": bool(channel.waiting),
    }


@action(f"{PATH}/test", "system")
def test_alert_channel(key: int) -> Response:
    """Send a test message, and show what came back."""
    channel = services().channels.get(key, by=caller())
    outcome = services().channels.test(channel, by=caller())
    message = f"{'The test message is sent.' if outcome.is_good else 'The test message is not sent.'} {outcome.said}"
    return redirect_with(message, link_to("alert_channel", key=key))


@page(f"{PATH}/edit", "system")
def edit_alert_channel(key: int) -> str:
    channel = services().channels.get(key, by=caller())
    filled: Values = {"name": channel.name, "active": channel.active, "kind": "mail" if channel.addresses else "url"}
    return _render_form(ChannelForm(None, **filled, addresses="\n".join(channel.addresses)), channel)


@action(f"{PATH}/edit", "system", has_secrets=True)
def change_alert_channel(key: int) -> ResponseReturnValue:
    """Change a channel, or show the form with its errors."""
    channel, form = services().channels.get(key, by=caller()), ChannelForm()
    try:
        changed = services().channels.change(channel, form.to_request(channel), by=caller())
    except FORM_ERRORS as error:
        return _render_form(form, channel, form.attach(error)), status_of(error)
    return redirect_with(f"{changed.name} is changed.", link_to("alert_channel", key=key))


@page(f"{PATH}/remove", "system")
def confirm_remove_alert_channel(key: int) -> str:
    channel = services().channels.get(key, by=caller())
    values = {"channel": channel, "rules": services().channels.rules(channel)}
    return confirm("admin/alerts/confirm_remove_channel.html", link_to("alert_channel", key=key), **values)


@action(f"{PATH}/remove", "system")
def remove_alert_channel(key: int) -> Response:
    channel = services().channels.get(key, by=caller())
    services().channels.remove(channel, by=caller())
    return redirect_with(f"{channel.name} is removed.", link_to("alert_channels"))


def _render_form(form: ChannelForm, channel: Channel | None = None, general: list[str] | None = None) -> str:
    values: Values = {
        "channel": channel,
        "general": general or [],
        "examples": EXAMPLES,
        "hosts": services().channels.hosts,
    }
    values |= {"sends_mail": services().channels.sends_mail}
    return render_template("admin/alerts/channel_form.html", form=form, **values)
