"""The evaluation of the rules: which scheduler evaluates, and the changes of alerts that it commits at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from peewee import fn

from app.store.alerts.alerts import RESOLVED
from app.store.database import server_time, transaction
from app.store.models import (
    Alert,
    AlertEvaluation,
    AlertMessage,
    AlertSilence,
    Delivery,
    DeliveryTry,
    Event,
    RejectedEvent,
    Report,
)
from app.store.queries import execute, fetch, fetch_column, fetch_int
from app.support.clock import SKEW_MS

ABANDONED_MS = 180_000  # an evaluation takes seconds; after this, its process is considered dead
ROWS = 500  # per statement


class Claim(NamedTuple):
    """Right to evaluate the rules.

    Attributes:
        token: of the process that has it.
        now: time of the evaluation by the database's clock.
        before: time of the evaluation before, or None if there was none.
        resumed_at: since when there was no gap between evaluations.
    """

    token: str
    now: int
    before: int | None
    resumed_at: int


def claim(token: str, interval_ms: int) -> Claim | None:
    """Claim the next evaluation, or return None if it is not due, or another process has claimed it."""
    now = server_time()
    this = AlertEvaluation
    is_due = this.evaluated_at.is_null() | (this.evaluated_at <= now - interval_ms)
    is_due |= this.evaluated_at > now + SKEW_MS  # the clock went back
    is_free = this.claim.is_null() | (this.claimed_at < now - ABANDONED_MS) | (this.claimed_at > now + SKEW_MS)
    if execute(this.update(claim=token, claimed_at=now).where(is_due, is_free)) != 1:
        return None
    ((before, resumed_at),) = fetch(this.select(this.evaluated_at, this.resumed_at))
    return Claim(token, now, before, resumed_at)


def finish(claim: Claim, resumed_at: int) -> bool:
    """Record the evaluation and give up the claim, or return False if another process has taken it over.

    Call it first in the transaction that writes the results, so that only one process writes them.
    """
    values = {"claim": None, "claimed_at": None, "evaluated_at": claim.now, "resumed_at": resumed_at}
    return execute(AlertEvaluation.update(values).where(AlertEvaluation.claim == claim.token)) == 1


def abandon(claim: Claim) -> None:
    """Give up a claim without results, so that the evaluation is due at once."""
    execute(AlertEvaluation.update(claim=None, claimed_at=None).where(AlertEvaluation.claim == claim.token))


def unresolved() -> list[Alert]:
    """Return the alerts that are pending or firing, the oldest first."""
    return list(Alert.select().where(Alert.state != RESOLVED).order_by(Alert.id))


def resolved_since(moment: int) -> list[Alert]:
    """Return the alerts that were resolved since a time, the oldest first."""
    return list(Alert.select().where(Alert.state == RESOLVED, Alert.resolved_at >= moment).order_by(Alert.id))


def insert(rows: Sequence[dict[str, Any]]) -> None:
    """Store new alerts."""
    for place in range(0, len(rows), ROWS):
        execute(Alert.insert_many(rows[place : place + ROWS]))


def change(keys: Sequence[int], **values: object) -> None:
    """Change some alerts in the same way."""
    for place in range(0, len(keys), ROWS):
        execute(Alert.update(values).where(Alert.id.in_(list(keys[place : place + ROWS]))))


def remove(keys: Sequence[int]) -> None:
    """Remove pending alerts that did not fire."""
    for place in range(0, len(keys), ROWS):
        execute(Alert.delete().where(Alert.id.in_(list(keys[place : place + ROWS]))))


def silences(now: int) -> list[AlertSilence]:
    """Return the silences that apply at a time."""
    return list(AlertSilence.select().where(AlertSilence.created_at <= now, AlertSilence.until_at > now))


def last_messages() -> dict[tuple[int, str], int]:
    """Return the time of the last message of each rule and event."""
    query = AlertMessage.select(AlertMessage.rule, AlertMessage.event, fn.max(AlertMessage.created_at))
    return {(rule, event): at for rule, event, at in fetch(query.group_by(AlertMessage.rule, AlertMessage.event))}


def add_message(**values: object) -> None:
    """Queue a message for the channels."""
    execute(AlertMessage.insert(**values))


def purge(alerts_before: int, messages_before: int) -> None:
    """Remove old resolved alerts, ended silences and messages."""
    with transaction():
        execute(Alert.delete().where(Alert.state == RESOLVED, Alert.resolved_at < alerts_before))
        execute(AlertSilence.delete().where(AlertSilence.until_at < alerts_before))
        execute(AlertMessage.delete().where(AlertMessage.created_at < messages_before))


# Rejected events and ended reports.


def rejected_by_product(since: int) -> dict[str, int]:
    """Return the number of stored rejected events received since a time, by their apparent product."""
    query = RejectedEvent.select(RejectedEvent.product, fn.count(RejectedEvent.id))
    return dict(fetch(query.where(RejectedEvent.received_at >= since).group_by(RejectedEvent.product)))


def accepted_since(moment: int, product: str | None, most: int) -> int:
    """Return the number of events received since a time, but at most a number, optionally of one product."""
    low, high = 0, fetch_int(Event.select(fn.max(Event.id)))
    while low < high:  # ids are in the order of acceptance, and no index is on the time of receipt
        middle = (low + high) // 2
        row = fetch(Event.select(Event.id, Event.received).where(Event.id > middle).order_by(Event.id).limit(1))
        if row and row[0][1] < moment:
            low = row[0][0]
        else:
            high = middle
    query = Event.select(Event.id).where(Event.id > low)
    query = query.where(Event.product == product) if product is not None else query
    return query.limit(most).count()


def failed_reports(since: int) -> list[str]:
    """Return the UUIDs of the reports that failed since a time, the newest first."""
    ended = Report.select(Report.job).where(Report.status.in_(["FAILED", "TIMEOUT"]), ~Report.cancelled)
    return fetch_column(ended.where(Report.ended_at >= since).order_by(Report.id.desc()).limit(ROWS))


def failed_webhooks(since: int) -> int:
    """Return the number of webhooks and mails whose last try was since a time, after which they were given up."""
    last = DeliveryTry.select(DeliveryTry.delivery).where(DeliveryTry.began_at >= since)
    given_up = (Delivery.state == "given_up") & Delivery.channel.is_null()  # channels have a check of their own
    return Delivery.select().where(given_up, Delivery.id.in_(last)).count()
