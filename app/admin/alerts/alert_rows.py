"""Display values of alerts, rules and channels: their states, and what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.states import ALERT, CHANNEL, RULE, State
from app.schemas.alerts import condition, scope
from app.services.alerts.channels import Channel
from app.services.alerts.judging import label
from app.services.alerts.messages import is_silenced
from app.services.rows import Alert, AlertRule, AlertSilence

CODES = ("customer", "product", "type")


@dataclass(frozen=True)
class AlertRow:
    """Alert, ready to be shown."""

    alert: Alert
    state: State

    @property
    def label(self) -> str:
        """Return what the alert is about, in a few words."""
        return label(self.alert)

    @property
    def codes(self) -> dict[str, str]:
        """Return the codes of the alert's series that are not empty."""
        return {name: getattr(self.alert, name) for name in CODES if getattr(self.alert, name)}


@dataclass(frozen=True)
class RuleRow:
    """Rule, ready to be shown.

    Attributes:
        scope, condition: in words.
        channels: names of the channels that it notifies, or None for all.
    """

    rule: AlertRule
    state: State
    scope: str
    condition: str
    channels: list[str] | None


@dataclass(frozen=True)
class ChannelRow:
    """Channel, ready to be shown."""

    channel: Channel
    state: State


def alert_row(alert: Alert, silences: Sequence[AlertSilence] = ()) -> AlertRow:
    """Return an alert for display.

    Args:
        silences: those that are active.
    """
    silenced = alert.state == "firing" and is_silenced(alert, silences)
    return AlertRow(alert, ALERT["silenced" if silenced else alert.state])


def rule_row(rule: AlertRule, names: dict[int, str]) -> RuleRow:
    """Return a rule for display.

    Args:
        names: of the channels, by id.
    """
    channels = None if rule.channels is None else [names[key] for key in rule.channels if key in names]
    state = RULE["active" if rule.active else "off"]
    return RuleRow(rule, state, _sentence(scope(rule)), _sentence(condition(rule)), channels)


def channel_row(channel: Channel) -> ChannelRow:
    if not channel.active:
        return ChannelRow(channel, CHANNEL["off"])
    if channel.problem:
        return ChannelRow(channel, CHANNEL["failing"])
    return ChannelRow(channel, CHANNEL["working" if channel.sent_at else "untried"])


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
