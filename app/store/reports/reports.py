"""Queries about reports. Each write of a worker includes its attempt's token, so a stale attempt cannot write.

The database's clock sets the start, attempt, heartbeat and end of a report, and measures its time limit, because the
clocks of web processes, workers and sweepers may differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from peewee import SQL, Case, Expression, Select, fn

from app.store.database import database, server_time
from app.store.models import Report, ReportPart

RUNNING, COMPLETE, TIMEOUT, FAILED = "RUNNING", "COMPLETE", "TIMEOUT", "FAILED"
# As people tell them apart.
STATES = {
    "running": Report.status == RUNNING,
    "complete": (Report.status == COMPLETE) & ~Report.removed,
    "failed": Report.status.in_([FAILED, TIMEOUT]) & ~Report.cancelled,
    "cancelled": Report.cancelled,
    "expired": Report.removed,
}
WAITS = (Report.status == RUNNING) & Report.token.is_null()
HELD = (Report.status == RUNNING) & Report.token.is_null(False)
NEWEST = 20  # a user's reports are taken in the order of acceptance, but for those that are tried again


def clock() -> SQL:
    """The database's time in milliseconds, as an expression."""
    return SQL(database.clock_ms)


def now() -> int:
    """Return the database's time in milliseconds."""
    return server_time()


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
    schedule: int | None = None,
    state: str | None = None,
    before: int | None = None,
) -> list[Report]:
    """Reports, newest first.

    Args:
        limit: how many at most.
        account: only this user's.
        customers: only about these customers.
        status: only in this state.
        schedule: only those that this recurring report started.
        state: only those of STATES.
        before: only those with a lower id, for the next page.
    """
    query = Report.select().order_by(Report.id.desc()).limit(limit)
    for column, value in ((Report.account, account), (Report.status, status), (Report.schedule, schedule)):
        if value is not None:
            query = query.where(column == value)
    if customers is not None:
        query = query.where(Report.customer.in_(list(customers)))
    if state is not None:
        query = query.where(STATES[state])
    if before is not None:
        query = query.where(Report.id < before)
    return list(query)


def number(status: str, account: int | None, customers: Sequence[str] | None) -> int:
    """How many reports are in a state; see `newest`."""
    query = Report.select().where(Report.status == status)
    if account is not None:
        query = query.where(Report.account == account)
    if customers is not None:
        query = query.where(Report.customer.in_(list(customers)))
    return query.count()


class Waiting(NamedTuple):
    """What has to be known of a report that waits to say whose turn it is: there may be thousands."""

    id: int
    job: str
    account: int | None
    estimated_rows: int
    started: int
    heartbeat_at: int | None
    not_before: int | None


def waiting() -> list[Waiting]:
    """Reports that run and that no worker has taken, the oldest first."""
    return _in_brief(Report.select().where(WAITS))


def due() -> list[Waiting]:
    """Those of them that may be tried now, the oldest first."""
    return _in_brief(Report.select().where(WAITS, _may_be_tried()))


def _in_brief(query: Select) -> list[Waiting]:
    columns = [getattr(Report, name) for name in Waiting._fields]
    return list(itertools.starmap(Waiting, query.select(*columns).order_by(Report.id).tuples()))


def some_wait() -> bool:
    """Whether there are any."""
    return Report.select().where(WAITS, _may_be_tried()).exists()


def small_waits(most: int) -> bool:
    """Whether one of no more rows is among them."""
    return Report.select().where(WAITS, _may_be_tried(), Report.estimated_rows <= most).exists()


def _may_be_tried() -> Expression:
    return Report.not_before.is_null() | (Report.not_before <= clock())


def running_by_account() -> dict[int | None, int]:
    """How many reports of each user workers are at."""
    query = Report.select(Report.account, fn.count(Report.id)).where(HELD).group_by(Report.account)
    return dict(query.tuples())


def last_served(accounts: Iterable[int | None]) -> dict[int | None, int]:
    """When workers were last at a report of each of these users'; of the newest that they took, so that it is quick."""
    return {account: _last_served(account) for account in accounts}


def _last_served(account: int | None) -> int:
    theirs = Report.account.is_null() if account is None else Report.account == account
    taken = Report.select(Report.heartbeat_at).where(theirs, Report.heartbeat_at.is_null(False))
    return max((heartbeat_at for (heartbeat_at,) in taken.order_by(Report.id.desc()).limit(NEWEST).tuples()), default=0)


