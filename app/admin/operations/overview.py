"""Overview page: health, arriving events, progress of reports, and rejected events."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.admin.events import first_event
from app.admin.events.rejected import counts
from app.admin.events.volume import VolumeQuery, charted
from app.admin.reports.report_rows import ReportRow, report_row
from app.auth import caller, need, signed_in
from app.exceptions import InputInvalid
from app.services.events.volume import YEAR_1970
from app.services.operations.health import Check
from app.support.clock import now

EVENTS = 12
REPORTS = 5
ARRIVING_MS = 30_000  # newer events mean that more are likely to arrive
# The label and icon of each health check.
LOOKED_AT = {
    "database": ("Database", "database"),
    "redis": ("Valkey", "lightning-charge"),
    "worker": ("Workers", "cpu"),
    "scheduler": ("Scheduler", "clock"),
    "storage": ("Report files", "archive"),
    "disk": ("Disk", "hdd"),
    "spool": ("Spool", "inbox"),
}


@blueprint.get("/")
@signed_in
def overview() -> str | tuple[str, int] | Response:
    """Show the overview."""
    need("events")
    asked = VolumeQuery(request.args)
    if not asked.is_plain and not asked.is_own:
        return redirect(url_for("admin.overview", **asked.address))
    try:
        asked.span()
    except InputInvalid as error:
        asked.refuse(error)
        return _page(asked.without_range(), form=asked.form), 400
    if not asked.is_plain:
        return redirect(url_for("admin.overview", **asked.address))
    return _page(asked)


@blueprint.get("/overview/part")
@signed_in
def overview_part() -> str:
    """Return the part of the page that refreshes itself, without the chart, which has its own interval."""
    need("events")
    return render_template("admin/operations/_overview.html", chart=None, **_found(VolumeQuery(request.args)))


def _page(asked: VolumeQuery, **known: object) -> str:
    return render_template("admin/operations/overview.html", **(_found(asked) | charted(asked) | known))


def _found(asked: VolumeQuery) -> dict[str, object]:
    who = caller()
    entries = services().listing.arrivals(who, EVENTS)
    lines = _reports()
    arriving = not entries or entries[0][1].received > now() - ARRIVING_MS
    checks = services().health.glance() if who.may("system") else []
    return {
        "asked": asked,
        "entries": entries,
        "rate": round(services().volume.per_minute(who)),
        "lines": lines,
        "checks": checks,
        "looked_at": LOOKED_AT,
        "workers": _workers(checks),
        "problems": [*(check.problem for check in checks if check.problem), *_codes()],
        "of_1970": services().volume.of_1970(who),
        "year_1970": YEAR_1970 - 1,
        "rejects": counts() if who.may("system") else None,
        "moving": arriving or any(row.moves for row in lines),
        **first_event.known(),
    }


def _codes() -> list[str]:
    """Return a warning if new codes will soon be rejected."""
    warning = services().code_limit.warning() if caller().may("system") and not services().catalog.strict else None
    return [warning] if warning else []


def _reports() -> list[ReportRow]:
    """Return running reports first, then queued ones, and fill the remaining rows with the newest others."""
    who, reports = caller(), services().reports
    at_work = [report_row(report) for report in reports.visible(who, REPORTS, status="RUNNING")]
    known = {one.source for one in at_work}
    others = [one for one in map(report_row, reports.visible(who, REPORTS)) if one.source not in known]
    return [*sorted(at_work, key=lambda one: one.place or 0), *others][:REPORTS]


def _workers(checks: list[Check]) -> str | None:
    """Return the note about the workers if it is known and they are healthy."""
    return next((check.note for check in checks if check.name == "worker" and not check.problem), None)
