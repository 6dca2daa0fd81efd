"""Alert rules and silences: what the service watches, and for what it stays quiet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.exceptions import AlertUnknown, FieldError, Forbidden, InputInvalid
from app.schemas.alerts import RuleSchema, SilenceSchema, condition, scope
from app.schemas.json import shown
from app.services.people import audit
from app.services.people.principal import Principal
from app.store.alerts import rules as store
from app.store.database import transaction
from app.store.models import AlertRule, AlertSilence
from app.support.clock import HOUR_MS, iso, now


class AlertRules:
    """Service for alert rules.

    A user who is limited to customers sees and makes only rules about one of them, because the numbers of any other
    rule include customers that the user may not see.
    """

    def visible(self, who: Principal) -> list[AlertRule]:
        """Return the rules that the caller may see, by name."""
        return store.rules(who.customers)

    def get(self, who: Principal, key: int) -> AlertRule:
        """Return a rule. Raise AlertUnknown if it does not exist, or the caller may not see it."""
        found = store.rule(key)
        if found is None or not _sees(who, found.customer):
            raise AlertUnknown(f"There is no alert rule {key}, or you may not see it.")
        return found

    def add(self, by: Principal, wanted: Mapping[str, object]) -> AlertRule:
        """Create a rule from unvalidated input; see `RuleSchema`.

        Raises:
            InputInvalid: a field is invalid, or the name is taken.
            Forbidden: the caller may not see the customer.
        """
        values = _check(by, wanted)
        moment = now()
        with transaction():
            added = store.add_rule(created_at=moment, changed_at=moment, **values)
            if added is None:
                raise _name_taken(values["name"])
            _note(by, "added", added)
        return added

    def change(self, by: Principal, rule: AlertRule, wanted: Mapping[str, object]) -> AlertRule:
        """Change a rule; see `add`. Its unresolved alerts are judged by the new rule from the next evaluation on."""
        values = _check(by, wanted)
        with transaction():
            changed_rows = store.change_rule(rule.id, changed_at=now(), **values)
            if changed_rows is None:
                raise _name_taken(values["name"])
            current = store.rule(rule.id)
            if not changed_rows or current is None:
                raise _removed(rule.id)
            _note(by, "changed", current)
        return current

    def remove(self, by: Principal, rule: AlertRule) -> None:
        """Remove a rule and its silences. Its unresolved alerts are resolved by the next evaluation."""
        with transaction():
            if not store.remove_rule(rule.id):
                raise _removed(rule.id)
            _note(by, "removed", rule)


class AlertSilences:
    """Service for silences. A user who is limited to customers sees and makes only silences about one of them."""

    def visible(self, who: Principal) -> list[AlertSilence]:
        """Return the silences that have not ended and that the caller may see, the next to end first."""
        return store.silences(now(), who.customers)

    def get(self, who: Principal, key: int) -> AlertSilence:
        """Return a silence. Raise AlertUnknown if it does not exist, or the caller may not see it."""
        found = store.silence(key)
        if found is None or not _sees(who, found.customer):
            raise AlertUnknown(f"There is no silence {key}, or you may not see it.")
        return found

    def add(self, by: Principal, wanted: Mapping[str, object]) -> AlertSilence:
        """Silence matching alerts from now on, from unvalidated input; see `SilenceSchema`.

        Raises:
            InputInvalid: a field is invalid.
            AlertUnknown: there is no such rule, or the caller may not see it.
            Forbidden: the caller may not see the customer.
        """
        values = SilenceSchema().check(wanted)
        _check_sees(by, values["customer"])
        if values["rule"] is not None and store.rule(values["rule"]) is None:
            raise AlertUnknown(f"There is no alert rule {values['rule']}.")
        moment, hours = now(), values.pop("hours")
        with transaction():
            added = store.add_silence(
                account=by.id or None, who=by.name, created_at=moment, until_at=moment + hours * HOUR_MS, **values
            )
            _note_silence(by, "added", added)
        return added

    def end(self, by: Principal, silence: AlertSilence) -> None:
        """End a silence now. Raise AlertUnknown if it has ended already."""
        with transaction():
            if not store.end_silence(silence.id, now()):
                raise AlertUnknown(f"The silence {silence.id} has ended already.")
            _note_silence(by, "ended", silence)


def _check(by: Principal, wanted: Mapping[str, object]) -> dict[str, Any]:
    values = RuleSchema().check(wanted)
    _check_sees(by, values["customer"])
    return values


def _sees(who: Principal, customer: str | None) -> bool:
    return who.customers is None or (customer is not None and who.sees(customer))


def _check_sees(by: Principal, customer: str | None) -> None:
    if not _sees(by, customer):
        about = "all customers" if customer is None else f"the customer {customer}"
        raise Forbidden(
            f"{by.name} may not see data of {about}.", [FieldError("customer is not yours.", field="customer")]
        )


def _note(by: Principal, act: str, rule: AlertRule) -> None:
    details = {"kind": rule.kind, "scope": scope(rule), "condition": condition(rule), "active": rule.active}
    audit.note(by, f"alert rule {act}", f"alert rule {rule.id}: {rule.name}", details, customer=rule.customer or "")


def _note_silence(by: Principal, act: str, silence: AlertSilence) -> None:
    names = ("rule", "customer", "product", "type", "reason")
    details = {name: getattr(silence, name) for name in names if getattr(silence, name) is not None}
    details["until"] = iso(silence.until_at)
    audit.note(by, f"alert silence {act}", f"alert silence {silence.id}", details, customer=silence.customer or "")


def _removed(key: int) -> AlertUnknown:
    return AlertUnknown(f"There is no alert rule {key} any more: somebody removed it.")


def _name_taken(name: str) -> InputInvalid:
    message = f"name is {shown(name)}, and there is another alert rule of that name."
    return InputInvalid("The alert rule cannot be saved.", [FieldError(message, field="name")])
