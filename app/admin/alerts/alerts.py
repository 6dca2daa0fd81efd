"""Pages that show the alerts of now and of before, and one alert with its chart."""

from __future__ import annotations

from flask import render_template, request

from app.admin.alerts.alert_chart import draw_alert
from app.admin.alerts.alert_rows import AlertRow, alert_row
from app.admin.blueprint import services
from app.admin.pages import Values, live_page, page, parse_id
from app.admin.states import ALERT
from app.auth import caller
from app.services.people.principal import Principal

PAGE_SIZE = 50
SHOWN_BEFORE = 5  # on the page of now


@live_page("/alerts", "events", "admin/alerts/alerts.html")
def alerts() -> Values:
    who = caller()
    silences = services().alert_silences.visible(who)
    current = [alert_row(alert, silences) for alert in services().alerts.current(who)]
    before = [alert_row(alert) for alert in services().alerts.history(who, SHOWN_BEFORE + len(current))]
    may_manage = who.may("system") and who.customers is None
    failing = [one for one in services().channels.all() if one.active and one.problem] if may_manage else []
    return {
        "firing": [row for row in current if row.alert.state == "firing"],
        "pending": [row for row in current if row.alert.state == "pending"],
        "before": [row for row in before if row.alert.state == "resolved"][:SHOWN_BEFORE],
        "has_rules": bool(services().alert_rules.visible(who)),
        "silences": silences,
        "failing": failing,
        "moving": bool(current),
    }


@page("/alerts/history", "events")
def alert_history() -> str:
    before = request.args.get("before")
    key = None if before is None else parse_id(before)
    found = services().alerts.history(caller(), PAGE_SIZE + 1, before=key)
    rows = [alert_row(alert) for alert in found[:PAGE_SIZE]]
    following = rows[-1].alert.id if len(found) > PAGE_SIZE else None
    return render_template("admin/alerts/history.html", rows=rows, next=following, is_first=key is None)


@live_page("/alerts/<int:key>", "events", "admin/alerts/alert.html")
def alert(key: int) -> Values:
    found = services().alerts.get(caller(), key)
    chart = services().alerts.chart(found)
    has_rule = any(rule.id == found.rule for rule in services().alert_rules.visible(caller()))
    return {
        "row": alert_row(found, services().alert_silences.visible(caller())),
        "drawing": draw_alert(chart) if chart else None,
        "has_rule": has_rule,
        "moving": found.state != "resolved",
    }


def firing_rows(who: Principal) -> list[AlertRow]:
    """Return the firing alerts that a user may see and that are not silenced, the newest first."""
    silences = services().alert_silences.visible(who)
    rows = [alert_row(alert, silences) for alert in services().alerts.current(who)]
    return [row for row in rows if row.state is ALERT["firing"]]
