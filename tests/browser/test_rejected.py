"""Rejected events as operators handle them: a group together, one by hand, the rest removed."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PageOpener, Service, open_filter, submit
from tests.support.client import event

pytestmark = pytest.mark.browser


def test_a_group_is_sent_again_one_is_edited_and_the_rest_is_removed(service: Service, opener: PageOpener):
    product, moment = f"P-{uuid.uuid4()}", time.time_ns() // 1_000_000
    service.refuse(*[event(product=product, type="", timestamp=moment, context=[str(number)]) for number in range(3)])
    service.refuse(*[event(product=product, type="LATE", timestamp=-1, context=[str(number)]) for number in range(2)])
    page = opener.open(service)
    page.get_by_role("link", name="Rejected", exact=True).click()
    group = page.locator(".groups tr", has_text=product)
    expect(group).to_have_count(2)

    group.filter(has_text="type is wrong").get_by_role("link").click()
    page.get_by_label("Change before sending").select_option("type")
    page.locator("#value").fill("MENDED")
    submit(page, "Send all 3 again…")
    expect(page.get_by_role("heading", name="Send 3 events again?")).to_be_visible()
    submit(page, "Send 3 events")
    page.goto(f"/admin/events?product={product}")
    expect(page.locator(".events .type")).to_have_text(["MENDED"] * 3)

    page.goto("/admin/rejected")
    expect(group).to_have_count(1)
    group.get_by_role("link").click()
    page.get_by_role("link", name="Edit and send again").first.click()
    field = page.get_by_label("Event")
    field.fill(json.dumps(json.loads(field.input_value()) | {"timestamp": moment, "type": "EDITED"}))
    submit(page, "Send again")
    page.goto(f"/admin/events?product={product}&types=EDITED")
    expect(page.locator(".events .type")).to_have_text(["EDITED"])

    page.goto("/admin/rejected")
    group.get_by_role("link").click()
    page.get_by_role("link", name="Remove it").click()
    expect(page.get_by_role("heading", name="Remove 1 rejected event?")).to_be_visible()
    submit(page, "Remove 1 rejected event")
    page.goto("/admin/rejected")
    expect(page.get_by_role("heading", name="Rejected events")).to_be_visible()
    expect(group).to_have_count(0)


def test_timestamps_are_read_in_a_group_that_a_filter_finds(service: Service, opener: PageOpener):
    product = f"P-{uuid.uuid4()}"
    texts = ["2026-11-23T10:57:00Z", "2026-11-23T10:57:00.250", "soon"]
    service.refuse(*[event(product=product, timestamp=text, customer="C") for text in texts])
    service.refuse(event(product=product, timestamp="2026-11-23T10:57:00Z", customer="OTHER"))
    page = opener.open(service, at="/admin/rejected")
    open_filter(page)
    page.get_by_label("Product", exact=True).fill(product)
    page.get_by_label("Customer", exact=True).fill("C")
    submit(page, "Show")
    group = page.locator(".groups tr", has_text=product)
    expect(group.locator(".count")).to_have_text("3")
    group.get_by_role("link").click()
    page.get_by_role("link", name="Parse timestamps as ISO 8601").click()
    expect(page.locator(".timestamps tbody tr")).to_have_count(3)
    expect(
        page.get_by_text("2 can be parsed (1 without a zone, as UTC), and 1 cannot and stays unchanged.")
    ).to_be_visible()
    submit(page, "Send 2 of 3 events")
    expect(page.get_by_text("2 events are stored. 1 is still rejected.")).to_be_visible()
    expect(page.get_by_text("Only events with customer C.")).to_be_visible()
    page.goto(f"/admin/events?product={product}")
    expect(page.locator(".events .type")).to_have_count(2)


def test_a_group_grows_while_it_is_open(service: Service, opener: PageOpener):
    product = f"P-{uuid.uuid4()}"
    service.refuse(event(product=product, timestamp=-1))
    page = opener.open(service, at="/admin/rejected")
    count = page.locator(".groups tr", has_text=product).locator(".count")
    expect(count).to_have_text("1")
    service.refuse(event(product=product, timestamp=-2))
    expect(count).to_have_text("2")
