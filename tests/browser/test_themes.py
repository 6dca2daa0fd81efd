"""Light, dark, or as the system has it: by a switch in the left bar, which every page then follows."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Door, Service

pytestmark = pytest.mark.browser


def shade(page: Page) -> str:
    """Whether a page is light or dark, told by its text: on the one it is dark, on the other light."""
    red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).color"))[0])
    return "dark" if red > 128 else "light"


def test_the_switch_goes_from_the_systems_to_light_to_dark_and_back(service: Service, door: Door):
    page = door.open(service, color_scheme="dark")
    switch = page.get_by_role("button", name="Theme:")
    expect(switch).to_have_text("Theme: system")
    assert shade(page) == "dark"
    switch.click()
    expect(switch).to_have_text("Theme: light")
    assert shade(page) == "light"
    page.goto("/admin/reports")  # it holds for every page
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
def test_without_a_choice_and_without_scripts_it_is_the_systems(service: Service, door: Door, scheme: str):
    page = door.open(service, None, color_scheme=scheme, java_script_enabled=False)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert shade(page) == scheme
