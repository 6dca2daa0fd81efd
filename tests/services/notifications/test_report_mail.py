"""Mail about recurring reports: to users who may see the customer, with a link that needs their sign-in."""

from __future__ import annotations

import re

import pytest

from app.exceptions import InputInvalid, LinkInvalid, ReportUnknown
from app.services.notifications import mail_sender
from app.services.notifications.mail_client import MailServer
from app.services.people.principal import SYSTEM
from app.store.models import AuditEntry, Delivery, DeliveryTry, Report, Schedule, ScheduleRecipient
from tests.support.client import event
from tests.support.mail import mail_server

FILTER = {"customer": "BARCHART", "product": "PORTFOLIO"}
WANTED = {"name": "Every “day”", "filter": FILTER, "recurrence": "daily", "hour": 6, "mode": "since_last"}
ADDRESS = "anna@example.com"


@pytest.fixture
def server(services, monkeypatch):
    with mail_server() as running:
        monkeypatch.setattr(services.mail, "server", MailServer(running.url, "Tally <tally@example.com>"))
        yield running


@pytest.fixture(autouse=True)
def stored_events(nobody) -> None:
    nobody.send(event(), event())


@pytest.fixture
def anna(services):
    anna = services.accounts.add("anna", "analyst", ["BARCHART"], "correct horse")
    services.accounts.set_mail(anna, ADDRESS)
    return anna


@pytest.fixture
def schedule(services, server, anna) -> Schedule:
    """A recurring report of the system with anna as a recipient."""
    return services.schedules.add(SYSTEM, WANTED | {"recipients": ["anna"]}).schedule


@pytest.fixture
def complete(services):
    """Return a function that runs a recurring report to its end."""

    def run(schedule: Schedule) -> Report:
        report = services.schedule_runs.run(SYSTEM, schedule)
        services.runner.run(report.job)
        return Report.get(Report.job == report.job)

    return run


@pytest.fixture
def clock(clock, monkeypatch):
    monkeypatch.setattr(mail_sender, "now", clock)
    return clock


def recipient() -> ScheduleRecipient:
    return ScheduleRecipient.get()


def leave_link(message) -> str:
    """Return the token of the link that unsubscribes."""
    return re.fullmatch(r"<https://tally\.example/admin/unsubscribe/(\S+)>", message["List-Unsubscribe"])[1]


def test_a_recipient_gets_a_link_to_the_page_and_not_the_file(services, schedule, complete, deliver, server, anna):
    report = complete(schedule)
    deliver()
    deliver()
    (message,) = server.got
    assert server.to == [[ADDRESS]]
    assert (message["From"], message["To"]) == ("Tally <tally@example.com>", f"anna <{ADDRESS}>")
    assert message["Subject"] == "Every “day”: report is ready"
    assert message["Message-ID"] == f"<{Delivery.get().key}@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    text = message.get_content()
    assert f"https://tally.example/admin/reports/JOB-{report.job}\r\n" in text
    assert "PORTFOLIO of BARCHART. 2 rows," in text
    assert "/files/" not in text and "signature" not in text
    assert not message.is_multipart()
    assert (Delivery.get().state, DeliveryTry.get().code) == ("delivered", 250)
    assert server.sent[0].isascii()
    leave = server.sent[0].partition(b"\r\nList-Unsubscribe: <")[2].partition(b">\r\n")[0].decode()
    assert services.mail.subscription(leave.rpartition("/")[2])  # in one line, and not encoded
    assert max(map(len, server.sent[0].replace(leave.encode(), b"").splitlines())) <= 78


def test_a_recipient_may_read_the_report_but_not_change_it(services, schedule, complete, anna):
    source = f"JOB-{complete(schedule).job}"
    assert services.reports.get(anna, source, to_read=True)
    with pytest.raises(ReportUnknown):
        services.reports.get(anna, source)
    bea = services.accounts.add("bea", "analyst", ["BARCHART"], "correct horse")
    with pytest.raises(ReportUnknown):
        services.reports.get(bea, source, to_read=True)


