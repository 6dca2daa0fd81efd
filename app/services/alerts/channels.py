"""Alert channels: where messages about alerts go, and their deliveries, at least once, even if processes die.

A message is handed to the channels of its rule in one transaction, as a delivery for each. Each try is counted, and
the next try scheduled, before it is made, because the process may die meanwhile. Each channel has one try at a time, in
a thread of its own, so that a channel that fails or does not respond holds up neither the others nor the end of the
process.

A channel's URL contains secrets. It is encrypted with a key derived from the installation's secret key.

Rules may notify all channels, so a channel gets messages about any customer. Only users who are not limited to
customers see and change channels.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from app.exceptions import (
    MISSING,
    ChannelUnknown,
    FieldError,
    Forbidden,
    InputInvalid,
    SettingInvalid,
    StoreUnavailable,
)
from app.schemas.channels import ChannelSchema
from app.schemas.json import shown
from app.services.alerts.sender import NEEDS_EXTRA, Message, Outcome, Sender, Target, mask
from app.services.people import audit
from app.services.people.principal import SYSTEM, Principal
from app.store.alerts import alerts as alerts_store
from app.store.alerts import channels as store
from app.store.alerts import rules as rules_store
from app.store.alerts.alerts import FIRING
from app.store.database import release, server_time, transaction
from app.store.models import AlertChannel, AlertDelivery, AlertMessage, AlertRule
from app.support.clock import DAY_MS, SKEW_MS, now
from app.support.timed_call import start_call

MAX_CHANNELS = 50
MAX_CONCURRENT_TRIES = 4
MAX_DISPATCHED = 100  # messages in one run
PAUSES_SECONDS = (30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800)  # to the next try: eleven in 16 hours
LAST_TRY_SECONDS = 120  # after that, the process of the last try is considered dead
TEST_SECONDS = 20
KEEP_DAYS = 60
LONGEST_MS = PAUSES_SECONDS[-1] * 1000 + SKEW_MS  # no try is scheduled further ahead
UNREADABLE = "The URL of the channel cannot be decrypted, because SECRET_KEY has changed. Enter it again."

log = structlog.get_logger(__name__)


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
    """Channels of this installation.

    Args:
        secret: returns the installation's secret, from which the key of the URLs is derived.
    """

    def __init__(self, sender: Sender, secret: Callable[[], str]) -> None:
        self._sender = sender
        self._secret = secret
        self._busy: set[int] = set()
        self._lock = threading.Lock()

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
                store.give_up_all(channel.id)
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

    def deliveries(self, channel: Channel, limit: int) -> list[tuple[AlertDelivery, AlertMessage]]:
        """Return the newest deliveries to a channel, with their messages."""
        return store.newest(channel.id, limit)

    def test(self, channel: Channel, *, by: Principal = SYSTEM) -> Outcome:
        """Send a test message, and return what came back. Raise ChannelUnknown or Forbidden."""
        check_may_manage(by)
        row = self._row(channel.id)
        audit.note(by, "alert channel tested", f"alert channel {channel.name}", {"to": channel.shown})
        release()  # no connection is needed while the server responds
        body = f"This is a test of the channel {channel.name}, sent by {by.name}. No alert is firing."
        outcome = self._send(row, Message("Tally: test message", body, "info", f"test {channel.id}"), TEST_SECONDS)
        if outcome.sent:
            store.note_works(channel.id, now())
        else:
            store.note_problem(channel.id, now(), outcome.said)
        return outcome

    def send(self) -> None:
        """Hand waiting messages to the channels of their rules, and start tries that are due."""
        for message in alerts_store.waiting_messages(MAX_DISPATCHED):
            self._dispatch(message)
        with self._lock:
            for delivery in store.due(now(), latest=now() + LONGEST_MS, busy=self._busy):
                if len(self._busy) < MAX_CONCURRENT_TRIES:
                    self._busy.add(delivery.channel)
                    start_call(self._work, delivery)

    def flush(self) -> None:
        """Wait until every started try has ended."""
        while self._busy:
            time.sleep(0.01)

    def purge(self) -> None:
        """Purge deliveries after KEEP_DAYS."""
        store.purge(server_time() - KEEP_DAYS * DAY_MS)

    def _dispatch(self, message: AlertMessage) -> None:
        with transaction():
            if alerts_store.dispatch_message(message.id, now()):
                rule = rules_store.rule(message.rule)
                channels = store.every(None if rule is None else rule.channels)
                store.add_deliveries(message.id, [one.id for one in channels if one.active], now())

    def _work(self, delivery: AlertDelivery) -> None:
        try:
            self._deliver(delivery)
        except StoreUnavailable as error:
            log.warning("alert channel not tried, it will be", channel=delivery.channel, reason=str(error))
        except Exception:  # noqa: BLE001 - nobody waits for this thread, so log in full; the next try follows
            log.exception("alert channel failed", channel=delivery.channel)
        finally:
            release()
            with self._lock:
                self._busy.discard(delivery.channel)

    def _deliver(self, delivery: AlertDelivery) -> None:
        """Make a try if no other process has claimed it."""
        number, begun = delivery.tries + 1, now()
        channel, message = store.by_id(delivery.channel), store.message(delivery.message)
        if delivery.tries > len(PAUSES_SECONDS) or channel is None or message is None:
            store.give_up_delivery(delivery.id)
            return
        is_last = number > len(PAUSES_SECONDS)
        pause = LAST_TRY_SECONDS if is_last else PAUSES_SECONDS[number - 1]
        if not store.claim(delivery, begun, begun + pause * 1000):
            return
        sent = _message(message)
        release()  # no connection is needed while the server responds
        outcome = self._send(channel, sent)
        if outcome.sent:
            store.note_delivered(delivery, now(), outcome.said)
            log.info("alert sent", channel=channel.name, number=number)
        else:
            store.note_failed(delivery, now(), outcome.said, is_last=is_last)
            log.warning("alert not sent", channel=channel.name, number=number, reason=outcome.said)

    def _send(self, channel: AlertChannel, message: Message, *limit: int) -> Outcome:
        try:
            target = self._open(channel)
        except SettingInvalid as error:
            return Outcome(False, str(error))
        return self._sender.send(target, message, *limit)

    def _columns(self, target: Target) -> dict[str, object]:
        """Return the columns of a target, or raise InputInvalid if it cannot be reached."""
        wrong = self._sender.check(target)
        if wrong is not None:
            raise _invalid("addresses" if target.addresses else "url", wrong)
        url = self._seal(target.url) if target.url else None
        return {"addresses": list(target.addresses) or None, "url": url, "shown": mask(target)}

    def _seal(self, url: str) -> str:
        token: bytes = self._cipher().encrypt(url.encode())
        return token.decode()

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


def _message(message: AlertMessage) -> Message:
    """Return a message about alerts of a rule. It is the end of the problem if no other alert of the rule fires."""
    kind = "failure"
    if message.event == "alert.resolved":
        still_firing = any(one.rule == message.rule and one.state == FIRING for one in alerts_store.current())
        kind = "info" if still_firing else "success"
    return Message(message.subject, message.text, kind, f"rule {message.rule}")


def _channels(rows: Sequence[AlertChannel]) -> list[Channel]:
    waiting = store.count_waiting([row.id for row in rows])
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
