"""Alert channels: messages reach each channel of their rule, at least once, and no secret leaves the database."""

from __future__ import annotations

import json
import logging
import threading
from urllib.parse import urlsplit

import pytest

from app.exceptions import ChannelUnknown, Forbidden, InputInvalid
from app.services.alerts import channels as module
from app.services.alerts.channels import PAUSES_SECONDS, Channels
from app.services.alerts.sender import Message, Sender, Target
from app.services.notifications import deliveries as queue_module
from app.services.notifications.deliveries import KEEP_DAYS, Deliveries
from app.services.notifications.sending import Outcome
from app.services.people.principal import Principal
from app.store.models import Alert, AlertChannel, AlertMessage, AlertRule, AuditEntry, Delivery
from tests.support.receivers import receiver
from tests.support.running import wait_until

SECRET_URL = "jsons://user:p4ssword@hooks.example.com/s3cr3t-path"
MINUTE = 60_000


class FakeSender(Sender):
    """Sender without processes: it records the messages of each target, and answers what a test wants."""

    def __init__(self) -> None:
        self.sent: list[tuple[Target, Message]] = []
        self.failing: set[str] = set()
        self.held: dict[str, threading.Event] = {}

    def check(self, target: Target) -> None:
        return None

    def send(self, target: Target, message: Message, seconds: int = 30) -> Outcome:
        name = ",".join(target.addresses) or target.url
        if name in self.held:
            assert self.held[name].wait(30)
        if name in self.failing:
            return Outcome(None, "a.example answered 500.")
        self.sent.append((target, message))
        return Outcome(None, "a.example answered 200.", is_good=True)

    def titles(self, address: str) -> list[str]:
        return [message.title for target, message in self.sent if target.addresses == (address,)]


class Clock:
    """The time as seen by the channels."""

    def __init__(self) -> None:
        self.ahead = 0
        self.now = module.now

    def __call__(self) -> int:
        return self.now() + self.ahead


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for one in (module, queue_module):
        monkeypatch.setattr(one, "now", clock)
    monkeypatch.setattr(queue_module, "server_time", clock)
    monkeypatch.setattr(queue_module, "JITTER", 0)
    return clock


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


@pytest.fixture
def channels(app, clock, sender) -> Channels:
    return Channels(sender, lambda: "a secret for the tests")


@pytest.fixture
def queued(services, channels) -> Deliveries:
    return Deliveries(services.webhook_sender, channels)


@pytest.fixture
def send(queued, clock):
    """Return a function that advances the clock and sends what is due, as a scheduler does every few seconds."""

    def run(after_ms: int = 0) -> None:
        clock.ahead += after_ms
        queued.send()
        queued.flush()

    return run


def mail(channels: Channels, name: str) -> object:
    return channels.add({"name": name, "addresses": [f"{name}@mail.example"]})


def queue(title: str, rule: AlertRule | None = None, event: str = "alert.firing") -> AlertMessage:
    """Queue a message as the evaluation of rules does."""
    key = rule.id if rule else 999
    values = {"key": title, "rule": key, "event": event, "alerts": [1], "subject": title, "text": f"{title}: text"}
    return AlertMessage.create(**values, created_at=1)


def rule(*channels: int) -> AlertRule:
    """Create a rule that notifies some channels; without any, all."""
    values = {"name": f"Rule {channels}", "kind": "stopped", "per": "product", "parameters": {"minutes": 15}}
    return AlertRule.create(**values, channels=list(channels) or None, created_at=1, changed_at=1)


def state_of(title: str, address: str) -> str:
    channel = AlertChannel.get(AlertChannel.name == address)
    (found,) = [one for one in Delivery.select() if (one.channel, one.data["subject"]) == (channel.id, title)]
    return found.state


def test_a_message_goes_once_to_each_channel_of_its_rule(channels, sender, send):
    ops, _ = mail(channels, "ops"), mail(channels, "sales")
    queue("one", rule(ops.id))
    queue("two", rule())
    send()
    send()
    send(MINUTE)
    assert sender.titles("ops@mail.example") == ["one", "two"]
    assert sender.titles("sales@mail.example") == ["two"]
    assert channels.get(ops.id).sent_at is not None


def test_a_message_of_a_removed_rule_goes_to_all_channels(channels, sender, send):
    mail(channels, "ops")
    queue("one")
    send()
    assert sender.titles("ops@mail.example") == ["one"]


