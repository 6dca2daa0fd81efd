"""Form that starts a report.

The form has no rules of its own. It becomes a request like that of any program, and the schema and the service
report its errors. This module only finds the field of each error.
"""

from __future__ import annotations

import re
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
from app.admin.pages import Values, action, link_to, live_page
from app.admin.reports.report_rows import suggest_name
from app.admin.template_filters import period
from app.auth import caller
from app.exceptions import Forbidden, InputInvalid, TallyError
from app.schemas.fields import MAX_CODE
from app.schemas.reports import SEVERAL, ReportRequestSchema, in_words, source
from app.services.rows import EventFilter

SUGGESTED = 100  # codes that a field lists; users type others
OUTPUT = ("delimiter", "bucketName", "bucketKey", "format", "layout", "header", "compression", "spreadsheetSafe")
CSV = "csv"
# The options that a format has; the form shows only these. The others of OUTPUT are those of every format.
OPTIONS = {
    CSV: ("layout", "delimiter", "header", "spreadsheetSafe", "compression"),
    "jsonl": ("compression",),
    "parquet": ("layout",),
}
OF_FORMAT = OPTIONS[CSV]
FORMATS = {
    "": "CSV: opens in spreadsheets",
    "jsonl": "JSON Lines: one event per line, as in the API",
    "parquet": "Parquet",
}
COMPRESSIONS = {"": "None", "gzip": "gzip", "zstd": "zstd"}
ITEM = re.compile(rf"filter\.({'|'.join(SEVERAL)})\[(\d+)\]")
COMMA = re.compile(rf'{ITEM.pattern} is "[^"]*,')  # in an item
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
    customers: LinesField | None = LinesField("More customers")
    products: LinesField | None = LinesField("More products")
    types = LinesField("Event types")
    start: DatetimeField | None = DatetimeField("From")
    end: DatetimeField | None = EndField("To")
    delimiter = StringField("Delimiter", default=",")  # what spreadsheets expect; the API's default is another
    layout = StringField("Layout")
    header = BooleanField("First row has the column names", default=True)
    format = StringField("Format")
    compression = StringField("Compression")
    spreadsheetSafe = BooleanField("Escape formulas for spreadsheets")
    bucketName: StringField | None = StringField("Bucket")
    bucketKey: StringField | None = StringField("Name in the bucket")

    def to_request(self) -> dict[str, Any]:
        """Return the request as a program would send it, without fields that are empty."""
        filter = self._filled("customer", "product", "start", "end")
        for several, one in SEVERAL.items():
            if len(codes := self.codes(several)) > 1:
                filter.pop(one, None)
                filter[several] = codes
        if self.types.lines:
            filter["types"] = self.types.lines
        used = OPTIONS.get(self.format.data or CSV, OUTPUT)
        output = self._filled(*(name for name in OUTPUT if name in used or name not in OF_FORMAT))
        if output.get("delimiter") == TAB:
            output["delimiter"] = "\t"
        return {"filter": filter} | ({"output": output} if output else {})

    def codes(self, several: str) -> list[str]:
        """Return the customers or products: the one of the single field, and those of the lines."""
        more = self.customers if several == "customers" else self.products
        return [code for code in (self[SEVERAL[several]].data, *(more.lines if more else ())) if code]

    def attach(self, error: TallyError) -> list[str]:
        """Attach an error to the fields that it concerns, and return the messages that belong to no field."""
        if isinstance(error, InputInvalid):
            errors = [one.with_message(self._explain(one.message)) for one in error.field_errors]
            return attach_errors(self, errors)
        if not isinstance(error, Forbidden):
            return [str(error)]
        is_about_bucket = str(error).startswith("output.bucket")
        field = self.bucketName if is_about_bucket and self.bucketName else self.customer
        field.errors = [str(error)]
        return []

    def _explain(self, message: str) -> str:
        """Return a message in the words of the form. A code that has a comma may be a list on one line."""
        hint = " Enter one code per line." if COMMA.match(message) else ""
        return ITEM.sub(self._to_line, message) + hint

    def _to_line(self, item: re.Match[str]) -> str:
        """Return the form's name for an item in the list of codes; the first may come from the single field."""
        number = int(item[2]) - bool(self[SEVERAL[item[1]]].data)
        return f"filter.{SEVERAL[item[1]]}" if number < 0 else f"filter.{item[1]}[{number}]"

    def _filled(self, *names: str) -> Values:
        return {name: self[name].data for name in names if name in self and self[name].data not in (None, "", False)}


@live_page("/reports/new", "reports", "admin/reports/new_report.html")
def new_report() -> Values:
    """Show the form, filled in from the query string, with the first rows of the file."""
    given = request.args.copy()
    if given and "header" not in given:  # a link says only what differs; the form itself always has the field
        given["header"] = "y"
    return _form_values(ReportForm(given or None)) | _preview_values(ReportForm(given or None))


@action("/reports/new", "reports")
def start_report() -> ResponseReturnValue:
    """Start the report and show it, or show its preview or its errors."""
    form = ReportForm()
    try:
        wanted = _load(form)
        if "estimate" not in request.form:
            report = services().reports.start(caller(), wanted["filter"], wanted.get("output"), name=form.name.data)
            return redirect(link_to("report", source=source(report)))
        values = _form_values(form) | _preview(wanted)
    except FORM_ERRORS as error:
        values = _form_values(form) | {"general": form.attach(error)}
        return render_template("admin/reports/new_report.html", **values), status_of(error)
    return render_template("admin/reports/new_report.html", **values)


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


def _load(form: ReportForm) -> dict[str, Any]:
    return ReportRequestSchema().load_body(orjson.dumps(form.to_request()))


def _form_values(form: ReportForm) -> Values:
    empty: Values = {"general": [], "about": None, "preview": None, "unready": []}
    return choices() | empty | {"form": form, "suggested_name": _suggest_name(form), "max_name": MAX_CODE}


def _preview_values(form: ReportForm) -> Values:
    """Return what is known about the file of a form that may be incomplete, and why not more is."""
    try:
        return _preview(_load(form))
    except (InputInvalid, Forbidden) as error:
        unready = form.attach(error)
        unready += [message for field in form for message in field.errors]
    if not (form.customer.data and form.product.data):  # there is nothing wrong yet
        return {}
    try:  # the number of rows depends on the filter alone
        filter = ReportRequestSchema().load_body(orjson.dumps({"filter": form.to_request()["filter"]}))["filter"]
    except InputInvalid:
        return {"unready": unready}
    return {"unready": unready, "about": _estimate(filter)}


def _preview(wanted: Mapping[str, Any]) -> Values:
    """Return the approximate number of rows of a valid request, and details about its file."""
    preview = services().reports.preview(caller(), wanted["filter"], wanted.get("output"))
    return {"about": _estimate(wanted["filter"]), "preview": preview}


def _suggest_name(form: ReportForm) -> str:
    """Return the name of the report if none is given, or nothing while the form is incomplete."""
    start, end = (field.data if field else None for field in (form.start, form.end))
    if not (form.customer.data and form.product.data) or isinstance(start, str) or isinstance(end, str):
        return ""
    customers, products = (in_words(list(dict.fromkeys(form.codes(several)))) for several in SEVERAL)
    return suggest_name(customers, products, period(start, end))


def _estimate(filter: Mapping[str, Any]) -> int:
    return services().volume.estimate(caller(), EventFilter(**filter))
