"""Page of a rejected event: a form that edits and resends it, and the confirmation before it is removed."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import TextAreaField

from app.admin.blueprint import blueprint, services
from app.admin.events.rejected import SHOWN_CHARACTERS, key_of
from app.admin.events.rejected_request import describe_sent
from app.admin.template_filters import moment
from app.auth import caller, need, signed_in
from app.exceptions import BodyMalformed, Forbidden, InputInvalid, KeyReused
from app.schemas import json
from app.services.events.rejected import RejectedEvent
from app.services.events.resend import Resent


class EventForm(FlaskForm):
    """Form with an event as JSON."""

    event = TextAreaField("Event")


@blueprint.get("/rejected/<key>")
@signed_in
def rejected_event(key: str) -> str:
    """Show a rejected event in a form."""
    need("system")
    one = _one(key)
    return _page(one, EventForm(event=_for_editing(one.event)))


@blueprint.post("/rejected/<key>")
@signed_in
def send_again(key: str) -> tuple[str, int] | Response:
    """Resend an edited event, alone or with its request, and show what is stored or what is still invalid."""
    need("system")
    form = EventForm()
    text = form.event.data or ""
    try:
        if request.form.get("with_request"):
            told = _send_request(_one(key), text)
        else:
            told = _told(services().resend.send(caller(), key_of(key), text))
    except InputInvalid as error:
        return _page(_one(key), form, *[fault.message for fault in error.field_errors]), 400
    except BodyMalformed as error:
        return _page(_one(key), form, str(error).replace("The body", "The event", 1)), 400
    except Forbidden as error:
        return _page(_one(key), form, str(error)), 403
    except KeyReused as error:
        return _page(_one(key), form, str(error)), 422
    flash(told)
    return redirect(url_for("admin.rejected_list"))


@blueprint.get("/rejected/<key>/remove")
@signed_in
def remove_rejected(key: str) -> str:
    """Ask for confirmation before a rejected event is removed, and show what is lost."""
    need("system")
    return render_template("admin/events/remove_rejected.html", one=_one(key), shown=SHOWN_CHARACTERS)


@blueprint.post("/rejected/<key>/remove")
@signed_in
def end_rejected(key: str) -> Response:
    """Remove a rejected event."""
    need("system")
    one = _one(key)
    services().rejected.discard(caller(), one)
    flash(f"The rejected event of {moment(one.received)} is removed.")
    return redirect(url_for("admin.rejected_list"))


def _page(one: RejectedEvent, form: EventForm, *faults: str) -> str:
    form.event.errors = list(faults)
    whole = services().rejected.companions(caller(), [one]).get(one.request)
    return render_template("admin/events/rejected_event.html", one=one, form=form, whole=whole)


def _send_request(one: RejectedEvent, text: str) -> str:
    return describe_sent(services().resend.send_request(caller(), one.request or "", {one.place: text}))


def _for_editing(text: str) -> str:
    """Return the event with a line for each field if it is JSON, otherwise the text as it is."""
    try:
        return json.text(json.parse(text.encode()), indented=True)
    except BodyMalformed:
        return text


def _told(sent: Resent) -> str:
    event = sent.event
    what = f"{event['type']} of {event['customer']}, {event['product']}, {moment(event['timestamp'])}"
    if sent.earlier:
        return f"It had already been sent again, and is stored once: {what}, in the batch {event['batch']}."
    return f"Stored: {what}, in the batch {event['batch']}. It is no longer in this list."


def _one(key: str) -> RejectedEvent:
    return services().rejected.get(caller(), key_of(key))
