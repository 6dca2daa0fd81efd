"""Pages of a group of similar rejected events: list, resend all of them with an optional change, or remove them."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField

from app.admin.blueprint import blueprint, services
from app.admin.events.rejected import SHOWN_CHARACTERS, key_of
from app.auth import caller, need, signed_in
from app.services.events.rejected_groups import Group, Key, Sent
from app.services.events.resend import Change

PAGE = 20
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


@blueprint.get("/rejected/group")
@signed_in
def rejected_group() -> str:
    """Show the group's newest events, or those before a given event."""
    need("system")
    return _page(_group(), GroupForm())


@blueprint.post("/rejected/group")
@signed_in
def send_group() -> str | tuple[str, int] | Response:
    """Resend the group up to the last event shown, and show the result."""
    need("system")
    group, form = _group(), GroupForm()
    field, value = form.change.data or "", (form.value.data or "").strip()
    if field not in CHANGES:
        form.change.errors = [f"{form.change.label.text} has no such choice."]
    elif field not in ("", "timestamp") and not value:
        form.value.errors = ["New value is missing."]
    if form.change.errors or form.value.errors:
        return _page(group, form), 400
    change = Change(field, value if field != "timestamp" else "")
    sent = services().rejected_groups.send(caller(), group.key, _up_to(), change)
    flash(_told(sent))
    return redirect(_address("admin.rejected_group", group.key) if sent.refused or sent.left else _all())


@blueprint.get("/rejected/group/remove")
@signed_in
def remove_group() -> str:
    """Ask for confirmation before a group is removed, and show how many events are lost."""
    need("system")
    group = _group()
    return render_template(
        "admin/events/remove_group.html", group=group, samples=_events(group, 3), shown=SHOWN_CHARACTERS
    )


@blueprint.post("/rejected/group/remove")
@signed_in
def end_group() -> Response:
    """Remove the events that the confirmation page counted."""
    need("system")
    number = services().rejected_groups.purge(caller(), _key(), _up_to())
    flash(f"{number:,} rejected {'event is' if number == 1 else 'events are'} removed.")
    return redirect(_all())


def _page(group: Group, form: GroupForm) -> str:
    before = request.args.get("before")
    found = _events(group, PAGE + 1, None if before is None else key_of(before))
    more = found[PAGE - 1].id if len(found) > PAGE else None
    known = {"shown": SHOWN_CHARACTERS, "changes": CHANGES, "more": more, "is_first": before is None}
    known["companions"] = services().rejected.companions(caller(), found)
    return render_template("admin/events/rejected_group.html", group=group, form=form, found=found[:PAGE], **known)


def _events(group: Group, limit: int, before: int | None = None) -> list:
    return services().rejected_groups.events(caller(), group.key, limit, before)


def _group() -> Group:
    return services().rejected_groups.get(caller(), _key())


def _key() -> Key:
    """Return the key of the group that the URL names."""
    return Key(*(request.args.get(name, "") for name in ("field", "fault", "product", "type")))


def _up_to() -> int:
    """Return the id of the last event that the caller's page included; newer events are excluded."""
    return key_of(request.form.get("up_to", ""))


def _address(endpoint: str, key: Key) -> str:
    return url_for(endpoint, field=key.field, fault=key.fault, product=key.product, type=key.type)


def _all() -> str:
    return url_for("admin.rejected")


def _told(sent: Sent) -> str:
    words = [f"{sent.stored:,} {'event is' if sent.stored == 1 else 'events are'} stored."]
    if sent.refused:
        still = "is" if sent.refused == 1 else "are"
        words.append(f"{sent.refused:,} {still} still rejected. First reason: {' '.join(sent.reasons)[:300]}")
    if sent.left:
        words.append(f"{sent.left:,} were not tried because the time limit was reached. Send them again.")
    return " ".join(words)
