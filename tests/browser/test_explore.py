"""Explore as an analyst uses it: ask for the top values of a context item, follow a bar, hand on the link."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service, open_filter, submit
from tests.support.client import event

pytestmark = pytest.mark.browser
CUSTOMER = "EXPLORED"


def rows(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(".numbers tbody tr").all_inner_texts()]


def test_a_question_is_answered_and_its_link_shows_the_same(service: Service, opener: PageOpener):
    now = int(time.time() * 1000)
    sent = {"customer": CUSTOMER, "type": "PORTFOLIO-VIEW-CHANGED", "timestamp": now}
    service.post(*[event(**sent, context=[user, "Overview"]) for user in ("anna", "anna", "ben")])
    page = opener.open(service)
    page.get_by_role("link", name="Explore", exact=True).click()
    open_filter(page)
    page.get_by_label("Count by").select_option("Value of userId")
    page.get_by_label("Customer", exact=True).select_option(CUSTOMER)
    submit(page, "Show")
    page.wait_for_url(re.compile(r"/admin/explore\?by=context(:|%3A)userId&customer=EXPLORED"))
    assert rows(page) == ["anna 2 66.7 %", "ben 1 33.3 %"]
    other = opener.open(service, at=page.url)
    assert rows(other) == rows(page)
    page.locator("svg.bars a").last.click()
    page.wait_for_url(re.compile(r"/admin/events\?start=\d+&end=\d+&customer=EXPLORED"))
    expect(page.locator(".events tbody tr")).to_have_count(3)
