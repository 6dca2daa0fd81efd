"""Overview page: health, arriving events, progress of reports, and rejected events."""

from __future__ import annotations

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.admin.alerts.alerts import firing_rows
from app.admin.blueprint import services
from app.admin.events.events import first_event_values
from app.admin.events.links import event_links
from app.admin.events.rejected import counts
from app.admin.events.volume import VolumeQuery, chart_values
from app.admin.pages import Values, link_to, page
from app.admin.reports.report_rows import ReportRow, report_row
from app.auth import caller
from app.exceptions import InputInvalid
from app.services.events.volume import YEAR_1970
from app.support.clock import now

SHOWN_EVENTS = 12
SHOWN_REPORTS = 5
ARRIVING_MS = 30_000  # newer events mean that more are likely to arrive
# The label and icon of each health check.
CHECK_LABELS = {
    "database": ("Database", "database"),
    "redis": ("Valkey", "lightning-charge"),
    "worker": ("Workers", "cpu"),
    "scheduler": ("Scheduler", "clock"),
    "storage": ("Report files", "archive"),
    "disk": ("Disk", "hdd"),
    "spool": ("Spool", "inbox"),
    "backup": ("Backup", "safe"),
    "channels": ("Alert channels", "send"),
}


@page("/", "events")
def overview() -> ResponseReturnValue:
    query = VolumeQuery(request.args)
    try:
        query.span()
    except InputInvalid as error:
        query.attach(error)
        return _render_overview(query.without_range(), form=query.form), 400
    if not query.is_plain:
        return redirect(link_to("overview", **query.address))
    return _render_overview(query)


@page("/overview/part", "events")
def overview_part() -> str:
    """Return the part of the page that refreshes itself, without the chart, which has its own interval."""
    return render_template("admin/operations/_overview.html", chart=None, **_values(VolumeQuery(request.args)))


def _render_overview(query: VolumeQuery, **values: object) -> str:
    return render_template("admin/operations/overview.html", **(_values(query) | chart_values(query) | values))


def _values(query: VolumeQuery) -> Values:
    who, is_operator = caller(), caller().may("system")
    entries = services().listing.arrivals(who, SHOWN_EVENTS)
    reports = _running_first()
    arriving = not entries or entries[0][1].received > now() - ARRIVING_MS
    checks = services().health.glance() if is_operator else []
    counts_codes = is_operator and not services().catalog.strict
    full = services().code_limit.warning() if counts_codes else None  # new codes will soon be rejected
    return {
        "query": query,
        "entries": entries,
        "links": event_links(event for _, event in entries),
        "rate": round(services().volume.per_minute(who)),
        "lines": reports,
        "checks": checks,
        "check_labels": CHECK_LABELS,
        "workers": next((check.note for check in checks if check.name == "worker" and not check.problem), None),
        "problems": [problem for problem in (*(check.problem for check in checks), full) if problem],
        "firing": firing_rows(who),
        "of_1970": services().volume.of_1970(who),
        "year_1970": YEAR_1970 - 1,
        "rejects": counts() if is_operator else None,
        "moving": arriving or any(row.moves for row in reports),
        **first_event_values(),
    }


def _running_first() -> list[ReportRow]:
    """Return running reports first, then queued ones, and fill the remaining rows with the newest others."""
    who, reports = caller(), services().reports
    running = [report_row(report) for report in reports.visible(who, SHOWN_REPORTS, status="RUNNING")]
    known = {row.source for row in running}
    others = [row for row in map(report_row, reports.visible(who, SHOWN_REPORTS)) if row.source not in known]
    return [*sorted(running, key=lambda row: row.place or 0), *others][:SHOWN_REPORTS]
