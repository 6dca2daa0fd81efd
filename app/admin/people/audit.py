"""Audit log: who did what, to which object, when and from where; by filter, a page at a time, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from wtforms import Form, StringField

from app.admin.blueprint import blueprint, services
from app.admin.datetime_field import DatetimeField, EndField
from app.admin.pages import Values, page, parse_id
from app.admin.template_filters import iso
from app.admin.zones import zone_name
from app.auth import caller
from app.exceptions import FieldError, InputInvalid
from app.exports.layout import FORMULA_STARTS
from app.services.people import audit as audit_log
from app.services.people.audit import ACTIONS, AuditRecord, Page
from app.services.rows import AuditFilter

PAGE_SIZE = 50
MAX_ROWS = 10_000  # of the CSV, newest first
ROWS_AT_ONCE = 1_000
FORMULAS = tuple(FORMULA_STARTS)
MAX_TEXT = 200
COLUMNS = ("time", "who", "action", "object", "customer", "address", "details")


class AuditForm(Form):
    """Audit filter, as a browser submits it."""

    who = StringField("Who")
    action = StringField("What")
    start = DatetimeField("From")
    end = EndField("To")
    text = StringField("Text")


@dataclass(frozen=True)
class AuditQuery:
    """Query of the audit log, read from the URL.

    Attributes:
        errors: messages about invalid filter fields.
    """

    form: AuditForm
    filter: AuditFilter
    before: int | None
    errors: list[str]

    def address(self, before: int | None = None) -> dict[str, str]:
        """Return the query as URL arguments, without empty values."""
        given = {name: self.form[name].data for name in ("who", "action", "text")}
        given |= {"start": self.filter.start, "end": self.filter.end, "before": before}
        return {name: str(value) for name, value in given.items() if value not in ("", None)}


@page("/audit", "system")
def audit() -> ResponseReturnValue:
    """Show the newest entries, or those before a given entry."""
    query = _read_query()
    names = [user.name for user in services().accounts.everyone(by=caller())] if caller().may("users") else []
    choices = {"names": names, "actions": list(ACTIONS), "max_text": MAX_TEXT}
    return render_template("admin/people/audit.html", **_values(query), **choices), 400 if query.errors else 200


@page("/audit/part", "system")
def audit_part() -> str:
    return render_template("admin/people/_audit.html", **_values(_read_query()))


@page("/audit.csv", "system")
def audit_file() -> Response:
    """Return the entries as a CSV file, newest first."""
    query = _read_query()
    if query.errors:
        raise InputInvalid(query.errors[0], [FieldError(error) for error in query.errors])
    audit_log.note(caller(), "audit log exported", details=query.address())
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in _read_entries(query.filter):
        details = orjson.dumps(entry.details).decode() if entry.details else ""
        cells = (entry.who, entry.action, entry.object, entry.customer, entry.address, details)
        # A spreadsheet would run some cells as a formula.
        rows.writerow([iso(entry.recorded_at), *(f"'{cell}" if cell.startswith(FORMULAS) else cell for cell in cells)])
    headers = {"Content-Disposition": "attachment; filename=audit.csv"}
    return Response(out.getvalue(), mimetype="text/csv", headers=headers)


@blueprint.app_template_filter()
def detail(value: object) -> str:
    """Return a detail of an entry as text."""
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "all" if value is None else str(value)


def _read_query() -> AuditQuery:
    form = AuditForm(request.args)
    errors, times = [], {}
    for field in (form.start, form.end):
        if isinstance(field.data, str):
            field.errors = [f"{field.label.text} is not a date and time in {zone_name()}, such as 2026-11-23T10:57."]
            errors += field.errors
        times[field.name] = field.data if isinstance(field.data, int) else None
    action = form.action.data or ""
    if action and action not in ACTIONS:
        form.action.errors = [f'{form.action.label.text} is "{action[:60]}", which is not a known action.']
        errors += form.action.errors
    text, who = (form.text.data or "").strip()[:MAX_TEXT], (form.who.data or "").strip()
    before = request.args.get("before", "")
    return AuditQuery(form, AuditFilter(who, action, text, **times), parse_id(before) if before else None, errors)


def _values(query: AuditQuery) -> Values:
    page = Page([], None) if query.errors else audit_log.page(caller(), query.filter, PAGE_SIZE, query.before)
    return {"query": query, "form": query.form, "page": page, "live": query.before is None and not query.errors}


def _read_entries(filter: AuditFilter) -> Iterator[AuditRecord]:
    before, left = None, MAX_ROWS
    while left > 0:
        page = audit_log.page(caller(), filter, min(left, ROWS_AT_ONCE), before)
        yield from page.entries
        before, left = page.next, left - len(page.entries)
        if before is None:
            return
