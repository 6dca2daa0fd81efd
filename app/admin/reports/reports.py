"""Pages that list reports, show a report, and link to its file."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from flask import redirect, render_template, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.admin.blueprint import services
from app.admin.datetime_field import to_browser_format
from app.admin.pages import Values, action, link_to, live_page, page, parse_id, redirect_with
from app.admin.reports.new_report import OUTPUT, SUGGESTED, TAB
from app.admin.reports.report_actions import possible_actions
from app.admin.reports.report_rows import report_row
from app.auth import caller
from app.exceptions import InputInvalid
from app.schemas.fields import MAX_CODE
from app.schemas.reports import DEFAULT_DELIMITER
from app.services.reports.output import file_name
from app.services.reports.part_writer import SILENT_MS
from app.services.rows import Report, ReportFilter

PAGE_SIZE = 50
MAX_TEXT = 200
MAX_USERS = 200  # offered in the filter
TABS = {
    "": "All",
    "running": "In progress",
    "complete": "Complete",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "expired": "No file",
}


@live_page("/reports", "reports", "admin/reports/reports.html")
def reports() -> Values:
    """Show the newest reports, or those before a given one, in a state and by a filter."""
    tab, before = request.args.get("state", ""), request.args.get("before")
    if tab not in TABS:
        raise NotFound
    filter = {name: request.args.get(name, "").strip()[:MAX_TEXT] for name in ("text", "user", "product")}
    filter = {name: value for name, value in filter.items() if value}
    place = parse_id(before) if before else None
    found = services().reports.visible(
        caller(), PAGE_SIZE + 1, before=place, state=tab or None, sought=ReportFilter(**filter)
    )
    rows = [report_row(report) for report in found[:PAGE_SIZE]]
    values: Values = {"tabs": TABS, "tab": tab, "running": services().reports.at_work(caller())}
    values |= {"filter": filter, "before": before, "max_text": MAX_TEXT}
    values |= {"older": found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None}
    values |= {"users": services().reports.users(caller(), MAX_USERS)}
    values |= {"products": services().catalog.known(caller(), SUGGESTED + 1)[1]}
    return values | {"lines": rows, "moving": any(row.moves for row in rows)}


@live_page("/reports/<source>", "reports", "admin/reports/report.html")
def report(source: str) -> Values:
    found = _find(source)
    row, may_change = report_row(found), services().reports.may_change(caller(), found)
    return {
        "line": row,
        "may_change": may_change,
        "max_name": MAX_CODE,
        "acts": possible_actions(row) if may_change else {},
        "attempts": services().reports.attempts(found),
        "file_name": file_name(found),
        "default_delimiter": DEFAULT_DELIMITER,
        "lease_seconds": SILENT_MS // 1000,
        "again": _same_request(found),
        "columns": services().reports.columns(found),
        "recurring": services().schedules.origin(caller(), found.schedule),
    }


@action("/reports/<source>/name", "reports")
def rename_report(source: str) -> Response:
    """Give the report another name."""
    found, address = services().reports.get(caller(), source), link_to("report", source=source)
    try:
        services().reports.rename(caller(), found, request.form.get("name"))
    except InputInvalid as error:
        return redirect_with(" ".join(one.message for one in error.field_errors), address)
    return redirect_with("The report has another name.", address)


@page("/reports/<source>/download", "reports")
def download(source: str) -> Response:
    """Redirect to a report's file through a new signed link."""
    return redirect(services().reports.link(_find(source), by=caller()))


@page("/reports/<source>/link", "reports")
def report_link(source: str) -> str:
    """Show a new signed link to copy. Anyone who has it can download the file until the link expires."""
    found = _find(source)
    link = services().reports.link(found, by=caller())
    (expires,) = parse_qs(urlsplit(link).query)["expires"]
    values = {"line": report_row(found), "file_name": file_name(found), "link": link, "expires": int(expires)}
    return render_template("admin/reports/report_link.html", **values)


def _find(source: str) -> Report:
    """Return the report in the URL, which the caller may be permitted only to read."""
    return services().reports.get(caller(), source, to_read=True)


def _same_request(report: Report) -> Values:
    """Return the values that fill in the form of a new report with the same request."""
    (customer, *customers), (product, *products) = report.all_customers, report.all_products
    filled: Values = {"customer": customer, "product": product, "types": "\n".join(report.types or ())}
    more = {"customers": customers, "products": products}
    filled |= {name: "\n".join(codes) for name, codes in more.items() if codes}
    times = {"start": report.start, "end": report.end}
    filled |= {name: to_browser_format(time) for name, time in times.items() if time is not None}
    output = {name: value for name, value in (report.output or {}).items() if name in OUTPUT and value}
    output = {"delimiter": DEFAULT_DELIMITER, "header": ""} | output  # what the form has by default differs
    output |= {"delimiter": TAB} if output["delimiter"] == "\t" else {}
    return filled | {name: "y" if value is True else value for name, value in output.items()}
