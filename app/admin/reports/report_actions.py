"""Actions on a report: cancel it, retry it, delete its file. Each asks for confirmation and shows what is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import flash, redirect, render_template, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.admin.reports.report_rows import ReportRow, report_row
from app.auth import caller, need, signed_in
from app.exceptions import Forbidden, RateLimited, ReportError


@dataclass(frozen=True)
class ReportAction:
    """Action on a report.

    Attributes:
        word: the label of its button.
        may: returns whether the report's state allows the action.
        do: runs the action, and returns a sentence about the result.
        destroys: whether the action destroys something.
    """

    word: str
    icon: str
    may: Callable[[ReportRow], bool]
    do: Callable[[object], str]
    destroys: bool = True


def _cancel(report: object) -> str:
    done = services().reports.cancel(caller(), report)
    return "The report is cancelled." if done else "The report had already ended."


def _retry(report: object) -> str:
    services().reports.retry(caller(), report)
    return "Report queued again with the same events."


def _delete(report: object) -> str:
    services().reports.delete(caller(), report)
    return "The file is removed. The report stays in the list."


ACTS = {
    "cancel": ReportAction("Cancel", "x-circle", lambda row: row.moves, _cancel),
    "retry": ReportAction("Try again", "arrow-repeat", lambda row: row.failed, _retry, destroys=False),
    "delete": ReportAction("Delete the file", "trash", lambda row: row.has_file, _delete),
}


def possible(found: ReportRow) -> dict[str, ReportAction]:
    """Return the actions that are possible for a report now."""
    return {name: act for name, act in ACTS.items() if act.may(found)}


@blueprint.get("/reports/<source>/<any(cancel, retry, delete):act>")
@signed_in
def ask_about_report(source: str, act: str) -> str:
    """Ask for confirmation before an action, and show what is lost."""
    need("reports")
    found = report_row(services().reports.get(caller(), source))
    return render_template("admin/reports/report_act.html", line=found, name=act, act=_possible(found, act))


@blueprint.post("/reports/<source>/<any(cancel, retry, delete):act>")
@signed_in
def act_on_report(source: str, act: str) -> Response:
    """Run an action on a report."""
    need("reports")
    report = services().reports.get(caller(), source)
    try:
        flash(ACTS[act].do(report))
    except (ReportError, Forbidden, RateLimited) as error:
        # Another user was faster, the bucket is no longer allowed, or too many reports wait.
        flash(str(error))
    return redirect(url_for("admin.report", source=source))


def _possible(found: ReportRow, name: str) -> ReportAction:
    """Return an action.

    Raises:
        NotFound: the report's state does not allow it.
    """
    if name not in possible(found):
        raise NotFound
    return ACTS[name]
