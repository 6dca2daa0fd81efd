"""Queries about webhook deliveries and the record of their tries."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import fn

from app.store import queries, step_size
from app.store.database import transaction
from app.store.models import Delivery, DeliveryTry, Report, Schedule
from app.store.queries import among, execute

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"
GIVING_UP = {"state": GIVEN_UP, "next_try_at": None}


def unannounced(since: int) -> list[Report]:
    """Return the reports that ended since a time, have a schedule with a webhook, and have no delivery yet."""
    of_report = (Delivery.report == Report.job) & (Delivery.ended_at == Report.ended_at)
    is_due = (Report.ended_at >= Schedule.webhook_set_at) & (Report.ended_at >= since)
    query = Report.select(Report).join(Schedule, on=(Report.schedule == Schedule.id) & is_due)
    has_no_delivery = ~fn.EXISTS(Delivery.select().where(of_report))
    return list(query.where(Report.status != "RUNNING", Schedule.webhook.is_null(False), has_no_delivery))


def add(key: str, report: Report, now: int) -> None:
    """Create the delivery of a report's end, unless it exists already."""
    values = {"key": key, "schedule": report.schedule, "report": report.job, "ended_at": report.ended_at}
    values |= {"status": report.status, "state": WAITING, "tries": 0, "next_try_at": now, "created_at": now}
    execute(Delivery.insert(values).on_conflict_ignore())


def by_id(key: int) -> Delivery | None:
    return Delivery.get_or_none(Delivery.id == key)


def schedule(delivery: Delivery) -> Schedule | None:
    """Return the schedule of a delivery, unless it was removed."""
    return Schedule.get_or_none(Schedule.id == delivery.schedule)


def due(now: int, limit: int, *, latest: int) -> list[Delivery]:
    """Return the deliveries that are due, the longest due first.

    Args:
        latest: the latest valid time of a try. A later one was set by a fast clock, so it is due, too.
    """
    is_due = (Delivery.next_try_at <= now) | (Delivery.next_try_at > latest)
    return list(Delivery.select().where(is_due).order_by(Delivery.next_try_at).limit(limit))


def claim(delivery: Delivery, next_try_at: int) -> bool:
    """Claim a delivery for a try, and return whether this call won.

    `next_try_at` also takes effect if the process dies during the try.
    """
    seen = (Delivery.tries == delivery.tries) & (Delivery.next_try_at == delivery.next_try_at)
    query = Delivery.update(tries=delivery.tries + 1, next_try_at=next_try_at)
    return execute(query.where(Delivery.id == delivery.id, seen)) == 1


def note(delivery: int, tries: int, state: str, **tried: object) -> None:
    """Record a try and the resulting state of the delivery. It does nothing if the delivery's schedule was removed.

    Args:
        tries: the number of tries when it began. If the delivery was restarted meanwhile, its state stays.
    """
    with transaction():
        if Delivery.select().where(Delivery.id == delivery).exists():
            DeliveryTry.create(delivery=delivery, **tried)
            if state != WAITING:
                ended = Delivery.update(state=state, next_try_at=None)
                execute(ended.where(Delivery.id == delivery, Delivery.tries == tries))


def give_up(delivery: int) -> None:
    """Give up a waiting delivery whose last try left no record."""
    execute(Delivery.update(GIVING_UP).where(Delivery.id == delivery, Delivery.state == WAITING))


def give_up_all(schedule: int) -> None:
    """Give up a schedule's waiting deliveries, because nobody is notified any more."""
    execute(Delivery.update(GIVING_UP).where(Delivery.schedule == schedule, Delivery.state == WAITING))


def again(delivery: int, now: int) -> bool:
    """Restart a delivery, and return whether it still exists."""
    return execute(Delivery.update(state=WAITING, tries=0, next_try_at=now).where(Delivery.id == delivery)) == 1


def newest(schedule: int, limit: int, customers: Sequence[str] | None = None) -> list[Delivery]:
    """Return a schedule's newest deliveries, newest first, optionally only for reports about `customers`."""
    query = Delivery.select().where(Delivery.schedule == schedule)
    if customers is not None:
        query = among(query.join(Report, on=Report.job == Delivery.report), Report.customer, customers)
    return queries.newest(query, Delivery.id, limit)


def tries(deliveries: Sequence[int]) -> dict[int, list[DeliveryTry]]:
    """Return the tries of each of these deliveries, oldest first."""
    by_delivery: dict[int, list[DeliveryTry]] = {key: [] for key in deliveries}
    for tried in DeliveryTry.select().where(DeliveryTry.delivery.in_(list(deliveries))).order_by(DeliveryTry.id):
        by_delivery[tried.delivery].append(tried)
    return by_delivery


def purge(before: int) -> None:
    """Remove the deliveries that were created before a time and have no next try."""
    old = (Delivery.created_at < before) & Delivery.next_try_at.is_null()
    step_size.purge(DeliveryTry.id, DeliveryTry.delivery.in_(Delivery.select(Delivery.id).where(old)))
    step_size.purge(Delivery.id, old)
