"""Pages that list, add, change and remove alert rules. The form has no rules of its own; see `reports.new_report`."""

from __future__ import annotations

from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, RadioField, SelectMultipleField, StringField

from app.admin.alerts.alert_rows import rule_row
from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, attach_errors, messages_of, status_of
from app.admin.pages import Values, action, confirm, link_to, page, redirect_with
from app.auth import caller
from app.exceptions import InputInvalid, TallyError
from app.schemas.alerts import CHECKS, HEALTH, PERS, REJECTED, STOPPED, THRESHOLD, VOLUME
from app.services.rows import AlertRule

PATH = "/alerts/rules/<int:key>"
SUGGESTED = 100  # codes that a field lists; users type others
KINDS = {
    STOPPED: ("Events stopped", "No event for longer than normal at this hour of the week."),
    VOLUME: ("Volume far from normal", "Many more or fewer events than normal at this hour of the week."),
    REJECTED: ("Many rejected events", "A large share of events is rejected."),
    THRESHOLD: ("Fixed limit", "More or fewer events than a number that you choose."),
    HEALTH: ("Service health", "A part of Tally itself has a problem, such as a worker, the disk or a backup."),
}
PER_WORDS = {
    "everything": "All together",
    "product": "Each product separately",
    "type": "Each event type separately",
    "customer": "Each customer separately",
}
VOLUME_DIRECTIONS = {"both": "more or fewer", "drop": "fewer", "rise": "more"}
THRESHOLD_DIRECTIONS = {"fewer": "fewer", "more": "more"}
PERIODS = {"hour": "in an hour", "day": "in 24 hours"}
PARAMETERS = {STOPPED: ("minutes",), VOLUME: ("factor",), REJECTED: ("percent", "minimum"), THRESHOLD: ("events",)}


class RuleForm(FlaskForm):
    """Form for an alert rule."""

    name = StringField("Name")
    kind = RadioField("Alert when", choices=(), default=STOPPED, validate_choice=False)
    per = StringField("Watch", default="product")
    customer = StringField("Customer")
    product = StringField("Product")
    type = StringField("Event type")
    minutes = StringField("Minutes at least", default="15")
    factor = StringField("Times", default="5")
    volume_direction = StringField("Direction", default="both")
    percent = StringField("Percent rejected", default="5")
    minimum = StringField("Events at least", default="50")
    threshold_direction = StringField("Direction", default="fewer")
    events = StringField("Events", default="1")
    period = StringField("Period", default="hour")
    checks = SelectMultipleField("Checks", choices=(), validate_choice=False)
    notify = RadioField("Notify", choices=(), default="all", validate_choice=False)
    channels = SelectMultipleField("Channels", choices=(), validate_choice=False)
    active = BooleanField("Evaluate this rule", default=True)

    def to_request(self) -> dict[str, Any]:
        """Return the request as a program would send it."""
        kind = self.kind.data or ""
        parameters: Values = {name: _whole(self[name].data) for name in PARAMETERS.get(kind, ())}
        if kind == VOLUME:
            parameters["direction"] = self.volume_direction.data
        if kind == THRESHOLD:
            parameters |= {"direction": self.threshold_direction.data, "period": self.period.data}
        if kind == HEALTH:
            parameters["checks"] = self.checks.data or []
        request = {"name": (self.name.data or "").strip(), "kind": kind, "active": bool(self.active.data)}
        request |= {"parameters": parameters, "per": "everything" if kind == HEALTH else self.per.data}
        if kind != HEALTH:
            codes = {name: (self[name].data or "").strip() for name in ("customer", "product", "type")}
            request |= {name: code for name, code in codes.items() if code}
        if self.notify.data == "some":
            request["channels"] = [_whole(key) for key in self.channels.data or ()]
        return request

    def attach(self, error: TallyError) -> list[str]:
        """Attach an error to the fields that it concerns, and return the messages that belong to no field."""
        return attach_errors(self, error.field_errors) if isinstance(error, InputInvalid) else messages_of(error)


