"""The list of reports, one report, and the way to its file."""

from __future__ import annotations

from flask import Response, redirect, render_template

from app.admin.blueprint import blueprint, services
from app.admin.moments import written
from app.admin.report_lines import line
from app.auth import caller, need, signed_in
from app.schemas.reports import DEFAULT_DELIMITER
from app.services.reports import file_name

REPORTS = 50


@blueprint.get("/reports")
@signed_in
def reports() -> str:
    """The newest reports."""
    return render_template("admin/reports.html", **_found())


@blueprint.get("/reports/part")
@signed_in
def reports_part() -> str:
    """What of the list refreshes itself."""
    return render_template("admin/_reports.html", **_found())


@blueprint.get("/reports/<source>")
@signed_in
def report(source: str) -> str:
    """One report."""
    return render_template("admin/report.html", **_one(source))


@blueprint.get("/reports/<source>/part")
@signed_in
def report_part(source: str) -> str:
    """What of one report refreshes itself."""
    return render_template("admin/_report.html", **_one(source))


@blueprint.get("/reports/<source>/download")
@signed_in
def download(source: str) -> Response:
    """Lead to a report's file by a link made for this once."""
    need("reports")
    return redirect(services().reports.link(services().reports.get(caller(), source)))


def _found() -> dict[str, object]:
    need("reports")
    lines = [line(report) for report in services().reports.visible(caller(), REPORTS)]
    return {"lines": lines, "most": REPORTS, "moving": any(line.moves for line in lines)}


def _one(source: str) -> dict[str, object]:
    need("reports")
    report = services().reports.get(caller(), source)
    known = {"file_name": file_name(report), "default_delimiter": DEFAULT_DELIMITER, "again": _again(report)}
    return {"line": line(report)} | known


def _again(report: object) -> dict[str, str]:
    """What fills the form of a new report in, so that it asks for the same."""
    filled = {"customer": report.customer, "product": report.product, "types": "\n".join(report.types or ())}
    times = {"start": report.start, "end": report.end}
    return filled | {name: written(time) for name, time in times.items() if time is not None}
