"""Form of a recurring report: that of a report, and when it runs. It has no rules of its own either."""

from __future__ import annotations

import re
from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue
from wtforms import SelectMultipleField, StringField

from app.admin.blueprint import services
from app.admin.form_errors import FORM_ERRORS, status_of
from app.admin.lines_field import LinesField
from app.admin.notifications.webhooks import show_secret
from app.admin.pages import Values, action, link_to, page, redirect_with
from app.admin.reports.new_report import TAB, ReportForm, choices
from app.admin.schedules.schedules import PATH, find_schedule
from app.auth import caller
from app.schemas.reports import DEFAULT_DELIMITER
from app.schemas.schedules import HOURS
from app.services.rows import Schedule
from app.services.schedules.service import Saved

HOUR = re.compile(r"[0-9]{1,2}")
RECURRENCES = {"daily": "Every day", "weekly": "Every week, on Monday", "monthly": "Every month, on the 1st"}


class ScheduleForm(ReportForm):
    """Form for a recurring report; its field names are those of the request."""

    customers = products = None  # a recurring report is about one of each
    start = end = None  # the recurrence defines the period
    bucketName = bucketKey = None  # see RecurringOutputSchema
    name = StringField("Name")
    recurrence = StringField("How often")
    hour = StringField("At", default="6")
    mode = StringField("Contents")
    webhooks = SelectMultipleField("Webhooks", choices=(), coerce=int, validate_choice=False)
    webhook = StringField("New webhook")
    recipients = LinesField("Mail to")

    def to_request(self) -> dict[str, Any]:
        """Return the request without fields that are empty."""
        hour, url = self.hour.data or "", (self.webhook.data or "").strip()
        when = {"recurrence": self.recurrence.data, "hour": int(hour) if HOUR.fullmatch(hour) else hour}
        named = {"name": (self.name.data or "").strip(), "mode": self.mode.data}
        webhooks = {"webhooks": self.webhooks.data or []} | ({"webhook": url} if url else {})
        return super().to_request() | named | when | webhooks | {"recipients": self.recipients.lines}


@page("/reports/recurring/new", "reports")
def new_schedule() -> str:
    return _render_form(ScheduleForm(request.args or None))


@action("/reports/recurring/new", "reports")
def add_schedule() -> ResponseReturnValue:
    """Create a recurring report, or show the form with its errors."""
    form = ScheduleForm()
    try:
        saved = services().schedules.add(caller(), form.to_request())
    except FORM_ERRORS as error:
        return _render_form(form, general=form.attach(error)), status_of(error)
    return _answer(saved, is_new=True)


@page(f"{PATH}/edit", "reports")
def edit_schedule(key: int) -> str:
    found = find_schedule(key)
    columns = ("name", "customer", "product", "recurrence", "mode")
    filled: Values = {"delimiter": DEFAULT_DELIMITER, "header": False}  # what the form has by default differs
    filled |= {name: getattr(found, name) for name in columns} | (found.output or {})
    filled |= {"hour": str(found.hour), "types": "\n".join(found.types or ())}
    filled |= {"webhooks": [one.id for one in services().schedules.webhooks(found)]}
    names = [one.name for one in services().schedules.recipients(found) if one.removed_at is None]
    filled |= {"recipients": "\n".join(names)}
    filled |= {"delimiter": TAB} if filled.get("delimiter") == "\t" else {}
    return _render_form(ScheduleForm(None, **filled), found)


@action(f"{PATH}/edit", "reports")
def change_schedule(key: int) -> ResponseReturnValue:
    """Change a recurring report, or show the form with its errors."""
    found, form = find_schedule(key), ScheduleForm()
    try:
        saved = services().schedules.change(caller(), found, form.to_request())
    except FORM_ERRORS as error:
        return _render_form(form, found, form.attach(error)), status_of(error)
    return _answer(saved, is_new=False)


def _render_form(form: ScheduleForm, schedule: Schedule | None = None, general: list[str] | None = None) -> str:
    values = choices() | {"schedule": schedule, "servers": services().webhooks.allowed, "general": general or []}
    values |= {"known_webhooks": services().webhooks.visible(caller()), "has_mail": services().mail.server.is_set}
    values |= {"recurrences": RECURRENCES, "hours": range(HOURS), "buckets": ()}
    return render_template("admin/schedules/schedule_form.html", form=form, **values)


def _answer(saved: Saved, *, is_new: bool) -> ResponseReturnValue:
    """Redirect to the recurring report, or show its webhook secret once if there is a new one."""
    schedule = saved.schedule
    if saved.secret:
        added = services().schedules.webhooks(schedule)[-1]
        title = f"{schedule.name} is {'added' if is_new else 'changed'}"
        return show_secret(added, saved.secret, back=link_to("schedule", key=schedule.id), title=title)
    message = f"{schedule.name} is {'added' if is_new else 'changed'}."
    return redirect_with(message, link_to("schedule", key=schedule.id))