@page("/alerts/rules", "events")
def alert_rules() -> str:
    names = {one.id: one.name for one in services().channels.all()}
    rows = [rule_row(rule, names) for rule in services().alert_rules.visible(caller())]
    return render_template("admin/alerts/rules.html", rows=rows, has_channels=bool(names))


@page("/alerts/rules/new", "system")
def new_alert_rule() -> str:
    return _render_form(RuleForm(request.args or None))


@action("/alerts/rules/new", "system")
def add_alert_rule() -> ResponseReturnValue:
    """Create a rule, or show the form with its errors."""
    form = RuleForm()
    try:
        rule = services().alert_rules.add(caller(), form.to_request())
    except FORM_ERRORS as error:
        return _render_form(form, general=form.attach(error)), status_of(error)
    return redirect_with(f"{rule.name} is added. It is evaluated every minute.", link_to("alert_rules"))


@page(PATH, "system")
def alert_rule(key: int) -> str:
    rule = services().alert_rules.get(caller(), key)
    return _render_form(RuleForm(None, **_filled(rule)), rule)


@action(PATH, "system")
def change_alert_rule(key: int) -> ResponseReturnValue:
    """Change a rule, or show the form with its errors."""
    rule, form = services().alert_rules.get(caller(), key), RuleForm()
    try:
        changed = services().alert_rules.change(caller(), rule, form.to_request())
    except FORM_ERRORS as error:
        return _render_form(form, rule, form.attach(error)), status_of(error)
    return redirect_with(f"{changed.name} is changed.", link_to("alert_rules"))


@page(f"{PATH}/remove", "system")
def confirm_remove_alert_rule(key: int) -> str:
    rule = services().alert_rules.get(caller(), key)
    row, back = rule_row(rule, {}), link_to("alert_rule", key=key)
    return confirm("admin/alerts/confirm_remove_rule.html", back, rule=rule, row=row)


@action(f"{PATH}/remove", "system")
def remove_alert_rule(key: int) -> Response:
    rule = services().alert_rules.get(caller(), key)
    services().alert_rules.remove(caller(), rule)
    return redirect_with(f"{rule.name} is removed. Its alerts stay in the history.", link_to("alert_rules"))


def _render_form(form: RuleForm, rule: AlertRule | None = None, general: list[str] | None = None) -> str:
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    values: Values = {
        "rule": rule,
        "general": general or [],
        "kinds": KINDS,
        "all_checks": CHECKS,
        "customers": customers,
    }
    values |= {"pers": {name: PER_WORDS[name] for name in PERS}, "products": products, "periods": PERIODS}
    values |= {"types": sorted({one.code for one in services().catalog.types(caller(), SUGGESTED + 1)})}
    values |= {"volume_directions": VOLUME_DIRECTIONS, "threshold_directions": THRESHOLD_DIRECTIONS}
    return render_template("admin/alerts/rule_form.html", form=form, all_channels=services().channels.all(), **values)


def _filled(rule: AlertRule) -> Values:
    """Return the values of the form's fields for a rule."""
    values: Values = {name: getattr(rule, name) for name in ("name", "kind", "per", "customer", "product", "type")}
    values |= {name: str(rule.parameters[name]) for name in PARAMETERS.get(rule.kind, ())}
    values |= {name: rule.parameters[name] for name in ("period", "checks") if name in rule.parameters}
    if rule.kind in (VOLUME, THRESHOLD):
        values[f"{rule.kind}_direction"] = rule.parameters["direction"]
    values |= {"notify": "all" if rule.channels is None else "some", "active": rule.active}
    return values | {"channels": [str(key) for key in rule.channels or ()]}


def _whole(text: str | None) -> int | str:
    """Return the number that a user typed, or the text, which the schema rejects."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else text
