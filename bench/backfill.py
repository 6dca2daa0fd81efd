"""Writes states that take days or bad luck into the database, as the service would have left them.

Reports that failed, timed out, stay at 64 % or wait while pictures are taken; webhooks that were repeated; and events
of the last minute, spread over the days before.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence

from app.store.models import (
    Account,
    Alert,
    AlertChannel,
    AlertEvaluation,
    AlertRule,
    AuditEntry,
    Delivery,
    DeliveryTry,
    IngestKey,
    RejectedEvent,
    Report,
    ReportAttempt,
    Schedule,
    Session,
    Webhook,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
HELD = 4 * MINUTE  # see `hold`
FULL = "StorageFailed: The report files' disk is full: No space left on device."
SILENT = "Its worker was not heard from any more."
PAUSES = (0, 30_000, 34_000, 44_000, 72_000)  # from the first of five attempts, or the one before, to each
WITHOUT_FILE = {"file": None, "bytes": None, "sha256": None, "expires_at": None}


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def change(report: Report, **values: object) -> None:
    """Update the row of a report."""
    Report.update(values).where(Report.id == report.id).execute()


def move(report: Report, age: int, **values: object) -> None:
    """Make a complete report this much older, and change it."""
    moved = ("started_at", "began_at", "claimed_at", "ended_at", "expires_at")
    change(report, **{name: getattr(report, name) - age for name in moved} | values)
    times = {"began_at": ReportAttempt.began_at - age, "ended_at": ReportAttempt.ended_at - age}
    ReportAttempt.update(times).where(ReportAttempt.job == report.job).execute()


def fail_five_times(report: Report, age: int, worker: str) -> None:
    """Give a report five failed attempts: the first by a dead worker, the others by a full disk."""
    why, rows = f"5 attempts in a row got no further. The last one: {FULL}", report.rows * 3 // 5
    move(report, age, status="FAILED", reason=why, attempt=5, stalled_attempts=4, **WITHOUT_FILE | {"rows": rows})
    ReportAttempt.delete().where(ReportAttempt.job == report.job).execute()
    began = report.started_at - age
    for number, pause in enumerate(PAUSES, 1):
        began += pause
        outcome, reason = ("lost", SILENT) if number == 1 else ("failed", FULL)
        known = {"job": report.job, "number": number, "token": f"attempt-{number}", "worker": worker}
        ReportAttempt.create(**known, began_at=began, ended_at=began + 7_300, outcome=outcome, rows=rows, reason=reason)


def time_out(report: Report, age: int) -> None:
    """Make a report appear to have run for a quarter of an hour."""
    why, rows, ended = "It ran longer than 900 seconds.", report.rows * 4 // 5, report.began_at - age + 900_400
    move(report, age, status="TIMEOUT", reason=why, ended_at=ended, **WITHOUT_FILE | {"rows": rows})
    ended_so = {"outcome": "timeout", "ended_at": ended, "rows": rows, "reason": why}
    ReportAttempt.update(ended_so).where(ReportAttempt.job == report.job).execute()


def leave_running(report: Report, worker: str) -> None:
    """Leave a report at 64 % of a worker, which `hold` keeps from counting as silent."""
    held = {"status": "RUNNING", "token": "held", "worker": worker, "resumed_rows": 0, "ended_at": None}
    hold(report)
    change(report, **held | WITHOUT_FILE | {"total": report.rows, "rows": report.rows * 64 // 100 + 1})
    ReportAttempt.update(ended_at=None, outcome=None).where(ReportAttempt.job == report.job).execute()


def leave_waiting(report: Report, age: int) -> None:
    """Leave a report waiting for a worker that does not come as long as `hold` is called."""
    waits = {"status": "RUNNING", "token": None, "worker": None, "planned": False, "next_attempt_at": now() + HELD}
    times = ("began_at", "claimed_at", "heartbeat_at", "writing_began_at", "ended_at")
    fresh = dict.fromkeys(("rows", "total", *times)) | {"attempt": 0}
    change(report, **waits | fresh | WITHOUT_FILE | {"started_at": now() - age})
    ReportAttempt.delete().where(ReportAttempt.job == report.job).execute()


def hold(running: Report) -> None:
    """Keep the report that runs and those that wait as they are for four minutes.

    Times further ahead are taken for those of a wrong clock.
    """
    heard, began = now() + HELD, now() - 41_000
    change(running, heartbeat_at=heard, writing_began_at=heard - 41_000, began_at=began, claimed_at=began)
    is_waiting = (Report.status == "RUNNING") & Report.token.is_null()
    Report.update(next_attempt_at=heard).where(is_waiting).execute()


def record_webhook(schedule: Schedule, report: Report, webhook: Webhook, *, waits: bool) -> None:
    """Record the delivery of a report that a webhook's server rejected at first, and possibly still rejects."""
    second = (None, "It did not answer within 10 seconds.") if waits else (200, "ok")
    ends = {"state": "waiting" if waits else "delivered", "due_at": now() + 8 * MINUTE if waits else None}
    known = {"schedule": schedule.id, "report": report.job, "status": report.status, "tries": 2}
    known |= {"type": "report.completed", "webhook": webhook.id}
    times = {"ended_at": report.ended_at, "created_at": report.ended_at}
    delivery = Delivery.create(key=str(uuid.uuid4()), **known, **ends, **times)
    for number, (code, said) in enumerate([(503, "Back in a few minutes."), second]):
        moment = report.ended_at + 1_000 + number * 31_000
        DeliveryTry.create(delivery=delivery.id, began_at=moment, took_ms=74 + number * 9, code=code, said=said)