def test_a_failing_channel_is_tried_again_and_does_not_hold_up_others(channels, sender, send, clock):
    ops, sales = mail(channels, "ops"), mail(channels, "sales")
    sender.failing = {"ops@mail.example"}
    queue("one")
    send()
    assert sender.titles("sales@mail.example") == ["one"]
    failing = channels.get(ops.id)
    assert (failing.problem, failing.waiting) == ("a.example answered 500.", 1)
    since = failing.failed_at
    send(PAUSES_SECONDS[0] * 1000)
    assert channels.get(ops.id).failed_at == since
    sender.failing.clear()
    send(PAUSES_SECONDS[1] * 1000)
    assert sender.titles("ops@mail.example") == ["one"]
    healed = channels.get(ops.id)
    assert (healed.problem, healed.failed_at, healed.waiting) == (None, None, 0)
    assert channels.get(sales.id).problem is None


def test_a_channel_that_does_not_respond_does_not_hold_up_others(channels, queued, sender, send):
    mail(channels, "ops"), mail(channels, "sales")
    sender.held["ops@mail.example"] = threading.Event()
    queue("one")
    queued.send()
    wait_until(lambda: sender.titles("sales@mail.example") == ["one"], 10)
    queue("two")
    wait_until(lambda: queued.send() or sender.titles("sales@mail.example") == ["one", "two"], 10)
    assert sender.titles("ops@mail.example") == []
    sender.held["ops@mail.example"].set()
    queued.flush()
    send()
    assert sender.titles("ops@mail.example") == ["one", "two"]


def test_all_that_waits_is_sent_as_soon_as_a_channel_accepts_a_message(channels, sender, send):
    mail(channels, "ops")
    sender.failing = {"ops@mail.example"}
    queue("one")
    send()
    for pause in PAUSES_SECONDS[:4]:
        send(pause * 1000)
    sender.failing.clear()
    queue("two")
    send()
    send()
    assert sender.titles("ops@mail.example") == ["two", "one"]


def test_a_message_is_given_up_after_the_last_try(channels, sender, send):
    mail(channels, "ops")
    sender.failing = {"ops@mail.example"}
    queue("one")
    send()
    for pause in PAUSES_SECONDS:
        assert state_of("one", "ops") == "waiting"
        send(pause * 1000)
    assert state_of("one", "ops") == "given_up"
    assert Delivery.get().tries == len(PAUSES_SECONDS) + 1


