"""Everything can be done by keyboard alone, and the focus is always visible."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service
from tests.conftest import PASSWORD
from tests.support.client import event

pytestmark = pytest.mark.browser
MOST = 80  # focusable elements on a page

FOCUS = """() => {
  const here = document.activeElement, style = getComputedStyle(here);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const words = here.getAttribute("aria-label") ?? (here.labels?.length ? here.labels[0] : here).textContent;
  const own = here.type === "datetime-local"; // the button within has a ring of the browser's own
  return { words: words.trim().replace(/\\s+/g, " "), seen: ring || style.boxShadow !== "none" || own };
}"""


def tab_to(page: Page, words: str) -> None:
    """Press Tab until an element whose text begins with these words has the focus. Each focused element must be
    visible.
    """
    unseen, passed = [], []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        passed.append(focus["words"])
        unseen += [] if focus["seen"] else [focus["words"]]
        if focus["words"].startswith(words):
            assert unseen == []
            return
    raise AssertionError(f"{words!r} is not among {passed}")


def press(page: Page, key: str) -> None:
    """Press a key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


def test_somebody_signs_in_starts_a_report_and_cancels_it(service: Service, opener: PageOpener):
    service.post(event())
    page = opener.open(service, None)
    expect(page.get_by_label("User")).to_be_focused()
    page.keyboard.type("admin")
    tab_to(page, "Password")
    page.keyboard.type(PASSWORD)
    press(page, "Enter")

    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS) == {"words": "Skip to the content", "seen": True}
    page.keyboard.press("Enter")
    tab_to(page, "New report")
    press(page, "Enter")
    tab_to(page, "Customer")
    page.keyboard.type("BARCHART")
    tab_to(page, "Product")
    page.keyboard.type("PORTFOLIO")
    tab_to(page, "First row has the column names")
    page.keyboard.press("Space")
    with service.worker_held():
        tab_to(page, "Start report")
        press(page, "Enter")
        expect(page.get_by_role("heading", name="BARCHART · PORTFOLIO")).to_be_visible()
        tab_to(page, "Cancel")
        press(page, "Enter")
        tab_to(page, "Cancel")
        press(page, "Space")
    expect(page.get_by_text("The report is cancelled.")).to_be_visible()


def test_every_page_of_the_navigation_is_reached_by_keyboard(service: Service, opener: PageOpener):
    page = opener.open(service)
    for place in ("Events", "Reports", "Rejected", "Catalog", "People", "System", "Overview"):
        tab_to(page, place)
        press(page, "Enter")
        expect(page.locator(".places [aria-current]")).to_have_text(place)


def test_a_filter_is_unfolded_and_sent_by_keyboard(service: Service, opener: PageOpener):
    service.post(event(type="BY-KEYBOARD", context=["keyboard"]))
    page = opener.open(service, at="/admin/events")
    tab_to(page, "All events")
    page.keyboard.press("Enter")
    tab_to(page, "Text in the context")
    page.keyboard.type("keyboard")
    press(page, "Enter")
    expect(page.locator(".filters > details > summary")).to_contain_text("text keyboard")
    expect(page.locator(".events .type").first).to_have_text("BY-KEYBOARD")
