"""Queries about alert channels, and the deliveries of messages to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from peewee import Expression, IntegrityError

from app.store import queries, step_size
from app.store.database import transaction
from app.store.models import AlertChannel, AlertDelivery, AlertMessage
from app.store.queries import among, execute, fetch

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"


def every(ids: Collection[int] | None = None) -> list[AlertChannel]:
    """Return the channels by name, optionally only some."""
    return list(
        among(AlertChannel.select(), AlertChannel.id, None if ids is None else [*ids]).order_by(AlertChannel.name)
    )


def by_id(key: int) -> AlertChannel | None:
    return AlertChannel.get_or_none(AlertChannel.id == key)


def add(**values: object) -> AlertChannel | None:
    """Store a channel, or return None if there is another of its name."""
    try:
        with transaction():
            return AlertChannel.create(**values)
    except IntegrityError:
        return None


def change(key: int, **values: object) -> int | None:
    """Change a channel, and return 1, 0 if it was removed, or None if there is another of its name."""
    try:
        with transaction():
            return execute(AlertChannel.update(values).where(AlertChannel.id == key))
    except IntegrityError:
        return None


def remove(key: int) -> bool:
    """Remove a channel and the record of its deliveries, and return whether it existed."""
    with transaction():
        execute(AlertDelivery.delete().where(AlertDelivery.channel == key))
        return execute(AlertChannel.delete().where(AlertChannel.id == key)) == 1


def add_deliveries(message: int, channels: Collection[int], now: int) -> None:
    """Create the delivery of a message to each of some channels, unless it exists already."""
    common = {"message": message, "state": WAITING, "tries": 0, "next_try_at": now, "created_at": now, "said": ""}
    rows = [common | {"channel": channel} for channel in channels]
    if rows:
        execute(AlertDelivery.insert_many(rows).on_conflict_ignore())


def due(now: int, *, latest: int, busy: Collection[int]) -> list[AlertDelivery]:
    """Return the oldest due delivery of each channel, except of the busy ones.

    Args:
        latest: the latest valid time of a try. A later one was set by a fast clock, so it is due, too.
    """
    is_due = (AlertDelivery.next_try_at <= now) | (AlertDelivery.next_try_at > latest)
    query = AlertDelivery.select().where(is_due).order_by(AlertDelivery.id)
    oldest: dict[int, AlertDelivery] = {}
    for delivery in query if not busy else query.where(AlertDelivery.channel.not_in([*busy])):
        oldest.setdefault(delivery.channel, delivery)
    return list(oldest.values())


def claim(delivery: AlertDelivery, now: int, next_try_at: int) -> bool:
    """Claim a delivery for a try, and return whether this call won.

    `next_try_at` also takes effect if the process dies during the try.
    """
    seen = (AlertDelivery.tries == delivery.tries) & (AlertDelivery.next_try_at == delivery.next_try_at)
    query = AlertDelivery.update(tries=delivery.tries + 1, next_try_at=next_try_at, tried_at=now)
    return execute(query.where(AlertDelivery.id == delivery.id, seen)) == 1


def message(key: int) -> AlertMessage | None:
    return AlertMessage.get_or_none(AlertMessage.id == key)


def note_delivered(delivery: AlertDelivery, now: int, said: str) -> None:
    """Record that a channel accepted a message. What else waits for the channel is due at once."""
    with transaction():
        values = {"state": DELIVERED, "next_try_at": None, "said": said}
        execute(AlertDelivery.update(values).where(AlertDelivery.id == delivery.id))
        note_works(delivery.channel, now)


def note_works(channel: int, now: int) -> None:
    """Record that a channel accepted a message, and make those due that wait for a later try."""
    with transaction():
        working = {"sent_at": now, "failed_at": None, "problem": None}
        execute(AlertChannel.update(working).where(AlertChannel.id == channel))
        waits = (AlertDelivery.channel == channel) & (AlertDelivery.next_try_at > now)
        # A claimed one has its try now, and would be tried twice.
        execute(AlertDelivery.update(next_try_at=now).where(waits, AlertDelivery.said != ""))


def note_failed(delivery: AlertDelivery, now: int, said: str, *, is_last: bool) -> None:
    """Record a failed try."""
    with transaction():
        values: dict[str, object] = {"said": said}
        values |= {"state": GIVEN_UP, "next_try_at": None} if is_last else {}
        execute(AlertDelivery.update(values).where(AlertDelivery.id == delivery.id))
        note_problem(delivery.channel, now, said)


def note_problem(channel: int, now: int, problem: str) -> None:
    """Record why a channel did not accept a message, and since when it does not."""
    with transaction():
        execute(AlertChannel.update(problem=problem).where(AlertChannel.id == channel))
        first = (AlertChannel.id == channel) & AlertChannel.failed_at.is_null()
        execute(AlertChannel.update(failed_at=now).where(first))


def give_up(where: Expression) -> None:
    execute(AlertDelivery.update(state=GIVEN_UP, next_try_at=None).where(where, AlertDelivery.state == WAITING))


def give_up_delivery(delivery: int) -> None:
    """Give up a waiting delivery, because its last try left no record or there is nothing to send."""
    give_up(AlertDelivery.id == delivery)


def give_up_all(channel: int) -> None:
    """Give up what waits for a channel, because it is switched off."""
    give_up(AlertDelivery.channel == channel)


def newest(channel: int, limit: int) -> list[tuple[AlertDelivery, AlertMessage]]:
    """Return a channel's newest deliveries with their messages, newest first."""
    found = queries.newest(AlertDelivery.select().where(AlertDelivery.channel == channel), AlertDelivery.id, limit)
    keys = [one.message for one in found]
    messages = {one.id: one for one in AlertMessage.select().where(AlertMessage.id.in_(keys))}
    return [(one, messages[one.message]) for one in found if one.message in messages]


def count_waiting(channels: Sequence[int]) -> dict[int, int]:
    """Return the number of messages that wait for each of some channels, without zeros."""
    waits = (AlertDelivery.state == WAITING) & AlertDelivery.channel.in_(list(channels))
    counts: dict[int, int] = {}
    for (channel,) in fetch(AlertDelivery.select(AlertDelivery.channel).where(waits)):
        counts[channel] = counts.get(channel, 0) + 1
    return counts


def purge(before: int) -> None:
    """Remove the deliveries that were created before a time and have no next try."""
    step_size.purge(AlertDelivery.id, (AlertDelivery.created_at < before) & AlertDelivery.next_try_at.is_null())
