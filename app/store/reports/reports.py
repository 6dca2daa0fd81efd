"""Queries about reports, their parts and attempts.

Each write of a worker includes the token of its attempt or part, so a stale writer cannot write.

The database's clock sets the start, attempt, heartbeat and end of a report, and measures its time limit, because the
clocks of web processes, workers and schedulers may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from peewee import SQL, Case, ColumnBase, Expression, NodeList, Select, fn

from app.store import queries
from app.store.database import database, server_time
from app.store.models import Report, ScheduleRecipient
from app.store.models import ReportAttempt as Attempt
from app.store.models import ReportPart as Part
from app.store.queries import AnySelect, among, equal, execute, fetch, fetch_column, fetch_int, find_one
from app.support.clock import SKEW_MS

RUNNING, COMPLETE, TIMEOUT, FAILED = "RUNNING", "COMPLETE", "TIMEOUT", "FAILED"
# The states that people see.
STATES = {
    "running": Report.status == RUNNING,
    "complete": (Report.status == COMPLETE) & ~Report.removed,
    "failed": Report.status.in_([FAILED, TIMEOUT]) & ~Report.cancelled,
    "cancelled": Report.cancelled,
    "expired": Report.removed,
}
WAITS = (Report.status == RUNNING) & Report.token.is_null()
HELD = (Report.status == RUNNING) & Report.token.is_null(False)
OPEN = ~Part.done & Part.token.is_null()
CODE = SQL("value")  # of `database.json_items`
ENDED = Part.job.not_in(Report.select(Report.job).where(Report.status == RUNNING))
NEWEST = 20  # reports checked per user; a user's reports start in the order of acceptance, except for retries


class Outcome:
    """How an attempt ended."""

    COMPLETE, LOST, FAILED, TIMEOUT, CANCELLED = "complete", "lost", "failed", "timeout", "cancelled"


@dataclass(frozen=True)
class ReportFilter:
    """Filter for reports. None means no condition.

    Attributes:
        text: text that the name, the customer or the product contains, ignoring case.
        user: name of the user who started them.
    """

    text: str | None = None
    user: str | None = None
    product: str | None = None


def clock() -> SQL:
    """Return the SQL expression of the database's time in milliseconds."""
    return SQL(database.clock_ms)


def now() -> int:
    """Return the database's time in milliseconds."""
    return server_time()


def add(**values: object) -> Report:
    """Store an accepted report. Call it inside the transaction that fixed its snapshot."""
    return Report.create(status=RUNNING, **values)


def by_job(job: str) -> Report | None:
    return find_one(Report, "job", job)


def about(query: AnySelect, customers: Sequence[str] | None) -> AnySelect:
    """Limit a query to reports that are only about these customers. None means all customers."""
    if not customers:  # PostgreSQL has no empty list
        return among(query, Report.customer, customers)
    others = _has_code(Report.customers, CODE.not_in(list(customers)))
    of_one = Report.customers.is_null() & Report.customer.in_(list(customers))
    return query.where(of_one | (Report.customers.is_null(False) & ~others))


def _has_code(column: ColumnBase, condition: Expression) -> NodeList:
    """Return the condition that one of a report's several customers or products, CODE, meets another condition."""
    return NodeList((SQL("EXISTS (SELECT 1 FROM"), database.json_items(column), SQL("WHERE"), condition, SQL(")")))


def newest(
    limit: int,
    *,
    account: int | None = None,
    customers: Sequence[str] | None = None,
    status: str | None = None,
    schedule: int | None = None,
    state: str | None = None,
    sought: ReportFilter | None = None,
    before: int | None = None,
) -> list[Report]:
    """Return reports, newest first.

    Args:
        limit: maximum number of reports.
        account: only reports of this user.
        customers: only reports about these customers.
        status: only reports with this status.
        schedule: only reports started by this schedule.
        state: only reports in this state of STATES.
        sought: only reports that match the filter.
        before: only reports with a lower id, for the next page.
    """
    query = equal(Report.select(), (Report.account, account), (Report.status, status), (Report.schedule, schedule))
    sought = sought or ReportFilter()
    query = equal(query, (Report.account_name, sought.user))
    if product := sought.product:
        query = query.where((Report.product == product) | _has_code(Report.products, CODE.in_([product])))
    if text := sought.text:  # wildcards are taken literally
        found = Report.name.contains(text) | Report.customer.contains(text) | Report.product.contains(text)
        for several in (Report.customers, Report.products):
            found |= _has_code(several, CODE.contains(text))
        query = query.where(found)
    query = about(query, customers)
    if state is not None:
        query = query.where(STATES[state])
    return queries.newest(query, Report.id, limit, before)


