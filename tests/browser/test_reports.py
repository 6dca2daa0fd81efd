"""A running report: watched, cancelled, retried, shared, and its file deleted."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
import uuid

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PageOpener, Service, submit

pytestmark = pytest.mark.browser

MANY = 400_000  # events; takes more than a second to write, compressed
GOES_ON = re.compile(r"\b[1-9][0-9]? %")


def test_a_running_report_is_watched_cancelled_and_retried_and_its_file_deleted(service: Service, opener: PageOpener):
    customer = f"MANY-{uuid.uuid4()}"
    service.fill(customer, MANY)
    page = opener.open(service)
    source = service.report(customer, {"format": "jsonl", "compression": "gzip"})
    with service.writer_held(source):
        page.goto(f"/admin/reports/{source}")
        expect(page.locator(".state-badge").first).to_have_text("Running")
        expect(page.locator(".big-bar .percent")).to_have_text(GOES_ON)
        expect(page.get_by_text(re.compile(r"About .* left\.|Writing\."))).to_be_visible()
        page.goto("/admin/system")
        page.locator(".fold > summary", has_text="Workers").click()
        busy = page.locator(".workers tr", has_text="Busy")
        expect(busy.get_by_role("link", name="PORTFOLIO")).to_be_visible()
        page.goto("/admin/")
        line = page.locator(".reports tr", has_text=customer)
        expect(line.get_by_role("progressbar")).to_have_attribute("value", re.compile("^[1-9]"))
        line.get_by_role("link", name="PORTFOLIO").first.click()
        page.get_by_role("link", name="Cancel").click()
        expect(page.get_by_text(re.compile(r"the partial file \([\d,]+ rows\) is deleted"))).to_be_visible()
        submit(page, "Cancel")
        expect(page.get_by_text("The report is cancelled.")).to_be_visible()
        expect(page.locator(".state-badge").first).to_have_text("Cancelled")
    service.await_writer()
    expect(page.get_by_text("Cancelled by admin.").first).to_be_visible()
    assert service.files(source) == []

    page.get_by_role("link", name="Try again").click()
    submit(page, "Try again")
    expect(page.locator(".state-badge").first).to_have_text("Complete", timeout=30_000)
    expect(page.locator(".attempts tbody tr")).to_have_count(2)
    expect(page.get_by_text(f"{MANY + 1:,} rows")).to_be_visible()
    digest = page.locator("#sha256").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="Copy link").click()
    expect(page.get_by_role("link", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    with urllib.request.urlopen(link, timeout=30) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == digest

    page.goto(f"/admin/reports/{source}")
    page.get_by_role("link", name="Delete the file").click()
    expect(page.get_by_text(re.compile(rf"The file \([\d.]+ MB, {MANY + 1:,} rows\) is deleted"))).to_be_visible()
    submit(page, "Delete the file")
    expect(page.locator(".state-badge").first).to_have_text("Deleted")
    with pytest.raises(urllib.error.HTTPError, match="410"):
        urllib.request.urlopen(link, timeout=30)
    page.goto(f"/admin/audit?text={source}")
    done = ["Report deleted", "Report downloaded", "Report link given", "Report retried", "Report cancelled"]
    expect(page.locator(".audit .did")).to_have_text([*done, "Report started"])


def test_the_form_shows_the_first_rows_while_it_is_filled_in(service: Service, opener: PageOpener):
    service.await_counts()
    page = opener.open(service, at="/admin/reports/new")
    sample, name = page.get_by_role("region", name="The first rows of the file"), page.get_by_label("Name optional")
    page.get_by_label("Customer", exact=True).select_option("BARCHART")
    page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
    expect(page.get_by_text(re.compile(r"About [\d,]+ rows?, by counts"))).to_be_visible()
    expect(sample.get_by_role("columnheader").first).to_have_text("timestamp")
    expect(name).to_have_attribute("placeholder", "BARCHART · PORTFOLIO · All time")
    name.fill("My name")
    page.get_by_label("Format").select_option("jsonl")
    expect(sample.get_by_role("columnheader").first).to_have_text("customer")
    expect(page.get_by_label("Delimiter")).to_be_hidden()
    expect(page.get_by_label("First row has the column names")).to_be_hidden()
    expect(name).to_have_value("My name")
    page.get_by_label("Event types").fill("NOT-KNOWN")
    expect(page.get_by_text(re.compile('Event types, line 1, is "NOT-KNOWN", which is not known'))).to_be_visible()
    expect(sample).to_have_count(0)
    expect(page).to_have_url(re.compile("/admin/reports/new$"))
