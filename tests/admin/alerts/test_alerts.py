"""Pages of alerts, rules and silences: what they show, their forms, and who may use them."""

from __future__ import annotations

import pytest

from app.services.operations.health import Check
from app.store.models import Alert, AlertRule, AlertSilence, AuditEntry
from app.support.clock import HOUR_MS, now
from tests.admin.conftest import Visitor
from tests.support.client import event
from tests.support.page import Element, read

RULE = {
    "name": "Portfolio is silent",
    "kind": "stopped",
    "per": "product",
    "product": "PORTFOLIO",
    "minutes": "30",
    "factor": "5",
    "volume_direction": "both",
    "percent": "5",
    "minimum": "50",
    "threshold_direction": "fewer",
    "events": "1",
    "period": "hour",
    "notify": "all",
    "active": "y",
}
COLUMNS = {"kind": "stopped", "per": "product", "parameters": {"minutes": 15}, "created_at": 1, "changed_at": 1}
NEW_RULE, NEW_SILENCE = "/admin/alerts/rules/new", "/admin/alerts/silences/new"


@pytest.fixture(autouse=True)
def known_codes(nobody) -> None:
    nobody.send(event(), event(customer="OTHER"))


@pytest.fixture
def alert():
    """Return a function that stores an alert as the evaluation of rules does."""

    def store(state: str = "firing", **values: object) -> Alert:
        rule = AlertRule.get_or_none(AlertRule.name == "Silent") or AlertRule.create(name="Silent", **COLUMNS)
        begun = now() - 2 * HOUR_MS
        times = {"since_at": begun, "pending_at": begun, "firing_at": begun, "checked_at": now()}
        times |= {"resolved_at": now()} if state == "resolved" else {}
        series = {"customer": "", "product": "PORTFOLIO", "type": "", "subject": ""}
        words = {"title": "No events", "seen": "No event for 2 h.", "expected": "Normal is one a minute."}
        about = {"rule": rule.id, "rule_name": rule.name, "kind": "stopped", "details": {}, "state": state}
        return Alert.create(**(times | series | words | about | values))

    return store


def fields_of(page: Element) -> dict[str, str]:
    """Return the fields of a page's form as a browser sends them."""
    names = {one["name"] for one in page if one.tag in ("input", "select", "textarea") and one["name"]}
    filled = {name: page.value(name) for name in names - {"csrf_token"}}
    return {name: value for name, value in filled.items() if value is not None}


def rule_named(name: str) -> AlertRule:
    return AlertRule.get(AlertRule.name == name)


def add_rule(user: Visitor, **changes: str) -> AlertRule:
    fields = RULE | changes
    answer = user.send(NEW_RULE, fields)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return rule_named(fields["name"])


def test_the_page_is_calm_when_nothing_fires(boss):
    page = boss.read("/admin/alerts")
    assert "All calm." in page
    assert "Nothing is firing." in page
    assert "firing" not in boss.see("/admin/")


def test_firing_alerts_are_shown_with_what_was_seen_and_on_the_overview(boss, alert):
    made = alert()
    alert("pending", product="WATCHLIST", title="No events", firing_at=None)
    page = boss.read("/admin/alerts")
    assert "1 firing." in page
    assert "No event for 2 h." in page
    assert f"/admin/alerts/{made.id}" in page.links
    assert "1 alert is firing: No events: product PORTFOLIO" in boss.read("/admin/")


def test_firing_alerts_come_before_other_problems_on_the_overview(boss, alert, services, monkeypatch):
    monkeypatch.setattr(services.health, "glance", lambda: [Check("disk", "The disk is nearly full.", None)])
    alert()
    page = boss.read("/admin/")
    assert "2 problems need attention" in page
    problems = page.all("p", class_="problem")
    assert ["firing" in problems[0].text, problems[1].text] == [True, "The disk is nearly full."]


def test_more_than_three_firing_alerts_are_counted_on_the_overview(boss, alert):
    for number in range(5):
        alert(product=f"P{number}", title="No events")
    assert (
        "5 alerts are firing: No events: product P4, No events: product P3, No events: product P2 and 2 more"
        in boss.read("/admin/")
    )


def test_an_alert_shows_seen_and_normal_and_a_chart_whose_bars_lead_to_its_events(boss, alert, services):
    services.scheduler.count()
    made = alert(customer="BARCHART", type="OPEN")
    page = boss.read(f"/admin/alerts/{made.id}")
    assert "Normal is one a minute." in page
    assert "Events per hour" in page
    assert "Show as table" in page
    assert any("customer=BARCHART&product=PORTFOLIO" in link for link in page.links)


def test_an_alert_about_health_has_no_chart(boss, alert):
    made = alert(kind="health", product="", subject="worker", title="No worker")
    assert "Events per hour" not in boss.read(f"/admin/alerts/{made.id}")


def test_a_user_limited_to_a_customer_sees_no_other_alert(anna, alert):
    mine, other = alert(customer="BARCHART", title="mine"), alert(customer="OTHER", title="not yours")
    everything = alert(title="of everybody")
    page = anna.read("/admin/alerts")
    assert "mine" in page
    assert "not yours" not in page
    assert "of everybody" not in page
    assert anna.get(f"/admin/alerts/{mine.id}").status_code == 200
    for hidden in (other, everything):
        assert anna.get(f"/admin/alerts/{hidden.id}").status_code == 404


