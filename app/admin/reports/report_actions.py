"""Actions on a report: cancel it, retry it, delete its file. Each asks for confirmation and shows what is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.admin.blueprint import services
from app.admin.pages import action, confirm, link_to, page, redirect_with
from app.admin.reports.report_rows import ReportRow, report_row
from app.auth import caller
from app.exceptions import Forbidden, RateLimited, ReportError
from app.services.rows import Report

PATH = "/reports/<source>/<any(cancel, retry, delete):act>"


@dataclass(frozen=True)
class ReportAction:
    """Action on a report.

    Attributes:
        word: the label of its button.
        may: returns whether the report's state allows the action.
        run: runs the action, and returns a sentence about the result.
        destroys: whether the action destroys something.
    """

    word: str
    icon: str
    may: Callable[[ReportRow], bool]
    run: Callable[[Report], str]
    destroys: bool = True


def _cancel(report: Report) -> str:
    is_cancelled = services().reports.cancel(caller(), report)
    return "The report is cancelled." if is_cancelled else "The report had already ended."


def _retry(report: Report) -> str:
    services().reports.retry(caller(), report)
    return "Report queued again with the same events."


def _delete(report: Report) -> str:
    services().reports.delete(caller(), report)
    return "The file is removed. The report stays in the list."


ACTIONS = {
    "cancel": ReportAction("Cancel", "x-circle", lambda row: row.moves, _cancel),
    "retry": ReportAction("Try again", "arrow-repeat", lambda row: row.failed, _retry, destroys=False),
    "delete": ReportAction("Delete the file", "trash", lambda row: row.has_file, _delete),
}


def possible_actions(row: ReportRow) -> dict[str, ReportAction]:
    """Return the actions that are possible for a report now."""
    return {name: action for name, action in ACTIONS.items() if action.may(row)}


@page(PATH, "reports")
def confirm_report_action(source: str, act: str) -> str:
    row = report_row(services().reports.get(caller(), source))
    if not ACTIONS[act].may(row):
        raise NotFound
    values = {"line": row, "name": act, "act": ACTIONS[act]}
    return confirm("admin/reports/confirm_report_action.html", link_to("report", source=source), **values)


@action(PATH, "reports")
def run_report_action(source: str, act: str) -> Response:
    report = services().reports.get(caller(), source)
    try:
        message = ACTIONS[act].run(report)
    except (ReportError, Forbidden, RateLimited) as error:
        # Another user was faster, the bucket is no longer allowed, or too many reports wait.
        message = str(error)
    return redirect_with(message, link_to("report", source=source))
