"""Pages of a group of similar rejected events: list, resend all of them with an optional change, or remove them."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField

from app.admin.blueprint import services
from app.admin.events.rejected import SHOWN_CHARACTERS, before_id, list_values
from app.admin.pages import action, confirm, link_to, page, parse_id, redirect_with
from app.auth import caller
from app.services.events.rejected_groups import Group, Sent
from app.services.events.resend import Change
from app.services.rows import GroupKey

PAGE_SIZE = 20
SAMPLES = 3  # events that the page shows before a group is removed
# The field to change in each event before it is resent.
CHANGES = {
    "": "Nothing",
    "customer": "Set customer",
    "product": "Set product",
    "type": "Set type",
    "version": "Set version",
    "timestamp": "Set timestamp to time of arrival",
}


class GroupForm(FlaskForm):
    """Form that resends a group."""

    change = StringField("Change before sending")
    value = StringField("New value")


@page("/rejected/group", "system")
def rejected_group() -> str:
    """Show the group's newest events, or those before a given event."""
    return _render_group(_find_group(), GroupForm())


@action("/rejected/group", "system")
def send_group() -> ResponseReturnValue:
    """Resend the group up to the last event shown, and show the result."""
    group, form = _find_group(), GroupForm()
    field, value = form.change.data or "", (form.value.data or "").strip()
    if field not in CHANGES:
        form.change.errors = [f"{form.change.label.text} has no such choice."]
    elif field not in ("", "timestamp") and not value:
        form.value.errors = ["New value is missing."]
    if form.change.errors or form.value.errors:
        return _render_group(group, form), 400
    change = Change(field, value if field != "timestamp" else "")
    sent = services().rejected_groups.send(caller(), group.key, _last_shown_id(), change)
    is_done = not (sent.refused or sent.left)
    return redirect_with(_describe_sent(sent), link_to("rejected") if is_done else _link_to_group(group.key))


@page("/rejected/group/remove", "system")
def confirm_remove_group() -> str:
    group = _find_group()
    samples = services().rejected_groups.events(caller(), group.key, SAMPLES)
    values = {"group": group, "samples": samples, "shown": SHOWN_CHARACTERS}
    return confirm("admin/events/confirm_remove_group.html", _link_to_group(group.key), **values)


@action("/rejected/group/remove", "system")
def remove_group() -> Response:
    """Remove the events that the confirmation page counted."""
    number = services().rejected_groups.purge(caller(), _group_key(), _last_shown_id())
    message = f"{number:,} rejected {'event is' if number == 1 else 'events are'} removed."
    return redirect_with(message, link_to("rejected"))


def _render_group(group: Group, form: GroupForm) -> str:
    found = services().rejected_groups.events(caller(), group.key, PAGE_SIZE + 1, before_id())
    values = {"shown": SHOWN_CHARACTERS, "changes": CHANGES} | list_values(found, PAGE_SIZE)
    companions = services().rejected.companions(caller(), found)
    return render_template("admin/events/rejected_group.html", group=group, form=form, companions=companions, **values)


def _find_group() -> Group:
    return services().rejected_groups.get(caller(), _group_key())


def _group_key() -> GroupKey:
    """Return the key of the group that the URL names."""
    return GroupKey(*(request.args.get(name, "") for name in ("field", "fault", "product", "type")))


def _last_shown_id() -> int:
    """Return the id of the last event that the caller's page included; newer events are excluded."""
    return parse_id(request.form.get("up_to", ""))


def _link_to_group(key: GroupKey) -> str:
    return link_to("rejected_group", field=key.field, fault=key.fault, product=key.product, type=key.type)


def _describe_sent(sent: Sent) -> str:
    words = [f"{sent.stored:,} {'event is' if sent.stored == 1 else 'events are'} stored."]
    if sent.refused:
        still = "is" if sent.refused == 1 else "are"
        words.append(f"{sent.refused:,} {still} still rejected. First reason: {' '.join(sent.reasons)[:300]}")
    if sent.left:
        words.append(f"{sent.left:,} were not tried because the time limit was reached. Send them again.")
    return " ".join(words)
