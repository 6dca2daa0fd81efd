"""Pages of webhooks: list, form, secret, test, deliveries, and who may use them."""

from __future__ import annotations

import pytest

from app.services.notifications.webhooks import Webhooks
from app.services.people.principal import SYSTEM
from app.store.models import AuditEntry, Delivery, Webhook
from tests.admin.conftest import Visitor
from tests.support.page import read
from tests.support.receivers import receiver
from tests.support.webhooks import store_webhook

LIST = "/admin/reports/webhooks"
URL = "https://hooks.example.com/x"
FILLED = {"name": "crm", "url": URL, "types": ["report.completed", "alert.firing"]}
PLACES = ["", "/part", "/edit", "/rotate", "/remove", "/deliveries/1"]
ACTS = ["/edit", "/test", "/enable", "/disable", "/rotate", "/remove", "/deliveries/1"]
with_webhooks = pytest.mark.settings(webhook_hosts=("hooks.example.com",))


@with_webhooks
def test_a_webhook_is_added_with_a_secret_that_is_shown_once(boss, services):
    answer = boss.send(f"{LIST}/new", FILLED)
    webhook = Webhook.get()
    (secret,) = services.webhooks.secrets(webhook)
    assert answer.status_code == 200
    assert read(answer).first(id="secret").content == secret
    assert (webhook.name, webhook.url, webhook.types) == ("crm", URL, ["report.completed", "alert.firing"])
    assert (webhook.owner, webhook.owner_name) == (services.accounts.named("admin").id, "admin")
    address = boss.read(LIST).link("crm")
    assert address == f"{LIST}/{webhook.id}"
    for page in (LIST, address, f"{address}/edit"):
        assert secret not in boss.see(page)
    assert "report.completed" in boss.see(address)


@with_webhooks
def test_a_webhook_is_changed_disabled_enabled_and_removed(boss):
    boss.send(f"{LIST}/new", FILLED)
    address = f"{LIST}/{Webhook.get().id}"
    form = boss.see(f"{address}/edit")
    assert form.count(" checked") == 2
    assert boss.send(f"{address}/edit", {"name": "ops", "url": f"{URL}/y"}).headers["Location"] == address
    assert (Webhook.get().name, Webhook.get().url, Webhook.get().types) == ("ops", f"{URL}/y", [])
    boss.send(f"{address}/disable", {}, form=address)
    assert "Disabled" in boss.read(address)
    assert "ops (disabled)" in boss.read("/admin/reports/recurring/new")
    boss.send(f"{address}/enable", {}, form=address)
    assert "Enabled" in boss.read(address)
    assert "Remove ops?" in boss.read(f"{address}/remove")
    assert boss.send(f"{address}/remove", {}).headers["Location"] == LIST
    assert "ops is removed." in boss.read(LIST)


@with_webhooks
def test_errors_are_beside_their_fields(boss):
    answer = boss.send(f"{LIST}/new", {"name": "", "url": "https://evil.example/", "types": "alert.burning"})
    page = read(answer)
    assert answer.status_code == 400
    assert page.wrong("name") == "Name is missing."
    assert page.wrong("types").startswith('Events is "alert.burning"; it must be "report.completed"')
    answer = boss.send(f"{LIST}/new", FILLED | {"url": "https://evil.example/"})
    assert "which WEBHOOK_HOSTS does not allow" in read(answer).wrong("url")
    assert Webhook.select().count() == 0


@with_webhooks
def test_an_analyst_may_choose_only_events_that_they_may_see(anna):
    assert "rejects.rising" not in anna.see(f"{LIST}/new")
    answer = anna.send(f"{LIST}/new", FILLED | {"types": "rejects.rising"})
    assert "anna may not see" in read(answer).wrong("types")


def test_a_test_shows_the_answer_and_a_delivery_is_sent_again_by_hand(boss, services, settings, monkeypatch):
    with receiver() as server:
        monkeypatch.setattr(services.webhooks, "check", Webhooks([server.url], settings.secret).check)
        server.answers.append((500, {}, b"<b>out of order</b>"))
        boss.send(f"{LIST}/new", FILLED | {"url": server.url})
        address = f"{LIST}/{Webhook.get().id}"
        delivery = boss.send(f"{address}/test", {}, form=address).headers["Location"]
        page = boss.read(delivery)
        assert "The server rejected the test." in page
        assert "<b>out of order</b>" in page
        boss.send(delivery, {})
        services.deliveries.send()
        services.deliveries.flush()
        assert "Delivered" in boss.read(delivery)
    assert boss.read(address).link_to(f"{address}/deliveries/") == delivery
    assert [request.headers["webhook-id"] for request in server.got] == [Delivery.get().key] * 2


@with_webhooks
def test_a_new_secret_signs_beside_the_old_one_or_alone(boss, services):
    boss.send(f"{LIST}/new", FILLED)
    address = f"{LIST}/{Webhook.get().id}"
    (first,) = services.webhooks.secrets(Webhook.get())
    second = read(boss.send(f"{address}/rotate", {})).first(id="secret").content
    assert services.webhooks.secrets(Webhook.get()) == [second, first]
    assert "The previous one still signs" in boss.read(address)
    third = read(boss.send(f"{address}/rotate", {"at_once": "y"})).first(id="secret").content
    assert services.webhooks.secrets(Webhook.get()) == [third]


def test_webhooks_of_others_are_neither_visible_nor_changeable(anna, app, services):
    services.accounts.add("otto", "operator", ["BARCHART"], "correct horse")
    webhook = store_webhook(SYSTEM.id, "system", name="theirs")
    before = Webhook.select().dicts().get()
    for user in (anna, Visitor(app).sign_in("otto", "correct horse")):
        assert "theirs" not in user.see(LIST)
        for place in PLACES:
            assert user.get(f"{LIST}/{webhook.id}{place}").status_code == 404
        for act in ACTS:
            assert user.send(f"{LIST}/{webhook.id}{act}", FILLED, form=f"{LIST}/new").status_code == 404
    assert Webhook.select().dicts().get() == before


@with_webhooks
def test_every_change_is_in_the_audit_log_without_the_path_or_the_secret(boss):
    boss.send(f"{LIST}/new", FILLED | {"url": f"{URL}?token=hush"})
    address = f"{LIST}/{Webhook.get().id}"
    for act in ("disable", "enable"):
        boss.send(f"{address}/{act}", {}, form=address)
    boss.send(f"{address}/edit", FILLED)
    boss.send(f"{address}/rotate", {})
    boss.send(f"{address}/remove", {})
    entries = list(AuditEntry.select().where(AuditEntry.action.startswith("webhook")).order_by(AuditEntry.id))
    acts = ["added", "disabled", "enabled", "changed", "secret replaced", "removed"]
    assert [entry.action.removeprefix("webhook ") for entry in entries] == acts
    assert "https://hooks.example.com" in str(entries[0].details)
    assert "hush" not in str([entry.details for entry in entries])
    assert "whsec_" not in str([entry.details for entry in entries])
