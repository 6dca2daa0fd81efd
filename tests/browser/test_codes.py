"""The field that searches for codes, by mouse and by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PageOpener, Service, open_filter, submit
from tests.support.client import event

pytestmark = pytest.mark.browser
CUSTOMER = "SEARCHED"


def test_customers_are_added_from_the_known_ones_and_unknown_ones_pointed_out(service: Service, opener: PageOpener):
    service.post(event(customer=CUSTOMER))
    page = opener.open(service, at="/admin/people/new")
    field, lines = page.get_by_role("combobox", name="Add a customer"), page.locator("#customers")
    field.press_sequentially("searc")
    expect(page.get_by_role("option", name=CUSTOMER)).to_be_visible()
    expect(field).to_have_attribute("aria-expanded", "true")
    page.get_by_role("option", name=CUSTOMER).click()
    expect(lines).to_have_value(f"{CUSTOMER}\n")
    expect(field).to_have_value("")
    expect(field).to_be_focused()

    field.press_sequentially("NEW-ONE")
    expect(page.get_by_role("option", name="Add NEW-ONE not known yet")).to_be_visible()
    field.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(field).to_have_value("NEW-ONE")
    field.press("ArrowDown")
    option = page.get_by_role("listbox").get_by_role("option")
    expect(option).to_have_count(1)
    field.press("ArrowUp")
    expect(option).to_have_attribute("aria-selected", "true")
    field.press("Enter")
    expect(lines).to_have_value(f"{CUSTOMER}\nNEW-ONE\n")


def test_what_was_typed_and_not_added_is_sent_too(service: Service, opener: PageOpener):
    page = opener.open(service, at="/admin/keys/new")
    page.get_by_label("Name").fill("key for typed ones")
    field = page.get_by_role("combobox", name="Add a customer")
    field.press_sequentially("TYPED-ONLY")
    expect(page.get_by_role("option", name="Add TYPED-ONLY not known yet")).to_be_visible()
    field.press("Enter")  # marks the option, and does not send the form
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_attribute("aria-selected", "true")
    field.press("Escape")
    submit(page, "Add key")
    expect(page.get_by_text("TYPED-ONLY is not known yet")).to_be_visible()


def test_a_choice_of_very_many_types_is_searched_by_keyboard(service: Service, opener: PageOpener):
    service.post(*[event(customer=CUSTOMER, type=f"KIND-{number:03}") for number in range(101)])
    service.await_counts()
    page = opener.open(service, at=f"/admin/explore?customer={CUSTOMER}")
    open_filter(page)
    field = page.locator("#types")
    expect(field).to_have_attribute("role", "combobox")
    field.press_sequentially("kind-05")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options).to_have_count(10)
    field.press("ArrowDown")
    field.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    assert field.get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    field.press("Enter")
    expect(field).to_have_value("KIND-051")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_without_javascript_it_is_a_plain_field(service: Service, opener: PageOpener):
    page = opener.open(service, java_script_enabled=False, at="/admin/people/new")
    expect(page.get_by_role("combobox", name="Add a customer")).to_have_count(0)
    expect(page.locator("#customers")).to_be_visible()
