"""Times are shown and read in UTC or in the chosen zone, and always with its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from werkzeug.datastructures import MultiDict
from wtforms import Form

from app.admin import datetime_field, template_filters, zones
from tests.support.client import FIRST, event

ROOT = Path(__file__).parents[2]
SUMMER, LAST = 1_785_585_600_000, 253_402_300_799_999  # 2026-08-01T12:00:00Z; the last valid time


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because time zones do not depend on the database."""
    return sqlite_url


def zone_context(app, zone: str):
    """Return a request context with a cookie for a zone."""
    return app.test_request_context("/admin/", headers={"Cookie": f"zone={zone}"})


class Times(Form):
    start = datetime_field.DatetimeField("From")


def read(text: str) -> datetime_field.DatetimeField:
    """Return the field of a submitted form with this text."""
    return Times(MultiDict({"start": text})).start


def test_without_a_choice_times_are_in_utc(app):
    with app.test_request_context("/admin/"):
        assert (template_filters.moment(FIRST), zones.is_local()) == ("2026-10-26 07:33:20.000 UTC", False)


def test_a_chosen_zone_is_used_and_named_everywhere(app):
    with zone_context(app, "Europe/Berlin"):
        assert template_filters.moment(FIRST + 7) == "2026-10-26 08:33:20.007 Europe/Berlin"
        assert template_filters.clock(FIRST) == "08:33:20"
        assert template_filters.iso(FIRST) == "2026-10-26T07:33:20.000Z"  # the machine-readable attribute stays in UTC
        assert template_filters.full_time(FIRST) == "Monday 26 October 2026, 08:33:20.000 UTC+01:00 (Europe/Berlin)"
        assert template_filters.full_time(SUMMER).endswith("14:00:00.000 UTC+02:00 (Europe/Berlin)")
        assert template_filters.period(FIRST, None) == "Since 26 Oct 2026, 08:33:20 Europe/Berlin"


def test_whole_days_are_those_of_the_zone(app):
    begin = 1_793_487_600_000  # 2026-11-01T00:00:00+01:00
    with zone_context(app, "Europe/Berlin"):
        assert template_filters.period(begin, begin + 30 * template_filters.DAY - 1) == "1–30 Nov 2026 Europe/Berlin"
    assert template_filters.period(begin, begin + 30 * template_filters.DAY - 1).startswith("31 Oct 2026, 23:00 –")


@pytest.mark.parametrize(
    "name", ["Nowhere/City", "../../etc/passwd", "/etc/localtime", "UTC", "", "Europe", "x" * 5_000, "Europe%2FBerlin"]
)
def test_an_unknown_zone_means_utc(app, name):
    with zone_context(app, name):
        assert (template_filters.moment(FIRST), zones.is_local()) == ("2026-10-26 07:33:20.000 UTC", False)


def test_the_first_and_the_last_allowed_time_are_shown(app):
    for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        with zone_context(app, name):
            assert template_filters.full_time(0).startswith(("Thursday 1 January 1970", "Wednesday 31 December 1969"))
            assert "9999" in template_filters.full_time(LAST)
            assert template_filters.stamp(LAST).startswith("9999-12-31 ")


def test_entered_times_are_read_in_the_chosen_zone(app):
    for name, text in (("", "2026-10-26T07:33:20"), ("Europe/Berlin", "2026-10-26T08:33:20")):
        with zone_context(app, name):
            assert read(text).data == FIRST
            assert datetime_field.to_browser_format(FIRST) == text


def test_milliseconds_in_a_url_mean_the_same_in_every_zone(app):
    with zone_context(app, "Europe/Berlin"):
        field = read(str(FIRST))
        assert (field.data, field.text) == (FIRST, "2026-10-26T08:33:20")


def test_pages_are_in_the_chosen_zone(app, boss, admin):
    admin.send(event(timestamp=FIRST))
    assert "2026-10-26 07:33:20.000" in [time.text for time in boss.read("/admin/").all("time")]
    boss.choose_zone("America/New_York")
    page = boss.read("/admin/")
    time = page.first("time", datetime="2026-10-26T07:33:20.000Z")
    assert time.text == "2026-10-26 03:33:20.000"
    assert time["title"] == "Monday 26 October 2026, 03:33:20.000 UTC-04:00 (America/New_York)"
    assert "America/New_York" in [small.text for small in page.all("small")]


def test_no_template_names_a_zone_itself():
    """Times are in the chosen zone, so a literal UTC beside them would be wrong."""
    pages = [*ROOT.glob("templates/admin/**/*.html"), *ROOT.glob("app/admin/**/*.py")]
    zone_after_time = re.compile(r"(?:exact_time\([^)]*\)|\|\s*(?:stamp|clock)|stamp\([^)]*\)\s*\}).{0,20}\bUTC\b")
    lines = [f"{page.name}: {line.strip()}" for page in pages for line in page.read_text().splitlines()]
    assert [line for line in lines if zone_after_time.search(line)] == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_dates_at_the_edge_of_the_calendar_are_handled_in_every_zone(boss, admin, zone):
    admin.send(event(timestamp=0), event(timestamp=LAST))
    boss.choose_zone(zone)
    fields = {"customer": "BARCHART", "product": "PORTFOLIO"}
    for value in ("0001-01-01T00:00", "0001-01-01T23:59:59", "9999-12-31T23:59:59.999", str(LAST), "0"):
        for path in ("/admin/events", "/admin/audit", "/admin/overview/chart", "/admin/", "/admin/reports/new"):
            assert boss.get(f"{path}?start={value}&end={value}").status_code in (200, 302, 400), (path, value)
        for name in ("start", "end"):
            answer = boss.send("/admin/reports/new", fields | {name: value, "estimate": "yes"})
            assert answer.status_code == 400 if value.startswith("0001") else answer.status_code in (200, 400)
