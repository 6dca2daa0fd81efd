"""Queries about reports. Each write of a worker names its attempt's token: who lost the report changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.models import Report

RUNNING, COMPLETE, TIMEOUT, FAILED = "RUNNING", "COMPLETE", "TIMEOUT", "FAILED"


def add(**values: object) -> Report:
    """Keep an accepted report; call it inside the transaction that fixed its cut."""
    return Report.create(status=RUNNING, **values)


def by_job(job: str) -> Report | None:
    """The report of that UUID."""
    return Report.get_or_none(Report.job == job)


def newest(
    limit: int,
    *,
    account: int | None = None,
    customers: Sequence[str] | None = None,
    status: str | None = None,
    before: int | None = None,
) -> list[Report]:
    """Reports, newest first.

    Args:
        limit: how many at most.
        account: only this user's.
        customers: only about these customers.
        status: only in this state.
        before: only those with a lower id, for the next page.
    """
    query = Report.select().order_by(Report.id.desc()).limit(limit)
    if account is not None:
        query = query.where(Report.account == account)
    if customers is not None:
        query = query.where(Report.customer.in_(list(customers)))
    if status is not None:
        query = query.where(Report.status == status)
    if before is not None:
        query = query.where(Report.id < before)
    return list(query)


def waiting() -> list[Report]:
    """Reports that run and that no worker has taken, the oldest first."""
    return list(Report.select().where(Report.status == RUNNING, Report.token.is_null()).order_by(Report.id))


def place_in_queue(report: Report) -> int:
    """How many waiting reports come before this one, and one: 1 is the next."""
    ahead = (Report.status == RUNNING) & Report.token.is_null() & (Report.id < report.id)
    return Report.select().where(ahead).count() + 1


def claim(job: str, token: str, now: int) -> Report | None:
    """Take a waiting report for an attempt. Of workers that race for it one gets it, the others None."""
    query = Report.update(token=token, attempt=Report.attempt + 1, claimed=now, touched=now, rows=0, total=None).where(
        Report.job == job, Report.status == RUNNING, Report.token.is_null()
    )
    return by_job(job) if query.execute() == 1 else None


def note(job: str, token: str, **values: object) -> bool:
    """Write an attempt's progress; False where the attempt no longer holds the report."""
    query = Report.update(**values).where(Report.job == job, Report.token == token, Report.status == RUNNING)
    return query.execute() == 1


def release_silent(before: int) -> list[str]:
    """Take reports from attempts that gave no sign of life since a time; the UUIDs of those that wait again."""
    silent = (Report.status == RUNNING) & Report.token.is_null(False) & (Report.touched < before)
    jobs = [job for (job,) in Report.select(Report.job).where(silent).tuples()]
    return [job for job in jobs if Report.update(token=None).where(silent, Report.job == job).execute() == 1]


def expired(now: int) -> list[Report]:
    """Complete reports whose file is to go."""
    return list(Report.select().where(Report.status == COMPLETE, ~Report.removed, Report.expires <= now))


def mark_removed(job: str) -> None:
    """Note that a report's file is gone."""
    Report.update(removed=True).where(Report.job == job).execute()


def time_out(claimed_before: int, now: int, limit_seconds: int) -> list[str]:
    """End attempts that began before a time and did not end themselves; the reports' UUIDs."""
    overdue = (Report.status == RUNNING) & Report.token.is_null(False) & (Report.claimed < claimed_before)
    jobs = [job for (job,) in Report.select(Report.job).where(overdue).tuples()]
    end = {"status": TIMEOUT, "ended": now, "reason": f"It ran longer than {limit_seconds} seconds."}
    return [job for job in jobs if Report.update(end).where(overdue, Report.job == job).execute() == 1]


def fail_waiting(job: str, reason: str, now: int) -> bool:
    """End a report that no worker holds; whether it was so."""
    waits = (Report.job == job) & (Report.status == RUNNING) & Report.token.is_null()
    return Report.update(status=FAILED, ended=now, reason=reason).where(waits).execute() == 1
