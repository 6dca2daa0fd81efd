"""The list of events as people use it: filter, pause the live list, open an event, copy its JSON, export the rest."""

from __future__ import annotations

import json
import time

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PageOpener, Service, open_filter, submit
from tests.support.client import event

pytestmark = pytest.mark.browser


def lately(**changes: object) -> dict:
    """Return an event that happened just now, so that it is on the first page."""
    return event(timestamp=int(time.time() * 1000), **changes)


def test_from_the_list_to_one_event_and_its_json(service: Service, opener: PageOpener):
    service.post(lately(type="FIRST-OF-TWO", context=["user-7", None]), lately(type="SECOND-OF-TWO"))
    page = opener.open(service, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="Events", exact=True).click()
    page.get_by_role("row", name="FIRST-OF-TWO").first.locator(".name a").click()
    expect(page.get_by_role("heading", name="FIRST-OF-TWO")).to_be_visible()
    expect(page.get_by_role("heading", name="2 events in this batch")).to_be_visible()
    page.get_by_text("As JSON").click()
    page.get_by_role("button", name="Copy the event as JSON").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["context"] == ["user-7", None]


def test_a_filter_is_in_the_address_and_its_events_can_be_exported(service: Service, opener: PageOpener):
    service.post(lately(type="WANTED", context=["needle"]), lately(type="UNWANTED"))
    page = opener.open(service, at="/admin/events")
    expect(page.locator(".filters summary").first).to_contain_text("All events")
    open_filter(page)
    page.get_by_label("Customer", exact=True).select_option("BARCHART")
    page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
    page.get_by_label("Text in the context").fill("NEEDLE")
    page.get_by_text("Event types:").click()
    page.get_by_label("WANTED", exact=True).check()
    submit(page, "Show")
    assert page.url.endswith("/admin/events?customer=BARCHART&product=PORTFOLIO&text=NEEDLE&types=WANTED")
    expect(page.locator(".filters form")).to_be_hidden()
    said = page.locator(".filters > details > summary").inner_text()
    assert all(part in said for part in ("customer BARCHART", "product PORTFOLIO", "type WANTED", "text NEEDLE"))
    expect(page.locator(".events .type")).to_have_text(["WANTED"])
    page.get_by_role("link", name="Hour", exact=True).click()
    expect(page.locator(".events .type")).to_have_text(["WANTED"])
    page.get_by_role("link", name="Export these").click()
    expect(page.get_by_label("Customer", exact=True)).to_have_value("BARCHART")
    expect(page.get_by_label("Event types")).to_have_value("WANTED")


def test_a_phone_shows_customer_and_product_too(service: Service, opener: PageOpener):
    service.post(lately(type="ON-A-PHONE", context=["user-7"]))
    page = opener.open(service, at="/admin/events?types=ON-A-PHONE&product=PORTFOLIO")
    page.set_viewport_size({"width": 390, "height": 844})
    for shown in ("ON-A-PHONE", "user-7", "BARCHART", "PORTFOLIO"):
        expect(page.locator(".events").get_by_role("link", name=shown, exact=True)).to_be_visible()


def test_text_in_a_row_is_selected_with_the_mouse_and_a_click_opens_the_row(service: Service, opener: PageOpener):
    service.post(lately(type="SELECTED", context=["user-7", "Overview"]))
    address = "/admin/events?types=SELECTED&product=PORTFOLIO"
    page = opener.open(service, at=address)
    selected = "getSelection().toString()"

    for words in (".type a", ".when a"):  # links, one that filters and the row's own
        box = page.locator(f".events {words}").bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 1, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 1, middle, steps=5)
        page.mouse.up()
        assert page.evaluate(selected) in page.locator(f".events {words}").inner_text()
        assert len(page.evaluate(selected)) > 5
        page.get_by_role("heading", name="Events").click()
    page.locator(".events .what a").first.dblclick()
    assert page.evaluate(selected).strip() == "user"
    page.wait_for_timeout(400)  # longer than a first click waits
    assert page.url.endswith(address)

    page.get_by_role("heading", name="Events").click()
    page.locator(".events .what a").nth(1).click()
    page.wait_for_url("**/admin/events?product=PORTFOLIO&types=SELECTED&value=Overview")
    page.locator(".events .what").click(position={"x": 300, "y": 8})  # where no text is
    expect(page.get_by_role("heading", name="SELECTED")).to_be_visible()


def test_the_list_is_live_and_can_be_paused(service: Service, opener: PageOpener):
    service.post(lately(type="BEFORE"))
    page = opener.open(service, at="/admin/events?types=BEFORE&types=MEANWHILE")
    service.post(lately(type="MEANWHILE"))
    expect(page.locator(".events .type").first).to_have_text("MEANWHILE")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-freshness]")).to_contain_text("paused, updated")
    service.post(lately(type="MEANWHILE", context=["while it was held"]))
    page.wait_for_timeout(700)  # long enough for two refreshes
    expect(page.get_by_text("while it was held")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("while it was held")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_without_javascript_everything_works_but_the_live_list(service: Service, opener: PageOpener):
    service.post(*[lately(type=f"PLAIN-{number % 2}") for number in range(60)])
    page = opener.open(service, java_script_enabled=False, at="/admin/events")
    open_filter(page)
    page.get_by_text("Event types:").click()
    page.get_by_label("PLAIN-1").check()
    submit(page, "Show")
    expect(page.locator(".events tbody tr").first).to_contain_text("PLAIN-1")
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.goto("/admin/events")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newer")).to_be_visible()


def test_a_time_is_written_in_the_browsers_zone_where_that_is_chosen(service: Service, opener: PageOpener):
    page = opener.open(service, timezone_id="Asia/Tokyo", at="/admin/events")
    page.get_by_role("button", name="Local").click()
    open_filter(page)
    page.get_by_label("From").fill("2026-11-23T09:00")
    submit(page, "Show")
    assert page.url.endswith("?start=1795392000000")  # 2026-11-23T00:00:00Z
    expect(page.get_by_label("From")).to_have_value("2026-11-23T09:00")


def test_a_persons_data_is_downloaded_and_erased(service: Service, opener: PageOpener):
    """From an event of the person, and without the value in any address."""
    service.post(lately(type="OF-A-PERSON", context=["u-1717"]), lately(customer="OTHER", context=["a", "u-1717"]))
    page = opener.open(service, at="/admin/events?types=OF-A-PERSON")
    page.locator(".events td.when a").first.click()
    submit(page, "Find everywhere")
    expect(page.locator("table.numbers tbody tr")).to_have_count(3)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON Lines").click()
    lines = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert sorted(line["customer"] for line in lines) == ["BARCHART", "OTHER"]
    submit(page, "Erase…")
    assert "u-1717" not in page.url
    submit(page, "Erase 2 events")
    expect(page.get_by_role("heading", name="Erasure receipt")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download receipt").click()
    assert json.loads(download.value.path().read_text())["removed"]["events"] == 2
    page.goto("/admin/events?types=OF-A-PERSON")
    expect(page.get_by_text("No matching events.")).to_be_visible()
