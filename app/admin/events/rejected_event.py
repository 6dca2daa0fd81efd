"""Page of a rejected event: a form that edits and resends it, and the confirmation before it is removed."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import TextAreaField

from app.admin.blueprint import services
from app.admin.events.rejected import SHOWN_CHARACTERS
from app.admin.events.rejected_request import describe_sent
from app.admin.form_errors import FORM_ERRORS, messages_of, status_of
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.admin.template_filters import moment
from app.auth import caller
from app.exceptions import BodyMalformed
from app.schemas import json
from app.services.events.resend import Resent
from app.services.rows import RejectedEvent


class EventForm(FlaskForm):
    """Form with an event as JSON."""

    event = TextAreaField("Event")


@page("/rejected/<int:key>", "system")
def rejected_event(key: int) -> str:
    """Show a rejected event in a form, with a line for each field if it is JSON."""
    found = services().rejected.get(caller(), key)
    try:
        text = json.text(json.parse(found.event.encode()), indented=True)
    except BodyMalformed:
        text = found.event
    return _render_event(found, EventForm(event=text))


@action("/rejected/<int:key>", "system")
def send_again(key: int) -> ResponseReturnValue:
    """Resend an edited event, alone or with its request, and show what is stored or what is still invalid."""
    form = EventForm()
    text = form.event.data or ""
    try:
        if request.form.get("with_request"):
            found = services().rejected.get(caller(), key)
            sent = services().resend.send_request(caller(), found.request or "", {found.place: text})
            message = describe_sent(sent)
        else:
            message = _describe_resent(services().resend.send(caller(), key, text))
    except FORM_ERRORS as error:
        form.event.errors = messages_of(error, body="The event")
        return _render_event(services().rejected.get(caller(), key), form), status_of(error)
    return redirect_with(message, link_to("rejected_list"))


@page("/rejected/<int:key>/remove", "system")
def confirm_remove_rejected(key: int) -> str:
    found = services().rejected.get(caller(), key)
    template = "admin/events/confirm_remove_rejected.html"
    return confirm(template, link_to("rejected_list"), one=found, shown=SHOWN_CHARACTERS)


@action("/rejected/<int:key>/remove", "system")
def remove_rejected(key: int) -> Response:
    found = services().rejected.get(caller(), key)
    services().rejected.discard(caller(), found)
    return redirect_with(f"The rejected event of {moment(found.received_at)} is removed.", link_to("rejected_list"))


def _render_event(found: RejectedEvent, form: EventForm) -> str:
    whole = services().rejected.companions(caller(), [found]).get(found.request or "")
    return render_template("admin/events/rejected_event.html", one=found, form=form, whole=whole)


def _describe_resent(sent: Resent) -> str:
    event = sent.event
    what = f"{event['type']} of {event['customer']}, {event['product']}, {moment(event['timestamp'])}"
    if sent.earlier:
        return f"It had already been sent again, and is stored once: {what}, in the batch {event['batch']}."
    return f"Stored: {what}, in the batch {event['batch']}. It is no longer in this list."
