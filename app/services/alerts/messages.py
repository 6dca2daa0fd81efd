"""Messages about alerts: one for many alerts of a rule, repeated while they fire, and never many in a short time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.services.alerts.judging import duration, label
from app.store.models import Alert, AlertSilence
from app.support.clock import MINUTE_MS

FIRING, RESOLVED = "alert.firing", "alert.resolved"
GROUP_MS = 5 * MINUTE_MS  # between two messages of a rule about the same kind of change
MAX_NAMED = 20  # alerts in the text of a message


@dataclass(frozen=True)
class Message:
    """Message about alerts of one rule.

    Attributes:
        event: FIRING or RESOLVED.
        is_repeat: whether all alerts were notified before.
    """

    rule: int
    event: str
    is_repeat: bool
    alerts: Sequence[Alert]
    subject: str
    text: str


def messages(
    firing: Iterable[Alert],
    resolved: Iterable[Alert],
    silences: Sequence[AlertSilence],
    last: Mapping[tuple[int, str], int],
    now: int,
    repeat_ms: int,
    link: str,
) -> list[Message]:
    """Return the messages to send now.

    Args:
        firing: the alerts that fire now.
        resolved: alerts that were notified, were resolved, and whose resolution was not notified.
        last: time of the last message of each rule and event.
        link: URL of the page of alerts; a message about one alert leads to its own page.
    """
    found = []
    for rule, alerts in _by_rule(one for one in firing if not is_silenced(one, silences)).items():
        new = [one for one in alerts if one.notified_at is None]
        is_due = any(not now - repeat_ms < one.notified_at <= now for one in alerts if one.notified_at is not None)
        if not _is_recent(last.get((rule, FIRING)), now):
            if new:
                found.append(_message(rule, FIRING, new, now, link, is_repeat=False))
            elif is_due:
                found.append(_message(rule, FIRING, alerts, now, link, is_repeat=True))
    for rule, alerts in _by_rule(resolved).items():
        if not _is_recent(last.get((rule, RESOLVED)), now):
            found.append(_message(rule, RESOLVED, alerts, now, link, is_repeat=False))
    return found


def is_silenced(alert: Alert, silences: Iterable[AlertSilence]) -> bool:
    """Return whether a silence matches an alert."""
    return any(
        one.rule in (None, alert.rule)
        and one.customer in (None, alert.customer)
        and one.product in (None, alert.product)
        and one.type in (None, alert.type)
        for one in silences
    )


def _by_rule(alerts: Iterable[Alert]) -> dict[int, list[Alert]]:
    grouped: dict[int, list[Alert]] = defaultdict(list)
    for alert in alerts:
        grouped[alert.rule].append(alert)
    return grouped


def _is_recent(moment: int | None, now: int) -> bool:
    return moment is not None and now - GROUP_MS < moment <= now


def _message(rule: int, event: str, alerts: Sequence[Alert], now: int, link: str, *, is_repeat: bool) -> Message:
    first = alerts[0]
    what = label(first) if len(alerts) == 1 else f"{len(alerts):,} alerts"
    state = "Resolved" if event == RESOLVED else "Still firing" if is_repeat else "Firing"
    lines = [_line(alert, event, now) for alert in alerts[:MAX_NAMED]]
    if len(alerts) > MAX_NAMED:
        lines.append(f"… and {len(alerts) - MAX_NAMED:,} more.")
    subject = f"{state}: {first.rule_name}, {what}"
    link = f"{link}/{first.id}" if len(alerts) == 1 else link
    return Message(rule, event, is_repeat, alerts, subject, "\n".join([*lines, "", link]))


def _line(alert: Alert, event: str, now: int) -> str:
    if event == RESOLVED:
        began = alert.firing_at or alert.pending_at
        return f"{label(alert)}: {alert.title}. Resolved after {duration((alert.resolved_at or now) - began)}."
    return " ".join(filter(None, [f"{label(alert)}: {alert.title}.", alert.seen, alert.expected]))