def claim(job: str, token: str, now: int, worker: str = "") -> Report | None:
    """Take a waiting report for an attempt. Of workers that race for it one gets it, the others None.

    Its rows are what is written and kept; where a paused attempt goes on they must not go back behind what was told.
    """
    kept = ReportPart.select(fn.sum(ReportPart.rows)).where(ReportPart.job == job)
    query = Report.update(
        token=token,
        worker=worker,
        attempt=Case(None, [(Report.paused, Report.attempt)], Report.attempt + 1),
        paused=False,
        claimed=now,
        heartbeat_at=clock(),
        began=fn.coalesce(Report.began, now),
        rows=fn.coalesce(Case(None, [(Report.paused, Report.rows)], kept), 0),
        not_before=None,
        writing=None,
    ).where(Report.job == job, WAITS)
    return by_job(job) if query.execute() == 1 else None


def note(job: str, token: str, /, **values: object) -> bool:
    """Write an attempt's progress; False where the attempt no longer holds the report."""
    query = Report.update(heartbeat_at=clock(), **values).where(Report.job == job, Report.token == token)
    return query.where(Report.status == RUNNING).execute() == 1


def note_part(job: str) -> None:
    """A part of a report is written, by whomever: the attempt at work gets further, and its end counts for nothing."""
    Report.update(stalled_attempts=-1).where(Report.job == job, Report.status == RUNNING).execute()


def give_back(job: str, token: str, /, **values: object) -> bool:
    """Let a report wait for a worker again; False where the attempt no longer held it."""
    return note(job, token, token=None, worker=None, **values)


def release(job: str, token: str) -> bool:
    """The same for an attempt that cannot do it itself any more."""
    held = (Report.job == job) & (Report.token == token) & (Report.status == RUNNING)
    return (
        Report.update(token=None, worker=None, stalled_attempts=Report.stalled_attempts + 1).where(held).execute() == 1
    )


def held_by(worker: str) -> list[Report]:
    """The reports whose attempts are a worker's."""
    return list(Report.select().where(HELD, Report.worker == worker))


def silent(milliseconds: int) -> list[Report]:
    """The reports whose attempts gave no sign of life for so long."""
    return list(Report.select().where(HELD, Report.heartbeat_at < clock() - milliseconds))


def overdue(milliseconds: int) -> list[Report]:
    """The reports that were begun longer ago, and still run."""
    return list(Report.select().where(Report.status == RUNNING, Report.began < clock() - milliseconds))


def end(job: str, status: str, reason: str, now: int, *, cancelled: bool = False) -> bool:
    """End a report that runs, whoever holds it; whether it did run."""
    values = {"status": status, "reason": reason, "ended": now, "cancelled": cancelled, "token": None, "worker": None}
    return Report.update(values).where(Report.job == job, Report.status == RUNNING).execute() == 1


def fail(job: str, token: str, stalled_attempts: int, reason: str, now: int) -> bool:
    """End a report that an attempt holds, where at least so many before it got no further; whether it was so."""
    mine = (
        (Report.job == job)
        & (Report.status == RUNNING)
        & (Report.token == token)
        & (Report.stalled_attempts >= stalled_attempts)
    )
    values = {"status": FAILED, "reason": reason, "ended": now, "token": None, "worker": None}
    return Report.update(values).where(mine).execute() == 1


def run_again(job: str) -> bool:
    """Let a report that ended without a file wait for a worker, with the snapshot that it had; whether it did."""
    fresh = {"status": RUNNING, "reason": None, "ended": None, "cancelled": False, "token": None, "worker": None}
    fresh |= {"paused": False, "planned": False, "stalled_attempts": 0, "not_before": None, "began": None}
    fresh |= {"rows": None, "total": None, "width": None, "extra_rows": None}
    ended = (Report.job == job) & Report.status.in_([FAILED, TIMEOUT])
    return Report.update(fresh).where(ended).execute() == 1


def expired(now: int) -> list[Report]:
    """Complete reports whose file is to go."""
    return list(Report.select().where(Report.status == COMPLETE, ~Report.removed, Report.expires <= now))


def mark_removed(job: str) -> None:
    """Note that a report's file is gone."""
    Report.update(removed=True).where(Report.job == job).execute()


def files_in_use(jobs: Sequence[str]) -> set[str]:
    """The keys of the files that these reports have and keep."""
    query = Report.select(Report.file).where(Report.job.in_(list(jobs)), ~Report.removed, Report.file.is_null(False))
    return {file for (file,) in query.tuples()}


def running_among(jobs: Sequence[str]) -> set[str]:
    """Which of these reports run."""
    query = Report.select(Report.job).where(Report.job.in_(list(jobs)), Report.status == RUNNING)
    return {job for (job,) in query.tuples()}
