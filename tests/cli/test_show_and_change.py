"""Each noun has list, show, and what changes it."""

from __future__ import annotations

import click
import pytest

from app.cli.main import tally as group
from tests.support.client import FIRST, event

OURS = ("--customer", "BARCHART", "--product", "PORTFOLIO")
NOUNS = ("user", "token", "key", "catalog", "events", "reports", "schedules", "db", "settings")


@pytest.mark.parametrize("noun", NOUNS)
def test_each_noun_has_list_and_show(noun):
    verbs = group.commands[noun]
    assert isinstance(verbs, click.Group)
    assert {"list", "show"} <= set(verbs.commands)


def test_the_role_and_the_customers_of_a_user_are_changed_apart(succeeds, prints, services):
    services.accounts.add("root", "admin", None, "correct horse")
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")
    assert succeeds("user", "change", "anna", "--role", "operator") == "Changed anna: operator, BARCHART.\n"
    assert succeeds("user", "change", "anna", "--customer", "FERNHILL") == "Changed anna: operator, FERNHILL.\n"
    shown = {"name": "anna", "role": "operator", "customers": None, "second_factor": False}
    shown |= {"active": True, "sign_in": "password", "mail": None}
    assert prints("user", "change", "anna", "--all-customers") == shown
    assert prints("user", "show", "anna") == shown
    assert prints("user", "change", "anna", "--mail", "anna@example.com") == shown | {"mail": "anna@example.com"}
    assert prints("user", "change", "anna", "--mail", "") == shown


def test_a_change_of_a_user_that_cannot_be_is_refused(tally, services):
    services.accounts.add("root", "admin", None, "correct horse")
    services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")
    assert tally("user", "change", "anna")[0] == 2
    assert "An analyst sees only" in tally("user", "change", "anna", "--all-customers")[2]
    assert "is the last admin" in tally("user", "change", "root", "--role", "operator")[2]
    assert tally("user", "change", "nobody", "--role", "admin")[2] == "Error: There is no user nobody.\n"
    assert tally("user", "show", "nobody")[2] == "Error: There is no user nobody.\n"


def test_a_key_is_shown_in_use_and_revoked(prints, succeeds, fails, services):
    services.ingest_keys.add("web", ["BARCHART"], ())
    assert prints("key", "show", "web")["customers"] == ["BARCHART"]
    services.ingest_keys.revoke(services.ingest_keys.named("web"))
    assert "revoked" in succeeds("key", "show", "web")
    assert fails("key", "show", "app") == "Error: There is no key app.\n"


def test_events_are_listed_page_by_page_and_shown(nobody, prints, succeeds, fails):
    nobody.send(event(context=["a"]), event(timestamp=FIRST + 1, context=["b", None]))
    first = prints("events", "list", "--limit", 1)
    assert [one["context"] for one in first["events"]] == [["b", None]]
    second = prints("events", "list", "--limit", 1, "--after", first["next"])
    assert [one["context"] for one in second["events"]] == [["a"]]
    assert second["next"] is None
    key = first["events"][0]["id"]
    assert prints("events", "show", key) == first["events"][0]
    assert "context 1: b" in succeeds("events", "show", key)
    assert succeeds("events", "list", "--text", "b").startswith(f"{key}: 2026-")
    assert fails("events", "show", 999) == "Error: There is no event 999, or it is not yours.\n"
    assert "the nearest known: BARCHART" in fails("events", "list", "--customer", "BARCHARD")


def test_a_report_is_shown_with_its_progress_and_attempts(nobody, prints, succeeds):
    nobody.send(event())
    source = prints("reports", "start", *OURS, "--start", "2026-01-01")["source"]
    shown = prints("reports", "show", source)
    assert (shown["source"], shown["status"], shown["attempts"]) == (source, "RUNNING", [])
    assert shown["progress"]["queue_position"] == 1
    assert "from 2026-01-01 00:00 UTC to any time" in succeeds("reports", "show", source)


def test_a_recurring_report_is_shown_and_changed_in_parts(nobody, prints, succeeds, fails):
    nobody.send(event(), event(type="A"))
    given = ("--every", "daily", "--hour", 3, "--type", "A", "--format", "jsonl")
    made = prints("reports", "schedule", "add", "Daily", *OURS, *given)
    assert prints("reports", "schedule", "show", 1) == made
    changed = prints("reports", "schedule", "change", 1, "--every", "weekly", "--compression", "gzip")
    assert changed == made | {
        "next_run": changed["next_run"],
        "recurrence": "weekly",
        "output": {"format": "jsonl", "compression": "gzip"},
    }
    changed = prints("reports", "schedule", "change", 1, "--all-types", "--name", "Weekly", "--mode", "since_last")
    assert (changed["types"], changed["name"], changed["mode"]) == (None, "Weekly", "since_last")
    assert succeeds("reports", "schedule", "show", 1).startswith("1: Weekly, BARCHART PORTFOLIO, every Monday")
    assert "hour is 24" in fails("reports", "schedule", "change", 1, "--hour", 24)


def test_the_database_is_shown_without_its_password(prints, succeeds, database_url):
    migrations = prints("db", "list")
    assert all(one["applied"] for one in migrations)
    shown = prints("db", "show")
    assert (shown["migrations"], shown["pending"]) == (len(migrations), 0)
    assert shown["url"].startswith(database_url.partition(":")[0])
    assert succeeds("db", "list").startswith("0001_initial: applied\n")
    has_index = database_url.startswith("postgresql")
    assert succeeds("db", "index").startswith(
        "The index exists." if has_index else "There is no index: SQLite has none"
    )
    assert prints("db", "index") == {"indexed": has_index}


@pytest.mark.settings(metrics_token="a token for the scraper")
def test_settings_are_shown_with_secrets_masked(prints, succeeds, fails):
    shown = {one["name"]: one["value"] for one in prints("settings", "list")}
    assert shown["PUBLIC_URL"] == "https://tally.example"
    assert set(shown["METRICS_TOKEN"]) == {"•"}
    assert prints("settings", "show", "port") == {"name": "PORT", "value": "8000", "given": False}
    assert succeeds("settings", "show", "PORT") == "PORT=8000  (default)\n"
    assert fails("settings", "show", "PROT") == "Error: There is no setting PROT. List them: tally settings list\n"
