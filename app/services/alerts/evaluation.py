"""Evaluates the rules every minute, in exactly one of the schedulers.

The one that claims an evaluation judges all rules, and then commits its results in one transaction: the new states of
alerts, the messages about them, and that the evaluation has ended. If it is killed before that, nothing has happened,
and the next one decides the same. The channels send committed messages at least once.

An alert is pending when its condition holds, firing when it has held for a while, and resolved when it has not held for
a while. While the counts are incomplete, because counting lags, events wait in the spool, or the service was down,
rules about events are not judged, or only by what was counted.
"""

from __future__ import annotations

import secrets
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from app.exceptions import StoreUnavailable
from app.schemas.alerts import HEALTH, REJECTED, STOPPED, THRESHOLD, VOLUME
from app.services.alerts import messages
from app.services.alerts.judging import HealthChecks, Key, Level, Moment, Verdict, Verdicts, judge, kind_of
from app.services.alerts.learning import learn_due
from app.store.alerts import evaluation as store
from app.store.alerts import rules as rules_store
from app.store.alerts.alerts import FIRING, PENDING, RESOLVED
from app.store.alerts.counts import Series
from app.store.alerts.evaluation import Claim
from app.store.database import transaction
from app.store.events.hourly_counts import uncounted_since
from app.store.models import Alert, AlertRule
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, SKEW_MS

INTERVAL_MS = 55_000  # a little less than a minute, because schedulers ask every few seconds
GAP_MS = 10 * MINUTE_MS  # without evaluations, after which what happened in between is not judged
PENDING_MS = {STOPPED: MINUTE_MS, VOLUME: MINUTE_MS, REJECTED: MINUTE_MS, THRESHOLD: MINUTE_MS, HEALTH: 5 * MINUTE_MS}
CALM_MS = 5 * MINUTE_MS
REFRESHED_MS = 5 * MINUTE_MS  # between two updates of what a firing alert has seen
# Most new alerts and updates in one transaction, because other writers wait for it; the others follow a minute later.
MAX_ADDED, MAX_REFRESHED = 1_000, 200
KEEP_DAYS, KEEP_MESSAGES_DAYS = 365, 60
REJECTS_RISING = "rejects.rising"

log = structlog.get_logger(__name__)


class Announce(Protocol):
    """Function that queues webhooks."""

    def __call__(self, event: str, data: Mapping[str, object], /, *, customer: str | None) -> object:
        """Queue a webhook for each endpoint that wants an event type, in the caller's transaction.

        Args:
            customer: the customer that the data is about; None: several or all.
        """


@dataclass
class Changes:
    """New states of alerts."""

    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[Alert] = field(default_factory=list)
    fired: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)
    calmed: list[Alert] = field(default_factory=list)
    uncalmed: list[Alert] = field(default_factory=list)
    refreshed: list[tuple[Alert, Verdict]] = field(default_factory=list)


