"""History of the attempts at a report, which explains to people why it took long or has no file."""

from __future__ import annotations

from app.store.models import ReportAttempt
from app.store.queries import execute

COMPLETE, LOST, FAILED, TIMEOUT, CANCELLED = "complete", "lost", "failed", "timeout", "cancelled"


def begin(job: str, number: int, token: str, worker: str, now: int) -> None:
    """Record that an attempt began, or that a paused attempt continues with another token."""
    paused = (ReportAttempt.job == job) & (ReportAttempt.number == number) & ReportAttempt.ended_at.is_null()
    if not execute(ReportAttempt.update(token=token, worker=worker).where(paused)):
        ReportAttempt.create(job=job, number=number, token=token, worker=worker, began_at=now)


def end(job: str, token: str, outcome: str, now: int, *, reason: str | None = None, rows: int | None = None) -> None:
    """Record how an attempt ended; later calls change nothing."""
    values = {"outcome": outcome, "ended_at": now, "reason": reason} | ({} if rows is None else {"rows": rows})
    mine = (ReportAttempt.job == job) & (ReportAttempt.token == token) & ReportAttempt.ended_at.is_null()
    execute(ReportAttempt.update(values).where(mine))


def end_all(job: str, outcome: str, now: int, reason: str | None = None) -> None:
    """End all open attempts of a report together with it."""
    open_ones = (ReportAttempt.job == job) & ReportAttempt.ended_at.is_null()
    execute(ReportAttempt.update(outcome=outcome, ended_at=now, reason=reason).where(open_ones))


def of(job: str) -> list[ReportAttempt]:
    return list(ReportAttempt.select().where(ReportAttempt.job == job).order_by(ReportAttempt.id))
