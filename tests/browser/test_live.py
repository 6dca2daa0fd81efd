"""Pages refresh themselves without getting in the way, and say so if they cannot."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service, sign_in
from tests.support.client import event

pytestmark = pytest.mark.browser
PART, CHART = "/admin/overview/part", "/admin/overview/chart"


@pytest.fixture(autouse=True)
def moving(service: Service) -> None:
    """Send an event that happened just now, so that the overview refreshes every two seconds."""
    service.post(event(type="EARLIER"))


def test_active_parts_refresh_every_two_seconds_and_others_every_fifteen(service: Service, opener: PageOpener):
    page = opener.open(service)
    page.clock.install(time=0)
    page.clock.pause_at(1_000)  # otherwise it runs while a busy machine loads the page
    page.goto("/admin/")
    expect(page.locator("#traffic-head")).to_be_visible()
    opener.requests.clear()
    page.clock.run_for(1_000)
    assert [url for url in opener.requests if "/overview/" in url] == []
    with page.expect_response(lambda answer: PART in answer.url):
        page.clock.run_for(1_500)
    page.clock.run_for(9_000)
    assert [url for url in opener.requests if CHART in url] == []
    with page.expect_response(lambda answer: CHART in answer.url):
        page.clock.run_for(4_000)


def await_refresh(page: Page) -> None:
    with page.expect_response(lambda answer: PART in answer.url):
        pass


def test_focus_and_selection_stay_while_rows_arrive(service: Service, opener: PageOpener):
    page = opener.open(service, hurried=True)
    page.get_by_role("link", name="New report").focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.events .type'))")
    service.post(event(type="LATER"))
    expect(page.get_by_role("cell", name="LATER").first).to_be_visible()
    assert page.evaluate("document.activeElement.textContent.trim()") == "New report"
    assert page.evaluate("getSelection().toString()") == "EARLIER"


def test_a_new_row_is_marked_and_those_before_it_are_not(service: Service, opener: PageOpener):
    page = opener.open(service)  # the mark lasts until the next refresh
    service.post(event(type="BRAND-NEW"))
    new = page.locator("tr.is-new")
    expect(new).to_have_count(1)
    expect(new).to_contain_text("BRAND-NEW")


def test_it_says_when_the_server_cannot_be_reached_and_when_it_can_again(service: Service, opener: PageOpener):
    page = opener.open(service, hurried=True)
    note = page.locator(".head [data-freshness]")
    expect(note).to_have_text(re.compile("^updated "))
    page.context.set_offline(True)
    expect(note).to_contain_text("can't reach the server, updated ")
    page.context.set_offline(False)
    expect(note).to_have_text(re.compile("^updated "))


def test_it_says_when_the_server_answers_with_an_error(service: Service, opener: PageOpener):
    page = opener.open(service, hurried=True)
    page.route(f"**{PART}", lambda route: route.fulfill(status=503, body="<p>no</p>"))
    expect(page.locator(".head [data-freshness]")).to_contain_text("the server answers with an error, updated ")
    expect(page.get_by_role("cell", name="EARLIER").first).to_be_visible()
    assert {said.partition(" ")[0] for said in opener.complaints} == {"503"}
    opener.complaints.clear()


def test_a_session_that_ended_leads_to_sign_in_and_back(service: Service, opener: PageOpener):
    page = opener.open(service, hurried=True, at="/admin/reports/new")  # so that the way back is not merely the default
    page.goto("/admin/")
    page.context.clear_cookies()
    page.wait_for_url("**/admin/sign-in?next=/admin/")
    sign_in(page, "admin")
    expect(page).to_have_url(f"{service.url}/admin/")


def test_a_hidden_page_does_not_refresh(service: Service, opener: PageOpener):
    page = opener.open(service, hurried=True)
    await_refresh(page)
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true })")
    page.evaluate("window.away = true")
    page.wait_for_timeout(300)  # let requests in transit arrive
    asked = len([url for url in opener.requests if PART in url])
    page.wait_for_timeout(1_000)  # long enough for three refreshes
    assert len([url for url in opener.requests if PART in url]) == asked
    with page.expect_response(lambda answer: PART in answer.url):
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_the_first_events_command_is_copied(service: Service, opener: PageOpener):
    service.add_analyst("lena", "NOBODY-YET")
    page = opener.open(service, "lena", permissions=["clipboard-read", "clipboard-write"], hurried=True)
    page.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith(f"curl {service.url}/events \\\n")
