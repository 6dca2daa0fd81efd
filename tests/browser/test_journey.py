"""The main journey: see events arrive, start a report, watch it finish, and download the file."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service, open_filter, sign_in, submit
from tests.support.client import event

pytestmark = pytest.mark.browser


@pytest.fixture
def customer() -> str:
    """Return a customer without events."""
    return f"C-{uuid.uuid4()}"


def mark(page: Page) -> None:
    """Leave a mark in the page that a reload would remove."""
    page.evaluate("window.here = true")


def never_reloaded(page: Page) -> bool:
    return page.evaluate("window.here === true")


def test_from_the_first_event_to_the_file(either_service: Service, opener: PageOpener, customer: str, tmp_path: Path):
    service = either_service
    analyst = f"analyst-of-{customer}"
    service.add_analyst(analyst, customer)
    page = opener.open(service, analyst)

    expect(page.get_by_role("heading", name="Waiting for your first event")).to_be_visible()
    mark(page)
    service.post(event(customer=customer, type="FIRST", context=["a|b", None, 'say "hi"']))
    expect(page.get_by_role("cell", name="FIRST")).to_be_visible()
    service.post(event(customer=customer, type="SECOND", timestamp=1_793_000_000_001, context=["naïve 📈"]))
    expect(page.get_by_role("cell", name="SECOND")).to_be_visible()
    assert never_reloaded(page)

    page.get_by_role("link", name="New report").click()
    page.get_by_label("Customer", exact=True).select_option(customer)
    page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
    page.get_by_label("Layout").select_option("positional")
    with service.worker_held():
        submit(page, "Start report")
        expect(page.get_by_text("Queued")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "0")
        mark(page)
    expect(page.get_by_text("Complete", exact=True)).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "100")
    assert never_reloaded(page)

    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith("PORTFOLIO_until_")
    download.value.save_as(tmp_path / "file")
    assert (tmp_path / "file").read_text() == (
        "timestamp,type,context1,context2,context3\n"
        '1793000000000,FIRST,a|b,,"say ""hi"""\n'
        "1793000000001,SECOND,naïve 📈,,\n"
    )


def test_everything_works_without_javascript(service: Service, opener: PageOpener, customer: str, tmp_path: Path):
    service.post(event(customer=customer, type="FIRST"))
    page = opener.open(service, None, java_script_enabled=False)
    sign_in(page, "admin")
    expect(page.get_by_role("cell", name="FIRST").first).to_be_visible()
    expect(page.get_by_text("Copy")).to_have_count(0)

    page.get_by_role("link", name="Events", exact=True).click()
    open_filter(page)
    page.get_by_label("Customer", exact=True).select_option(customer)
    submit(page, "Show")
    expect(page.locator(".events .type")).to_have_text(["FIRST"])
    page.locator(".events .name a").click()
    expect(page.get_by_role("heading", name="FIRST")).to_be_visible()
    page.go_back()

    page.get_by_role("link", name="Export these").click()
    expect(page.get_by_label("Customer", exact=True)).to_have_value(customer)
    submit(page, "Start report")
    expect(page.locator("#product-wrong")).to_contain_text("Product is missing.")
    page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
    submit(page, "Start report")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{customer} · PORTFOLIO · All time")
    while not page.get_by_text("Complete", exact=True).is_visible():
        with page.expect_navigation():
            page.get_by_role("link", name="Refresh").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "file")
    assert (tmp_path / "file").read_text().startswith("timestamp,type,")

    submit(page, "Sign out")
    expect(page.get_by_text("You are signed out.")).to_be_visible()
