"""`tally webhook`: webhooks."""

from __future__ import annotations

import pytest
import standardwebhooks

from app.services.notifications.webhooks import Webhooks
from app.store.models import AuditEntry, Delivery, Webhook
from tests.support.receivers import receiver

pytestmark = pytest.mark.settings(webhook_hosts=("hooks.example.com",))
URL = "https://hooks.example.com/x"
ADD = ("webhook", "add", "crm", URL)


def test_a_webhook_is_added_shown_changed_and_removed(succeeds, prints):
    output = succeeds(*ADD, "--type", "report.failed", "--type", "report.completed")
    line = f"1: crm of system, {URL}, report.completed, report.failed, 0 recurring reports"
    assert output.startswith(f"Added {line}\n\n    whsec_")
    assert succeeds("webhook", "list") == f"{line}\n"
    assert succeeds("webhook", "show", 1) == f"{line}\n"
    changed = prints("webhook", "change", 1, "--name", "CRM", "--url", f"{URL}/y", "--disable")
    assert changed.pop("created") == Webhook.get().created_at
    assert changed == {
        "id": 1, "name": "CRM", "url": f"{URL}/y", "types": ["report.completed", "report.failed"], "schedules": [],
        "owner": "system", "enabled": False, "reason": None,
    }  # fmt: skip
    assert prints("webhook", "change", 1, "--no-types", "--enable")["types"] == []
    assert succeeds("webhook", "remove", 1) == "Removed CRM.\n"
    assert succeeds("webhook", "list") == "There are no webhooks.\n"
    acts = [entry.action for entry in AuditEntry.select().order_by(AuditEntry.id)]
    assert acts == [
        "webhook added", "webhook changed", "webhook disabled", "webhook changed", "webhook enabled", "webhook removed",
    ]  # fmt: skip


def test_a_secret_is_printed_once_and_replaced_with_or_without_overlap(succeeds, prints, services):
    secret = prints(*ADD)["secret"]
    assert secret not in succeeds("webhook", "show", 1)
    other = prints("webhook", "rotate", 1)["secret"]
    assert services.webhooks.secrets(Webhook.get()) == [other, secret]
    last = prints("webhook", "rotate", 1, "--at-once")["secret"]
    assert services.webhooks.secrets(Webhook.get()) == [last]


def test_a_test_prints_the_answer_and_fails_unless_it_is_good(flask, prints, services, settings, monkeypatch):
    with receiver() as server:
        monkeypatch.setattr(services.webhooks, "check", Webhooks([server.url], settings.secret).check)
        secret = prints("webhook", "add", "crm", server.url)["secret"]
        server.answers.append((500, {}, b"out of order"))
        failed, passed = flask("webhook", "test", 1), flask("webhook", "test", 1)
    assert (failed.exit_code, failed.stdout) == (1, "500: out of order\n")
    assert failed.stderr == "Error: crm did not accept the test.\n"
    assert (passed.exit_code, passed.stdout) == (0, "200: thank you\n")
    standardwebhooks.Webhook(secret).verify(server.got[1].body, server.got[1].headers)
    shown = prints("webhook", "show", 1)["deliveries"]
    assert [(one["type"], one["state"]) for one in shown] == [
        ("webhook.test", "delivered"),
        ("webhook.test", "given_up"),
    ]
    assert [one["id"] for one in shown] == [one.key for one in Delivery.select().order_by(Delivery.id.desc())]


def test_an_invalid_webhook_is_rejected_with_the_reason(fails, succeeds, services):
    assert "WEBHOOK_HOSTS does not allow" in fails("webhook", "add", "crm", "https://evil.example/")
    assert "There is no user nobody" in fails(*ADD, "--owner", "nobody")
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")
    assert "anna may not see" in fails(*ADD, "--owner", "anna", "--type", "rejects.rising")
    succeeds(*ADD)
    assert "another webhook of that name" in fails(*ADD)
    for verb in ("show", "change", "rotate", "test", "remove"):
        assert fails("webhook", verb, 7) == "Error: There is no webhook 7, or it is not yours.\n"
