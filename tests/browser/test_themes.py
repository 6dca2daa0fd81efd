"""The theme: light, dark, or the system's, chosen by a switch in the left bar for all pages."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service

pytestmark = pytest.mark.browser


def shade(page: Page) -> str:
    """Return whether a page is light or dark, judged by the colour of its text."""
    red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).color"))[0])
    return "dark" if red > 128 else "light"


def test_the_switch_cycles_through_system_light_and_dark(service: Service, opener: PageOpener):
    page = opener.open(service, color_scheme="dark")
    switch = page.get_by_role("button", name="Theme:")
    expect(switch).to_have_text("Theme: system")
    assert shade(page) == "dark"
    switch.click()
    expect(switch).to_have_text("Theme: light")
    assert shade(page) == "light"
    page.goto("/admin/reports")  # it applies to every page
    expect(switch).to_have_text("Theme: light")
    assert shade(page) == "light"
    page.emulate_media(color_scheme="light")
    switch.click()
    expect(switch).to_have_text("Theme: dark")
    assert shade(page) == "dark"
    switch.click()
    expect(switch).to_have_text("Theme: system")
    assert shade(page) == "light"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_choice_and_without_javascript_the_systems_theme_applies(
    service: Service, opener: PageOpener, scheme: str
):
    page = opener.open(service, None, color_scheme=scheme, java_script_enabled=False)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert shade(page) == scheme


def test_the_page_of_the_api_follows_the_theme_and_leads_back(service: Service, opener: PageOpener):
    page = opener.open(service, color_scheme="light")
    page.get_by_role("button", name="Theme:").click()
    page.get_by_role("button", name="Theme:").click()
    page.get_by_role("link", name="API", exact=True).click()
    page.wait_for_url("**/docs/**")
    page.wait_for_load_state()  # with its scripts
    switch, root = page.get_by_role("button", name="Theme:"), page.locator("html")
    expect(switch).to_have_text("Theme: dark")
    expect(root).to_have_class("dark-mode")
    switch.click()
    expect(switch).to_have_text("Theme: system")
    expect(root).to_have_class("")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_class("dark-mode")
    page.get_by_role("link", name="Back to the dashboard").click()
    expect(page.get_by_role("button", name="Theme:")).to_have_text("Theme: system")