def test_a_failed_report_is_announced_with_its_reason(services, schedule, deliver, server):
    services.reports.cancel(SYSTEM, services.schedule_runs.run(SYSTEM, schedule))
    deliver()
    assert server.got[0]["Subject"] == "Every “day”: report has failed"
    assert "Cancelled by system." in server.got[0].get_content()


def test_mail_that_the_server_refuses_for_now_is_retried_with_the_same_id(schedule, complete, deliver, server):
    server.answers.append("451 Try later")
    complete(schedule)
    deliver()
    assert server.got == []
    assert Delivery.get().state == "waiting"
    deliver(31_000)
    assert [one["Message-ID"] for one in server.got] == [f"<{Delivery.get().key}@example.com>"]
    tried = [(one.code, one.said.partition(" ")[2]) for one in DeliveryTry.select().order_by(DeliveryTry.id)]
    assert tried == [(451, "refused the recipient: Try later"), (250, "")]


def test_mail_to_an_address_that_does_not_exist_is_not_retried(schedule, complete, deliver, server):
    server.answers.append("550 No such user")
    complete(schedule)
    deliver()
    assert (Delivery.get().state, Delivery.get().due_at) == ("given_up", None)


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        (lambda services, anna: services.accounts.change(anna, "analyst", ["OTHER"]), mail_sender.NO_ACCESS),
        (lambda services, anna: services.accounts.remove("anna"), mail_sender.GONE),
        (lambda services, anna: services.accounts.deactivate("anna"), mail_sender.DEACTIVATED),
        (lambda services, anna: services.accounts.set_mail(anna, ""), mail_sender.NO_ADDRESS),
    ],
    ids=["limited", "removed", "deactivated", "without an address"],
)
def test_a_recipient_who_may_get_no_mail_any_more_is_removed_with_an_audit_entry(
    services, schedule, complete, deliver, server, anna, lose, reason
):
    server.answers.append("451 Try later")
    complete(schedule)
    deliver()
    lose(services, anna)
    deliver(31_000)
    complete(schedule)
    deliver()
    assert server.got == []
    assert (recipient().reason, recipient().removed_at is None) == (reason, False)
    assert [one.state for one in Delivery.select()] == ["given_up"]
    (entry,) = AuditEntry.select().where(AuditEntry.action == "recipient removed")
    assert (entry.who, entry.customer, entry.details["recipient"]) == ("system", "BARCHART", "anna")


def test_a_right_that_is_lost_after_the_look_is_noticed_before_the_mail_is_sent(services, schedule, complete, anna):
    """Between the scheduler's look at all recipients and the try."""
    complete(schedule)
    services.mail.announce(0)
    services.accounts.change(anna, "analyst", ["OTHER"])
    outcome = services.mail.attempt(Delivery.get(), 0)
    assert (outcome.said, outcome.is_final) == (f"anna {mail_sender.NO_ACCESS}.", True)
    assert recipient().reason == mail_sender.NO_ACCESS


def test_the_link_of_a_mail_unsubscribes_its_recipient_from_this_recurring_report(
    services, schedule, complete, deliver, server
):
    complete(schedule)
    deliver()
    token = leave_link(server.got[0])
    services.mail.unsubscribe(token, "192.0.2.1")
    assert recipient().reason == mail_sender.UNSUBSCRIBED
    (entry,) = AuditEntry.select().where(AuditEntry.action == "recipient removed")
    assert entry.who == "anna"
    with pytest.raises(LinkInvalid, match="get no mail"):
        services.mail.subscription(token)
    services.schedules.change(SYSTEM, schedule, WANTED | {"recipients": ["anna"]})
    with pytest.raises(LinkInvalid):  # named again, by a new choice; the old link is spent
        services.mail.subscription(token)


@pytest.mark.parametrize("change", [lambda token: token[:-1], lambda token: "1.2.3~x", lambda token: "x"])
def test_a_link_that_was_changed_unsubscribes_nobody(services, schedule, complete, deliver, server, change):
    complete(schedule)
    deliver()
    with pytest.raises(LinkInvalid, match="not one that the service made"):
        services.mail.unsubscribe(change(leave_link(server.got[0])), "")
    assert recipient().removed_at is None


