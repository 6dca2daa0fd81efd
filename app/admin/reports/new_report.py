"""Form that starts a report.

The form has no rules of its own. It becomes a request like that of any program, and the schema and the service
report its errors. This module only finds the field of each error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from flask import current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import BooleanField, StringField

from app.admin.blueprint import services
from app.admin.datetime_field import DatetimeField, EndField
from app.admin.form_errors import FORM_ERRORS, attach_errors, status_of
from app.admin.lines_field import LinesField
from app.admin.pages import Values, action, link_to, page
from app.admin.reports.report_rows import suggest_name
from app.admin.template_filters import period
from app.auth import caller
from app.exceptions import Forbidden, InputInvalid, TallyError
from app.schemas.fields import MAX_CODE
from app.schemas.reports import DEFAULT_DELIMITER, ReportRequestSchema, source
from app.services.rows import EventFilter

SUGGESTED = 100  # codes that a field lists; users type others
OUTPUT = ("delimiter", "bucketName", "bucketKey", "format", "layout", "header", "compression", "spreadsheetSafe")
FORMATS = {"": "CSV", "jsonl": "JSON Lines: one event per line, as in the API", "parquet": "Parquet"}
COMPRESSIONS = {"": "None", "gzip": "gzip", "zstd": "zstd"}
TAB = "tab"  # a tab cannot be typed into a field
LAYOUTS = {
    "": "Default",
    "columns": "Columns: each context item under its name, items without a column in a last column, extra",
    "positional": "Positional: context items as they came",
}


class ReportForm(FlaskForm):
    """Form for a report; its field names are those of the request."""

    name = StringField("Name")
    customer = StringField("Customer")
    product = StringField("Product")
    types = LinesField("Event types")
    start: DatetimeField | None = DatetimeField("From")
    end: DatetimeField | None = EndField("To")
    delimiter = StringField("Delimiter", default=DEFAULT_DELIMITER)
    layout = StringField("Layout")
    header = BooleanField("First row has the column names")
    format = StringField("Format")
    compression = StringField("Compression")
    spreadsheetSafe = BooleanField("Escape formulas for spreadsheets")
    bucketName: StringField | None = StringField("Bucket")
    bucketKey: StringField | None = StringField("Name in the bucket")

    def to_request(self) -> dict[str, Any]:
        """Return the request as a program would send it, without fields that are empty."""
        filter = self._filled("customer", "product", "start", "end")
        if self.types.lines:
            filter["types"] = self.types.lines
        output = self._filled(*OUTPUT)
        if output.get("delimiter") == TAB:
            output["delimiter"] = "\t"
        return {"filter": filter} | ({"output": output} if output else {})

    def attach(self, error: TallyError) -> list[str]:
        """Attach an error to the fields that it concerns, and return the messages that belong to no field."""
        if isinstance(error, InputInvalid):
            return attach_errors(self, error.field_errors)
        if not isinstance(error, Forbidden):
            return [str(error)]
        is_about_bucket = str(error).startswith("output.bucket")
        field = self.bucketName if is_about_bucket and self.bucketName else self.customer
        field.errors = [str(error)]
        return []

    def _filled(self, *names: str) -> Values:
        return {name: self[name].data for name in names if name in self and self[name].data not in (None, "", False)}


@page("/reports/new", "reports")
def new_report() -> str:
    """Show the form, filled in from the query string."""
    form = ReportForm(request.args or None)
    try:
        wanted = ReportRequestSchema().load_body(orjson.dumps({"filter": form.to_request()["filter"]}))
    except InputInvalid:  # the request does not identify a report yet
        return _render_form(form)
    try:
        return _render_estimate(form, wanted)
    except (InputInvalid, Forbidden):  # the errors are shown when the form is sent
        return _render_form(form, about=_estimate(wanted))


@action("/reports/new", "reports")
def start_report() -> ResponseReturnValue:
    """Start the report and show it, or show its preview or its errors."""
    form = ReportForm()
    try:
        wanted = ReportRequestSchema().load_body(orjson.dumps(form.to_request()))
        if "estimate" in request.form:
            return _render_estimate(form, wanted)
        report = services().reports.start(caller(), wanted["filter"], wanted.get("output"), name=form.name.data)
    except FORM_ERRORS as error:
        return _render_form(form, general=form.attach(error)), status_of(error)
    return redirect(link_to("report", source=source(report)))


def choices() -> Values:
    """Return the choices of the form's fields."""
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    types = services().catalog.types(caller(), SUGGESTED + 1)
    return {
        "customers": customers,
        "products": products,
        "types": types[:SUGGESTED],
        "more": types[SUGGESTED:],
        "layouts": LAYOUTS,
        "formats": FORMATS,
        "compressions": COMPRESSIONS,
        "buckets": current_app.config["SETTINGS"].report_buckets,
    }


def _render_form(form: ReportForm, **values: object) -> str:
    defaults: Values = {"general": [], "about": None, "preview": None, "max_name": MAX_CODE}
    defaults |= {"suggested_name": _suggest_name(form)}
    return render_template("admin/reports/new_report.html", form=form, **(choices() | defaults | values))


def _render_estimate(form: ReportForm, wanted: Mapping[str, Any]) -> str:
    """Return the form with the approximate number of rows of a valid request, and further details about its report."""
    preview = services().reports.preview(caller(), wanted["filter"], wanted.get("output"))
    return _render_form(form, about=_estimate(wanted), preview=preview)


def _suggest_name(form: ReportForm) -> str:
    """Return the name of the report if none is given, or nothing while the form is incomplete."""
    start, end = (field.data if field else None for field in (form.start, form.end))
    if not (form.customer.data and form.product.data) or isinstance(start, str) or isinstance(end, str):
        return ""
    return suggest_name(form.customer.data, form.product.data, period(start, end))


def _estimate(wanted: Mapping[str, Any]) -> int:
    return services().volume.estimate(caller(), EventFilter(**wanted["filter"]))
