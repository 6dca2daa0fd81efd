"""Pages about mail: recipients of a recurring report, the link that unsubscribes, addresses, and the test."""

from __future__ import annotations

import pytest

from app.services.notifications.mail_client import MailServer
from app.services.people.principal import SYSTEM
from app.store.models import Account, AuditEntry, Report, Schedule, ScheduleRecipient
from app.store.notifications import recipients
from tests.admin.conftest import Visitor
from tests.support.client import event
from tests.support.mail import mail_server
from tests.support.page import read

ADDRESS = "anna@example.com"
WANTED = {
    "name": "Daily",
    "filter": {"customer": "BARCHART", "product": "PORTFOLIO"},
    "recurrence": "daily",
    "hour": 6,
    "mode": "since_last",
}
FORM = {"name": "Daily", "customer": "BARCHART", "product": "PORTFOLIO", "recurrence": "daily", "hour": "6"}
FORM |= {"mode": "since_last"}


@pytest.fixture
def server(services, monkeypatch):
    with mail_server() as running:
        monkeypatch.setattr(services.mail, "server", MailServer(running.url, "tally@example.com"))
        yield running


@pytest.fixture
def schedule(services, server, anna, nobody) -> Schedule:
    """A recurring report of the system with anna as a recipient."""
    nobody.send(event())
    services.accounts.set_mail(services.accounts.named("anna"), ADDRESS)
    return services.schedules.add(SYSTEM, WANTED | {"recipients": ["anna"]}).schedule


@pytest.fixture
def leave(services, schedule, server) -> str:
    """The address in a mail that unsubscribes."""
    services.runner.run(services.schedule_runs.run(SYSTEM, schedule).job)
    services.deliveries.send()
    services.deliveries.flush()
    return server.got[0]["List-Unsubscribe"].strip("<>").removeprefix("https://tally.example")


def test_recipients_are_named_in_the_form_and_shown_on_the_page(boss, schedule, services):
    address = f"/admin/reports/recurring/{schedule.id}"
    assert ">anna</textarea>" in boss.see(f"{address}/edit")
    answer = boss.send(f"{address}/edit", FORM | {"recipients": "anna\nbob"})
    assert answer.status_code == 400
    assert read(answer).wrong("recipients") == (
        'Mail to, line 2, is "bob", no user with a mail address who may see BARCHART.'
    )
    assert boss.send(f"{address}/edit", FORM | {"recipients": ""}).status_code == 302
    assert ScheduleRecipient.select().count() == 0


def test_a_mail_program_unsubscribes_at_once_without_a_session(app, leave, boss, schedule):
    """RFC 8058: a POST with this body, no cookie and no token of a form."""
    program = app.test_client()
    assert program.get(leave).status_code == 200
    assert ScheduleRecipient.get().removed_at is None  # programs that check mail open its links
    answer = program.post(leave, data={"List-Unsubscribe": "One-Click"}, headers={"Origin": "https://mail.example"})
    assert answer.status_code == 200
    assert "You are unsubscribed" in answer.get_data(as_text=True)
    page = boss.read(f"/admin/reports/recurring/{schedule.id}")
    assert "anna has unsubscribed and was removed from the recipients of mail" in page
    assert program.post(leave).status_code == 404
    assert program.get(leave[:-1]).status_code == 404


def test_a_recipient_opens_the_report_and_downloads_its_file_but_cannot_change_it(leave, services, anna):
    (report,) = Report.select()
    address = f"/admin/reports/JOB-{report.job}"
    page = anna.see(address)
    assert "Delete the file" not in page
    assert anna.get(f"{address}/download").status_code == 302
    for act in ("delete", "retry", "cancel"):
        assert anna.get(f"{address}/{act}").status_code == 404
        assert anna.send(f"{address}/{act}", {}, form="/admin/reports/new").status_code == 404
    recipients.remove(report.schedule, Account.get(Account.name == "anna").id, 1, "left")
    assert anna.get(address).status_code == 404


def test_a_mail_address_is_changed_on_the_page_of_a_user(boss, anna, services):
    key = services.accounts.named("anna").id
    rights = {"role": "analyst", "customers": "BARCHART"}
    assert boss.send(f"/admin/people/{key}", rights | {"mail": ADDRESS}).status_code == 302
    assert f'value="{ADDRESS}"' in boss.see(f"/admin/people/{key}")
    wrong = boss.send(f"/admin/people/{key}", rights | {"mail": "a@b@c"})
    assert "A mail address is one such as" in wrong.get_data(as_text=True)
    assert Account.get(Account.name == "anna").mail == ADDRESS
    changes = [entry.details for entry in AuditEntry.select().where(AuditEntry.action == "user changed")]
    assert {"old mail": None, "new mail": ADDRESS} in changes


def test_the_page_system_sends_a_test_to_the_caller(boss, services, server):
    services.accounts.set_mail(services.accounts.named("admin"), "boss@example.com")
    boss.send("/admin/system/mail", {}, form="/admin/system")
    assert "accepted a test for boss@example.com." in boss.read("/admin/system")
    assert server.to == [["boss@example.com"]]


def test_without_a_mail_server_the_pages_say_so(boss, app):
    assert "The operator of this service sends no mail" in boss.read("/admin/reports/recurring/new")
    assert "SMTP_URL is empty" in boss.read("/admin/system")
    assert Visitor(app).get("/admin/unsubscribe/x").status_code == 404
