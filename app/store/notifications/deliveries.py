"""The queue of notifications: what waits for which receiver, who may try to send it, and the record of the tries."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from peewee import Case, ColumnBase, Expression, Value, fn

from app.store import queries, step_size
from app.store.database import transaction
from app.store.models import Delivery, DeliveryTry, Report, Schedule, ScheduleWebhook, Webhook
from app.store.queries import equal, execute, fetch, find_one
from app.store.reports.reports import about

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"
REPORT_COMPLETED, REPORT_FAILED = "report.completed", "report.failed"  # event types
GIVING_UP = {"state": GIVEN_UP, "due_at": None}
RECEIVERS = {"webhook": Delivery.webhook, "recipient": Delivery.recipient, "channel": Delivery.channel}


def adopt() -> None:
    """Take over the rows that a process of version 1.0 has added or scheduled while it was replaced."""
    link = ScheduleWebhook.select(fn.MIN(ScheduleWebhook.webhook)).where(ScheduleWebhook.schedule == Delivery.schedule)
    kind = Case(Delivery.status, [("COMPLETE", REPORT_COMPLETED)], REPORT_FAILED)
    values = {"type": fn.COALESCE(Delivery.type, kind), "webhook": fn.COALESCE(Delivery.webhook, link)}
    is_of_old = Delivery.type.is_null() | Delivery.next_try_at.is_null(False)
    if Delivery.select().where(is_of_old).exists():  # nearly never, and a look costs no lock
        execute(Delivery.update(values | {"due_at": Delivery.next_try_at, "next_try_at": None}).where(is_of_old))
        has_no_receiver = [receiver.is_null() for receiver in RECEIVERS.values()]
        execute(Delivery.update(GIVING_UP).where(Delivery.state == WAITING, *has_no_receiver))


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
    query = about(equal(query, (Report.account, account)), customers)
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
    values |= {"state": WAITING, "tries": 0, "due_at": now, "created_at": now}
    execute(Delivery.insert(values).on_conflict_ignore())


def add(key: str, type: str, data: object, now: int, *, is_test: bool = False, **receiver: object) -> Delivery:
    """Create a delivery of an event's data. The caller of a test makes its only try.

    Args:
        receiver: `webhook`, with the `customer` if the data is about one, or `channel`.
    """
    values = {"key": key, "type": type, "data": data, "created_at": now} | receiver
    return Delivery.create(**values, state=WAITING, tries=int(is_test), due_at=None if is_test else now)


def by_id(key: int) -> Delivery | None:
    return find_one(Delivery, "id", key)


def schedule(delivery: Delivery) -> Schedule | None:
    """Return the schedule of a delivery's report, unless it was removed or there is none."""
    return find_one(Schedule, "id", delivery.schedule)


def due(
    kind: str, now: int, limit: int, *, latest: int, busy: Collection[Delivery] = (), in_order: bool = False
) -> list[Delivery]:
    """Return the deliveries to a kind of receiver that are due, the longest due first.

    Args:
        kind: a key of RECEIVERS.
        latest: the latest valid time of a try. A later one was set by a fast clock, so it is due, too.
        busy: deliveries that are being sent, which are left out.
        in_order: only the oldest due one of each receiver, and none of a receiver with a busy one.
    """
    receiver = RECEIVERS[kind]
    is_due = (Delivery.due_at <= now) | (Delivery.due_at > latest)
    is_due &= (Delivery.state == WAITING) & receiver.is_null(False)
    if in_order:
        is_due &= receiver.not_in([getattr(one, kind) for one in busy])
        is_due = Delivery.id.in_(Delivery.select(fn.MIN(Delivery.id)).where(is_due).group_by(receiver))
    query = Delivery.select().where(is_due, Delivery.id.not_in([one.id for one in busy]))
    return list(query.order_by(Delivery.due_at, Delivery.id).limit(limit))


def claim(delivery: Delivery, due_at: int) -> bool:
    """Claim a delivery for a try, and return whether this call won.

    `due_at` also takes effect if the process dies during the try.
    """
    seen = (Delivery.tries == delivery.tries) & (Delivery.due_at == delivery.due_at)
    query = Delivery.update(tries=delivery.tries + 1, due_at=due_at)
    return execute(query.where(Delivery.id == delivery.id, seen)) == 1


