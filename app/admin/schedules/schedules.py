"""Pages that list recurring reports, show a recurring report, and run, pause, resume or remove it."""

from __future__ import annotations

from flask import redirect, render_template
from werkzeug.wrappers import Response

from app.admin.blueprint import services
from app.admin.form_errors import messages_of
from app.admin.notifications.delivery_rows import delivery_rows
from app.admin.pages import Values, action, confirm, link_to, live_page, page, redirect_with
from app.admin.reports.report_rows import report_row
from app.admin.schedules.schedule_rows import gaps, schedule_row
from app.auth import caller
from app.exceptions import Forbidden, InputInvalid, RateLimited, ScheduleBusy
from app.schemas.reports import DEFAULT_DELIMITER, source
from app.services.rows import Schedule

PATH = "/reports/recurring/<int:key>"
DELIVERY_PATH = f"{PATH}/webhooks/<int:number>"
SHOWN_REPORTS = 20
SHOWN_DELIVERIES = 20


@live_page("/reports/recurring", "reports", "admin/schedules/recurring.html")
def recurring() -> Values:
    rows = [schedule_row(schedule) for schedule in services().schedules.visible(caller())]
    return {"lines": rows, "moving": any(row.moves for row in rows)}


@live_page(PATH, "reports", "admin/schedules/schedule.html")
def schedule(key: int) -> Values:
    found = find_schedule(key)
    reports = services().schedules.reports(caller(), found, SHOWN_REPORTS)
    rows = [report_row(report) for report in reports]
    deliveries = delivery_rows(services().schedules.deliveries(caller(), found, SHOWN_DELIVERIES))
    same = {"customer": found.customer, "product": found.product, "types": "\n".join(found.types or ())}
    is_visible = services().webhooks.is_visible
    missed = gaps(reports) if found.mode == "period" else []
    return {
        "line": schedule_row(found),
        "lines": rows,
        "webhooks": [(one, is_visible(caller(), one)) for one in services().schedules.webhooks(found)],
        "recipients": services().schedules.recipients(found),
        "deliveries": deliveries,
        "default_delimiter": DEFAULT_DELIMITER,
        "most": SHOWN_REPORTS,
        # Each with the values that fill in the form of a new report.
        "gaps": [{"from": start, "to": end, "fill": same | {"start": start, "end": end}} for start, end in missed],
        "moving": any(row.delivery.state == "waiting" for row in deliveries) or any(row.moves for row in rows),
    }


@action(f"{PATH}/run", "reports")
def run_schedule(key: int) -> Response:
    found = find_schedule(key)
    try:
        report = services().schedule_runs.run(caller(), found)
    except (ScheduleBusy, Forbidden, RateLimited, InputInvalid) as error:
        return _redirect_back(found, "Not started. " + " ".join(messages_of(error)))
    return redirect(link_to("report", source=source(report)))


@action(f"{PATH}/pause", "reports")
def pause_schedule(key: int) -> Response:
    found = find_schedule(key)
    services().schedules.pause(caller(), found)
    return _redirect_back(found, f"{found.name} is paused.")


@action(f"{PATH}/resume", "reports")
def resume_schedule(key: int) -> Response:
    found = find_schedule(key)
    try:
        services().schedules.resume(caller(), found)
    except Forbidden as error:
        return _redirect_back(found, f"Not resumed. {error}")
    return _redirect_back(found, f"{found.name} is resumed.")


@page(f"{PATH}/remove", "reports")
def confirm_remove_schedule(key: int) -> str:
    found = find_schedule(key)
    values = {"line": schedule_row(found), "started": services().schedules.count_reports(caller(), found)}
    values["webhooks"] = services().schedules.webhooks(found)
    return confirm("admin/schedules/confirm_remove_schedule.html", link_to("schedule", key=key), **values)


@action(f"{PATH}/remove", "reports")
def remove_schedule(key: int) -> Response:
    found = find_schedule(key)
    services().schedules.remove(caller(), found)
    return redirect_with(f"{found.name} is removed. Its reports stay.", link_to("recurring"))


@page(DELIVERY_PATH, "reports")
def delivery(key: int, number: int) -> str:
    found = find_schedule(key)
    (row,) = delivery_rows([services().schedules.delivery(caller(), found, number)])
    values = {"back": link_to("schedule", key=key), "name": found.name}
    send = link_to("send_delivery", key=key, number=number)
    return render_template("admin/notifications/delivery.html", line=row, send=send, **values)


@action(DELIVERY_PATH, "reports")
def send_delivery(key: int, number: int) -> Response:
    """Queue a webhook delivery to be sent again."""
    found = find_schedule(key)
    services().schedules.send_again(caller(), found, services().schedules.delivery(caller(), found, number))
    message = "The webhook will be sent again within a few seconds."
    return redirect_with(message, link_to("delivery", key=key, number=number))


def find_schedule(key: int) -> Schedule:
    """Return the recurring report whose id is in the URL.

    Raises:
        ScheduleUnknown: there is no such recurring report, or the caller may not see it.
    """
    return services().schedules.get(caller(), key)


def _redirect_back(found: Schedule, message: str) -> Response:
    return redirect_with(message, link_to("schedule", key=found.id))
