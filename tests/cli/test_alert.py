"""`tally alert`: rules, silences and alerts."""

from __future__ import annotations

from app.store.models import AlertRule

FIRST = ["All events stopped", "Events stopped", "Many rejected events", "Service health", "Volume far from normal"]


def test_the_first_rules_are_listed_in_words(succeeds, prints):
    assert [rule["name"] for rule in prints("alert", "list")] == FIRST
    assert "Events stopped, stopped, each product: silent for longer than normal, at least 15 minutes" in succeeds(
        "alert", "list"
    )


def test_a_rule_is_added_changed_and_removed(succeeds, fails, prints):
    added = prints(
        *("alert", "add", "Few", "--kind", "threshold", "--per", "type", "--product", "APP", "--customer", "ACME"),
        *("--direction", "fewer", "--events", "10", "--period", "day", "--channel", "3"),
    )
    assert added["parameters"] == {"direction": "fewer", "events": 10, "period": "day"}
    assert (added["per"], added["product"], added["channels"], added["active"]) == ("type", "APP", [3], True)
    key = str(added["id"])
    changed = prints("alert", "change", key, "--events", "20", "--product", "", "--all-channels", "--off")
    expected = {"product": None, "channels": None, "active": False}
    assert changed == added | expected | {"parameters": {"direction": "fewer", "events": 20, "period": "day"}}
    assert prints("alert", "show", key) == changed | {"alerts": []}
    assert "fewer than 20 events per day, off" in succeeds("alert", "show", key)
    succeeds("alert", "remove", key)
    assert "There is no alert rule" in fails("alert", "show", key)


def test_an_option_of_another_kind_is_a_wrong_call(app):
    result = app.test_cli_runner().invoke(args=["alert", "add", "X", "--kind", "stopped", "--percent", "3"])
    assert result.exit_code == 2
    assert "A rule of the kind stopped has no percent." in result.output
    assert AlertRule.select().count() == len(FIRST)


def test_a_wrong_rule_names_the_field(fails):
    assert "minutes is 1; it must be a whole number from 5" in fails(
        *("alert", "add", "X", "--kind", "stopped", "--minutes", "1")
    )
    assert "there is another alert rule of that name" in fails("alert", "add", "Events stopped", "--kind", "stopped")


def test_a_silence_is_added_listed_and_ended(succeeds, prints, fails):
    rule = str(AlertRule.get(AlertRule.name == "Service health").id)
    added = prints("alert", "silence", "--rule", rule, "--hours", "2", "--reason", "The disk is being moved.")
    assert added["until"] - added["created"] == 2 * 3_600_000
    assert prints("alert", "silence") == [added]
    succeeds("alert", "silence", "--end", str(added["id"]))
    assert prints("alert", "silence") == []
    assert "has ended already" in fails("alert", "silence", "--end", str(added["id"]))
    assert "reason is missing" in fails("alert", "silence", "--hours", "2")


def test_a_check_evaluates_the_rules_and_lists_what_is_wrong(prints, services, monkeypatch):
    problems = [("disk", "The disk is full.")]
    monkeypatch.setattr(services.alert_evaluation, "_health", lambda: problems)
    [alert] = prints("alert", "check")
    assert (alert["state"], alert["subject"], alert["seen"]) == ("pending", "disk", "The disk is full.")
    assert prints("alert", "history") == []