class Evaluation:
    """Evaluates the rules of a process's scheduler.

    Args:
        health: returns the names and problems of the health checks.
        spooled: returns how many events wait in the spool.
        announce: queues webhooks.
        repeat_hours: after how long a message about a firing alert is repeated.
        link: URL of the page of alerts.
    """

    def __init__(
        self, health: HealthChecks, spooled: Callable[[], int], announce: Announce, repeat_hours: int, link: str
    ) -> None:
        self._health = health
        self._spooled = spooled
        self._announce = announce
        self._repeat_ms = repeat_hours * HOUR_MS
        self._link = link

    def evaluate(self) -> None:
        """Evaluate the rules if that is due and no other process does so, and learn what is normal."""
        claim = store.claim(secrets.token_hex(8), INTERVAL_MS)
        if claim is None:
            return
        try:
            self.run(claim)
        except BaseException:
            store.abandon(claim)
            raise

    def run(self, claim: Claim) -> None:
        """Evaluate the rules at the time of a claim."""
        resumed_at, now = _resumed_at(claim), claim.now
        alerts = store.unresolved()
        rules = {rule.id: rule for rule in rules_store.rules() if rule.active}
        counted_at = None if self._spooled() else min(now, uncounted_since() or now)
        moment = Moment(now, counted_at, resumed_at, _by_rule(alerts), _stopped(alerts, now))
        changes = Changes()
        for rule in rules.values():
            verdicts = self._judge(rule, moment)
            if verdicts is not None:
                compare(rule, moment, verdicts, changes)
        for alert in alerts:
            if alert.rule not in rules or rules[alert.rule].kind != alert.kind:  # removed, turned off, or changed
                (changes.removed if alert.state == PENDING else changes.resolved).append(alert)
        self._commit(claim, resumed_at, changes)
        if counted_at is not None:
            learn_due((kind_of(rule) for rule in rules.values() if rule.kind in (STOPPED, VOLUME)), counted_at)

    def purge(self, now: int) -> None:
        """Purge old alerts, silences and messages."""
        store.purge(now - KEEP_DAYS * DAY_MS, now - KEEP_MESSAGES_DAYS * DAY_MS)

    def _judge(self, rule: AlertRule, moment: Moment) -> Verdicts | None:
        try:
            return judge(rule, moment, self._health)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - log it in full; the other rules must not wait until this is fixed
            log.exception("alert rule not evaluated", rule=rule.id)
            return None

    def _commit(self, claim: Claim, resumed_at: int, changes: Changes) -> None:
        now = claim.now
        with transaction():
            if not store.finish(claim, resumed_at):
                log.warning("evaluation of alert rules was taken over by another scheduler")
                return
            _write(changes, now)
            firing = [one for one in store.unresolved() if one.state == FIRING]
            resolved = [
                one
                for one in store.resolved_since(now - DAY_MS)
                if one.notified_at is not None and one.resolution_notified_at is None
            ]
            last = store.last_messages()
            silences = store.silences(now)
            found = messages.messages(firing, resolved, silences, last, now, self._repeat_ms, self._link)
            for message in found:
                self._queue(message, now)
        for message in found:
            log.info("alert message queued", rule=message.rule, event_type=message.event, alerts=len(message.alerts))

    def _queue(self, message: messages.Message, now: int) -> None:
        keys = [one.id for one in message.alerts]
        store.change(keys, **{"notified_at" if message.event == messages.FIRING else "resolution_notified_at": now})
        values = {"rule": message.rule, "event": message.event, "is_repeat": message.is_repeat}
        values |= {"subject": message.subject, "text": message.text, "created_at": now}
        store.add_message(key=str(uuid.uuid4()), alerts=keys, **values)
        if not message.is_repeat:
            self._announce_each(message)

    def _announce_each(self, message: messages.Message) -> None:
        """Queue a webhook for each customer of the alerts, or for all together if there are many."""
        by_customer: dict[str, list[Alert]] = defaultdict(list)
        for alert in message.alerts:
            by_customer[alert.customer].append(alert)
        if len(by_customer) > messages.MAX_NAMED:
            by_customer = {"": list(message.alerts)}
        for customer, alerts in by_customer.items():
            shown = [_as_json(one) for one in alerts[: messages.MAX_NAMED]]
            data = {"rule": alerts[0].rule_name, "number": len(alerts), "alerts": shown, "link": self._link}
            self._announce(message.event, data, customer=customer or None)
            if message.event == messages.FIRING and alerts[0].kind == REJECTED:
                self._announce(REJECTS_RISING, data, customer=customer or None)


def _resumed_at(claim: Claim) -> int:
    """Return since when there was no gap between evaluations. A jump of the clock is a gap, too."""
    if claim.before is None or not claim.now - GAP_MS <= claim.before <= claim.now + SKEW_MS:
        return claim.now
    return min(claim.resumed_at, claim.now)


