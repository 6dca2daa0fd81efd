"""Pages of alert channels: forms, the test button, what failed, and no secret of a URL."""

from __future__ import annotations

import pytest

from app.services.alerts.sender import Sender
from app.services.notifications.sending import Outcome
from app.store.models import AlertChannel, AlertRule, Delivery, DeliveryTry
from tests.admin.conftest import Visitor
from tests.support.page import read

NEW = "/admin/alerts/channels/new"
URL = "jsons://user:p4ssword@hooks.example.com/s3cr3t-path"
MAIL = {"name": "Operations", "kind": "mail", "addresses": "ops@mail.example\r\nsecond@mail.example", "active": "y"}
HOOK = {"name": "Hook", "kind": "url", "url": URL, "active": "y"}
RULE = {"name": "Silent", "kind": "stopped", "per": "product", "parameters": {}, "created_at": 1, "changed_at": 1}

SENT = Outcome(None, "The mail server accepted the message.", is_good=True)


@pytest.fixture(autouse=True)
def outcomes(monkeypatch) -> list[Outcome]:
    """Send nothing; the test says what comes back."""
    outcomes: list[Outcome] = []
    monkeypatch.setattr(Sender, "check", lambda self, target: None)
    monkeypatch.setattr(Sender, "send", lambda self, *args: outcomes.pop(0))
    return outcomes


def add(user: Visitor, fields: dict[str, str]) -> str:
    """Add a channel by the form, and return the path of its page."""
    answer = user.send(NEW, fields)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return answer.headers["Location"]


def test_an_empty_list_explains_channels(boss):
    page = boss.read("/admin/alerts/channels")
    assert "No channels yet." in page
    assert NEW in page.links


def test_a_completed_form_adds_a_channel_for_mail(boss):
    page = boss.read(add(boss, MAIL))
    assert "Operations is added. Send a test message to see that it works." in page
    assert "ops@mail.example, second@mail.example" in page
    assert "Not used yet" in page
    assert AlertChannel.get().addresses == ["ops@mail.example", "second@mail.example"]


def test_the_url_of_a_channel_is_on_no_page_and_an_empty_field_keeps_it(boss):
    path = add(boss, HOOK)
    before = AlertChannel.get().url
    for shown in (path, f"{path}/edit", f"{path}/remove", "/admin/alerts/channels", "/admin/audit"):
        page = boss.see(shown)
        assert "s3cr3t-path" not in page
        assert "p4ssword" not in page
    assert "jsons://hooks.example.com/…" in boss.read(path)
    assert boss.send(f"{path}/edit", {"name": "Renamed", "kind": "url", "url": "", "active": "y"}).status_code == 302
    row = AlertChannel.get()
    assert (row.name, row.url) == ("Renamed", before)


def test_a_wrong_form_is_shown_again_without_the_url(boss):
    page = read(boss.send(NEW, HOOK | {"name": ""}))
    assert page.wrong("name") == "Name is missing."
    assert page.value("url") == ""
    page = read(boss.send(NEW, MAIL | {"addresses": "ops@mail.example\r\nnobody"}))
    assert page.wrong("addresses").startswith("Mail to, line 2, is")
    page = read(boss.send(NEW, MAIL | {"addresses": ""}))
    assert page.wrong("addresses") == "Mail to is missing."


def test_a_server_that_is_not_listed_is_named_at_the_field(boss, monkeypatch):
    monkeypatch.setattr(Sender, "check", lambda self, target: "calls a.example, which ALERT_HOSTS does not allow")
    page = read(boss.send(NEW, HOOK))
    assert page.wrong("url") == "URL calls a.example, which ALERT_HOSTS does not allow."


def test_a_test_message_shows_what_came_back(boss, outcomes):
    path = add(boss, MAIL)
    outcomes += [Outcome(None, "mail.example answered 550."), SENT]
    answer = boss.send(f"{path}/test", {}, form=path)
    page = boss.read(answer.headers["Location"])
    assert "The test message is not sent. mail.example answered 550." in page
    assert "Failing since" in page
    assert "did not accept the last message" in boss.read("/admin/alerts")
    assert "Alert channels did not accept the last message: Operations." in boss.read("/admin/system")
    boss.send(f"{path}/test", {}, form=path)
    page = boss.read(path)
    assert "The test message is sent. The mail server accepted the message." in page
    assert "Working" in page


def test_messages_of_a_channel_are_listed_with_their_answer(boss):
    path = add(boss, MAIL)
    about = {"key": "a", "type": "alert.firing", "data": {"rule": 1, "subject": "PORTFOLIO: no events", "text": "text"}}
    waits = {"state": "waiting", "tries": 1, "due_at": 5, "created_at": 1}
    delivery = Delivery.create(channel=AlertChannel.get().id, **about, **waits)
    DeliveryTry.create(delivery=delivery.id, began_at=2, took_ms=3, said="a.example answered 500.")
    page = boss.read(path)
    assert "PORTFOLIO: no events" in page
    assert "a.example answered 500." in page
    assert "1 message waits." in page


def test_removing_a_channel_names_the_rules_that_lose_it(boss):
    path = add(boss, MAIL)
    AlertRule.create(**RULE, channels=[AlertChannel.get().id])
    assert "These rules lose it: Silent." in boss.read(f"{path}/remove")
    assert boss.send(f"{path}/remove", {}).status_code == 302
    assert boss.get(path).status_code == 404
    assert AlertRule.get(AlertRule.name == "Silent").channels == []


def test_a_rule_notifies_chosen_channels(boss):
    add(boss, MAIL)
    channel = AlertChannel.get()
    fields = {"name": "Chosen", "kind": "stopped", "per": "product", "minutes": "15", "active": "y"}
    answer = boss.send("/admin/alerts/rules/new", fields | {"notify": "some", "channels": str(channel.id)})
    assert answer.status_code == 302
    assert AlertRule.get(AlertRule.name == "Chosen").channels == [channel.id]
    assert "Operations" in boss.read("/admin/alerts/rules")


def test_an_operator_of_one_customer_cannot_have_alerts_of_all_sent_to_an_own_channel(boss, limited):
    path = add(boss, MAIL)
    for shown in ("/admin/alerts/channels", NEW, path, f"{path}/edit", f"{path}/remove"):
        assert limited.get(shown).status_code == 403
    assert limited.send(NEW, MAIL | {"name": "Mine"}).status_code == 403
    assert limited.send(f"{path}/edit", MAIL | {"addresses": "me@mail.example"}).status_code == 403
    assert limited.send(f"{path}/remove", {}).status_code == 403
    assert [one.addresses[0] for one in AlertChannel.select()] == ["ops@mail.example"]
    assert "/admin/alerts/channels" not in limited.read("/admin/alerts").links
