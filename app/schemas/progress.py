"""Progress of a report, for the API and the dashboard. Each key is present only once its value is known."""

from __future__ import annotations

from typing import Protocol

STEADY_MS = 1_000  # minimum writing time for an estimate, because the database may sort before the first row


class ProgressRow(Protocol):
    """Row of the table of reports, as far as its progress depends on it."""

    status: str
    attempt: int
    token: str | None
    heartbeat_at: int | None
    writing_began_at: int | None
    resumed_rows: int | None
    rows: int | None
    total: int | None
    extra_rows: int | None
    bytes: int | None
    sha256: str | None
    expires_at: int | None


def progress(report: ProgressRow, queue_position: int | None) -> dict[str, object]:
    """Return the known ones of `rows, total, percent, eta_ms, attempt, queue_position, rows_with_extra_context, file`.

    `queue_position` is 1 for the report that the next free worker claims, and None if it does not wait. `percent` is
    from 0 to 100, `eta_ms` is milliseconds from now, and `file` has `rows`, `bytes`, `sha256` and `expires`.
    """
    known: dict[str, object] = {
        "rows": report.rows,
        "total": report.total,
        "percent": percent(report),
        "eta_ms": eta_ms(report),
        "attempt": report.attempt or None,
        "queue_position": queue_position,
        "rows_with_extra_context": report.extra_rows,
    }
    if report.status == "COMPLETE":
        file = {name: getattr(report, name) for name in ("rows", "bytes", "sha256")}
        known["file"] = file | {"expires": report.expires_at}
    return {key: value for key, value in known.items() if value is not None}


def percent(report: ProgressRow) -> int | None:
    """Return the percentage of rows written. It is 100 only once the file is available."""
    if report.status == "COMPLETE":
        return 100
    if report.total is None or report.rows is None:
        return None
    return min(99, report.rows * 100 // report.total) if report.total else 0


def eta_ms(report: ProgressRow) -> int | None:
    """Return the remaining time at the speed of the current attempt, or None if it cannot be estimated yet."""
    if report.status != "RUNNING" or report.token is None or report.writing_began_at is None:
        return None
    written = (report.rows or 0) - (report.resumed_rows or 0)
    elapsed = (report.heartbeat_at or 0) - report.writing_began_at
    if not written or elapsed < STEADY_MS:
        return None
    return max(0, (report.total or 0) - (report.rows or 0)) * elapsed // written