def _by_rule(alerts: Sequence[Alert]) -> dict[int, dict[Key, Alert]]:
    found: dict[int, dict[Key, Alert]] = defaultdict(dict)
    for alert in alerts:
        found[alert.rule][_key(alert)] = alert
    return found


def _stopped(alerts: Sequence[Alert], now: int) -> dict[Series, int]:
    """Return when the series whose events stopped had that alert; see `Moment.stopped`."""
    found = {}
    for alert in (*store.resolved_since(now - 2 * DAY_MS), *alerts):
        if alert.kind == STOPPED:
            found[Series(alert.customer, alert.product, alert.type)] = alert.resolved_at or now
    return found


def _key(alert: Alert) -> Key:
    return alert.customer, alert.product, alert.type, alert.subject


def compare(rule: AlertRule, moment: Moment, verdicts: Verdicts, changes: Changes) -> None:
    """Add the changes of a rule's alerts that follow from its verdicts."""
    now, unresolved = moment.now, moment.unresolved.get(rule.id, {})
    new = [key for key, verdict in verdicts.items() if verdict.level is Level.WRONG and key not in unresolved]
    for key in sorted(new)[: MAX_ADDED - len(changes.added)]:
        changes.added.append(_pending(rule, key, verdicts[key], now))
    for key, alert in unresolved.items():
        if alert.kind != rule.kind:  # the rule was changed
            continue
        found = verdicts.get(key)
        is_wrong = found is not None and found.level is Level.WRONG
        if found is not None and is_wrong and (alert.state == PENDING or _is_over(alert.checked_at, REFRESHED_MS, now)):
            changes.refreshed.append((alert, found))
        if alert.state == PENDING:
            if found is None:
                changes.removed.append(alert)
            elif is_wrong and _is_over(alert.pending_at, PENDING_MS[rule.kind], now):
                changes.fired.append(alert)
        elif found is not None:
            if alert.calm_at is not None and found.level is not Level.UNKNOWN:
                changes.uncalmed.append(alert)
        elif alert.calm_at is None:
            changes.calmed.append(alert)
        elif _is_over(alert.calm_at, CALM_MS, now):
            changes.resolved.append(alert)


def _is_over(since: int, length_ms: int, now: int) -> bool:
    """Return whether a time is over. One in the future was set by a clock that has gone back."""
    return not now - length_ms < since <= now


def _pending(rule: AlertRule, key: Key, verdict: Verdict, now: int) -> dict[str, Any]:
    customer, product, type_, subject = key
    values = {"rule": rule.id, "rule_name": rule.name, "kind": rule.kind, "state": PENDING}
    values |= {"customer": customer, "product": product, "type": type_, "subject": subject}
    values |= {"title": verdict.title, "since_at": verdict.since_at, "pending_at": now}
    return values | _seen(verdict, now)


def _seen(verdict: Verdict, now: int) -> dict[str, Any]:
    return {"seen": verdict.seen, "expected": verdict.expected, "details": verdict.details, "checked_at": now}


def _write(changes: Changes, now: int) -> None:
    store.insert(changes.added)
    store.remove([one.id for one in changes.removed])
    for alert, verdict in sorted(changes.refreshed, key=lambda one: one[0].checked_at)[:MAX_REFRESHED]:
        store.change([alert.id], title=verdict.title, **_seen(verdict, now))
    store.change([one.id for one in changes.fired], state=FIRING, firing_at=now)
    store.change([one.id for one in changes.calmed], calm_at=now)
    store.change([one.id for one in changes.uncalmed], calm_at=None)
    store.change([one.id for one in changes.resolved], state=RESOLVED, resolved_at=now)


def _as_json(alert: Alert) -> dict[str, object]:
    names = ("id", "customer", "product", "type", "subject", "title", "seen", "expected")
    shown = {name: getattr(alert, name) for name in names if getattr(alert, name) != ""}
    shown |= {"since": alert.since_at}
    return shown | ({"resolved": alert.resolved_at} if alert.resolved_at else {})
