"""Pages that list, add and end silences: periods in which matching alerts are not notified."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField

from app.admin.alerts.alert_rows import CODES
from app.admin.alerts.rules import SUGGESTED
from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, attach_errors, messages_of, status_of
from app.admin.pages import Values, action, link_to, page, parse_id, redirect_with
from app.auth import caller
from app.exceptions import InputInvalid

HOURS = {1: "1 hour", 4: "4 hours", 12: "12 hours", 24: "1 day", 72: "3 days", 168: "1 week", 720: "30 days"}


class SilenceForm(FlaskForm):
    """Form for a silence."""

    rule = StringField("Rule")
    customer = StringField("Customer")
    product = StringField("Product")
    type = StringField("Event type")
    hours = StringField("For", default="4")
    reason = StringField("Reason")

    def to_request(self) -> Values:
        """Return the request as a program would send it."""
        codes = {name: self[name].data for name in CODES if self[name].data}
        rule = {"rule": parse_id(self.rule.data)} if self.rule.data else {}
        hours = self.hours.data or ""
        return (
            rule
            | codes
            | {"hours": int(hours) if hours.isascii() and hours.isdigit() else hours}
            | {"reason": self.reason.data or ""}
        )


@page("/alerts/silences", "events")
def alert_silences() -> str:
    who = caller()
    rules = {rule.id: rule.name for rule in services().alert_rules.visible(who)}
    silences = services().alert_silences.visible(who)
    return render_template("admin/alerts/silences.html", silences=silences, rules=rules)


@page("/alerts/silences/new", "system")
def new_alert_silence() -> str:
    return _render_form(SilenceForm(request.args or None))


@action("/alerts/silences/new", "system")
def add_alert_silence() -> ResponseReturnValue:
    """Add a silence, or show the form with its errors."""
    form = SilenceForm()
    try:
        services().alert_silences.add(caller(), form.to_request())
    except FORM_ERRORS as error:
        general = attach_errors(form, error.field_errors) if isinstance(error, InputInvalid) else messages_of(error)
        return _render_form(form, general), status_of(error)
    return redirect_with("The silence is added. Alerts still show on the page.", link_to("alert_silences"))


@action("/alerts/silences/<int:key>/end", "system")
def end_alert_silence(key: int) -> Response:
    services().alert_silences.end(caller(), services().alert_silences.get(caller(), key))
    return redirect_with("The silence has ended. Matching alerts are notified again.", link_to("alert_silences"))


def _render_form(form: SilenceForm, general: list[str] | None = None) -> str:
    customers, products = services().catalog.known(caller(), SUGGESTED + 1)
    types = sorted({one.code for one in services().catalog.types(caller(), SUGGESTED + 1)})
    values = {"rules": services().alert_rules.visible(caller()), "customers": customers, "products": products}
    values |= {"types": types, "hours": HOURS, "general": general or []}
    return render_template("admin/alerts/new_silence.html", form=form, **values)
