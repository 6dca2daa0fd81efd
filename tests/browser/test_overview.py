"""The overview as operators use it: read the chart by mouse and keyboard, follow a bar, send a first event."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service
from tests.support.client import event

pytestmark = pytest.mark.browser
HOUR = 3_600_000


@pytest.fixture(scope="module")
def arriving(on_sqlite: Service) -> None:
    """Send events of this hour and the one before, and wait until they are counted."""
    now = int(time.time() * 1000)
    on_sqlite.post(*[event(timestamp=now - number * 60_000, product=f"P{number % 3}") for number in range(90)])
    on_sqlite.await_counts()


def bars(page: Page):
    return page.locator("svg.bars a")


def test_a_bar_shows_its_number_and_leads_to_its_events(service: Service, opener: PageOpener, arriving):
    page = opener.open(service)
    last = bars(page).last
    label = last.locator(".bar-label")
    expect(label).to_be_hidden()
    last.hover()
    expect(label).to_be_visible()
    expect(label).to_contain_text(re.compile(r"\d+:00–\d+:00 UTC: [\d,]+ events?"))
    last.click()
    page.wait_for_url(re.compile(r"/admin/events\?start=\d+&end=\d+"))
    expect(page.locator(".events tbody tr").first).to_be_visible()


def test_by_keyboard_a_bar_shows_its_number_and_all_bars_can_be_skipped(service: Service, opener: PageOpener, arriving):
    page = opener.open(service)
    skip = page.get_by_role("link", name="Skip the bars")
    skip.focus()
    expect(skip).to_be_visible()
    page.keyboard.press("Tab")
    first = bars(page).first
    expect(first).to_be_focused()
    expect(first.locator(".bar-label")).to_be_visible()
    expect(page.get_by_role("link", name=first.get_attribute("aria-label"))).to_be_focused()
    skip.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('svg')")


def test_an_opened_part_stays_open_while_numbers_change(service: Service, opener: PageOpener, arriving):
    page = opener.open(service)
    page.get_by_text("Show as table").click()
    table = page.locator("table.numbers")
    expect(table).to_be_visible()
    before = page.locator("#traffic-head").inner_text()
    service.post(*[event(timestamp=int(time.time() * 1000))] * 7)
    expect(page.locator("#traffic-head")).not_to_have_text(before)
    expect(table).to_be_visible()


def test_ranges_and_splits_are_kept_in_the_address(service: Service, opener: PageOpener, arriving):
    page = opener.open(service)
    page.get_by_role("link", name="7 days").click()
    page.get_by_role("link", name="By type").click()
    page.wait_for_url("**/admin/?range=7d&by=type")
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    page.get_by_text("Custom range").click()
    page.get_by_label("From").fill("2026-10-26T07:00")
    page.get_by_label("To", exact=True).fill("2026-10-26T07:59")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url(re.compile(r"/admin/\?start=\d+&end=\d+&by=type"))


def test_a_first_event_sent_as_shown_turns_the_page_into_an_overview(service: Service, opener: PageOpener):
    service.add_analyst("nora", "NORA")
    page = opener.open(service, "nora")
    expect(page.get_by_text("Waiting for your first event")).to_be_visible()
    page.get_by_text("Python", exact=True).click()
    source = page.locator("#first-python").inner_text().replace("BARCHART", "NORA")
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)
    expect(page.get_by_role("heading", name="Latest events")).to_be_visible()
    expect(page.locator("#traffic-head")).to_be_visible()  # the chart came with it


def test_the_first_event_in_javascript_is_accepted_as_shown(service: Service, opener: PageOpener):
    service.add_analyst("jan", "JAN")
    page = opener.open(service, "jan")
    page.get_by_text("JavaScript", exact=True).click()
    expect(page.locator("#first-curl")).to_be_hidden()  # one tab at a time
    source = page.locator("#first-javascript").inner_text().replace("BARCHART", "JAN")
    page.route("**/shop", lambda route: route.fulfill(body=source, content_type="text/html"))
    page.goto("/shop")
    with page.expect_response("**/events") as answer:
        pass
    assert answer.value.status == 200


def test_without_javascript_the_chart_and_its_table_are_there(service: Service, opener: PageOpener, arriving):
    page = opener.open(service, java_script_enabled=False)
    expect(bars(page).last).to_be_visible()
    page.get_by_text("Show as table").click()
    expect(page.locator("table.numbers")).to_be_visible()