def users(customers: Sequence[str] | None, limit: int) -> list[str]:
    """Return the names of the users who started reports about some customers, in alphabetical order."""
    query = about(Report.select(Report.account_name).distinct(), customers)
    return fetch_column(query.order_by(Report.account_name).limit(limit))


def rename(job: str, name: str | None) -> None:
    execute(Report.update(name=name).where(Report.job == job))


def number(status: str, account: int | None, customers: Sequence[str] | None) -> int:
    """Return the number of reports with a status; see `newest`."""
    query = equal(Report.select(), (Report.status, status), (Report.account, account))
    return about(query, customers).count()


class Waiting(NamedTuple):
    """Columns of a waiting report that determine its place in the fair queue. Few, because thousands may wait."""

    id: int
    job: str
    account: int | None
    estimated_rows: int
    started_at: int
    heartbeat_at: int | None
    next_attempt_at: int | None


def waiting() -> list[Waiting]:
    """Return the running reports that no worker has claimed, oldest first."""
    return _in_brief(Report.select().where(WAITS))


def due() -> list[Waiting]:
    """Return the waiting reports that may be tried now, oldest first."""
    return _in_brief(_due())


def some_wait() -> bool:
    """Return whether any waiting report may be tried now."""
    return _due().exists()


def small_waits(most: int) -> bool:
    """Return whether any waiting report that may be tried now has at most `most` estimated rows."""
    return _due().where(Report.estimated_rows <= most).exists()


def _due() -> Select:
    is_due = (Report.next_attempt_at <= clock()) | _is_ahead(Report.next_attempt_at)
    return Report.select().where(WAITS, Report.next_attempt_at.is_null() | is_due)


def _is_silent(heartbeat_at: ColumnBase, milliseconds: int) -> Expression:
    return (heartbeat_at < clock() - milliseconds) | _is_ahead(heartbeat_at)


def _is_ahead(column: ColumnBase) -> Expression:
    """Return the condition that a time is so far ahead that the clock was set back since, or was of another server."""
    return column > clock() + SKEW_MS


def _in_brief(query: Select) -> list[Waiting]:
    columns = [getattr(Report, name) for name in Waiting._fields]
    return [Waiting(*row) for row in fetch(query.select(*columns).order_by(Report.id))]


def running_by_account() -> dict[int | None, int]:
    """Return the number of reports that workers hold, per user."""
    return dict(fetch(Report.select(Report.account, fn.count(Report.id)).where(HELD).group_by(Report.account)))


def last_served(accounts: Iterable[int | None]) -> dict[int | None, int]:
    """Return when workers last worked on a report of each user, from the newest reports only, so that it is fast."""
    served = {}
    for account in accounts:
        mine = Report.account.is_null() if account is None else Report.account == account
        taken = Report.select(Report.heartbeat_at).where(mine, Report.heartbeat_at.is_null(False))
        served[account] = max(fetch_column(taken.order_by(Report.id.desc()).limit(NEWEST)), default=0)
    return served


def claim(job: str, token: str, now: int, worker: str = "") -> Report | None:
    """Claim a waiting report for an attempt. If workers race for it, one gets it and the others get None.

    `rows` becomes the number of rows in stored parts. It stays unchanged if a paused attempt continues, because the
    reported progress must not decrease.
    """
    kept = Part.select(fn.sum(Part.rows)).where(Part.job == job)
    query = Report.update(
        token=token,
        worker=worker,
        attempt=Case(None, [(Report.paused, Report.attempt)], Report.attempt + 1),
        paused=False,
        claimed_at=now,
        heartbeat_at=clock(),
        began_at=fn.coalesce(Report.began_at, now),
        rows=fn.coalesce(Case(None, [(Report.paused, Report.rows)], kept), 0),
        next_attempt_at=None,
        writing_began_at=None,
    ).where(Report.job == job, WAITS)
    return by_job(job) if execute(query) == 1 else None


def note(job: str, token: str, /, **values: object) -> bool:
    """Record an attempt's progress, or return False if the attempt no longer holds the report."""
    query = Report.update(heartbeat_at=clock(), **values).where(Report.job == job, Report.token == token)
    return execute(query.where(Report.status == RUNNING)) == 1


