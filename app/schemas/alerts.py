"""Schemas of the requests for an alert rule and for a silence, and the rule in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from marshmallow import Schema, ValidationError, validates_schema

from app.schemas.field_errors import load
from app.schemas.fields import Choice, Code, Described, Flag, Whole

STOPPED, VOLUME, REJECTED, THRESHOLD, HEALTH = "stopped", "volume", "rejected", "threshold", "health"
KINDS = (STOPPED, VOLUME, REJECTED, THRESHOLD, HEALTH)
EVERYTHING, PRODUCT, TYPE, CUSTOMER = "everything", "product", "type", "customer"
PERS = (EVERYTHING, PRODUCT, TYPE, CUSTOMER)
CHECKS = ("database", "redis", "worker", "storage", "disk", "spool", "backup", "report", "webhook")
MAX_REASON = 500
MAX_SILENCE_DAYS = 366


class Names(Described):
    """List of words from a fixed list; empty means all."""

    allowed = f"an array of some of {', '.join(CHECKS)}"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str]:
        if not isinstance(value, list) or not all(one in CHECKS for one in value):
            raise self.refuse(value)
        return [name for name in CHECKS if name in value]


class Keys(Described):
    """List of ids."""

    allowed = "an array of ids of channels"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[int]:
        if not isinstance(value, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in value):
            raise self.refuse(value)
        return sorted(set(value))


class Parameters(Described):
    """Parameters of a rule, which depend on its kind."""

    allowed = "an object"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self.refuse(value)
        return value


class Reason(Described):
    """Sentence for people."""

    allowed = f"a text of 1 to {MAX_REASON} characters"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        text = value.strip() if isinstance(value, str) else ""
        if not 1 <= len(text) <= MAX_REASON or "\0" in text:
            raise self.refuse(value)
        return text


class StoppedSchema(Schema):
    """Silence of at least so many minutes that is longer than normal."""

    minutes = Whole(5, 43_200, load_default=15)


class VolumeSchema(Schema):
    """Number of events that is so many times more or less than normal."""

    factor = Whole(2, 1_000, load_default=5)
    direction = Choice(("both", "drop", "rise"), load_default="both")


class RejectedSchema(Schema):
    """Share of rejected events, of which there must be a minimum."""

    percent = Whole(1, 100, load_default=5)
    minimum = Whole(1, 1_000_000, load_default=50)


class ThresholdSchema(Schema):
    """More or fewer events than a number in the last complete hour or 24 hours."""

    direction = Choice(("more", "fewer"), required=True)
    events = Whole(0, 10**12, required=True)
    period = Choice(("hour", "day"), load_default="hour")


class HealthSchema(Schema):
    """Health checks; none means all."""

    checks = Names(load_default=[])


PARAMETERS: dict[str, type[Schema]] = {
    STOPPED: StoppedSchema,
    VOLUME: VolumeSchema,
    REJECTED: RejectedSchema,
    THRESHOLD: ThresholdSchema,
    HEALTH: HealthSchema,
}


class RuleSchema(Schema):
    """Alert rule. Absent codes and channels mean all."""

    name = Code(required=True)
    kind = Choice(KINDS, required=True)
    per = Choice(PERS, load_default=EVERYTHING)
    customer = Code(load_default=None)
    product = Code(load_default=None)
    type = Code(load_default=None)
    parameters = Parameters(load_default=dict)
    channels = Keys(load_default=None)
    active = Flag(load_default=True)

    def check(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Return the validated columns of a rule, or raise InputInvalid."""
        rule = load(self, wanted, "The alert rule", "nothing was saved")
        given = rule["parameters"]
        return rule | {"parameters": load(PARAMETERS[rule["kind"]](), given, "The alert rule", "nothing was saved")}

    @validates_schema
    def check_scope(self, data: dict[str, Any], **kwargs: object) -> None:
        """Reject a scope that the kind of rule cannot have."""
        codes = [name for name in ("customer", "product", "type") if data[name] is not None]
        if data["kind"] == HEALTH and (codes or data["per"] != EVERYTHING):
            raise ValidationError({"per": ['is wrong; a rule about health must have "everything", and no codes']})
        if data["kind"] == REJECTED and (data["per"] not in (EVERYTHING, PRODUCT) or {"customer", "type"} & {*codes}):
            raise ValidationError(
                {"per": ['is wrong; a rule about rejected events must have "everything" or "product"']}
            )
        if data["type"] is not None and data["product"] is None:
            raise ValidationError({"type": ["needs a product; a type belongs to one"]})


class SilenceSchema(Schema):
    """Silence: what it matches, for how long, and why. Absent columns match everything."""

    rule = Whole(1, 10**18, load_default=None)
    customer = Code(load_default=None)
    product = Code(load_default=None)
    type = Code(load_default=None)
    hours = Whole(1, MAX_SILENCE_DAYS * 24, required=True)
    reason = Reason(required=True)

    def check(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Return the validated request, or raise InputInvalid."""
        return load(self, wanted, "The silence", "nothing was saved")


class RuleRow(Protocol):
    """Row of the table of alert rules, as far as it is put into words."""

    kind: str
    per: str
    customer: str | None
    product: str | None
    type: str | None
    parameters: dict[str, Any]


def condition(rule: RuleRow) -> str:
    """Return when a rule alerts, in words."""
    values = rule.parameters
    if rule.kind == STOPPED:
        return f"silent for longer than normal, at least {values['minutes']} minutes"
    if rule.kind == VOLUME:
        factor = values["factor"]
        words = {
            "both": f"{factor} times more or less than normal",
            "drop": f"less than 1/{factor} of normal",
            "rise": f"more than {factor} times normal",
        }
        return words[values["direction"]]
    if rule.kind == REJECTED:
        return f"over {values['percent']} % rejected within two hours, at least {values['minimum']:,} events"
    if rule.kind == THRESHOLD:
        unit = "event" if values["events"] == 1 else "events"
        return f"{values['direction']} than {values['events']:,} {unit} per {values['period']}"
    return ", ".join(values["checks"]) or "any health check"


def scope(rule: RuleRow) -> str:
    """Return what a rule watches, in words."""
    if rule.kind == HEALTH:
        return "the service"
    codes = [f"{name} {getattr(rule, name)}" for name in ("customer", "product", "type") if getattr(rule, name)]
    each = "" if rule.per == EVERYTHING else f"each {rule.per}"
    if not codes:
        return each or "all events"
    return f"{each} of {', '.join(codes)}" if each else ", ".join(codes)
