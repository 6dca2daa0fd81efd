"""Queries about the users who get mail about the reports of a schedule."""

from __future__ import annotations

from collections.abc import Mapping

from peewee import JOIN, fn

from app.store.database import transaction
from app.store.models import Account, Delivery, Report, Schedule, ScheduleRecipient
from app.store.notifications.deliveries import REPORT_COMPLETED, REPORT_FAILED, WAITING, give_up_all
from app.store.queries import execute, find_one


def of_schedule(schedule: int) -> list[ScheduleRecipient]:
    """Return the recipients of a schedule by name, including those that were removed by themselves."""
    found = ScheduleRecipient.select().where(ScheduleRecipient.schedule == schedule)
    return sorted(found, key=lambda one: one.name)


def active() -> list[tuple[ScheduleRecipient, Schedule, Account | None]]:
    """Return all recipients with their schedules and accounts. None means that there is no such user any more."""
    rows = list(ScheduleRecipient.select().where(ScheduleRecipient.removed_at.is_null()))
    schedules = {one.id: one for one in Schedule.select().where(Schedule.id.in_([row.schedule for row in rows]))}
    users = {one.id: one for one in Account.select().where(Account.id.in_([row.account for row in rows]))}
    return [(row, schedules[row.schedule], users.get(row.account)) for row in rows if row.schedule in schedules]


def find(schedule: int, account: int) -> tuple[ScheduleRecipient, Schedule] | None:
    """Return a recipient of a schedule, unless it was removed."""
    is_one = (ScheduleRecipient.schedule == schedule) & (ScheduleRecipient.account == account)
    recipient = ScheduleRecipient.get_or_none(is_one & ScheduleRecipient.removed_at.is_null())
    found = find_one(Schedule, "id", schedule)
    return (recipient, found) if recipient and found else None


def of_delivery(delivery: Delivery) -> tuple[ScheduleRecipient, Schedule, Account | None] | None:
    """Return the recipient of a delivery with the schedule and the account, unless it was removed."""
    found = find(delivery.schedule or 0, delivery.recipient or 0)
    return None if found is None else (*found, find_one(Account, "id", delivery.recipient))


def set_all(schedule: int, names: Mapping[int, str], now: int) -> None:
    """Set the recipients of a schedule, whose names are given by id. What waits for another one is given up."""
    with transaction():
        kept = {row.account for row in of_schedule(schedule) if row.removed_at is None and row.account in names}
        for row in of_schedule(schedule):
            if row.account not in kept:
                _delete(schedule, row.account)
        for account, name in names.items():
            if account not in kept:
                ScheduleRecipient.create(schedule=schedule, account=account, name=name, added_at=now)


def remove(schedule: int, account: int, now: int, reason: str) -> bool:
    """Mark a recipient as removed, give up what waits, and return whether it was active."""
    is_one = (ScheduleRecipient.schedule == schedule) & (ScheduleRecipient.account == account)
    query = ScheduleRecipient.update(removed_at=now, reason=reason)
    give_up_all(schedule=schedule, recipient=account)
    return execute(query.where(is_one, ScheduleRecipient.removed_at.is_null())) == 1


def unannounced(since: int) -> list[tuple[Report, int]]:
    """Return the reports of schedules that ended since a time, each with a recipient who has no delivery of it yet."""
    of_report = (Delivery.report == Report.job) & (Delivery.ended_at == Report.ended_at)
    is_due = (Report.ended_at >= ScheduleRecipient.added_at) & (Report.ended_at >= since)
    to_whom = Delivery.recipient == ScheduleRecipient.account
    query = (
        Report.select(Report, ScheduleRecipient.account.alias("to"))
        .join(ScheduleRecipient, JOIN.INNER, on=(Report.schedule == ScheduleRecipient.schedule) & is_due)
        .where(
            Report.status != "RUNNING",
            ScheduleRecipient.removed_at.is_null(),
            ~fn.EXISTS(Delivery.select().where(of_report, to_whom)),
        )
    )
    return [(report, vars(report)["to"]) for report in query.objects()]


def add_delivery(key: str, report: Report, recipient: int, now: int) -> None:
    """Create the delivery of a report's end to a recipient, unless it exists already."""
    kind = REPORT_COMPLETED if report.status == "COMPLETE" else REPORT_FAILED
    values = {"key": key, "type": kind, "recipient": recipient, "schedule": report.schedule, "report": report.job}
    values |= {"ended_at": report.ended_at, "status": report.status, "state": WAITING, "tries": 0}
    execute(Delivery.insert(values | {"due_at": now, "created_at": now}).on_conflict_ignore())


def _delete(schedule: int, account: int) -> None:
    is_one = (ScheduleRecipient.schedule == schedule) & (ScheduleRecipient.account == account)
    execute(ScheduleRecipient.delete().where(is_one))
    give_up_all(schedule=schedule, recipient=account)
