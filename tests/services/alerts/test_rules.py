"""Alert rules and silences: what they may be, who may make them, and that each change is in the audit log."""

from __future__ import annotations

import pytest

from app.exceptions import AlertUnknown, Forbidden, InputInvalid
from app.services.people.principal import SYSTEM, Principal
from app.store.models import AlertSilence, AuditEntry
from tests.services.alerts.conftest import World

ANNA = Principal(7, "anna", "operator", ("ACME",), "")
RULE = {"name": "Quiet", "kind": "stopped", "per": "product"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "odd"}, "kind is"),
        ({"parameters": {"minutes": 4}}, "minutes is 4; it must be a whole number from 5 to 43,200"),
        ({"parameters": {"factor": 3}}, "factor"),
        ({"parameters": []}, "parameters is"),
        ({"kind": "health"}, 'a rule about health must have "everything"'),
        ({"kind": "rejected", "per": "customer"}, "a rule about rejected events must have"),
        ({"type": "USE"}, "type needs a product"),
        ({"kind": "threshold"}, "direction is missing"),
        ({"channels": ["mail"]}, "channels is"),
    ],
)
def test_a_rule_that_makes_no_sense_is_rejected(services, wrong, message):
    with pytest.raises(InputInvalid) as caught:
        services.alert_rules.add(SYSTEM, RULE | wrong)
    assert message in caught.value.field_errors[0].message


def test_a_user_with_customers_sees_and_makes_only_rules_about_them(services):
    rules = services.alert_rules
    hidden = rules.visible(SYSTEM)[0]
    assert rules.visible(ANNA) == []
    with pytest.raises(AlertUnknown):
        rules.get(ANNA, hidden.id)
    with pytest.raises(Forbidden, match="may not see data of all customers"):
        rules.add(ANNA, RULE)
    with pytest.raises(Forbidden, match="may not see data of the customer OTHER"):
        rules.add(ANNA, RULE | {"customer": "OTHER"})
    own = rules.add(ANNA, RULE | {"customer": "ACME"})
    assert rules.visible(ANNA) == [own]
    with pytest.raises(Forbidden):
        rules.change(ANNA, own, RULE)


def test_a_user_with_customers_silences_only_alerts_about_them(services):
    with pytest.raises(Forbidden):
        services.alert_silences.add(ANNA, {"hours": 1, "reason": "Quiet."})
    own = services.alert_silences.add(ANNA, {"customer": "ACME", "hours": 1, "reason": "Quiet."})
    others = services.alert_silences.add(SYSTEM, {"hours": 1, "reason": "Quiet."})
    assert services.alert_silences.visible(ANNA) == [own]
    with pytest.raises(AlertUnknown):
        services.alert_silences.get(ANNA, others.id)


def test_each_change_is_in_the_audit_log(services):
    rule = services.alert_rules.add(SYSTEM, RULE)
    rule = services.alert_rules.change(SYSTEM, rule, RULE | {"parameters": {"minutes": 30}})
    silence = services.alert_silences.add(SYSTEM, {"rule": rule.id, "hours": 1, "reason": "A test."})
    services.alert_silences.end(SYSTEM, silence)
    services.alert_rules.remove(SYSTEM, rule)
    entries = list(AuditEntry.select().order_by(AuditEntry.id))
    assert [entry.action for entry in entries] == [
        "alert rule added",
        "alert rule changed",
        "alert silence added",
        "alert silence ended",
        "alert rule removed",
    ]
    assert entries[1].object == f"alert rule {rule.id}: Quiet"
    assert entries[1].details["condition"] == "silent for longer than normal, at least 30 minutes"


def test_a_removed_rule_takes_its_silences_with_it(world: World):
    rule = world.rule("stopped")
    world.services.alert_silences.add(SYSTEM, {"rule": rule.id, "hours": 1, "reason": "A test."})
    world.services.alert_rules.remove(SYSTEM, rule)
    assert AlertSilence.select().count() == 0
    with pytest.raises(AlertUnknown):
        world.services.alert_rules.remove(SYSTEM, rule)
