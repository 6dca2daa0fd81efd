"""Alerts in the browser: a channel and a rule are made, the rule fires and is resolved, and both mails arrive."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from playwright.sync_api import expect

from app import create_app
from app.config import Settings
from app.store import database as store
from app.store.alerts import evaluation as evaluation_store
from app.support.clock import HOUR_MS, MINUTE_MS, now
from tests.browser.conftest import PageOpener, Service, submit
from tests.support.client import event
from tests.support.mail import MailServer
from tests.support.running import wait_until


class Evaluator:
    """Evaluates the rules in place of the service's scheduler, at times that it moves."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        database = f"sqlite:///{service.data}/events.db"
        settings = Settings(data_dir=service.data, database_url=database, public_url=service.url)
        self._evaluation = create_app(settings).extensions["services"].alert_evaluation
        self._ahead = 0
        real = evaluation_store.server_time
        monkeypatch.setattr(evaluation_store, "server_time", lambda: real() + self._ahead)

    def evaluate(self, *minutes: int) -> None:
        """Evaluate the rules after each of some pauses."""
        for pause in minutes:
            self._ahead += pause * MINUTE_MS
            self._evaluation.evaluate()
            store.release()


@contextlib.contextmanager
def evaluator(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evaluator]:
    with service.scheduler_held():
        yield Evaluator(service, monkeypatch)
        store.release()


def mails(mail: MailServer, word: str, number: int) -> list[EmailMessage]:
    """Wait for mails to the channel of the test with a word in their subject. The service may send others."""

    def found() -> list[EmailMessage]:
        own = [message for message in mail.got if message["To"] == "ops@mail.example"]
        return [message for message in own if word in message["Subject"]]

    wait_until(lambda: len(found()) >= number, 30)
    assert len(found()) == number
    return found()


def test_a_rule_is_made_fires_and_is_resolved_and_both_mails_arrive(
    service: Service, opener: PageOpener, mail_receiver: MailServer, monkeypatch
):
    service.post(event(customer="CALLED", timestamp=now()))  # so that the form lists the customer
    page = opener.open(service)
    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_role("heading", name="Alerts")).to_be_visible()

    page.get_by_role("link", name="Channels").click()
    page.get_by_role("link", name="New channel").click()
    page.get_by_label("Name").fill("Operations")
    page.get_by_label("Mail to").fill("ops@mail.example")
    submit(page, "Add channel")
    submit(page, "Send a test message")
    expect(page.get_by_role("status")).to_contain_text("The mail server accepted the message.")
    mails(mail_receiver, "Tally: test message", 1)

    page.get_by_role("link", name="Alert channels").click()
    page.get_by_role("link", name="Rules").click()
    page.get_by_role("link", name="New rule").click()
    page.get_by_label("Name").fill("Too many of CALLED")
    expect(page.get_by_label("Minutes at least")).to_be_visible()
    page.get_by_label("Fixed limit").check()
    expect(page.get_by_label("Minutes at least")).to_be_hidden()
    page.get_by_label("Direction").locator("visible=true").select_option("more")
    page.get_by_label("Events", exact=True).fill("2")
    page.get_by_label("Watch").select_option("customer")
    page.get_by_label("Customer").select_option("CALLED")
    submit(page, "Add rule")
    expect(page.get_by_role("status")).to_contain_text("Too many of CALLED is added.")

    service.post(*[event(customer="CALLED", timestamp=now())] * 3)  # in one hour, whenever this runs
    service.await_counts()
    with evaluator(service, monkeypatch) as rules:
        rules.evaluate(1, 2)
        page.get_by_role("link", name="Now").click()
        row = page.locator("tr", has_text="customer CALLED")
        expect(row).to_contain_text("More events than 2 per hour")
        expect(row).to_contain_text("Firing")
        page.get_by_role("link", name="Overview").click()
        expect(page.get_by_role("link", name="More events than 2 per hour: customer CALLED")).to_be_visible()
    fired = mails(mail_receiver, "CALLED", 1)[0]
    assert fired["Subject"] == "Firing: Too many of CALLED, customer CALLED"
    text = fired.get_body(("plain",)).get_content()
    assert re.search(r"[34] events in (this|the last complete) hour\.", text)
    assert re.search(rf"{service.url}/admin/alerts/[0-9]+\s*$", text)

    page.get_by_role("link", name="More events than 2 per hour: customer CALLED").click()
    expect(page.get_by_text("The rule expects at most 2 per hour.")).to_be_visible()
    expect(page.get_by_role("heading", name="Events per hour")).to_be_visible()
    with evaluator(service, monkeypatch) as rules:
        rules.evaluate(3 * HOUR_MS // MINUTE_MS, 6, 6)
        expect(page.get_by_text("Resolved").first).to_be_visible()
    resolved = mails(mail_receiver, "CALLED", 2)[1]
    assert resolved["Subject"] == "Resolved: Too many of CALLED, customer CALLED"
    page.goto("/admin/alerts/history")
    expect(page.locator("tr", has_text="customer CALLED")).to_contain_text("Resolved")