def spread(chance: random.Random) -> None:
    """Spread everything else over the last days."""
    moment = now() - 4 * MINUTE
    for entry in AuditEntry.select().order_by(AuditEntry.id.desc()):
        AuditEntry.update(recorded_at=moment).where(AuditEntry.id == entry.id).execute()
        moment -= chance.randrange(3, 190) * MINUTE
    ages = sorted((int(chance.random() ** 2 * 7 * DAY) for _ in RejectedEvent.select()), reverse=True)
    for rejected, age in zip(RejectedEvent.select().order_by(RejectedEvent.id), ages, strict=True):
        received = now() - age - 3 * MINUTE
        changed = {"received_at": received, "address": "198.51.100.0"}
        RejectedEvent.update(changed).where(RejectedEvent.id == rejected.id).execute()
    _spread_people()
    IngestKey.update(created_at=now() - 40 * DAY).execute()
    IngestKey.update(revoked_at=now() - 3 * DAY).where(IngestKey.revoked_at.is_null(False)).execute()
    IngestKey.update(used_at=now() - MINUTE).where(IngestKey.name == "portfolio app").execute()


def _spread_people() -> None:
    for age, account in enumerate(_newest_first(Account)):
        Account.update(created_at=now() - (age * 9 + 2) * DAY).where(Account.id == account.id).execute()
    for age, session in enumerate(_newest_first(Session)):
        seen = {"created_at": now() - (age * 5 + 2) * HOUR, "seen_at": now() - (age * 44 + 1) * MINUTE}
        Session.update(seen | {"address": f"203.0.113.{24 + age}"}).where(Session.id == session.id).execute()


def _newest_first(table: type[Account] | type[Session]) -> Sequence:
    return list(table.select().order_by(table.id.desc()))


def restore_alerts() -> None:
    """Write alerts in every state, with the same ids each time. The service itself evaluates no rules meanwhile."""
    AlertEvaluation.update(claim="pictures", claimed_at=now() + 4 * MINUTE).execute()
    rules = {rule.kind: rule for rule in AlertRule.select().order_by(AlertRule.id.desc())}
    Alert.delete().execute()
    for key, (state, kind, product, title, seen, expected, began, lasted) in enumerate(ALERTS, 1):
        since = now() - began
        times = {"since_at": since, "pending_at": since + 21 * MINUTE, "checked_at": now()}
        if state != "pending":
            times |= {"firing_at": since + 22 * MINUTE, "notified_at": since + 22 * MINUTE}
        if state == "resolved":
            times |= {"resolved_at": since + lasted, "resolution_notified_at": since + lasted}
        about = {"rule": rules[kind].id, "rule_name": rules[kind].name, "kind": kind, "details": {}, "state": state}
        about |= {"customer": "", "product": product, "type": "", "subject": "" if kind != "health" else "backup"}
        Alert.insert(id=key, title=title, seen=seen, expected=expected, **about, **times).execute()


def record_messages() -> None:
    """Write messages to the channels, of which the last one fails for a channel."""
    channels = list(AlertChannel.select().order_by(AlertChannel.id))
    for number, subject in enumerate(MESSAGES):
        sent = now() - (len(MESSAGES) - number) * 40 * MINUTE
        about = {"type": "alert.firing", "data": {"rule": 1, "subject": subject, "text": subject}, "created_at": sent}
        for channel in channels:
            fails = channel.url is not None and number == len(MESSAGES) - 1
            said = "https://hooks.slack.com answered 404. no_team" if fails else "The mail server accepted the message."
            said = said if fails or channel.url is None else "https://hooks.slack.com answered 200. ok"
            ends = {"tries": 7 if fails else 1, "due_at": now() + HOUR if fails else None}
            ends |= {"state": "waiting" if fails else "delivered"}
            delivery = Delivery.create(key=str(uuid.uuid4()), channel=channel.id, **about, **ends)
            DeliveryTry.create(delivery=delivery.id, began_at=sent, took_ms=412, said=said)
            problem = {"problem": said, "failed_at": sent} if fails else {"sent_at": sent}
            AlertChannel.update(problem).where(AlertChannel.id == channel.id).execute()


# State, kind of rule, product, title, what was seen and expected, how long ago it began, and how long it lasted.
ALERTS = (
    (
        *("resolved", "stopped", "WATCHLIST", "Events stopped", "No event since 2026-11-19 02:10 UTC, for 3 h 5 min."),
        *("About 120 events are normal in that time. A silence of 21 min is an alert.", 9 * DAY, 3 * HOUR),
    ),
    (
        *("resolved", "volume", "ALERT", "Volume far above normal", "4,120 events in the last 2 hours."),
        *("About 610 events are normal in that time.", 2 * DAY, 5 * HOUR),
    ),
    (
        *("firing", "health", "", "The last backup is 51 hours old", "The last backup is 51 hours old."),
        *("", 3 * HOUR, 0),
    ),
    (
        *("firing", "volume", "PORTFOLIO", "Volume far above normal", "402 events in the last 2 complete hours."),
        *("About 31 events are normal in that time; 5 times more or less is far.", 110 * MINUTE, 0),
    ),
    (
        *("pending", "rejected", "ALERT", "9 % of events rejected", "62 of 690 events were rejected within two hours."),
        *("At most 5 % is normal.", 25 * MINUTE, 0),
    ),
)
MESSAGES = (
    "Firing: Events stopped, product WATCHLIST",
    "Resolved: Events stopped, product WATCHLIST",
    "Firing: Events stopped, product PORTFOLIO",
)
