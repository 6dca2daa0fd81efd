"""Alert channels: where messages about alerts go.

A message is handed to the channels of its rule in one transaction, as a delivery for each, which `Deliveries` sends.
Each channel has one try at a time, so that one that does not respond does not hold up the others.

A channel's URL contains secrets. It is encrypted with a key derived from the installation's secret key.

Rules may notify all channels, so a channel gets messages about any customer. Only users who are not limited to
customers see and change channels.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.exceptions import MISSING, ChannelUnknown, FieldError, Forbidden, InputInvalid, SettingInvalid
from app.schemas.channels import ChannelSchema
from app.schemas.json import shown
from app.services.alerts.sender import NEEDS_EXTRA, SEND_SECONDS, Message, Sender, Target, mask
from app.services.notifications.sending import Kind, Outcome
from app.services.people import audit
from app.services.people.principal import SYSTEM, Principal
from app.store.alerts import alerts as alerts_store
from app.store.alerts import channels as store
from app.store.alerts import rules as rules_store
from app.store.alerts.alerts import FIRING
from app.store.database import release, transaction
from app.store.models import AlertChannel, AlertMessage, AlertRule, Delivery
from app.store.notifications import deliveries
from app.support.clock import now

MAX_CHANNELS = 50
MAX_DISPATCHED = 100  # messages in one run
PAUSES_SECONDS = (30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800)  # eleven tries in 16 hours
TEST_SECONDS = 20
UNREADABLE = "The URL of the channel cannot be decrypted, because SECRET_KEY has changed. Enter it again."


@dataclass(frozen=True)
class Channel:
    """Channel, ready to be shown: without the secrets of its URL.

    Attributes:
        shown: the addresses, or the URL without its secrets.
        waiting: number of messages that wait for it.
        sent_at: time of the last message that it accepted, or None.
        failed_at: since when it has been failing, or None if it is not.
        problem: why the last message failed, or None.
    """

    id: int
    name: str
    addresses: tuple[str, ...]
    shown: str
    active: bool
    waiting: int
    sent_at: int | None
    failed_at: int | None
    problem: str | None


class Channels:
    """Channels of this installation, and the maker of what they get: a `Sender` of the queue.

    Args:
        secret: returns the installation's secret, from which the key of the URLs is derived.
    """

    kind = Kind("channel", "alert message", PAUSES_SECONDS, max_tries=4, in_order=True)

    def __init__(self, sender: Sender, secret: Callable[[], str]) -> None:
        self._sender = sender
        self._secret = secret

    @property
    def hosts(self) -> list[str]:
        """Return the servers in ALERT_HOSTS, for people."""
        return self._sender.hosts

    @property
    def sends_mail(self) -> bool:
        """Return whether the settings for mail are there."""
        return self._sender.sends_mail

    def all(self) -> list[Channel]:
        """Return the channels by name."""
        return _channels(store.every())

    def get(self, key: int, *, by: Principal = SYSTEM) -> Channel:
        """Return a channel. Raise ChannelUnknown if there is none, or Forbidden."""
        check_may_manage(by)
        return _channels([self._row(key)])[0]

    def named(self, name: str) -> Channel:
        """Return the channel of a name. Raise ChannelUnknown if there is none."""
        found = next((one for one in self.all() if one.name == name), None)
        if found is None:
            raise ChannelUnknown(f"There is no channel {shown(name)}.")
        return found

    def add(self, wanted: Mapping[str, object], *, by: Principal = SYSTEM) -> Channel:
        """Create a channel.

        Raises:
            InputInvalid: a value is invalid, ALERT_HOSTS does not allow the server, or there is one of that name.
            Forbidden: the caller is limited to customers.
        """
        check_may_manage(by)
        values = ChannelSchema().check(wanted)
        target = _target(values)
        if target is None:
            message = "addresses is missing; a channel needs mail addresses or a URL."
            raise InputInvalid("The channel cannot be saved.", [FieldError(message, MISSING, "addresses")])
        columns = {"name": values["name"], "active": values["active"]} | self._columns(target)
        moment = now()
        with transaction():
            if len(store.every()) >= MAX_CHANNELS:
                raise _invalid("name", f"name cannot be added, because there are {MAX_CHANNELS} channels already.")
            made = store.add(**columns, created_at=moment, changed_at=moment)
            if made is None:
                raise _taken(values["name"])
            audit.note(by, "alert channel added", f"alert channel {made.name}", {"to": made.shown})
        return _channels([made])[0]

    def change(self, channel: Channel, wanted: Mapping[str, object], *, by: Principal = SYSTEM) -> Channel:
        """Change a channel. Without addresses and URL, it keeps those that it has. See `add` for the errors."""
        check_may_manage(by)
        values = ChannelSchema().check(wanted)
        target = _target(values)
        columns: dict[str, object] = {"name": values["name"], "active": values["active"], "changed_at": now()}
        if target is not None:
            columns |= self._columns(target) | {"failed_at": None, "problem": None}
        with transaction():
            changed = store.change(channel.id, **columns)
            if changed is None:
                raise _taken(values["name"])
            if not changed:
                raise ChannelUnknown(f"There is no channel {shown(channel.name)}.")
            if not values["active"]:
                deliveries.give_up_all(channel=channel.id)
            made = self.get(channel.id)
            details = {"to": made.shown, "name": made.name, "active": made.active}
            audit.note(by, "alert channel changed", f"alert channel {channel.name}", details)
        return made

    def remove(self, channel: Channel, *, by: Principal = SYSTEM) -> None:
        """Remove a channel from all rules, with the record of its deliveries. Raise ChannelUnknown or Forbidden."""
        check_may_manage(by)
        with transaction():
            for rule in self.rules(channel):
                rules_store.change_rule(rule.id, channels=[key for key in rule.channels or () if key != channel.id])
            if not store.remove(channel.id):
                raise ChannelUnknown(f"There is no channel {shown(channel.name)}.")
            audit.note(by, "alert channel removed", f"alert channel {channel.name}", {"to": channel.shown})

    def rules(self, channel: Channel) -> list[AlertRule]:
        """Return the rules that name a channel. Those that notify all channels are not among them."""
        return [rule for rule in rules_store.rules() if rule.channels is not None and channel.id in rule.channels]

    def deliveries(self, channel: Channel, limit: int) -> list[Delivery]:
        """Return the newest deliveries to a channel."""
        return deliveries.newest(limit, channel=channel.id)

    def test(self, channel: Channel, *, by: Principal = SYSTEM) -> Outcome:
        """Send a test message, and return what came back. Raise ChannelUnknown or Forbidden."""
        check_may_manage(by)
        row = self._row(channel.id)
        audit.note(by, "alert channel tested", f"alert channel {channel.name}", {"to": channel.shown})
        body = f"This is a test of the channel {channel.name}, sent by {by.name}. No alert is firing."
        return self._send(row, Message("Tally: test message", body, "info", f"test {channel.id}"), seconds=TEST_SECONDS)

    def announce(self, since: int) -> None:
        """Hand waiting messages to the channels of their rules."""
        for message in alerts_store.waiting_messages(MAX_DISPATCHED):
            with transaction():
                if alerts_store.dispatch_message(message.id, now()):
                    self._dispatch(message)

    def attempt(self, delivery: Delivery, moment: int) -> Outcome:
        """Send a delivery to its channel, and return what came back."""
        channel = store.by_id(delivery.channel or 0)
        if channel is None:
            return Outcome(None, "There is no channel any more.", is_final=True)
        return self._send(channel, _message(delivery), delivery.id)

    def _dispatch(self, message: AlertMessage) -> None:
        rule = rules_store.rule(message.rule)
        data = {"rule": message.rule, "subject": message.subject, "text": message.text}
        for channel in store.every(None if rule is None else rule.channels):
            if channel.active:
                deliveries.add(str(uuid.uuid4()), message.event, data, now(), channel=channel.id)

    def _send(self, channel: AlertChannel, message: Message, delivery: int = 0, seconds: int = SEND_SECONDS) -> Outcome:
        """Send a message, note whether the channel works, and return what came back."""
        try:
            target = self._open(channel)
            release()  # no connection is needed while the server responds
            outcome = self._sender.send(target, message, seconds)
        except SettingInvalid as error:
            outcome = Outcome(None, str(error))
        with transaction():
            if outcome.is_good:
                store.note_works(channel.id, now())
                deliveries.hurry(channel.id, now(), other_than=delivery)
            else:
                store.note_problem(channel.id, now(), outcome.said)
        return outcome

    def _columns(self, target: Target) -> dict[str, object]:
        """Return the columns of a target, or raise InputInvalid if it cannot be reached."""
        wrong = self._sender.check(target)
        if wrong is not None:
            raise _invalid("addresses" if target.addresses else "url", wrong)
        url = self._cipher().encrypt(target.url.encode()).decode() if target.url else None
        return {"addresses": list(target.addresses) or None, "url": url, "shown": mask(target)}

    def _open(self, channel: AlertChannel) -> Target:
        """Return a channel's target. Raise SettingInvalid if its URL cannot be decrypted."""
        if channel.url is None:
            return Target(addresses=tuple(channel.addresses or ()))
        from cryptography.fernet import InvalidToken  # of the extra `alerts`

        try:
            return Target(url=self._cipher().decrypt(channel.url.encode()).decode())
        except InvalidToken:
            raise SettingInvalid(UNREADABLE) from None

    def _cipher(self) -> Any:
        try:
            from cryptography.fernet import Fernet
        except ModuleNotFoundError:
            raise SettingInvalid(NEEDS_EXTRA) from None
        key = hmac.digest(self._secret().encode(), b"alert channels", hashlib.sha256)
        return Fernet(base64.urlsafe_b64encode(key))

    def _row(self, key: int) -> AlertChannel:
        found = store.by_id(key)
        if found is None:
            raise ChannelUnknown("There is no such channel.")
        return found


