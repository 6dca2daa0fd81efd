"""What holds for every page: anybody can use it, on any screen, and it needs nobody else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Door, Service, submit
from tests.support.client import event

pytestmark = pytest.mark.browser

SCREENS = {
    "light, wide": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark, wide": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "light, a phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    "dark, a phone": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}
# Chromium itself notes the answers that are meant to be errors: a wrong password, a faulty form, a missing page.
MEANT = tuple(f"Failed to load resource: the server responded with a status of {status}" for status in (401, 400, 404))
LONG = "A-CODE-OF-" + "X" * 118


@pytest.fixture(params=SCREENS)
def screen(request) -> dict:
    return SCREENS[request.param]


def start_report(page: Page, **filled: str) -> None:
    """Send the form of a new report."""
    page.goto("/admin/reports/new")
    for field, value in filled.items():
        control = page.locator(f"#{field}")
        control.select_option(value) if field in ("customer", "product") else control.fill(value)
    submit(page, "Start report")


def every_page(door: Door, service: Service, screen: dict) -> Iterator[tuple[str, Page]]:
    """Each page in each of its states, one after the other."""
    service.post(event(), event(customer=LONG, product=LONG, type=LONG, context=["x" * 4096, None, ""]))
    page = door.open(service, None, **screen)
    yield "sign in", page
    page.get_by_label("User").fill("admin")
    page.get_by_label("Password").fill("wrong")
    submit(page, "Sign in")
    yield "a wrong password", page
    page = door.open(service, **screen)
    start_report(page, customer="BARCHART", product="PORTFOLIO")
    yield "a report", page
    start_report(page, customer=LONG, product=LONG)
    yield "a report of long names", page
    page.goto("/admin/")
    yield "the overview", page
    moment = int(time.time() * 1000)
    service.post(
        event(timestamp=moment), *[event(timestamp=moment, type=f"{LONG[:-1]}{number}") for number in range(7)]
    )
    page.goto("/admin/?range=1h&by=type")
    page.get_by_text("The same in numbers").click()
    page.get_by_text("Another range").click()
    yield "an hour by type, in numbers", page
    page.goto("/admin/?start=2026-11-20T00:00&end=2026-11-19T00:00")
    yield "a range that is none", page
    page.goto("/admin/events")
    page.get_by_text("Event types:").click()
    yield "the events", page
    page.locator(".events .name a").first.click()
    page.wait_for_url("**/admin/events/*")
    page.get_by_text("As JSON").click()
    yield "an event of long names", page
    page.goto(f"/admin/events?customer={LONG}&text=nowhere")
    yield "a search that found nothing", page
    page.goto("/admin/events?start=soon&text=a%01b")
    yield "a filter with faults", page
    page.goto("/admin/reports")
    yield "the reports", page
    page.goto("/admin/reports/new")
    page.get_by_text("Types in the catalog").click()
    yield "a new report", page
    start_report(page, delimiter="||", types=f"{LONG}XX", start="2026-11-20T00:00")
    yield "a new report with faults", page
    service.refuse(event(timestamp=-1), event(customer=LONG, type="", context=["x" * 4096] * 3), {LONG: 1}, "no event")
    page.goto("/admin/rejected")
    yield "rejected events by reason", page
    page.get_by_role("link", name="type is wrong").first.click()
    page.wait_for_url("**/rejected/group?**")
    page.get_by_label("Send them").select_option("type")
    submit(page, "again")
    yield "a group of rejected events, with a fault", page
    page.goto("/admin/rejected")
    page.get_by_role("link", name="timestamp is wrong").first.click()
    page.get_by_role("link", name=re.compile("Remove (it|all of them)")).click()
    page.wait_for_url("**/group/remove?**")
    yield "the question before a group is removed", page
    page.goto("/admin/rejected/by/event")
    yield "rejected events", page
    page.get_by_role("link", name="Edit and send again").nth(2).click()
    page.wait_for_url("**/admin/rejected/*")
    submit(page, "Send again")
    yield "a rejected event that is still invalid", page
    page.get_by_role("link", name="Remove it").click()
    page.wait_for_url("**/remove")
    yield "the question before one is removed", page
    page.goto("/admin/")
    yield "the overview with rejected events", page
    yield from catalog_pages(service, page)
    for part in ("", "/settings", "/versions"):
        page.goto(f"/admin/system{part}")
        yield f"the system{part}", page
    page.goto("/admin/nothing")
    yield "what is not there", page


def catalog_pages(service: Service, page: Page) -> Iterator[tuple[str, Page]]:
    """The catalog in each of its states, with a code as long as a code may be."""
    service.post(event(customer=LONG, product=LONG, type=LONG, timestamp=time.time_ns() // 1_000_000))
    for kind in ("", "/types", "/customers", "/missing"):
        page.goto(f"/admin/catalog{kind}")
        yield f"the catalog{kind}", page
    submit(page, f"Add the product {LONG}")
    yield "a code that was adopted", page
    page.goto(f"/admin/catalog/product?code={LONG}")
    while not page.get_by_text("The same in numbers").is_visible():  # until the scheduler has counted
        page.wait_for_timeout(500)
        page.reload()
    page.get_by_text("The same in numbers").click()
    yield "a product", page
    page.get_by_label("Columns").fill(f"userId\n{LONG}\n{LONG}")
    submit(page, "Save")
    yield "a product with a fault", page
    page.get_by_role("link", name="Remove it").click()
    page.wait_for_url("**/remove?**")
    yield "the question before a product is removed", page
    submit(page, f"Remove {LONG}")
    page.goto("/admin/catalog/type/new")
    yield "a new type", page
    page.goto("/admin/catalog/import")
    page.get_by_label("Or its text").fill(json.dumps({"customers": [{"code": LONG}]}))
    submit(page, "See what it changes")
    yield "an import", page


@pytest.fixture(scope="session")
def newcomer(on_sqlite: Service) -> str:
    """An analyst of a customer without events."""
    on_sqlite.add_analyst("newcomer", "WITHOUT-EVENTS")
    return "newcomer"


def faults(page: Page, name: str) -> list[str]:
    """What is wrong with a page, for whoever cannot see it, and on this screen."""
    found = [f"{name}: {rule['id']}: {rule['nodes'][0]['html']}" for rule in Axe().run(page).response["violations"]]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append(f"{name}: scrolls sideways")
    return found


def test_everybody_can_use_it_on_this_screen_and_it_needs_nobody_else(
    service: Service, door: Door, newcomer: str, screen: dict
):
    found = [fault for name, page in every_page(door, service, screen) for fault in faults(page, name)]
    found += faults(door.open(service, newcomer, **screen), "the first event")
    assert found == []
    assert [said for said in door.complaints if not said.startswith(MEANT)] == []
    assert [url for url in door.requests if not url.startswith((service.url, "data:"))] == []


def test_all_of_it_can_be_done_by_keyboard(service: Service, door: Door):
    page = door.open(service)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    for word in ("UTC", "Local", "New report"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent.trim()") == word
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/reports/new")
