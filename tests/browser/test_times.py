"""Times in UTC or in the browser's zone, chosen by a switch in the head of every page that shows times."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PageOpener, Service
from tests.support.client import FIRST, event

pytestmark = pytest.mark.browser


def test_the_switch_shows_every_time_in_the_browsers_zone_and_back(service: Service, opener: PageOpener):
    service.post(event(type="AT-SEVEN", timestamp=FIRST))
    page = opener.open(service, timezone_id="Asia/Tokyo")
    when = page.locator(".events tr", has_text="AT-SEVEN").first.locator("time")
    expect(when).to_have_text("2026-10-26 07:33:20.000")
    page.get_by_role("button", name="Local").click()
    expect(when).to_have_text("2026-10-26 16:33:20.000")
    expect(when).to_have_attribute("title", "Monday 26 October 2026, 16:33:20.000 UTC+09:00 (Asia/Tokyo)")
    expect(page.get_by_role("button", name="Local")).to_have_attribute("aria-pressed", "true")
    page.goto("/admin/reports/new")  # it applies to every page
    expect(page.get_by_text("Asia/Tokyo. Leave empty to start at the first event.")).to_be_visible()
    page.goto("/admin/people")  # has no times but "2 minutes ago", which is the same in every zone
    expect(page.get_by_role("button", name="UTC")).to_be_hidden()
    page.go_back()
    page.get_by_role("button", name="UTC").click()
    expect(page.get_by_text("UTC. Leave empty to start at the first event.")).to_be_visible()


def test_without_javascript_times_are_in_utc_and_there_is_no_switch(service: Service, opener: PageOpener):
    service.post(event(timestamp=FIRST))
    page = opener.open(service, timezone_id="Asia/Tokyo", java_script_enabled=False)
    expect(page.locator(".events time").first).to_contain_text("07:33:20")
    expect(page.get_by_role("button", name="Local")).to_be_hidden()
