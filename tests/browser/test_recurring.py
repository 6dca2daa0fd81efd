"""Recurring reports as people use them: add one, run it, receive its webhook, and stop it."""

from __future__ import annotations

import hashlib
import json
import re
import uuid

import pytest
import standardwebhooks
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageOpener, Service, submit
from tests.support.client import event
from tests.support.mail import MailServer
from tests.support.receivers import Receiver
from tests.support.running import wait_until

pytestmark = pytest.mark.browser


def add(page: Page, name: str, **filled: str) -> None:
    """Fill in and send the form of a new recurring report."""
    page.goto("/admin/reports/recurring/new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Customer", exact=True).select_option("BARCHART")
    page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
    for label, value in filled.items():
        control = page.locator(f"#{label}")
        control.select_option(value) if label in ("recurrence", "hour") else control.fill(value)
    submit(page, "Add recurring report")


def test_a_schedule_is_added_run_and_delivered(service: Service, opener: PageOpener, webhook_receiver: Receiver):
    customer = f"C-{uuid.uuid4()}"
    service.post(event(customer=customer), event(customer=customer, context=["two"]))
    page = opener.open(service)
    page.get_by_role("link", name="Reports", exact=True).click()
    page.get_by_role("link", name="Recurring reports").click()
    page.get_by_role("link", name="New recurring report").click()
    name = f"Journey {uuid.uuid4()}"
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("How often").select_option("weekly")
    page.get_by_label("At", exact=True).select_option("3")
    page.get_by_label("Customer", exact=True).select_option(customer)
    page.get_by_label("Product", exact=True).select_option("PORTFOLIO")
    page.get_by_label("Everything since the last one").check()
    page.get_by_label("New webhook").fill(f"{webhook_receiver.url}/journey")
    submit(page, "Add recurring report")
    secret = page.locator("#secret").inner_text()
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text("Every Monday at 03:00 UTC")).to_be_visible()
    expect(page.get_by_text("Everything since the last one")).to_be_visible()

    submit(page, "Run now")
    expect(page.get_by_text("Complete", exact=True)).to_be_visible()
    page.get_by_role("link", name=name).click()
    expect(page.get_by_text("Delivered")).to_be_visible()
    (got,) = [one for one in webhook_receiver.got if one.path == "/journey"]
    content = json.loads(got.body)
    assert (content["schedule"], content["status"], content["rows"]) == (name, "COMPLETE", 2)
    standardwebhooks.Webhook(secret).verify(got.body, got.headers)
    answer = page.request.get(content["link"])
    assert hashlib.sha256(answer.body()).hexdigest() == content["sha256"]

    page.locator(".deliveries").get_by_role("link").click()
    submit(page, "Send again")
    wait_until(lambda: len([one for one in webhook_receiver.got if one.path == "/journey"]) == 2, 15)
    page.get_by_role("link", name=name).click()
    submit(page, "Pause")
    expect(page.get_by_text("Not while it is paused")).to_be_visible()
    submit(page, "Resume")
    page.get_by_role("link", name="Remove").click()
    submit(page, f"Remove {name}")
    expect(page.get_by_text(f"{name} is removed. Its reports stay.")).to_be_visible()


def test_a_recipient_gets_mail_opens_the_report_and_unsubscribes(
    service: Service, opener: PageOpener, mail_receiver: MailServer
):
    service.post(event())
    page = opener.open(service)
    page.get_by_role("link", name="People", exact=True).click()
    page.get_by_role("link", name="admin", exact=True).first.click()
    address = f"{uuid.uuid4()}@example.com"
    page.get_by_label("Mail address").fill(address)
    submit(page, "Save")
    name = f"Mailed {uuid.uuid4()}"
    add(page, name, recipients="admin")
    submit(page, "Run now")
    wait_until(lambda: [address] in mail_receiver.to, 30)
    message = mail_receiver.got[mail_receiver.to.index([address])]
    (report, leave) = re.findall(rf"^{service.url}/\S+", message.get_content(), re.MULTILINE)
    page.goto(report)
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    reader = opener.open(service, None, at=leave)
    expect(reader.get_by_text(name)).to_be_visible()
    submit(reader, "Unsubscribe")
    expect(reader.get_by_role("heading", level=1)).to_have_text("You are unsubscribed")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_text("admin has unsubscribed and was removed from the recipients of mail")).to_be_visible()


def test_everything_works_without_javascript(service: Service, opener: PageOpener):
    service.post(event())
    page = opener.open(service, java_script_enabled=False)
    name = f"Plain {uuid.uuid4()}"
    add(page, name, recurrence="monthly", delimiter=";")
    expect(page.get_by_text("Every 1st of the month at 06:00 UTC")).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("How often").select_option("daily")
    submit(page, "Save")
    expect(page.get_by_text("Every day at 06:00 UTC")).to_be_visible()
    submit(page, "Run now")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