def note_part_written(job: str) -> None:
    """Record that any worker has written a part. The current attempt made progress, so it does not count as stalled."""
    execute(Report.update(stalled_attempts=-1).where(Report.job == job, Report.status == RUNNING))


def give_back(job: str, token: str, /, **values: object) -> bool:
    """Release a report to wait for a worker again, or return False if the attempt no longer held it."""
    return note(job, token, token=None, worker=None, **values)


def release(job: str, token: str) -> bool:
    """Release a report whose attempt can no longer do so itself, and count the attempt as stalled."""
    held = (Report.job == job) & (Report.token == token) & (Report.status == RUNNING)
    stalled = Report.update(token=None, worker=None, stalled_attempts=Report.stalled_attempts + 1)
    return execute(stalled.where(held)) == 1


def held_by(worker: str) -> list[Report]:
    return list(Report.select().where(HELD, Report.worker == worker))


def silent(milliseconds: int) -> list[Report]:
    """Return the held reports without a heartbeat for a time."""
    return list(Report.select().where(HELD, _is_silent(Report.heartbeat_at, milliseconds)))


def overdue(milliseconds: int) -> list[Report]:
    """Return the running reports that began longer ago than a time."""
    return list(Report.select().where(Report.status == RUNNING, Report.began_at < clock() - milliseconds))


def end(job: str, status: str, reason: str, now: int, *, cancelled: bool = False) -> bool:
    """End a running report regardless of which attempt holds it, and return whether it was running."""
    values = {"status": status, "reason": reason, "ended_at": now, "cancelled": cancelled}
    values |= {"token": None, "worker": None}
    return execute(Report.update(values).where(Report.job == job, Report.status == RUNNING)) == 1


def fail(job: str, token: str, stalled_attempts: int, reason: str, now: int) -> bool:
    """Fail a report that an attempt holds, and return whether it did.

    Args:
        stalled_attempts: minimum number of stalled attempts; with fewer, nothing changes.
    """
    mine = (
        (Report.job == job)
        & (Report.status == RUNNING)
        & (Report.token == token)
        & (Report.stalled_attempts >= stalled_attempts)
    )
    values = {"status": FAILED, "reason": reason, "ended_at": now, "token": None, "worker": None}
    return execute(Report.update(values).where(mine)) == 1


def run_again(job: str) -> bool:
    """Requeue a report that ended without a file, with the same snapshot, and return whether it did."""
    fresh: dict[str, Any] = {"status": RUNNING, "cancelled": False, "paused": False, "planned": False}
    fresh |= {"stalled_attempts": 0} | dict.fromkeys(("reason", "token", "worker", "ended_at", "began_at"))
    fresh |= dict.fromkeys(("next_attempt_at", "rows", "total", "width", "extra_rows"))
    ended = (Report.job == job) & Report.status.in_([FAILED, TIMEOUT])
    return execute(Report.update(fresh).where(ended)) == 1


def expired(now: int) -> list[Report]:
    """Return the complete reports whose file has expired."""
    return list(Report.select().where(Report.status == COMPLETE, ~Report.removed, Report.expires_at <= now))


def with_files() -> list[Report]:
    """Return the completed reports whose files exist according to their rows."""
    return list(Report.select().where(Report.status == COMPLETE, ~Report.removed, Report.file.is_null(False)))


def mark_removed(job: str) -> None:
    execute(Report.update(removed=True).where(Report.job == job))


def files_in_use(jobs: Sequence[str]) -> set[str]:
    """Return the keys of the files that these reports still have."""
    query = Report.select(Report.file).where(Report.job.in_(list(jobs)), ~Report.removed, Report.file.is_null(False))
    return set(fetch_column(query))


def running_among(jobs: Sequence[str]) -> set[str]:
    """Return which of these reports are running."""
    query = Report.select(Report.job).where(Report.job.in_(list(jobs)), Report.status == RUNNING)
    return set(fetch_column(query))


# Parts, which workers write separately.


def plan_parts(job: str, stretches: Sequence[tuple[int | None, int | None]]) -> None:
    """Create a report's parts. Call it inside the transaction that records the report as planned."""
    remove_parts(job)
    rows = [{"job": job, "number": number, "start": start, "end": end} for number, (start, end) in enumerate(stretches)]
    if rows:
        execute(Part.insert_many(rows))


