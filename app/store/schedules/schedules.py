"""Queries about recurring reports. A process claims one before it starts a report, so that only one process does so."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Case, ModelSelect

from app.store import queries
from app.store.database import transaction
from app.store.models import Delivery, Report, Schedule, ScheduleRecipient, ScheduleWebhook
from app.store.notifications import deliveries
from app.store.queries import among, change_unique, create_unique, equal, execute, find_one
from app.store.reports.reports import about


def by_id(key: int) -> Schedule | None:
    return find_one(Schedule, "id", key)


def every(owner: int | None = None, customers: Sequence[str] | None = None) -> list[Schedule]:
    """Return recurring reports by name.

    Args:
        owner: only recurring reports of this user.
        customers: only recurring reports about these customers.
    """
    query = among(equal(Schedule.select(), (Schedule.owner, owner)), Schedule.customer, customers)
    return sorted(query, key=lambda schedule: (schedule.name.casefold(), schedule.id))


def number(owner: int) -> int:
    return Schedule.select().where(Schedule.owner == owner).count()


def add(**values: object) -> Schedule | None:
    """Store a recurring report, or return None if its owner has another of that name."""
    return create_unique(Schedule, **values)


def change(key: int, **values: object) -> int | None:
    """Change a recurring report, and return 1, 0 if it was removed, or None if its owner has another of that name."""
    return change_unique(Schedule, key, **values)


def remove(key: int) -> bool:
    """Remove a recurring report with its webhook deliveries but not its reports, and return whether it existed."""
    with transaction():
        execute(ScheduleRecipient.delete().where(ScheduleRecipient.schedule == key))
        execute(ScheduleWebhook.delete().where(ScheduleWebhook.schedule == key))
        deliveries.remove_all(Delivery.schedule == key)
        return execute(Schedule.delete().where(Schedule.id == key)) == 1


def due(now: int) -> list[Schedule]:
    """Return the active recurring reports that are due, the longest due first."""
    return list(Schedule.select().where(Schedule.active, Schedule.next_run_at <= now).order_by(Schedule.next_run_at))


def claim(key: int, token: str, now: int, following: int | None, *, due: int | None) -> Schedule | None:
    """Claim a recurring report to start it, and return the current row, or None if another process holds it.

    Args:
        following: the run after this one. None means that the next run stays.
        due: the expected next run. If it has changed, the claim fails. None means any.
    """
    free = (Schedule.id == key) & Schedule.claim.is_null()
    if due is not None:
        free &= Schedule.active & (Schedule.next_run_at == due)
    taken = Schedule.update(claim=token, claimed_at=now, claimed_next_run_at=following).where(free)
    return by_id(key) if execute(taken) == 1 else None


def settle(key: int, token: str, *, ran: bool, **values: object) -> bool:
    """Release a claim and record the result, or return False if the claim was lost or the row was removed.

    Args:
        ran: whether the run is finished, so that the following run is next. If the schedule was paused or its
            recurrence changed meanwhile, its next run is already set, and stays.
    """
    if ran:
        is_over = Schedule.claimed_next_run_at.is_null(False) & (Schedule.next_run_at <= Schedule.claimed_at)
        values = {"next_run_at": Case(None, [(is_over, Schedule.claimed_next_run_at)], Schedule.next_run_at)} | values
    values |= {"claim": None, "claimed_at": None, "claimed_next_run_at": None}
    return execute(Schedule.update(values).where(Schedule.id == key, Schedule.claim == token)) == 1


def waiting(after: int) -> list[Schedule]:
    """Return the active schedules whose next run is after a time."""
    return list(Schedule.select().where(Schedule.active, Schedule.next_run_at > after))


def set_next_run(key: int, seen: int, next_run_at: int) -> bool:
    """Change the next run of a recurring report, or return False if it is no longer the expected one."""
    unchanged = (Schedule.id == key) & Schedule.active & (Schedule.next_run_at == seen)
    return execute(Schedule.update(next_run_at=next_run_at).where(unchanged)) == 1


def abandoned(before: int, after: int) -> list[Schedule]:
    """Return schedules that were claimed before a time, or in the future, and not released, because a process died."""
    is_over = (Schedule.claimed_at < before) | (Schedule.claimed_at > after)
    return list(Schedule.select().where(Schedule.claim.is_null(False), is_over))


def left_by(schedule: Schedule) -> Report | None:
    """Return a report that was started but not recorded in its schedule, because the process may have died."""
    newest: Report | None = Report.select().where(Report.schedule == schedule.id).order_by(Report.id.desc()).first()
    return None if newest is None or newest.cancelled or newest.job == schedule.last_report else newest


def reports(key: int, limit: int, customers: Sequence[str] | None = None) -> list[Report]:
    """Return the newest reports of a schedule, newest first, optionally only those about `customers`."""
    return queries.newest(_started(key, customers), Report.id, limit)


def count_reports(key: int, customers: Sequence[str] | None = None) -> int:
    """Return how many reports a schedule has started, optionally only those about `customers`."""
    return _started(key, customers).count()


def _started(key: int, customers: Sequence[str] | None) -> ModelSelect[Report]:
    """Select a schedule's reports by their own customer, because the schedule may have had another one before."""
    return about(Report.select().where(Report.schedule == key), customers)
