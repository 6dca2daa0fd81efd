"""Display values of a report: its state in words, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from app.admin.blueprint import services
from app.admin.states import REPORT, State
from app.admin.template_filters import period
from app.admin.zones import zone_name
from app.schemas.progress import eta_ms, percent
from app.schemas.reports import source
from app.services.rows import Report
from app.support.clock import now


@dataclass(frozen=True)
class ReportRow:
    """Report, ready to be shown.

    Attributes:
        report: the database row, for values that are shown unchanged.
        percent: 0 to 100, or None while it is unknown.
        eta: in milliseconds, or None while it is unknown.
        place: 1 for the report that the next free worker claims, or None if the report does not wait.
        silence: milliseconds since the worker was heard, or None if it is heard.
    """

    report: Report
    source: str
    state: State
    percent: int | None
    eta: int | None
    place: int | None
    silence: int | None

    @property
    def title(self) -> str:
        """Return the report's name, or the suggested one."""
        return self.report.name or suggest_name(self.report.customer, self.report.product, self.period)

    @property
    def period(self) -> str:
        """Return in words which period the report covers."""
        if self.report.snapshot_min_id is not None:
            return "Since the previous report"
        return period(self.report.start, self.report.end)

    @property
    def moves(self) -> bool:
        """Return whether the state may change."""
        return self.report.status == "RUNNING"

    @property
    def failed(self) -> bool:
        """Return whether the report ended without a file and can be retried."""
        return self.report.status in ("FAILED", "TIMEOUT")

    @property
    def has_file(self) -> bool:
        """Return whether there is a file to download."""
        return self.state.word == "Complete"


def suggest_name(customer: str, product: str, period: str) -> str:
    """Return what a report without a name of its own is called: BARCHART · PORTFOLIO · 1–30 Nov 2026."""
    return f"{customer} · {product} · {period.removesuffix(f' {zone_name()}')}"


def report_row(report: Report) -> ReportRow:
    place, silence = services().reports.place_in_queue(report), services().reports.silence_ms(report)
    state = REPORT["silent"] if silence else _state(report, place)
    return ReportRow(report, source(report), state, percent(report), eta_ms(report), place, silence)


def _state(report: Report, place: int | None) -> State:
    if report.status == "RUNNING":
        waiting = "paused" if report.paused else "queued"
        return REPORT["running" if place is None else waiting]
    if report.status == "COMPLETE" and report.expires_at is not None and report.expires_at <= now():
        return REPORT["expired"]
    if report.status == "COMPLETE" and report.removed:
        return REPORT["deleted"]
    return REPORT["cancelled" if report.cancelled else report.status]
