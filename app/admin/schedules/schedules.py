"""Pages that list recurring reports, show a recurring report, and run, pause, resume or remove it."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.admin.reports.report_rows import report_row as report_line
from app.admin.schedules.schedule_rows import delivery_rows, gaps, schedule_row
from app.auth import caller, need, signed_in
from app.exceptions import Forbidden, InputInvalid, RateLimited, ScheduleBusy
from app.schemas.reports import DEFAULT_DELIMITER, source
from app.services.schedules.service import Schedule

KEY = "<int(max=999999999999999999):key>"
REPORTS = 20  # reports shown for a recurring report
DELIVERIES = 20


@blueprint.get("/reports/recurring")
@signed_in
def recurring() -> str:
    """Show all recurring reports that the caller may see."""
    return render_template("admin/schedules/recurring.html", **_all())


@blueprint.get("/reports/recurring/part")
@signed_in
def recurring_part() -> str:
    """Return the part of the list that refreshes itself."""
    return render_template("admin/schedules/_recurring.html", **_all())


@blueprint.get(f"/reports/recurring/{KEY}")
@signed_in
def schedule(key: int) -> str:
    """Show a recurring report."""
    return render_template("admin/schedules/schedule.html", **_one(key))


@blueprint.get(f"/reports/recurring/{KEY}/part")
@signed_in
def schedule_part(key: int) -> str:
    """Return the part of a recurring report that refreshes itself."""
    return render_template("admin/schedules/_schedule.html", **_one(key))


@blueprint.post(f"/reports/recurring/{KEY}/run")
@signed_in
def run_schedule(key: int) -> Response:
    """Start a report now."""
    found = theirs(key)
    try:
        report = services().schedule_runs.run(caller(), found)
    except (ScheduleBusy, Forbidden, RateLimited) as error:
        return _back(found, f"Not started. {error}")
    except InputInvalid as error:
        return _back(found, "Not started. " + " ".join(fault.message for fault in error.field_errors))
    return redirect(url_for("admin.report", source=source(report)))


@blueprint.post(f"/reports/recurring/{KEY}/pause")
@signed_in
def pause_schedule(key: int) -> Response:
    """Pause a recurring report until it is resumed."""
    found = theirs(key)
    services().schedules.pause(caller(), found)
    return _back(found, f"{found.name} is paused.")


@blueprint.post(f"/reports/recurring/{KEY}/resume")
@signed_in
def resume_schedule(key: int) -> Response:
    """Resume a recurring report."""
    found = theirs(key)
    try:
        services().schedules.resume(caller(), found)
    except Forbidden as error:
        return _back(found, f"Not resumed. {error}")
    return _back(found, f"{found.name} is resumed.")


@blueprint.get(f"/reports/recurring/{KEY}/remove")
@signed_in
def remove_schedule(key: int) -> str:
    """Ask for confirmation before a recurring report is removed, and show what is lost."""
    found = theirs(key)
    started = services().schedules.count_reports(caller(), found)
    return render_template("admin/schedules/remove_schedule.html", line=schedule_row(found), started=started)


@blueprint.post(f"/reports/recurring/{KEY}/remove")
@signed_in
def end_schedule(key: int) -> Response:
    """Remove a recurring report."""
    found = theirs(key)
    services().schedules.remove(caller(), found)
    flash(f"{found.name} is removed. Its reports stay.")
    return redirect(url_for("admin.recurring"))


@blueprint.get(f"/reports/recurring/{KEY}/secret")
@signed_in
def webhook_secret(key: int) -> str:
    """Ask for confirmation before the webhook secret is replaced."""
    return render_template("admin/schedules/renew_secret.html", schedule=_with_webhook(key))


@blueprint.post(f"/reports/recurring/{KEY}/secret")
@signed_in
def renew_secret(key: int) -> str:
    """Create a new webhook secret and show it once, which is why the response is a page rather than a redirect."""
    found = _with_webhook(key)
    secret = services().schedules.new_secret(caller(), found)
    return render_template("admin/schedules/webhook_secret.html", schedule=found, secret=secret, is_new=False)


@blueprint.get(f"/reports/recurring/{KEY}/webhooks/<int(max=999999999999999999):number>")
@signed_in
def delivery(key: int, number: int) -> str:
    """Show a webhook delivery with all its attempts."""
    found = theirs(key)
    (one,) = delivery_rows([services().schedules.delivery(caller(), found, number)])
    return render_template("admin/schedules/delivery.html", schedule=found, line=one)


@blueprint.post(f"/reports/recurring/{KEY}/webhooks/<int(max=999999999999999999):number>")
@signed_in
def send_delivery(key: int, number: int) -> Response:
    """Queue a webhook delivery to be sent again."""
    found = theirs(key)
    services().schedules.send_again(caller(), found, services().schedules.delivery(caller(), found, number))
    flash("The webhook will be sent again within a few seconds.")
    return redirect(url_for("admin.delivery", key=key, number=number))


def theirs(key: int) -> Schedule:
    """Return the recurring report whose id is in the URL.

    Raises:
        ScheduleUnknown: there is no such recurring report, or the caller may not see it.
    """
    need("reports")
    return services().schedules.get(caller(), key)


def _with_webhook(key: int) -> Schedule:
    found = theirs(key)
    if found.webhook is None:
        raise NotFound
    return found


def _all() -> dict[str, object]:
    need("reports")
    lines = [schedule_row(one) for one in services().schedules.visible(caller())]
    return {"lines": lines, "moving": any(one.moves for one in lines)}


def _one(key: int) -> dict[str, object]:
    found = theirs(key)
    reports = services().schedules.reports(caller(), found, REPORTS)
    lines = [report_line(report) for report in reports]
    deliveries = delivery_rows(services().schedules.deliveries(caller(), found, DELIVERIES))
    waits = any(one.delivery.state == "waiting" for one in deliveries)
    known = {"default_delimiter": DEFAULT_DELIMITER, "most": REPORTS, "gaps": _gaps(found, reports)}
    moving = waits or any(one.moves for one in lines)
    return {"line": schedule_row(found), "lines": lines, "deliveries": deliveries, "moving": moving} | known


def _gaps(found: Schedule, reports: list) -> list[dict[str, object]]:
    """Return the gaps between its reports, each with the values that fill in the form of a new report."""
    if found.mode != "period":
        return []
    same = {"customer": found.customer, "product": found.product, "types": "\n".join(found.types or ())}
    return [{"from": start, "to": end, "fill": same | {"start": start, "end": end}} for start, end in gaps(reports)]


def _back(found: Schedule, told: str) -> Response:
    flash(told)
    return redirect(url_for("admin.schedule", key=found.id))
