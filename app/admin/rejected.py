"""Rejected events: what was refused and why, and a form that sends one again, edited."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response
from wtforms import TextAreaField

from app.admin.blueprint import blueprint, services
from app.admin.words import moment
from app.auth import caller, need, signed_in
from app.exceptions import BodyMalformed, Forbidden, InputInvalid
from app.schemas import json
from app.services.rejected import RejectedEvent
from app.services.resending import Resent

PAGE = 50
SHOWN_CHARACTERS = 5_000  # of an event in the list; its own page has it whole
KEY_DIGITS = 18

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Counts:
    """How many rejected events there are.

    Attributes:
        fields: how many for each wrong field, most first; an empty name: the event as a whole.
        number: of those kept.
        dropped: how many were not kept.
    """

    fields: list[tuple[str, int]]
    number: int
    dropped: int


class EventForm(FlaskForm):
    """An event as JSON."""

    event = TextAreaField("Event")


@blueprint.get("/rejected")
@signed_in
def rejected() -> str:
    """The newest ones, or those before one of them."""
    need("system")
    before = request.args.get("before")
    found = services().rejected.page(caller(), PAGE + 1, None if before is None else _key(before))
    more = found[PAGE - 1].id if len(found) > PAGE else None
    known = {"rejects": counts(), "shown": SHOWN_CHARACTERS, "is_first": before is None, "more": more}
    return render_template("admin/rejected.html", found=found[:PAGE], **known)


@blueprint.get("/rejected/<key>")
@signed_in
def rejected_event(key: str) -> str:
    """One of them in a form."""
    need("system")
    one = _one(key)
    return _page(one, EventForm(event=_for_editing(one.event)))


@blueprint.post("/rejected/<key>")
@signed_in
def send_again(key: str) -> tuple[str, int] | Response:
    """Send it again as it was edited, and say what was stored or what is still wrong."""
    need("system")
    form = EventForm()
    try:
        sent = services().resending.send(caller(), _key(key), form.event.data or "")
    except InputInvalid as error:
        return _page(_one(key), form, *[fault.message for fault in error.faults]), 400
    except BodyMalformed as error:
        return _page(_one(key), form, str(error).replace("The body", "The event", 1)), 400
    except Forbidden as error:
        return _page(_one(key), form, str(error)), 403
    if not sent.earlier:
        log.info("rejected event sent again", rejected=int(key), batch=sent.event["batch"], by=caller().name)
    flash(_told(sent))
    return redirect(url_for("admin.rejected"))


@blueprint.get("/rejected/<key>/remove")
@signed_in
def remove_rejected(key: str) -> str:
    """Ask whether it is meant, and say what goes."""
    need("system")
    return render_template("admin/remove_rejected.html", one=_one(key), shown=SHOWN_CHARACTERS)


@blueprint.post("/rejected/<key>/remove")
@signed_in
def end_rejected(key: str) -> Response:
    """Remove it."""
    need("system")
    one = _one(key)
    services().rejected.remove(one)
    log.info("rejected event removed", rejected=one.id, by=caller().name)
    flash(f"The rejected event of {moment(one.received)} is removed.")
    return redirect(url_for("admin.rejected"))


def counts() -> Counts:
    """How many whoever asks may see."""
    fields = services().rejected.by_field(caller())
    return Counts(fields, sum(number for _, number in fields), services().rejected.dropped())


def _page(one: RejectedEvent, form: EventForm, *faults: str) -> str:
    form.event.errors = list(faults)
    return render_template("admin/rejected_event.html", one=one, form=form)


def _for_editing(text: str) -> str:
    """An event with a line for each field, where it is JSON at all."""
    try:
        return json.text(json.parse(text.encode()), indented=True)
    except BodyMalformed:
        return text


def _told(sent: Resent) -> str:
    event = sent.event
    what = f"{event['type']} of {event['customer']}, {event['product']}, {moment(event['timestamp'])}"
    if sent.earlier:
        return f"It was sent again before, and is stored once: {what}, in the batch {event['batch']}."
    return f"Stored: {what}, in the batch {event['batch']}. It is no rejected event any more."


def _one(key: str) -> RejectedEvent:
    return services().rejected.get(caller(), _key(key))


def _key(text: str) -> int:
    """The id of an address.

    Raises:
        NotFound: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= KEY_DIGITS):
        raise NotFound
    return int(text)