def note(delivery: int, tries: int, state: str, **tried: object) -> None:
    """Record a try and the resulting state of the delivery. It does nothing if the delivery was removed.

    Args:
        tries: the number of tries when it began. If the delivery was restarted meanwhile, its state stays.
    """
    with transaction():
        if Delivery.select().where(Delivery.id == delivery).exists():
            DeliveryTry.create(delivery=delivery, **tried)
            if state != WAITING:
                ended = Delivery.update(state=state, due_at=None)
                execute(ended.where(Delivery.id == delivery, Delivery.tries == tries))


def give_up(delivery: int) -> None:
    """Give up a waiting delivery whose last try left no record."""
    execute(Delivery.update(GIVING_UP).where(Delivery.id == delivery, Delivery.state == WAITING))


def give_up_all(**receiver: int) -> None:
    """Give up what waits for a `webhook`, `recipient` or `channel`, or about a `schedule`, because it gets no more."""
    columns = RECEIVERS | {"schedule": Delivery.schedule}
    found = [columns[name] == key for name, key in receiver.items()]
    execute(Delivery.update(GIVING_UP).where(Delivery.state == WAITING, *found))


def remove_all(*conditions: Expression) -> None:
    """Remove deliveries with the record of their tries."""
    found = Delivery.select(Delivery.id).where(*conditions)
    with transaction():
        execute(DeliveryTry.delete().where(DeliveryTry.delivery.in_(found)))
        execute(Delivery.delete().where(*conditions))


def hurry(channel: int, now: int, *, other_than: int = 0) -> None:
    """Make due what waits for a channel after a failed try, except a delivery."""
    # Without the record of a try, its first one is being made, and it would be sent twice.
    tried = fn.EXISTS(DeliveryTry.select().where(DeliveryTry.delivery == Delivery.id))
    waits = (Delivery.channel == channel) & (Delivery.due_at > now) & (Delivery.id != other_than)
    execute(Delivery.update(due_at=now).where(waits, tried))


def postpone(delivery: int, tries: int, due_at: int) -> None:
    """Make the next try no earlier than a time, unless the delivery was restarted meanwhile."""
    is_earlier = (Delivery.tries == tries) & (Delivery.due_at < due_at)
    execute(Delivery.update(due_at=due_at).where(Delivery.id == delivery, is_earlier))


def again(delivery: int, now: int) -> bool:
    """Restart a delivery, and return whether it still exists."""
    return execute(Delivery.update(state=WAITING, tries=0, due_at=now).where(Delivery.id == delivery)) == 1


def newest(
    limit: int,
    *,
    schedule: int | None = None,
    webhook: int | None = None,
    channel: int | None = None,
    customers: Sequence[str] | None = None,
) -> list[Delivery]:
    """Return the newest deliveries about a schedule, or to a webhook or channel, newest first.

    Args:
        customers: only deliveries of reports about these customers.
    """
    pairs = (Delivery.schedule, schedule), (Delivery.webhook, webhook), (Delivery.channel, channel)
    query = equal(Delivery.select(), *pairs)
    if customers is not None:
        query = about(query.join(Report, on=Report.job == Delivery.report), customers)
    return queries.newest(query, Delivery.id, limit)


def tries(deliveries: Sequence[int]) -> dict[int, list[DeliveryTry]]:
    """Return the tries of each of these deliveries, oldest first."""
    by_delivery: dict[int, list[DeliveryTry]] = {key: [] for key in deliveries}
    for tried in DeliveryTry.select().where(DeliveryTry.delivery.in_(list(deliveries))).order_by(DeliveryTry.id):
        by_delivery[tried.delivery].append(tried)
    return by_delivery


def count_waiting(channels: Sequence[int]) -> dict[int, int]:
    """Return the number of messages that wait for each of some alert channels, without zeros."""
    waits = (Delivery.state == WAITING) & Delivery.channel.in_(list(channels))
    query = Delivery.select(Delivery.channel, fn.COUNT(Delivery.id)).where(waits)
    return dict(fetch(query.group_by(Delivery.channel)))


def purge(before: int) -> None:
    """Remove the deliveries that were created before a time and have no next try."""
    old = (Delivery.created_at < before) & Delivery.due_at.is_null()
    step_size.purge(DeliveryTry.id, DeliveryTry.delivery.in_(Delivery.select(Delivery.id).where(old)))
    step_size.purge(Delivery.id, old)
