"""Pages keep themselves fresh without getting in the way, and say so honestly."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Door, Service
from tests.support.client import event

pytestmark = pytest.mark.browser
PART = "/admin/overview/part"


@pytest.fixture(autouse=True)
def moving(service: Service) -> None:
    """An event came just now, so the overview looks every two seconds."""
    service.post(event(type="EARLIER"))


def await_refresh(page: Page) -> None:
    with page.expect_response(lambda answer: PART in answer.url):
        pass


def test_focus_and_selection_stay_while_rows_arrive(service: Service, door: Door):
    page = door.open(service)
    page.get_by_role("link", name="New report").focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.events .type'))")
    service.post(event(type="LATER"))
    expect(page.get_by_role("cell", name="LATER").first).to_be_visible()
    assert page.evaluate("document.activeElement.textContent.trim()") == "New report"
    assert page.evaluate("getSelection().toString()") == "EARLIER"


def test_a_new_row_is_marked_and_those_before_it_are_not(service: Service, door: Door):
    page = door.open(service)
    service.post(event(type="BRAND-NEW"))
    new = page.locator("tr.is-new")
    expect(new).to_have_count(1)
    expect(new).to_contain_text("BRAND-NEW")


def test_it_says_when_the_server_cannot_be_reached_and_when_it_can_again(service: Service, door: Door):
    page = door.open(service)
    note = page.locator(".head [data-freshness]")
    expect(note).to_have_text("updated just now")
    page.context.set_offline(True)
    expect(note).to_contain_text("can't reach the server, updated ")
    page.context.set_offline(False)
    expect(note).to_have_text("updated just now")


def test_it_says_when_the_server_answers_with_an_error(service: Service, door: Door):
    page = door.open(service)
    page.route(f"**{PART}", lambda route: route.fulfill(status=503, body="<p>no</p>"))
    expect(page.locator(".head [data-freshness]")).to_contain_text("the server answers with an error, updated ")
    expect(page.get_by_role("cell", name="EARLIER").first).to_be_visible()


def test_a_session_that_ended_leads_to_sign_in_and_back(service: Service, door: Door):
    page = door.open(service)
    page.goto("/admin/reports/new")  # so that the way back is not merely the default
    page.goto("/admin/")
    page.context.clear_cookies()
    page.wait_for_url("**/admin/sign-in?next=/admin/")


def test_a_page_that_nobody_looks_at_does_not_ask(service: Service, door: Door):
    page = door.open(service)
    await_refresh(page)
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true })")
    page.evaluate("window.away = true")
    page.wait_for_timeout(500)  # what is on its way arrives
    asked = len([url for url in door.requests if PART in url])
    page.wait_for_timeout(2_500)
    assert len([url for url in door.requests if PART in url]) == asked
    with page.expect_response(lambda answer: PART in answer.url):
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_the_first_events_command_is_copied(service: Service, door: Door):
    service.add_analyst("lena", "NOBODY-YET")
    page = door.open(service, "lena", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith(f"curl {service.url}/events \\\n")