def test_only_users_with_an_address_who_may_see_the_customer_are_accepted(services, server, anna):
    services.accounts.add("bea", "analyst", ["BARCHART"], "correct horse")
    otto = services.accounts.add("otto", "analyst", ["OTHER"], "correct horse")
    services.accounts.set_mail(otto, "otto@example.com")
    with pytest.raises(InputInvalid) as error:
        services.schedules.add(SYSTEM, WANTED | {"recipients": ["anna", "bea", "otto", "nobody"]})
    assert [one.message for one in error.value.field_errors] == [
        f'recipients[{place}] is "{name}", no user with a mail address who may see BARCHART.'
        for place, name in enumerate(["anna", "bea", "otto", "nobody"])
        if name != "anna"
    ]
    assert Schedule.select().count() == 0


def test_without_a_mail_server_nobody_can_be_named(services, anna):
    with pytest.raises(InputInvalid) as error:
        services.schedules.add(SYSTEM, WANTED | {"recipients": ["anna"]})
    assert error.value.field_errors[0].message == "recipients get no mail, because SMTP_URL is not set."


def test_a_recipient_who_is_not_named_any_more_gets_no_mail(services, schedule, complete, deliver, server):
    server.answers.append("451 Try later")
    complete(schedule)
    deliver()
    services.schedules.change(SYSTEM, schedule, WANTED)
    deliver(31_000)
    assert (server.got, ScheduleRecipient.select().count(), Delivery.get().state) == ([], 0, "given_up")
    services.schedules.remove(SYSTEM, schedule)
    assert Delivery.select().count() == 0


def test_reports_that_ended_before_a_recipient_was_named_are_not_announced(services, server, anna, complete, deliver):
    schedule = services.schedules.add(SYSTEM, WANTED).schedule
    complete(schedule)
    services.schedules.change(SYSTEM, schedule, WANTED | {"recipients": ["anna"]})
    Report.update(ended_at=Report.ended_at - 1_000).execute()
    deliver()
    assert server.got == []


def test_a_name_with_signs_of_a_header_stays_a_name(services, server, complete, deliver):
    eve = services.accounts.add('eve" <x@evil.example>', "operator", None, "correct horse")
    services.accounts.set_mail(eve, "eve@example.com")
    wanted = WANTED | {"name": "a, b <c@evil.example>", "recipients": [eve.name]}
    complete(services.schedules.add(SYSTEM, wanted).schedule)
    deliver()
    assert server.to == [["eve@example.com"]]
    assert [one.addr_spec for one in server.got[0]["To"].addresses] == ["eve@example.com"]
    assert server.got[0]["Subject"] == "a, b <c@evil.example>: report is ready"


def test_a_name_that_hides_headers_in_an_encoded_word_stays_a_name(services, server, complete, deliver):
    hidden = "=?utf-8?q?=0D=0ABcc:_x@evil.example=0D=0A=0D=0AHello?="
    eve = services.accounts.add(hidden.replace(":", "="), "operator", None, "correct horse")
    services.accounts.set_mail(eve, "eve@example.com")
    complete(services.schedules.add(SYSTEM, WANTED | {"name": hidden, "recipients": [eve.name]}).schedule)
    deliver()
    (message,) = server.got
    assert "Bcc" not in message
    assert message["Subject"].strip() == f"{hidden.replace('=?', '= ?')}: report is ready"
    assert [one.addr_spec for one in message["To"].addresses] == ["eve@example.com"]
    assert "is ready:\r\n" in message.get_content()


def test_the_address_after_a_long_name_with_quotes_is_readable(services, server, complete, deliver):
    eve = services.accounts.add('a\\"b' * 25, "operator", None, "correct horse")
    services.accounts.set_mail(eve, "eve@example.com")
    complete(services.schedules.add(SYSTEM, WANTED | {"recipients": [eve.name]}).schedule)
    deliver()
    assert [one.addr_spec for one in server.got[0]["To"].addresses] == ["eve@example.com"]


def test_a_test_goes_to_the_caller(services, server, anna):
    assert services.mail.test(anna) == f"{services.mail.server.name} accepted a test for {ADDRESS}."
    assert server.to == [[ADDRESS]]
    server.answers.append("550 No such user")
    assert "refused the recipient" in services.mail.test(anna)
    assert "you have no mail address" in services.mail.test(SYSTEM)
