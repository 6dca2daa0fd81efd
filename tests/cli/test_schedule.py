"""`flask reports schedule`: recurring reports."""

from __future__ import annotations

import re

import pytest

from app.store.models import AuditEntry, Report, Schedule, Webhook
from tests.support.client import event

SELECTION = ("--customer", "BARCHART", "--product", "PORTFOLIO")
ADD = ("reports", "schedule", "add", "Every day", *SELECTION, "--every", "daily")
MOMENT = r"\d{4}-\d\d-\d\d 06:00 UTC"


@pytest.fixture(autouse=True)
def known(nobody) -> None:
    nobody.send(event(), event(type="A"), event(type="B"))


def test_a_schedule_is_added_listed_run_paused_resumed_and_removed(succeeds, prints):
    output = succeeds(*ADD)
    line = f"1: Every day, BARCHART PORTFOLIO, every day at 06:00 UTC, the day before; next {MOMENT}\n"
    assert re.fullmatch(f"Added {line}", output)
    assert re.fullmatch(line, succeeds("reports", "schedule", "list"))
    source = succeeds("reports", "schedule", "run", 1).strip()
    assert source == f"JOB-{Report.get().job}"
    assert prints("reports", "schedule", "list")[0]["last_report"] == source
    assert succeeds("reports", "schedule", "pause", 1) == "Paused Every day.\n"
    assert succeeds("reports", "schedule", "list").endswith("the day before; paused\n")
    assert re.fullmatch(f"Resumed {line}", succeeds("reports", "schedule", "resume", 1))
    assert succeeds("reports", "schedule", "remove", 1) == "Removed Every day. Its reports stay.\n"
    assert succeeds("reports", "schedule", "list") == "There are no recurring reports.\n"
    assert Report.select().count() == 1


def test_with_json_all_its_fields_are_printed(prints):
    options = ("--type", "A", "--type", "B", "--hour", 3, "--since-last", "--format", "jsonl", "--compression", "zstd")
    schedule = prints("reports", "schedule", "add", "Weekly", *SELECTION, "--every", "weekly", *options)
    assert schedule.pop("next_run") == Schedule.get().next_run_at
    assert schedule == {
        "id": 1, "name": "Weekly", "customer": "BARCHART", "product": "PORTFOLIO", "types": ["A", "B"],
        "output": {"format": "jsonl", "compression": "zstd"}, "recurrence": "weekly", "hour": 3, "mode": "since_last",
        "webhook": None, "active": True, "owner": "system", "reason": None, "last_run": None, "last_report": None,
        "recipients": [], "webhooks": [],
    }  # fmt: skip
    report = prints("reports", "schedule", "run", 1)
    assert report["filter"] == {"customer": "BARCHART", "product": "PORTFOLIO", "types": ["A", "B"]}
    for verb in ("pause", "remove"):
        assert prints("reports", "schedule", verb, 1) == {"id": 1}


def test_its_reports_belong_to_its_owner(succeeds, analyst):
    succeeds(*ADD, "--owner", "anna")
    succeeds("reports", "schedule", "run", 1)
    assert [job["source"] for job in analyst.get("/reports").get_json()["reports"]] == [f"JOB-{Report.get().job}"]


def test_an_owner_without_access_to_the_customer_is_rejected(fails, analyst, nobody):
    nobody.send(event(customer="OTHER"))
    error = fails(*ADD, "--customer", "OTHER", "--owner", "anna")
    assert error == "Error: anna may not see data of the customer OTHER.\n"
    assert fails(*ADD, "--owner", "nobody") == "Error: There is no user nobody.\n"


def test_invalid_options_are_rejected_with_every_error(fails):
    error = fails(*ADD[:-1], "hourly", "--hour", 24, "--delimiter", "||", "--webhook", "hooks.example.com")
    assert error.startswith("Error: The recurring report has 4 faults")
    assert 'recurrence is "hourly"; it must be "daily" or "weekly" or "monthly"' in error
    assert "hour is 24; it must be a whole number from 0 to 23" in error
    assert 'output.delimiter is "||"' in error
    assert "webhook does not start with https:// or http://; it must be a URL" in error
    assert "WEBHOOK_HOSTS does not allow" in fails(*ADD, "--webhook", "https://hooks.example.com/")
    assert Schedule.select().count() == 0


