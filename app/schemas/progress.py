"""How far a report is, for programs and for pages alike; each key only once it is known."""

from __future__ import annotations

STEADY_MS = 1_000  # of writing: the database may sort before the first row comes


def progress(report: object, queue_position: int | None) -> dict[str, object]:
    """`rows, total, percent, eta_ms, attempt, queue_position, rows_with_extra_context, file`, those that are known.

    Args:
        report: a row of the table of reports.
        queue_position: 1 for the report that the next free worker takes; None where it does not wait.

    Returns:
        `percent` is from 0 to 100, `eta_ms` milliseconds from now; `file` has `rows`, `bytes`, `sha256` and `expires`.
    """
    known: dict[str, object] = {"rows": report.rows, "total": report.total, "percent": percent(report)}
    known["eta_ms"] = eta_ms(report)
    known["attempt"] = report.attempt or None
    known["queue_position"] = queue_position
    known["rows_with_extra_context"] = report.extra_rows
    if report.status == "COMPLETE":
        known["file"] = {
            "rows": report.rows,
            "bytes": report.bytes,
            "sha256": report.sha256,
            "expires": report.expires,
        }
    return {key: value for key, value in known.items() if value is not None}


def percent(report: object) -> int | None:
    """How much of the rows is written; 100 only when the file is there."""
    if report.status == "COMPLETE":
        return 100
    if report.total is None or report.rows is None:
        return None
    return min(99, report.rows * 100 // report.total) if report.total else 0


def eta_ms(report: object) -> int | None:
    """How long the rest takes at the speed of the attempt at work; None where that cannot be told yet."""
    if report.status != "RUNNING" or report.token is None or report.writing is None:
        return None
    written, elapsed = report.rows - report.resumed_rows, report.heartbeat_at - report.writing
    if not written or elapsed < STEADY_MS:
        return None
    return max(0, report.total - report.rows) * elapsed // written
