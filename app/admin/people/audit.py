"""Audit log: who did what, to which object, when and from where; by filter, a page at a time, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from flask import Response, render_template, request
from werkzeug.exceptions import NotFound
from wtforms import Form, StringField

from app.admin.blueprint import blueprint, services
from app.admin.datetime_field import DatetimeField
from app.admin.template_filters import iso
from app.admin.zones import zone_name
from app.auth import caller, need, signed_in
from app.exceptions import FieldError, InputInvalid
from app.exports.layout import FORMULA_STARTS
from app.services.people import audit as audit_log
from app.services.people.audit import ACTIONS, AuditFilter, AuditRecord, Page

PAGE = 50
MAX_ROWS = 10_000  # of the CSV, newest first
ROWS_AT_ONCE = 1_000
MAX_TEXT = 200
KEY_DIGITS = 18
COLUMNS = ("time", "who", "action", "object", "customer", "address", "details")


class AuditForm(Form):
    """Audit filter, as a browser submits it."""

    who = StringField("Who")
    action = StringField("What")
    start = DatetimeField("From")
    end = DatetimeField("To", whole=True)
    text = StringField("Text")


@dataclass(frozen=True)
class AuditQuery:
    """Query of the audit log, read from the URL.

    Attributes:
        wrong: messages about invalid filter fields.
    """

    form: AuditForm
    sought: AuditFilter
    before: int | None
    wrong: list[str]

    def address(self, before: int | None = None) -> dict[str, str]:
        """Return the query as URL arguments, without empty values."""
        given = {name: self.form[name].data for name in ("who", "action", "text")}
        given |= {"start": self.sought.start, "end": self.sought.end, "before": before}
        return {name: str(value) for name, value in given.items() if value not in ("", None)}


@blueprint.get("/audit")
@signed_in
def audit() -> str | tuple[str, int]:
    """Show the newest entries, or those before a given entry."""
    asked = _asked()
    page = render_template(
        "admin/people/audit.html", **_found(asked), names=_names(), actions=list(ACTIONS), max_text=MAX_TEXT
    )
    return (page, 400) if asked.wrong else page


@blueprint.get("/audit/part")
@signed_in
def audit_part() -> str:
    """Return the part of the page that refreshes itself."""
    return render_template("admin/people/_audit.html", **_found(_asked()))


@blueprint.get("/audit.csv")
@signed_in
def audit_file() -> Response:
    """Return the entries as a CSV file, newest first."""
    asked = _asked()
    if asked.wrong:
        raise InputInvalid(asked.wrong[0], [FieldError(wrong) for wrong in asked.wrong])
    audit_log.note(caller(), "audit log exported", details=asked.address())
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(_row(entry) for entry in _entries(asked.sought))
    headers = {"Content-Disposition": "attachment; filename=audit.csv"}
    return Response(out.getvalue(), mimetype="text/csv", headers=headers)


@blueprint.app_template_filter()
def detail(value: object) -> str:
    """Return a detail of an entry as text."""
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "all" if value is None else str(value)


def _asked() -> AuditQuery:
    need("system")
    form = AuditForm(request.args)
    wrong, times = [], {}
    for field in (form.start, form.end):
        if field.data is not None and not isinstance(field.data, int):
            field.errors = [f"{field.label.text} is not a date and time in {zone_name()}, such as 2026-11-23T10:57."]
            wrong += field.errors
        times[field.name] = field.data if isinstance(field.data, int) else None
    action = form.action.data or ""
    if action and action not in ACTIONS:
        form.action.errors = [f'{form.action.label.text} is "{action[:60]}", which is not a known action.']
        wrong += form.action.errors
    text = (form.text.data or "").strip()[:MAX_TEXT]
    who = (form.who.data or "").strip()
    return AuditQuery(form, AuditFilter(who, action, text, **times), _cursor(request.args.get("before", "")), wrong)


def _cursor(text: str) -> int | None:
    """Return the id in the URL, or None if the text is empty.

    Raises:
        NotFound: the text is not an id.
    """
    if text and not (text.isascii() and text.isdigit() and len(text) <= KEY_DIGITS):
        raise NotFound
    return int(text) if text else None


def _found(asked: AuditQuery) -> dict[str, object]:
    nothing = Page([], None)
    page = nothing if asked.wrong else audit_log.page(caller(), asked.sought, PAGE, asked.before)
    is_live = asked.before is None and not asked.wrong
    return {"asked": asked, "form": asked.form, "page": page, "live": is_live}


def _names() -> list[str]:
    """Return the user names to filter by if the caller may see users, otherwise none."""
    return [one.name for one in services().accounts.everyone(by=caller())] if caller().may("users") else []


def _entries(sought: AuditFilter) -> Iterator[AuditRecord]:
    before, left = None, MAX_ROWS
    while left > 0:
        page = audit_log.page(caller(), sought, min(left, ROWS_AT_ONCE), before)
        yield from page.entries
        before, left = page.next, left - len(page.entries)
        if before is None:
            return


def _row(entry: AuditRecord) -> list[str]:
    details = orjson.dumps(entry.details).decode() if entry.details else ""
    cells = (entry.who, entry.action, entry.object, entry.customer, entry.address, details)
    return [iso(entry.moment), *(_harmless(cell) for cell in cells)]


def _harmless(cell: str) -> str:
    """Return the cell with a leading ' if a spreadsheet would run it as a formula."""
    return f"'{cell}" if cell.startswith(tuple(FORMULA_STARTS)) else cell