def check_may_manage(who: Principal) -> None:
    """Raise Forbidden if a user may not see channels, because they are limited to customers."""
    if who.customers is not None:
        raise Forbidden("Alert channels get messages about all customers, and you are limited to some.")


def _message(delivery: Delivery) -> Message:
    """Return a message about alerts of a rule. It is the end of the problem if no other alert of the rule fires."""
    rule, kind = delivery.data["rule"], "failure"
    if delivery.type == "alert.resolved":
        still_firing = any(one.rule == rule and one.state == FIRING for one in alerts_store.current())
        kind = "info" if still_firing else "success"
    return Message(delivery.data["subject"], delivery.data["text"], kind, f"rule {rule}")


def _channels(rows: Sequence[AlertChannel]) -> list[Channel]:
    waiting = deliveries.count_waiting([row.id for row in rows])
    return [
        Channel(
            row.id,
            row.name,
            tuple(row.addresses or ()),
            row.shown,
            row.active,
            waiting.get(row.id, 0),
            row.sent_at,
            row.failed_at,
            row.problem,
        )
        for row in rows
    ]


def _target(values: Mapping[str, Any]) -> Target | None:
    if "addresses" in values:
        return Target(addresses=tuple(values["addresses"]))
    return Target(url=values["url"]) if "url" in values else None


def _taken(name: str) -> InputInvalid:
    return _invalid("name", f"name is {shown(name)}, and another channel has that name.")


def _invalid(field: str, problem: str) -> InputInvalid:
    message = problem if problem.startswith(field) else f"{field} {problem}."
    return InputInvalid("The channel cannot be saved.", [FieldError(message, field=field)])