@pytest.mark.settings(webhook_hosts=("hooks.example.com",))
def test_the_secret_of_a_webhook_is_printed_once_and_can_be_replaced(succeeds, prints, fails, services):
    output = succeeds(*ADD, "--webhook", "https://hooks.example.com/x")
    (secret,) = services.webhooks.secrets(Webhook.get())
    assert f"    {secret}\n" in output
    assert secret not in succeeds("reports", "schedule", "list")
    other = prints("reports", "schedule", "secret", 1)["secret"]
    assert services.webhooks.secrets(Webhook.get()) == [other] != [secret]
    assert prints("reports", "schedule", "add", "Another", *ADD[4:], "--webhook", "https://hooks.example.com/x")[
        "secret"
    ]
    succeeds("reports", "schedule", "add", "A third", *ADD[4:])
    assert fails("reports", "schedule", "secret", 3).endswith("Error: A third has no webhook.\n")


@pytest.mark.settings(webhook_hosts=("hooks.example.com",))
def test_a_url_replaces_that_of_the_only_webhook_and_ids_name_several(succeeds, prints, fails, services):
    first = prints(*ADD, "--webhook", "https://hooks.example.com/x")
    changed = prints("reports", "schedule", "change", 1, "--webhook", "https://hooks.example.com/y")
    assert changed["webhooks"] == [{"id": 1, "name": "Every day", "url": changed["webhook"]}]
    assert changed["webhook"] == "https://hooks.example.com/y"
    assert services.webhooks.secrets(Webhook.get()) == [first["secret"]]
    other = prints("webhook", "add", "Other", "https://hooks.example.com/z")["id"]
    named = prints("reports", "schedule", "change", 1, "--webhook", 1, "--webhook", other)
    assert [one["id"] for one in named["webhooks"]] == [1, other]
    assert prints("reports", "schedule", "change", 1, "--hour", 7)["webhooks"] == named["webhooks"]
    assert prints("reports", "schedule", "change", 1, "--webhook", "")["webhooks"] == []
    assert "There is no webhook 7" in fails("reports", "schedule", "change", 1, "--webhook", 7)


def test_an_unknown_schedule_is_an_error(fails):
    for verb in ("pause", "resume", "remove", "run", "secret"):
        assert fails("reports", "schedule", verb, 7) == "Error: There is no recurring report 7, or it is not yours.\n"


def test_changes_are_in_the_audit_log(succeeds):
    succeeds(*ADD)
    for verb in ("run", "pause", "resume", "remove"):
        succeeds("reports", "schedule", verb, 1)
    entries = AuditEntry.select().where(AuditEntry.action.startswith("recurring")).order_by(AuditEntry.id)
    assert [(entry.who, entry.action.split()[-1]) for entry in entries] == [
        ("system", act) for act in ("added", "run", "paused", "resumed", "removed")
    ]


@pytest.mark.settings(smtp_url="smtp://127.0.0.1:1")
def test_recipients_of_mail_are_named_kept_and_removed(prints, fails, services):
    for name in ("anna", "bob"):
        services.accounts.set_mail(services.accounts.add(name, "operator", None, "correct horse"), f"{name}@x.example")
    assert prints(*ADD, "--mail", "anna", "--mail", "bob")["recipients"] == ["anna", "bob"]
    assert prints("reports", "schedule", "change", 1, "--hour", 7)["recipients"] == ["anna", "bob"]
    assert prints("reports", "schedule", "change", 1, "--mail", "bob")["recipients"] == ["bob"]
    assert prints("reports", "schedule", "change", 1, "--mail", "")["recipients"] == []
    assert 'recipients[0] is "eve", no user' in fails("reports", "schedule", "change", 1, "--mail", "eve")
