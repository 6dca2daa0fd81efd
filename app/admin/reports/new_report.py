"""Form that starts a report.

The form has no rules of its own. It becomes a request like that of any program, and the schema and the service
report its errors. This module only finds the field of each error.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from flask import current_app, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, StringField, TextAreaField

from app.admin.blueprint import blueprint, services
from app.admin.datetime_field import DatetimeField
from app.admin.form_errors import attach_errors
from app.auth import caller, need, signed_in
from app.exceptions import FieldError, Forbidden, InputInvalid, RateLimited
from app.schemas.reports import DEFAULT_DELIMITER, ReportRequestSchema, source
from app.services.events.volume import EventFilter
from app.services.reports.service import Preview

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

    customer = StringField("Customer")
    product = StringField("Product")
    types = TextAreaField("Event types")
    start = DatetimeField("From")
    end = DatetimeField("To", whole=True)
    delimiter = StringField("Delimiter", default=DEFAULT_DELIMITER)
    layout = StringField("Layout")
    header = BooleanField("First row has the column names")
    format = StringField("Format")
    compression = StringField("Compression")
    spreadsheetSafe = BooleanField("Escape formulas for spreadsheets")
    bucketName = StringField("Bucket")
    bucketKey = StringField("Name in the bucket")

    def wanted(self) -> dict[str, dict]:
        """Return the request as a program would send it, without fields that are empty."""
        filter = _filled(self, "customer", "product", "start", "end")
        types = [line.strip() for line in (self.types.data or "").splitlines() if line.strip()]
        output = _filled(self, *OUTPUT)
        if output.get("delimiter") == TAB:
            output["delimiter"] = "\t"
        return {"filter": filter | ({"types": types} if types else {})} | ({"output": output} if output else {})

    def refuse_all(self, sentence: str) -> None:
        """Attach the reason why the request is forbidden to the field that it concerns."""
        field = self.bucketName if sentence.startswith("output.bucket") else self.customer
        field.errors = [sentence]


@blueprint.get("/reports/new")
@signed_in
def new_report() -> str:
    """Show the form, filled in from the query string."""
    need("reports")
    form = ReportForm(request.args or None)
    try:
        wanted = ReportRequestSchema().load_body(orjson.dumps({"filter": form.wanted()["filter"]}))
    except InputInvalid:  # the request does not identify a report yet
        return _page(form)
    try:
        return _page(form, wanted=wanted, preview=_preview(wanted))
    except (InputInvalid, Forbidden):  # the errors are shown when the form is sent
        return _page(form, wanted=wanted)


@blueprint.post("/reports/new")
@signed_in
def start_report() -> str | tuple[str, int] | Response:
    """Start the report and show it, or show its preview or its errors."""
    need("reports")
    form = ReportForm()
    try:
        wanted = ReportRequestSchema().load_body(orjson.dumps(form.wanted()))
        if "estimate" in request.form:
            return _page(form, wanted=wanted, preview=_preview(wanted))
        report = services().reports.start(caller(), wanted["filter"], wanted.get("output"))
    except InputInvalid as error:
        return _page(form, error.field_errors), 400
    except Forbidden as error:
        form.refuse_all(str(error))
        return _page(form), 403
    except RateLimited as error:
        return _page(form, [FieldError(str(error))]), 429
    return redirect(url_for("admin.report", source=source(report)))


def choices() -> dict[str, object]:
    """Return the choices of the form's fields."""
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    types = services().catalog.types(caller(), SUGGESTED + 1)
    known = {"customers": customers, "products": products, "types": types[:SUGGESTED], "more": types[SUGGESTED:]}
    known |= {"layouts": LAYOUTS, "formats": FORMATS, "compressions": COMPRESSIONS}
    return known | {"buckets": current_app.config["SETTINGS"].report_buckets}


def _page(
    form: ReportForm,
    field_errors: list[FieldError] = (),
    *,
    wanted: Mapping | None = None,
    preview: Preview | None = None,
) -> str:
    """Return the form as a page.

    Args:
        wanted: a valid request, whose approximate number of rows is shown.
        preview: further details about that report.
    """
    general = attach_errors(form, field_errors)
    about = services().volume.estimate(caller(), EventFilter(**wanted["filter"])) if wanted else None
    known = choices() | {"about": about, "preview": preview}
    return render_template("admin/reports/new_report.html", form=form, general=general, **known)


def _preview(wanted: Mapping) -> Preview:
    return services().reports.preview(caller(), wanted["filter"], wanted.get("output"))


def _filled(form: ReportForm, *names: str) -> Mapping[str, object]:
    return {name: form[name].data for name in names if name in form and form[name].data not in (None, "", False)}
