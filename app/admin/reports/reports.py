"""Pages that list reports, show a report, and link to its file."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from flask import Response, redirect, render_template, request
from werkzeug.exceptions import NotFound

from app.admin.blueprint import blueprint, services
from app.admin.datetime_field import written
from app.admin.reports.new_report import OUTPUT, TAB
from app.admin.reports.report_actions import possible
from app.admin.reports.report_rows import report_row
from app.auth import caller, need, signed_in
from app.schemas.reports import DEFAULT_DELIMITER
from app.services.reports.output import file_name

REPORTS = 50
TABS = {
    "": "All",
    "running": "In progress",
    "complete": "Complete",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "expired": "No file",
}


@blueprint.get("/reports")
@signed_in
def reports() -> str:
    """Show the newest reports."""
    return render_template("admin/reports/reports.html", **_found())


@blueprint.get("/reports/part")
@signed_in
def reports_part() -> str:
    """Return the part of the list that refreshes itself."""
    return render_template("admin/reports/_reports.html", **_found())


@blueprint.get("/reports/<source>")
@signed_in
def report(source: str) -> str:
    """Show a report."""
    return render_template("admin/reports/report.html", **_one(source))


@blueprint.get("/reports/<source>/part")
@signed_in
def report_part(source: str) -> str:
    """Return the part of a report that refreshes itself."""
    return render_template("admin/reports/_report.html", **_one(source))


@blueprint.get("/reports/<source>/download")
@signed_in
def download(source: str) -> Response:
    """Redirect to a report's file through a new signed link."""
    need("reports")
    return redirect(services().reports.link(services().reports.get(caller(), source), by=caller()))


@blueprint.get("/reports/<source>/link")
@signed_in
def report_link(source: str) -> str:
    """Show a new signed link to copy. Anyone who has it can download the file until the link expires."""
    need("reports")
    report = services().reports.get(caller(), source)
    link = services().reports.link(report, by=caller())
    (expires,) = parse_qs(urlsplit(link).query)["expires"]
    known = {"line": report_row(report), "file_name": file_name(report), "link": link, "expires": int(expires)}
    return render_template("admin/reports/report_link.html", **known)


def _found() -> dict[str, object]:
    need("reports")
    tab = request.args.get("state", "")
    if tab not in TABS:
        raise NotFound
    lines = [report_row(report) for report in services().reports.visible(caller(), REPORTS, state=tab or None)]
    known = {"tabs": TABS, "tab": tab, "at_work": services().reports.at_work(caller())}
    return known | {"lines": lines, "most": REPORTS, "moving": any(row.moves for row in lines)}


def _one(source: str) -> dict[str, object]:
    need("reports")
    report = services().reports.get(caller(), source)
    known = {"file_name": file_name(report), "default_delimiter": DEFAULT_DELIMITER, "again": _again(report)}
    known["columns"] = services().reports.columns(report)
    known["recurring"] = services().schedules.origin(caller(), report.schedule)
    found = report_row(report)
    return {"line": found, "acts": possible(found), "attempts": services().reports.attempts(report)} | known


def _again(report: object) -> dict[str, str]:
    """Return the values that fill in the form of a new report with the same request."""
    filled = {"customer": report.customer, "product": report.product, "types": "\n".join(report.types or ())}
    times = {"start": report.start, "end": report.end}
    filled |= {name: written(time) for name, time in times.items() if time is not None}
    output = {name: value for name, value in (report.output or {}).items() if name in OUTPUT and value}
    output |= {"delimiter": TAB} if output.get("delimiter") == "\t" else {}
    return filled | {name: "y" if value is True else value for name, value in output.items()}
