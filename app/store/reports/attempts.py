"""What became of each try at a report, for people who ask why it took so long, or why there is no file."""

from __future__ import annotations

from app.store.models import ReportAttempt

COMPLETE, LOST, FAILED, TIMEOUT, CANCELLED = "complete", "lost", "failed", "timeout", "cancelled"


def begin(job: str, number: int, token: str, worker: str, now: int) -> None:
    """Note that an attempt began, or that one that had been paused goes on under another token."""
    paused = (ReportAttempt.job == job) & (ReportAttempt.number == number) & ReportAttempt.ended.is_null()
    if not ReportAttempt.update(token=token, worker=worker).where(paused).execute():
        ReportAttempt.create(job=job, number=number, token=token, worker=worker, began=now)


def end(job: str, token: str, outcome: str, now: int, *, reason: str | None = None, rows: int | None = None) -> None:
    """Note how an attempt ended; the first word counts."""
    values = {"outcome": outcome, "ended": now, "reason": reason} | ({} if rows is None else {"rows": rows})
    mine = (ReportAttempt.job == job) & (ReportAttempt.token == token) & ReportAttempt.ended.is_null()
    ReportAttempt.update(values).where(mine).execute()


def end_all(job: str, outcome: str, now: int, reason: str | None = None) -> None:
    """Note that whatever is at a report ends with it."""
    open_ones = (ReportAttempt.job == job) & ReportAttempt.ended.is_null()
    ReportAttempt.update(outcome=outcome, ended=now, reason=reason).where(open_ones).execute()


def of(job: str) -> list[ReportAttempt]:
    """A report's attempts, the first first."""
    return list(ReportAttempt.select().where(ReportAttempt.job == job).order_by(ReportAttempt.id))
