"""Queries about deliveries of notifications and the record of their tries."""

from __future__ import annotations

from collections.abc import Sequence

from peewee import Case, ColumnBase, Expression, Value, fn

from app.store import queries, step_size
from app.store.database import transaction
from app.store.models import Delivery, DeliveryTry, Report, Schedule, ScheduleWebhook, Webhook
from app.store.queries import among, equal, execute

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"
REPORT_COMPLETED, REPORT_FAILED = "report.completed", "report.failed"  # event types
GIVING_UP = {"state": GIVEN_UP, "next_try_at": None}


def adopt() -> None:
    """Complete the rows that a process of version 1.0 has added while it was replaced."""
    link = ScheduleWebhook.select(fn.MIN(ScheduleWebhook.webhook)).where(ScheduleWebhook.schedule == Delivery.schedule)
    kind = Case(Delivery.status, [("COMPLETE", REPORT_COMPLETED)], REPORT_FAILED)
    if Delivery.select().where(Delivery.type.is_null()).exists():  # nearly never, and a look costs no lock
        execute(Delivery.update(type=kind, webhook=link).where(Delivery.type.is_null()))


def unannounced(since: int) -> list[tuple[Report, int]]:
    """Return the reports of schedules that ended since a time, each with a webhook that has no delivery for it yet."""
    is_due = (Report.ended_at >= ScheduleWebhook.added_at) & (Report.ended_at >= since)
    query = (
        Report.select(Report, ScheduleWebhook.webhook.alias("to"))
        .join(ScheduleWebhook, on=(Report.schedule == ScheduleWebhook.schedule) & is_due)
        .join(Webhook, on=(Webhook.id == ScheduleWebhook.webhook) & (Report.ended_at >= Webhook.enabled_at))
        .where(Report.status != "RUNNING", Webhook.disabled_at.is_null(), _has_no_delivery(ScheduleWebhook.webhook))
    )
    return [(report, vars(report)["to"]) for report in query.objects()]


def unannounced_to(
    webhook: int, since: int, statuses: Sequence[str], account: int | None, customers: Sequence[str] | None
) -> list[Report]:
    """Return the reports that ended since a time with one of `statuses`, and have no delivery to a webhook yet.

    Args:
        account: only reports of this user.
        customers: only reports about these customers.
    """
    query = Report.select().where(Report.ended_at >= since, Report.status.in_(list(statuses)))
    query = among(equal(query, (Report.account, account)), Report.customer, customers)
    return list(query.where(_has_no_delivery(Value(webhook))))


def _has_no_delivery(webhook: ColumnBase) -> Expression:
    """Return the condition that a webhook has no delivery of a report's end."""
    of_report = (Delivery.report == Report.job) & (Delivery.ended_at == Report.ended_at)
    found: Expression = ~fn.EXISTS(
        Delivery.select().where(of_report, (Delivery.webhook == webhook) | Delivery.type.is_null())
    )
    return found


def add_report(key: str, report: Report, webhook: int, now: int) -> None:
    """Create the delivery of a report's end to a webhook, unless it exists already."""
    kind = REPORT_COMPLETED if report.status == "COMPLETE" else REPORT_FAILED
    values = {"key": key, "type": kind, "webhook": webhook, "schedule": report.schedule, "report": report.job}
    values |= {"ended_at": report.ended_at, "status": report.status}
    values |= {"state": WAITING, "tries": 0, "next_try_at": now, "created_at": now}
    execute(Delivery.insert(values).on_conflict_ignore())


def add(
    key: str, type: str, webhook: int, data: object, now: int, *, customer: str | None = None, is_test: bool = False
) -> Delivery:
    """Create a delivery of an event's data to a webhook. The caller of a test makes its only try."""
    values = {"key": key, "type": type, "webhook": webhook, "customer": customer, "data": data, "created_at": now}
    return Delivery.create(**values, state=WAITING, tries=int(is_test), next_try_at=None if is_test else now)


def by_id(key: int) -> Delivery | None:
    return Delivery.get_or_none(Delivery.id == key)


def schedule(delivery: Delivery) -> Schedule | None:
    """Return the schedule of a delivery's report, unless it was removed or there is none."""
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


def give_up_all(*, schedule: int | None = None, webhook: int | None = None, recipient: int | None = None) -> None:
    """Give up the waiting deliveries of a schedule, to a webhook or recipient, because it is notified no more."""
    waiting = Delivery.state == WAITING
    if schedule is not None:
        waiting &= Delivery.schedule == schedule
    if webhook is not None:
        waiting &= Delivery.webhook == webhook
    if recipient is not None:
        waiting &= Delivery.recipient == recipient
    execute(Delivery.update(GIVING_UP).where(waiting))


def postpone(delivery: int, tries: int, next_try_at: int) -> None:
    """Make the next try no earlier than a time, unless the delivery was restarted meanwhile."""
    is_earlier = (Delivery.tries == tries) & (Delivery.next_try_at < next_try_at)
    execute(Delivery.update(next_try_at=next_try_at).where(Delivery.id == delivery, is_earlier))


def again(delivery: int, now: int) -> bool:
    """Restart a delivery, and return whether it still exists."""
    return execute(Delivery.update(state=WAITING, tries=0, next_try_at=now).where(Delivery.id == delivery)) == 1


def newest(
    limit: int,
    *,
    schedule: int | None = None,
    webhook: int | None = None,
    customers: Sequence[str] | None = None,
) -> list[Delivery]:
    """Return the newest deliveries of a schedule or to a webhook, newest first.

    Args:
        customers: only deliveries of reports about these customers.
    """
    query = equal(Delivery.select(), (Delivery.schedule, schedule), (Delivery.webhook, webhook))
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
