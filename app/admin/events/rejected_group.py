"""Pages of a group of similar rejected events: list, resend all of them with an optional change, or remove them."""

from __future__ import annotations

from dataclasses import asdict

from flask import render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response
from wtforms import Form, StringField

from app.admin.blueprint import services
from app.admin.events.rejected import SHOWN_CHARACTERS, before_id, list_values
from app.admin.events.rejected_filter import RejectedQuery, read_query
from app.admin.pages import Values, action, confirm, link_to, page, parse_id, redirect_with
from app.auth import caller
from app.exceptions import FieldError, InputInvalid, RejectedUnknown
from app.services.events import timestamps
from app.services.events.rejected_groups import Group, Sent
from app.services.events.resend import READ_TIMESTAMPS, Change
from app.services.rows import SEARCHED_REJECTED as SEARCHED
from app.services.rows import GroupKey, RejectedFilter

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
    "timestamp-iso": "Parse timestamps as ISO 8601",
}
WITHOUT_VALUE = ("", "timestamp", "timestamp-iso")
SHOWN_CUSTOMERS = 10  # customers that are named before a group is sent


class GroupForm(Form):
    """Form that begins to resend a group."""

    change = StringField("Change before sending")
    value = StringField("New value")


@page("/rejected/group", "system")
def rejected_group() -> str:
    """Show the group's newest events, or those before a given event."""
    return _render_group(_find_group(), GroupForm())


@page("/rejected/group/send", "system")
def confirm_send_group() -> ResponseReturnValue:
    """Ask before the group is sent, with a change that its page offers."""
    group, form = _find_group(), GroupForm(request.args)
    change = _read_change(form)
    if change is None:
        return _render_group(group, form), 400
    wanted = _filter()
    customers = services().rejected_groups.customers(caller(), group.key, SHOWN_CUSTOMERS, wanted)
    preview = None
    if change.reads_timestamps:
        preview = services().rejected_groups.preview_timestamps(caller(), group.key, wanted)
    of_requests = services().rejected_groups.has_requests(caller(), group.key, wanted)
    values = {"group": group, "change": change, "customers": customers, "preview": preview, "of_requests": of_requests}
    values |= _limits()
    return confirm("admin/events/confirm_send_group.html", _link_to_group(group.key), **values)


@action("/rejected/group/send", "system")
def send_group() -> ResponseReturnValue:
    """Resend the events that the confirmation page counted, and show the result."""
    group, form = _find_group(), GroupForm(request.args)
    change = _read_change(form)
    if change is None:
        return _render_group(group, form), 400
    sent = services().rejected_groups.send(caller(), group.key, _last_shown_id(), change, _filter())
    return redirect_with(_describe_sent(sent), _link_to_rest(group.key))


@page("/rejected/group/remove", "system")
def confirm_remove_group() -> str:
    group = _find_group()
    samples = services().rejected_groups.events(caller(), group.key, SAMPLES, wanted=_filter())
    values = {"group": group, "samples": samples, "shown": SHOWN_CHARACTERS} | _limits()
    return confirm("admin/events/confirm_remove_group.html", _link_to_group(group.key), **values)


@action("/rejected/group/remove", "system")
def remove_group() -> Response:
    """Remove the events that the confirmation page counted."""
    number = services().rejected_groups.purge(caller(), _group_key(), _last_shown_id(), _filter())
    message = f"{number:,} rejected {'event is' if number == 1 else 'events are'} removed."
    return redirect_with(message, link_to("rejected", **_query().beside_group))


def _read_change(form: GroupForm) -> Change | None:
    """Return the change that a form describes, or set the form's errors and return None."""
    field, value = form.change.data or "", (form.value.data or "").strip()
    if field not in CHANGES:
        form.change.errors = [f"{form.change.label.text} is not one of the choices."]
    elif field not in WITHOUT_VALUE and not value:
        form.value.errors = ["New value is missing."]
    if form.change.errors or form.value.errors:
        return None
    return READ_TIMESTAMPS if field == "timestamp-iso" else Change(field, "" if field in WITHOUT_VALUE else value)


def _render_group(group: Group, form: GroupForm) -> str:
    found = services().rejected_groups.events(caller(), group.key, PAGE_SIZE + 1, before_id(), _filter())
    values = {"shown": SHOWN_CHARACTERS, "changes": CHANGES} | list_values(found, PAGE_SIZE) | _limits()
    if group.key.field == "timestamp":
        values["preview"] = timestamps.preview(found)
    companions = services().rejected.companions(caller(), found)
    return render_template("admin/events/rejected_group.html", group=group, form=form, companions=companions, **values)


def _find_group() -> Group:
    return services().rejected_groups.get(caller(), _group_key(), _filter())


def _query() -> RejectedQuery:
    return read_query(of_group=True)


def _limits() -> Values:
    """Return the template values of the filter that limits the group."""
    return {"query": _query(), "most_searched": SEARCHED}


def _filter() -> RejectedFilter:
    """Return the filter that limits the group. Raise InputInvalid if it is invalid."""
    query = _query()
    if query.status != 200:
        errors = [*query.general, *(error for field in query.form for error in field.errors)]
        raise InputInvalid(errors[0], [FieldError(error) for error in errors])
    return query.filter


def _group_key() -> GroupKey:
    """Return the key of the group that the URL names."""
    return GroupKey(*(request.args.get(name, "") for name in ("field", "fault", "product", "type")))


def _last_shown_id() -> int:
    """Return the id of the last event that the caller's page included; newer events are excluded."""
    return parse_id(request.form.get("up_to", ""))


def _link_to_group(key: GroupKey) -> str:
    return link_to("rejected_group", **asdict(key), **_query().beside_group)


def _link_to_rest(key: GroupKey) -> str:
    """Return the URL of a group, or of the list of groups if the group has no events left."""
    try:
        services().rejected_groups.get(caller(), key, _filter())
    except RejectedUnknown:
        return link_to("rejected", **_query().beside_group)
    return _link_to_group(key)


def _describe_sent(sent: Sent) -> str:
    words = [f"{sent.stored:,} {'event is' if sent.stored == 1 else 'events are'} stored."]
    if sent.refused:
        still = "is" if sent.refused == 1 else "are"
        words.append(f"{sent.refused:,} {still} still rejected. First reason: {' '.join(sent.reasons)[:300]}")
    if sent.left:
        words.append(f"{sent.left:,} were not tried because the time limit was reached. Send them again.")
    return " ".join(words)
