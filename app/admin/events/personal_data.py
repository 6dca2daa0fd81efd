"""Pages of a person's data: find it by a value, download it, erase it, and the receipt of an erasure.

The value is sent by POST only, because URLs are logged, saved and shared. A form that is sent too late is not kept,
because an erasure would not find the value there.
"""

from __future__ import annotations

import orjson
from flask import Response, render_template
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField

from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, attach_errors, messages_of, status_of
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.auth import caller
from app.exceptions import InputInvalid, TallyError
from app.schemas.retention import PersonalDataSchema
from app.services.operations.personal_data import PersonalDataMatches

FIND_SECONDS = 20.0  # time limit of a search; measured: two seconds for a million events
MAX_ERASED = 20_000  # stored events that a request erases; measured: seven seconds on a busy machine with SQLite
NO_STORE = {"Cache-Control": "no-store"}


class PersonalDataForm(FlaskForm):
    """Form for the value that identifies a person."""

    value = StringField("Value")
    item = StringField("Context item")


@page("/events/personal-data", "events")
def personal_data() -> ResponseReturnValue:
    """Show the form."""
    return _render(PersonalDataForm())


@action("/events/personal-data", "events", has_secrets=True)
def find_personal_data() -> ResponseReturnValue:
    """Show how much data contains the value."""
    form = PersonalDataForm()
    try:
        return _render(form, _find(form))
    except FORM_ERRORS as error:
        return _render_error(form, error)


@action("/events/personal-data/download", "events", has_secrets=True)
def download_personal_data() -> ResponseReturnValue:
    """Return the data as JSON Lines."""
    form = PersonalDataForm()
    try:
        lines = services().personal_data.hand_over(caller(), _find(form))
    except FORM_ERRORS as error:
        return _render_error(form, error)
    headers = {"Content-Disposition": "attachment; filename=personal-data.jsonl"} | NO_STORE
    return Response(lines, mimetype="application/x-ndjson", headers=headers)


@action("/events/personal-data/confirm", "users", has_secrets=True)
def confirm_erase_personal_data() -> ResponseReturnValue:
    form = PersonalDataForm()
    try:
        found = _find(form)
    except FORM_ERRORS as error:
        return _render_error(form, error)
    if found.is_empty or found.total.events > MAX_ERASED:
        return _render(form, found)
    back = link_to("personal_data")
    return confirm("admin/events/confirm_erase_personal_data.html", back, form=form, found=found)


@action("/events/personal-data/erase", "users", has_secrets=True)
def erase_personal_data() -> ResponseReturnValue:
    """Erase the data, and redirect to the receipt."""
    form = PersonalDataForm()
    try:
        _, key = services().personal_data.erase(
            caller(), _wanted(form), delete_files=True, seconds=FIND_SECONDS, max_events=MAX_ERASED
        )
    except FORM_ERRORS as error:
        return _render_error(form, error)
    return redirect_with("The data is erased.", link_to("erasure_receipt", key=key))


@page("/events/personal-data/receipts/<int:key>", "system")
def erasure_receipt(key: int) -> str:
    """Show the receipt of an erasure."""
    entry = services().personal_data.receipt(caller(), key)
    return render_template("admin/events/erasure_receipt.html", entry=entry, receipt=entry.details["receipt"])


@page("/events/personal-data/receipts/<int:key>/file", "system")
def erasure_receipt_file(key: int) -> Response:
    """Return the receipt as a JSON file."""
    receipt = services().personal_data.receipt(caller(), key).details["receipt"]
    headers = {"Content-Disposition": f"attachment; filename=erasure-receipt-{key}.json"} | NO_STORE
    return Response(orjson.dumps(receipt, option=orjson.OPT_INDENT_2), mimetype="application/json", headers=headers)


def _wanted(form: PersonalDataForm) -> dict[str, str]:
    item = (form.item.data or "").strip()
    return PersonalDataSchema().check({"value": form.value.data or "", "item": item or None}, "The form")


def _find(form: PersonalDataForm) -> PersonalDataMatches:
    return services().personal_data.find(caller(), _wanted(form), FIND_SECONDS)


def _render(form: PersonalDataForm, found: PersonalDataMatches | None = None, general: list[str] | None = None) -> str:
    values = {"form": form, "found": found, "general": general or [], "most": MAX_ERASED}
    return render_template("admin/events/personal_data.html", names=services().catalog.item_names(caller()), **values)


def _render_error(form: PersonalDataForm, error: TallyError) -> ResponseReturnValue:
    if isinstance(error, InputInvalid):
        general = attach_errors(form, error.field_errors, blank_is_missing=True)
    else:
        general = messages_of(error)
    return _render(form, general=general), status_of(error)