def test_a_try_whose_process_died_is_made_again(channels, sender, send, monkeypatch):
    mail(channels, "ops")
    queue("one")
    with monkeypatch.context() as patch:
        patch.setattr(channels, "_send", lambda *args: exec("raise SystemError"))
        send()
    send(PAUSES_SECONDS[0] * 1000 - MINUTE // 60)
    assert sender.titles("ops@mail.example") == []
    send(MINUTE // 60)
    assert sender.titles("ops@mail.example") == ["one"]


@pytest.mark.both_databases
def test_two_schedulers_send_a_message_once(channels, queued, services, sender, clock):
    mail(channels, "ops")
    other = Deliveries(services.webhook_sender, Channels(sender, lambda: "a secret for the tests"))
    queue("one")
    for scheduler in (queued, other):
        scheduler.send()
    for scheduler in (queued, other):
        scheduler.flush()
    assert sender.titles("ops@mail.example") == ["one"]


def test_the_end_of_an_alert_is_a_success_only_if_no_other_alert_of_the_rule_fires(channels, sender, send):
    mail(channels, "ops")
    made = rule()
    queue("one", made)
    queue("two", made, "alert.resolved")
    send()
    send()
    values = {"rule_name": "", "kind": "stopped", "customer": "", "product": "A", "type": "", "subject": ""}
    values |= {"title": "", "seen": "", "expected": "", "details": {}, "since_at": 1, "pending_at": 1, "checked_at": 1}
    Alert.create(rule=made.id, state="firing", **values)
    queue("three", made, "alert.resolved")
    send()
    assert [message.kind for _, message in sender.sent] == ["failure", "success", "info"]
    assert {message.key for _, message in sender.sent} == {f"rule {made.id}"}


def test_a_channel_that_is_off_receives_nothing(channels, sender, send):
    ops = mail(channels, "ops")
    sender.failing = {"ops@mail.example"}
    queue("one")
    send()
    channels.change(ops, {"name": "ops", "active": False})
    sender.failing.clear()
    queue("two")
    send(MINUTE)
    assert sender.titles("ops@mail.example") == []
    assert state_of("one", "ops") == "given_up"


def test_a_removed_channel_leaves_its_rules(channels):
    ops, sales = mail(channels, "ops"), mail(channels, "sales")
    made = rule(ops.id, sales.id)
    channels.remove(ops)
    assert AlertRule.get_by_id(made.id).channels == [sales.id]
    with pytest.raises(ChannelUnknown):
        channels.get(ops.id)


def test_the_url_of_a_channel_is_encrypted_and_shown_nowhere(channels, sender, send, caplog):
    with caplog.at_level(logging.DEBUG):
        made = channels.add({"name": "hook", "url": SECRET_URL})
        channels.test(made)
        channels.change(made, {"name": "hook 2"})
        queue("one")
        send()
    assert [target.url for target, _ in sender.sent] == [SECRET_URL] * 2
    row = AlertChannel.get()
    entries = [(entry.object, json.dumps(entry.details)) for entry in AuditEntry.select()]
    for secret in ("p4ssword", "s3cr3t-path"):
        assert secret not in f"{row.url} {row.shown} {entries} {channels.all()} {caplog.text}"
    assert [entry.action for entry in AuditEntry.select().order_by(AuditEntry.id)] == [
        "alert channel added",
        "alert channel tested",
        "alert channel changed",
    ]


def test_another_secret_key_makes_the_url_unreadable_which_is_said(app, sender, channels):
    made = channels.add({"name": "hook", "url": SECRET_URL})
    outcome = Channels(sender, lambda: "another secret key").test(made)
    assert outcome == Outcome(None, module.UNREADABLE)
    assert channels.get(made.id).problem == module.UNREADABLE


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": "ops"}, "addresses"),
        ({"name": "", "addresses": ["a@mail.example"]}, "name"),
        ({"name": "taken", "addresses": ["a@mail.example"]}, "name"),
        ({"name": "ops", "addresses": ["not an address"]}, "addresses[0]"),
        ({"name": "ops", "addresses": ["a@mail.example", "zoë@mail.example"]}, "addresses[1]"),
        ({"name": "ops", "addresses": []}, "addresses"),
        ({"name": "ops", "url": "slack://a b"}, "url"),
        ({"name": "ops", "url": SECRET_URL, "addresses": ["a@mail.example"]}, "url"),
    ],
)
def test_an_invalid_channel_is_not_saved_and_its_url_is_not_repeated(channels, wanted, field):
    mail(channels, "taken")
    with pytest.raises(InputInvalid) as raised:
        channels.add(wanted)
    (error,) = raised.value.field_errors
    assert error.message.startswith(f"{field} ")
    assert "p4ssword" not in error.message
    assert len(channels.all()) == 1


def test_a_server_that_is_not_listed_is_not_accepted(services):
    with pytest.raises(InputInvalid) as raised:
        services.channels.add({"name": "chat", "url": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"})
    (error,) = raised.value.field_errors
    assert error.message == "url calls hooks.slack.com, which ALERT_HOSTS does not allow; it allows none."


def test_a_user_limited_to_customers_neither_sees_nor_changes_channels(channels):
    ops, limited = mail(channels, "ops"), Principal(1, "olga", "operator", ("BARCHART",), "")
    for attempt in (
        lambda: channels.get(ops.id, by=limited),
        lambda: channels.add({"name": "mine", "addresses": ["me@mail.example"]}, by=limited),
        lambda: channels.change(ops, {"name": "ops", "addresses": ["me@mail.example"]}, by=limited),
        lambda: channels.test(ops, by=limited),
        lambda: channels.remove(ops, by=limited),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert channels.all() == [ops]


def test_deliveries_are_purged_after_their_time(channels, queued, send, clock):
    mail(channels, "ops")
    queue("one")
    send()
    queued.purge()
    assert Delivery.select().count() == 1
    clock.ahead += (KEEP_DAYS + 1) * 86_400_000
    queued.purge()
    assert Delivery.select().count() == 0


def test_a_message_reaches_a_real_server(services, settings, clock):
    with receiver() as endpoint:
        port = urlsplit(endpoint.url).port
        changed = type(settings)(**{**settings.__dict__, "alert_hosts": (endpoint.url,)})
        channels = Channels(Sender(changed), settings.secret)
        channels.add({"name": "hook", "url": f"json://127.0.0.1:{port}/in"})
        queue("PORTFOLIO stopped")
        queued = Deliveries(services.webhook_sender, channels)
        queued.send()
        queued.flush()
    assert json.loads(endpoint.got[0].body)["title"] == "PORTFOLIO stopped"
