"""The overview: what arrives, and how far each report is."""

from __future__ import annotations

from flask import current_app, render_template

from app.admin.blueprint import blueprint, services
from app.admin.rejected import counts
from app.admin.report_lines import line
from app.auth import caller, signed_in
from app.services.clock import now

EVENTS = 20
REPORTS = 6
ARRIVING_MS = 30_000  # events newer than this are a sign that more will come


@blueprint.get("/")
@signed_in
def overview() -> str:
    """The page."""
    return render_template("admin/overview.html", **_found())


@blueprint.get("/overview/part")
@signed_in
def overview_part() -> str:
    """What of the page refreshes itself."""
    return render_template("admin/_overview.html", **_found())


def _found() -> dict[str, object]:
    who = caller()
    entries = services().feed.arrivals(who, EVENTS)
    lines = [line(report) for report in services().reports.visible(who, REPORTS)]
    arriving = not entries or entries[0][1].received > now() - ARRIVING_MS
    return {
        "entries": entries,
        "lines": lines,
        "problems": _problems() if who.may("system") else [],
        "rejects": counts() if who.may("system") else None,
        "moving": arriving or any(line.moves for line in lines),
        "base_url": current_app.config["SETTINGS"].base_url,
    }


def _problems() -> list[str]:
    return [check.problem for check in services().health.glance() if check.problem]