def test_the_history_goes_back_page_by_page(boss, alert, monkeypatch):
    monkeypatch.setattr("app.admin.alerts.alerts.PAGE_SIZE", 2)
    for number in range(5):
        alert("resolved", title=f"alert {number}")
    pages = boss.pages("/admin/alerts/history", "Earlier")
    seen = [cell.text for page in pages for cell in page.all("td", class_="name")]
    assert seen == [f"alert {number} product PORTFOLIO" for number in reversed(range(5))]


def test_rules_without_a_channel_are_said_to_show_on_these_pages_only(boss):
    add_rule(boss)
    assert "Alerts only show on these pages, because there is no channel." in boss.read("/admin/alerts/rules")


def test_a_completed_form_adds_a_rule(boss):
    made = add_rule(boss)
    assert (made.kind, made.per, made.product, made.parameters) == ("stopped", "product", "PORTFOLIO", {"minutes": 30})
    assert (made.channels, made.active, made.customer) == (None, True, None)
    assert "Portfolio is silent" in boss.read("/admin/alerts/rules")
    assert "alert rule added" in [entry.action for entry in AuditEntry.select()]


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({"kind": "volume", "factor": "3", "volume_direction": "drop"}, {"factor": 3, "direction": "drop"}),
        ({"kind": "rejected", "percent": "9", "minimum": "7"}, {"percent": 9, "minimum": 7}),
        (
            {"kind": "threshold", "threshold_direction": "more", "events": "1000", "period": "day"},
            {"direction": "more", "events": 1000, "period": "day"},
        ),
        ({"kind": "health", "checks": "worker"}, {"checks": ["worker"]}),
    ],
)
def test_the_form_shown_again_has_what_was_saved(boss, fields, parameters):
    made = add_rule(boss, **fields)
    assert made.parameters == parameters
    path = f"/admin/alerts/rules/{made.id}"
    filled = fields_of(boss.read(path))
    assert boss.send(path, filled | {"name": "Another name"}).status_code == 302
    again = AlertRule.get_by_id(made.id)
    assert (again.name, again.parameters, again.per, again.product) == (
        "Another name", parameters, made.per, made.product,
    )  # fmt: skip


def test_a_wrong_value_is_shown_at_its_field(boss):
    answer = boss.send(NEW_RULE, RULE | {"minutes": "2", "name": ""})
    assert answer.status_code == 400
    page = read(answer)
    assert "Name is missing." in page or "Name has 0 characters" in page
    assert boss.send(NEW_RULE, RULE | {"minutes": "2"}).status_code == 400


def test_a_rule_is_switched_off_and_removed(boss):
    made = add_rule(boss)
    path = f"/admin/alerts/rules/{made.id}"
    fields = {name: value for name, value in RULE.items() if name != "active"}
    assert boss.send(path, fields).status_code == 302
    assert not AlertRule.get_by_id(made.id).active
    assert "Portfolio is silent" in boss.read(f"{path}/remove")
    assert boss.send(f"{path}/remove", {}).status_code == 302
    assert AlertRule.get_or_none(AlertRule.id == made.id) is None


def test_an_alert_leads_to_a_silence_of_its_series(boss, alert):
    made = alert()
    link = boss.read(f"/admin/alerts/{made.id}").link("Silence")
    filled = fields_of(boss.read(link))
    assert (filled["rule"], filled["product"], filled["hours"]) == (str(made.rule), "PORTFOLIO", "4")
    assert boss.send(NEW_SILENCE, filled | {"reason": "planned work"}).status_code == 302
    silence = AlertSilence.get()
    assert (silence.rule, silence.product, silence.reason, silence.who) == (
        made.rule, "PORTFOLIO", "planned work", "admin",
    )  # fmt: skip
    page = boss.read("/admin/alerts/silences")
    assert "planned work" in page
    page = boss.read("/admin/alerts")
    assert "1 silence is active" in page
    assert "Silenced" in page
    assert "is firing" not in boss.read("/admin/")
    path = f"/admin/alerts/silences/{silence.id}/end"
    assert boss.send(path, {}, form="/admin/alerts/silences").status_code == 302
    assert "No silences." in boss.read("/admin/alerts/silences")


def test_a_silence_without_a_reason_is_not_added(boss):
    answer = boss.send(NEW_SILENCE, {"hours": "4", "reason": " "})
    assert answer.status_code == 400
    assert "Reason" in read(answer)
    assert AlertSilence.select().count() == 0


def test_an_analyst_may_look_and_not_change(anna, alert):
    made = alert(customer="BARCHART")
    assert "Silence" not in anna.read(f"/admin/alerts/{made.id}")
    for path in ("rules/new", "silences/new", "channels"):
        assert anna.get(f"/admin/alerts/{path}").status_code == 403


def test_an_operator_of_one_customer_adds_a_rule_about_it_only(limited):
    assert limited.send(NEW_RULE, RULE).status_code == 403
    made = add_rule(limited, customer="BARCHART")
    assert made.customer == "BARCHART"
    assert "Portfolio is silent" in limited.read("/admin/alerts/rules")
    assert "Events stopped" not in limited.read("/admin/alerts/rules")


def test_the_overview_shows_each_health_check_by_name(boss, services, monkeypatch):
    from app.services.operations.health import Check

    checks = [Check(name, None) for name in ("backup", "channels")]
    monkeypatch.setattr(services.health, "glance", lambda: checks)
    page = boss.read("/admin/")
    assert "Backup" in page
    assert "Alert channels" in page
