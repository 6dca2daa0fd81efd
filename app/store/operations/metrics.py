"""Metrics of the whole service from the database, each cheap regardless of the number of events."""

from __future__ import annotations

from peewee import SQL, Case, fn

from app.store.models import Counted, RejectedCount, RejectedEvent, Report, ReportPart
from app.store.queries import fetch, fetch_column, fetch_int
from app.store.reports import reports

# The states of reports; the first matching condition applies.
STATES = (
    (reports.WAITS, "queued"),
    (reports.HELD, "running"),
    (Report.removed, "expired"),
    (Report.cancelled, "cancelled"),
    (Report.status == reports.COMPLETE, "complete"),
    (Report.status == reports.TIMEOUT, "timed_out"),
    (Report.status == reports.FAILED, "failed"),
)


def accepted() -> int:
    """Return the number of events ever accepted and counted."""
    return fetch_int(Counted.select(Counted.total))


def stored() -> int:
    """Return the number of stored events, without those not counted yet."""
    return fetch_int(Counted.select(Counted.total - Counted.erased))


def rejected() -> dict[tuple[str, str], int]:
    """Return the number of events ever rejected, by field and fault."""
    query = RejectedCount.select(RejectedCount.field, RejectedCount.fault, RejectedCount.number)
    return {(field, fault): number for field, fault, number in fetch(query)}


def kept_rejected() -> int:
    return RejectedEvent.select().count()


def by_state() -> dict[str, int]:
    query = Report.select(Case(None, STATES), fn.count(Report.id)).group_by(SQL("1"))
    found: dict[str, int] = dict(fetch(query))
    return {name: found.get(name, 0) for _, name in STATES}


def waited() -> int:
    """Return how long the oldest waiting report has waited since it was accepted or its last attempt ended.

    The result is in milliseconds, or 0 if no report waits.
    """
    since = fetch_int(Report.select(fn.min(fn.coalesce(Report.heartbeat_at, Report.started_at))).where(reports.WAITS))
    return max(0, reports.now() - since) if since else 0


def busy() -> int:
    """Return the number of workers that write a report, or a part of a report that another worker holds."""
    held = Report.select(Report.worker).where(reports.HELD)
    helping = ReportPart.select(ReportPart.worker).where(~ReportPart.done, ReportPart.token.is_null(False))
    return len({*fetch_column(held), *fetch_column(helping)})
