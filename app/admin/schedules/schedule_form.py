"""Form of a recurring report: that of a report, and when it runs. It has no rules of its own either."""

from __future__ import annotations

import re

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response
from wtforms import StringField

from app.admin.blueprint import blueprint, services
from app.admin.form_errors import attach_errors
from app.admin.reports.new_report import TAB, ReportForm, choices
from app.admin.schedules.schedules import KEY, theirs
from app.auth import caller, need, signed_in
from app.exceptions import FieldError, Forbidden, InputInvalid, RateLimited
from app.schemas.schedules import HOURS
from app.services.schedules.service import Saved, Schedule

HOUR = re.compile(r"[0-9]{1,2}")
RECURRENCES = {"daily": "Every day", "weekly": "Every week, on Monday", "monthly": "Every month, on the 1st"}


class ScheduleForm(ReportForm):
    """Form for a recurring report; its field names are those of the request."""

    start = end = None  # the recurrence defines the period
    bucketName = bucketKey = None  # see RecurringOutputSchema
    name = StringField("Name")
    recurrence = StringField("How often")
    hour = StringField("At", default="6")
    mode = StringField("Contents")
    webhook = StringField("Webhook")

    def wanted(self) -> dict[str, object]:
        """Return the request without fields that are empty."""
        hour = self.hour.data or ""
        when = {"recurrence": self.recurrence.data, "hour": int(hour) if HOUR.fullmatch(hour) else hour}
        named = {"name": (self.name.data or "").strip(), "mode": self.mode.data}
        url = (self.webhook.data or "").strip()
        return super().wanted() | named | when | ({"webhook": url} if url else {})


@blueprint.get("/reports/recurring/new")
@signed_in
def new_schedule() -> str:
    """Show the form, filled in from the query string."""
    need("reports")
    return _page(ScheduleForm(request.args or None))


@blueprint.post("/reports/recurring/new")
@signed_in
def add_schedule() -> str | tuple[str, int] | Response:
    """Create a recurring report, or show the form with its errors."""
    need("reports")
    form = ScheduleForm()
    try:
        saved = services().schedules.add(caller(), form.wanted())
    except InputInvalid as error:
        return _page(form, field_errors=error.field_errors), 400
    except Forbidden as error:
        form.customer.errors = [str(error)]
        return _page(form), 403
    except RateLimited as error:
        return _page(form, field_errors=[FieldError(str(error))]), 429
    return _saved(saved, is_new=True)


@blueprint.get(f"/reports/recurring/{KEY}/edit")
@signed_in
def edit_schedule(key: int) -> str:
    """Show the form, filled in with the current values."""
    found = theirs(key)
    return _page(ScheduleForm(None, **_filled(found)), found)


@blueprint.post(f"/reports/recurring/{KEY}/edit")
@signed_in
def change_schedule(key: int) -> str | tuple[str, int] | Response:
    """Change a recurring report, or show the form with its errors."""
    found = theirs(key)
    form = ScheduleForm()
    try:
        saved = services().schedules.change(caller(), found, form.wanted())
    except InputInvalid as error:
        return _page(form, found, error.field_errors), 400
    except Forbidden as error:
        form.customer.errors = [str(error)]
        return _page(form, found), 403
    return _saved(saved, is_new=False)


def _page(form: ScheduleForm, schedule: Schedule | None = None, field_errors: list[FieldError] = ()) -> str:
    general = attach_errors(form, field_errors)
    known = choices() | {"schedule": schedule, "servers": services().webhooks.allowed}
    known |= {"recurrences": RECURRENCES, "hours": range(HOURS), "buckets": ()}
    return render_template("admin/schedules/schedule_form.html", form=form, general=general, **known)


def _saved(saved: Saved, *, is_new: bool) -> str | Response:
    """Redirect to the recurring report, or show its webhook secret once if there is a new one."""
    if saved.secret:
        secret = {"secret": saved.secret, "is_new": is_new}
        return render_template("admin/schedules/webhook_secret.html", schedule=saved.schedule, **secret)
    flash(f"{saved.schedule.name} is {'added' if is_new else 'changed'}.")
    return redirect(url_for("admin.schedule", key=saved.schedule.id))


def _filled(schedule: Schedule) -> dict[str, object]:
    """Return the form values of a recurring report."""
    columns = ("name", "customer", "product", "recurrence", "mode", "webhook")
    filled = {name: getattr(schedule, name) for name in columns} | (schedule.output or {})
    filled |= {"hour": str(schedule.hour), "types": "\n".join(schedule.types or ())}
    return filled | ({"delimiter": TAB} if filled.get("delimiter") == "\t" else {})