def claim_part(job: str, token: str, worker: str) -> Part | None:
    """Claim the first part that is neither written nor being written, or return None if there is none."""
    while True:
        part: Part | None = Part.select().where(Part.job == job, OPEN).order_by(Part.number).first()
        if part is None:
            return None
        taken = Part.update(token=token, worker=worker, heartbeat_at=clock(), rows=0).where(Part.id == part.id, OPEN)
        if execute(taken) == 1:
            return part


def note_part(part: Part, token: str, /, **values: object) -> bool:
    """Record a part's progress, or return False if another worker holds it or its report no longer exists."""
    held = (Part.id == part.id) & (Part.token == token) & ~Part.done
    return execute(Part.update(heartbeat_at=clock(), **values).where(held)) == 1


def give_back_part(part: Part, token: str) -> None:
    """Release a part so that another worker can write it."""
    note_part(part, token, token=None, worker=None, rows=0)


def write_part_again(part: Part) -> None:
    """Mark a part as not written, because its file is missing."""
    gone = (Part.id == part.id) & (Part.file == part.file)
    execute(Part.update(done=False, token=None, worker=None, rows=0, bytes=0, file=None).where(gone))


def release_parts_of(worker: str) -> None:
    """Release the unfinished parts of a worker that has died."""
    execute(Part.update(token=None, worker=None, rows=0).where(~Part.done, Part.worker == worker))


def release_silent_parts(job: str, milliseconds: int) -> None:
    """Release the unfinished parts of a report that have had no heartbeat for a time."""
    is_silent = _is_silent(Part.heartbeat_at, milliseconds)
    execute(Part.update(token=None, worker=None, rows=0).where(Part.job == job, ~Part.done, is_silent))


def parts(job: str) -> list[Part]:
    return list(Part.select().where(Part.job == job).order_by(Part.number))


def part_rows(job: str) -> int:
    """Return the number of rows written in all parts of a report."""
    return fetch_int(Part.select(fn.sum(Part.rows)).where(Part.job == job))


def count_open_parts(job: str) -> int:
    """Return the number of parts that are neither written nor being written."""
    return Part.select().where(Part.job == job, OPEN).count()


def parts_are_done(job: str) -> bool:
    return not Part.select().where(Part.job == job, ~Part.done).exists()


def remove_parts(job: str) -> None:
    execute(Part.delete().where(Part.job == job))


def remove_parts_of_ended(job: str | None = None) -> None:
    """Remove the parts of reports that have ended, or of this report if it has.

    It may be run again concurrently and already have new parts.
    """
    execute(Part.delete().where(ENDED if job is None else ENDED & (Part.job == job)))


# Attempts: their history explains to people why a report took long or has no file.


def begin_attempt(job: str, number: int, token: str, worker: str, now: int) -> None:
    """Record that an attempt began, or that a paused attempt continues with another token."""
    paused = (Attempt.job == job) & (Attempt.number == number) & Attempt.ended_at.is_null()
    if not execute(Attempt.update(token=token, worker=worker).where(paused)):
        Attempt.create(job=job, number=number, token=token, worker=worker, began_at=now)


def end_attempt(
    job: str, token: str, outcome: str, now: int, *, reason: str | None = None, rows: int | None = None
) -> None:
    """Record how an attempt ended; later calls change nothing."""
    values = {"outcome": outcome, "ended_at": now, "reason": reason} | ({} if rows is None else {"rows": rows})
    mine = (Attempt.job == job) & (Attempt.token == token) & Attempt.ended_at.is_null()
    execute(Attempt.update(values).where(mine))


def end_attempts(job: str, outcome: str, now: int, reason: str | None = None) -> None:
    """End all open attempts of a report together with it."""
    open_ones = (Attempt.job == job) & Attempt.ended_at.is_null()
    execute(Attempt.update(outcome=outcome, ended_at=now, reason=reason).where(open_ones))


def attempts(job: str) -> list[Attempt]:
    return list(Attempt.select().where(Attempt.job == job).order_by(Attempt.id))


def is_recipient(report: Report, account: int) -> bool:
    """Return whether a user gets mail about the reports of a report's schedule."""
    is_one = (ScheduleRecipient.schedule == report.schedule) & (ScheduleRecipient.account == account)
    return bool(ScheduleRecipient.select().where(is_one, ScheduleRecipient.removed_at.is_null()).exists())
