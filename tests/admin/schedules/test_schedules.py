"""Pages of recurring reports: lists, forms, actions, and who may use them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.services.notifications.webhooks import Webhooks
from app.services.people.principal import SYSTEM
from app.store.models import AuditEntry, Report, Schedule
from app.store.notifications import webhooks
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import event
from tests.support.page import read
from tests.support.receivers import receiver

ROOT = Path(__file__).parents[3]

NEW = "/admin/reports/recurring/new"
FILLED = {
    "name": "Portfolio, daily",
    "customer": "BARCHART",
    "product": "PORTFOLIO",
    "types": "",
    "recurrence": "daily",
    "hour": "6",
    "mode": "period",
    "delimiter": "|",
    "layout": "",
    "webhook": "",
}
DAY = 86_400_000
HOOKS = "https://hooks.example.com"
with_webhooks = pytest.mark.settings(webhook_hosts=("hooks.example.com",))


@pytest.fixture(autouse=True)
def known_codes(admin) -> None:
    admin.send(event(type="A"), event(type="B"), event(customer="OTHER"))


def add_schedule(user: Visitor, **changes: str) -> str:
    """Add a recurring report by the form, and return the path of its page."""
    answer = user.send(NEW, FILLED | changes)
    assert answer.status_code == 302, answer.get_data(as_text=True)
    return answer.headers["Location"]


def get_schedule() -> Schedule:
    return Schedule.get()


def test_an_empty_list_explains_recurring_reports(boss):
    page = boss.read("/admin/reports/recurring")
    assert "No recurring reports yet." in page
    assert NEW in page.links
    assert "/admin/reports/recurring" in boss.read("/admin/reports").links


def test_a_completed_form_adds_a_recurring_report_and_redirects_to_it(boss):
    choices = {"recurrence": "weekly", "hour": "3", "delimiter": "tab", "layout": "positional", "header": "y"}
    address = add_schedule(boss, types="A\r\nB", **choices)
    schedule = get_schedule()
    about = (schedule.name, schedule.customer, schedule.product, schedule.types)
    assert about == ("Portfolio, daily", "BARCHART", "PORTFOLIO", ["A", "B"])
    assert (schedule.recurrence, schedule.hour, schedule.mode, schedule.owner_name) == ("weekly", 3, "period", "admin")
    assert schedule.output == {"delimiter": "\t", "layout": "positional", "header": True}
    page = boss.read(address)
    assert "Every Monday at 03:00 UTC" in page
    assert "The week before" in page
    assert "Portfolio, daily is added." in page
    assert "Portfolio, daily" in boss.read("/admin/reports/recurring")


def test_each_error_is_shown_beside_its_field_and_the_input_stays(boss):
    answer = boss.send(
        NEW, FILLED | {"name": "", "hour": "25", "delimiter": "||", "product": "", "types": "A\n" + "x" * 200}
    )
    assert answer.status_code == 400
    assert "Name has 0 characters" in read(answer).wrong("name")
    assert "it must be a whole number from 0 to 23" in read(answer).wrong("hour")
    assert 'Delimiter is "||"' in read(answer).wrong("delimiter")
    assert read(answer).wrong("product") == "Product is missing."
    assert "Event types, line 2, has 200 characters" in read(answer).wrong("types")
    assert "x" * 200 in read(answer).value("types")
    assert Schedule.select().count() == 0


def test_a_missing_choice_is_reported_with_the_allowed_values(boss):
    answer = boss.send(NEW, {"name": "x", "customer": "BARCHART", "product": "PORTFOLIO"})
    assert answer.status_code == 400
    assert 'it must be "daily" or "weekly" or "monthly"' in read(answer).wrong("recurrence")
    assert 'it must be "period" or "since_last"' in read(answer)


def test_a_name_in_use_is_rejected(boss):
    add_schedule(boss)
    answer = boss.send(NEW, FILLED)
    assert answer.status_code == 400
    assert "another recurring report of that name" in read(answer).wrong("name")


def test_a_recurring_report_is_edited_in_a_form_with_its_values(boss):
    address = add_schedule(boss, types="A", header="y", delimiter="tab", mode="since_last")
    page = boss.read(f"{address}/edit")
    filled = [page.value(name) for name in ("name", "hour", "mode", "delimiter", "header")]
    assert filled == ["Portfolio, daily", "6", "since_last", "tab", "y"]
    answer = boss.send(f"{address}/edit", FILLED | {"name": "Renamed", "recurrence": "monthly", "mode": "since_last"})
    assert answer.headers["Location"] == address
    schedule = get_schedule()
    assert (schedule.name, schedule.recurrence, schedule.types, schedule.output) == (
        "Renamed",
        "monthly",
        None,
        {"delimiter": "|"},
    )
    assert "Renamed is changed." in boss.read(address)
    page = boss.read(f"{address}/edit")
    assert [page.value(name) for name in ("delimiter", "header")] == ["|", None], "as it was saved"
    assert boss.send(f"{address}/edit", FILLED | {"hour": ""}).status_code == 400


def test_a_file_may_have_any_format_but_no_bucket(boss):
    address = add_schedule(boss, format="jsonl", compression="zstd", bucketName="somebody-s", bucketKey="a")
    assert get_schedule().output == {"format": "jsonl", "compression": "zstd"}
    assert "JSON Lines, zstd" in boss.read(address)
    assert "Bucket" not in boss.read(NEW)


def test_run_now_starts_a_report_and_redirects_to_it(boss, services):
    address = add_schedule(boss)
    answer = boss.send(f"{address}/run", {}, form=address)
    report = Report.get()
    assert answer.headers["Location"] == f"/admin/reports/JOB-{report.job}"
    services.runner.run(report.job)
    page = boss.read(address)
    assert f"/admin/reports/JOB-{report.job}" in page.links
    assert "Complete" in page
    assert "Complete" in boss.read("/admin/reports/recurring")


GONE = "Its owner, bob, is no user any more."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"owner": 4711, "owner_name": "bob"}, f"Not started. {GONE}"),
        ({"claim": "somebody", "claimed_at": 1}, "is being started at this moment"),
        ({"product": "GONE"}, 'Not started. filter.product is "GONE", which is not known'),
        ({"product": "GONE"}, "The last report could not be started. The next one is tried on schedule."),
    ],
)
def test_a_report_that_cannot_start_shows_the_reason(boss, changes, message):
    address = add_schedule(boss)
    Schedule.update(changes).execute()
    assert boss.send(f"{address}/run", {}, form=address).headers["Location"] == address
    assert message in boss.read(address)


def test_a_recurring_report_without_an_owner_is_stopped_and_cannot_be_resumed(boss):
    address = add_schedule(boss)
    Schedule.update(owner=4711, owner_name="bob").execute()
    boss.send(f"{address}/run", {}, form=address)
    assert "Stopped" in boss.read(address)
    assert boss.send(f"{address}/resume", {}, form=address).headers["Location"] == address
    assert f"Not resumed. {GONE}" in boss.read(address)
    assert GONE in boss.read("/admin/reports/recurring")


def test_a_report_of_another_customer_is_hidden_from_users_of_the_schedule_s_current_customer(app, boss, services):
    """Earlier versions allowed a schedule's customer to be changed."""
    address = add_schedule(boss)
    report = services.schedule_runs.run(SYSTEM, get_schedule())
    Schedule.update(customer="OTHER").execute()
    services.accounts.add("otto", "operator", ["OTHER"], PASSWORD)
    otto = Visitor(app).sign_in("otto")
    assert report.job in boss.see("/admin/reports/recurring")
    assert report.job not in otto.see("/admin/reports/recurring") + otto.see(address) + otto.see(f"{address}/remove")


def test_the_customer_of_a_recurring_report_cannot_be_changed(boss):
    address = add_schedule(boss)
    field = boss.read(f"{address}/edit").first("input", name="customer", readonly=True)
    assert field["value"] == "BARCHART"
    answer = boss.send(f"{address}/edit", FILLED | {"customer": "OTHER"})
    assert (answer.status_code, get_schedule().customer) == (400, "BARCHART")
    assert "for another customer" in read(answer).wrong("customer")


def test_a_recurring_report_is_paused_and_resumed(boss):
    address = add_schedule(boss)
    boss.send(f"{address}/pause", {}, form=address)
    page = boss.read(address)
    assert "Portfolio, daily is paused." in page
    assert "Not while it is paused" in page
    assert get_schedule().next_run_at is None
    boss.send(f"{address}/resume", {}, form=address)
    assert "Portfolio, daily is resumed." in boss.read(address)
    assert get_schedule().next_run_at is not None


@with_webhooks
def test_removing_a_recurring_report_shows_what_is_lost_and_what_remains(boss, services):
    added_page = boss.send(NEW, FILLED | {"mode": "since_last", "webhook": f"{HOOKS}/x"})
    assert added_page.status_code == 200
    address = f"/admin/reports/recurring/{get_schedule().id}"
    services.schedule_runs.run(SYSTEM, get_schedule())
    page = boss.read(f"{address}/remove")
    assert "Remove Portfolio, daily?" in page
    assert "Waiting webhooks are not sent" in page
    assert "a new one starts with all events again" in page
    assert "The report that it started stays with its file" in page
    answer = boss.send(f"{address}/remove", {})
    assert answer.headers["Location"] == "/admin/reports/recurring"
    assert "Portfolio, daily is removed. Its reports stay." in boss.read("/admin/reports/recurring")
    assert (Schedule.select().count(), Report.select().count()) == (0, 1)
    assert boss.get(address).status_code == 404


@with_webhooks
def test_a_url_in_the_form_adds_a_webhook_whose_secret_is_shown_once(boss, services):
    answer = boss.send(NEW, FILLED | {"webhook": f"{HOOKS}/x"})
    (webhook,) = services.schedules.webhooks(get_schedule())
    (secret,) = services.webhooks.secrets(webhook)
    assert answer.status_code == 200
    assert read(answer).first(id="secret").content == secret
    address = f"/admin/reports/recurring/{get_schedule().id}"
    for page in (address, f"{address}/edit", "/admin/reports/recurring", "/admin/reports/webhooks"):
        assert secret not in boss.see(page)
    assert boss.read(address).link(webhook.name) == f"/admin/reports/webhooks/{webhook.id}"


@with_webhooks
def test_a_recurring_report_names_several_webhooks(boss, services):
    address = add_schedule(boss)
    keys = [str(services.webhooks.add(SYSTEM, {"name": name, "url": HOOKS}).webhook.id) for name in ("one", "two")]
    assert boss.send(f"{address}/edit", FILLED | {"webhooks": keys}).status_code == 302
    assert [one.name for one in services.schedules.webhooks(get_schedule())] == ["one", "two"]
    form = boss.see(f"{address}/edit")
    assert all(f'value="{key}" checked' in form for key in keys)
    boss.send(f"{address}/edit", FILLED | {"webhooks": keys[1]})
    assert [one.name for one in services.schedules.webhooks(get_schedule())] == ["two"]


@with_webhooks
def test_an_analyst_neither_names_nor_removes_webhooks_of_others(anna, services):
    address = add_schedule(anna)
    theirs = services.webhooks.add(SYSTEM, {"name": "theirs", "url": HOOKS}).webhook
    answer = anna.send(f"{address}/edit", FILLED | {"webhooks": str(theirs.id)})
    assert answer.status_code == 400
    assert services.schedules.webhooks(get_schedule()) == []
    webhooks.link(get_schedule().id, [theirs.id], 1)
    assert anna.send(f"{address}/edit", FILLED).status_code == 302
    assert services.schedules.webhooks(get_schedule()) == [theirs]


@with_webhooks
def test_a_webhook_to_a_host_that_is_not_allowed_is_reported_beside_its_field(boss):
    answer = boss.send(NEW, FILLED | {"webhook": "https://evil.example/"})
    assert answer.status_code == 400
    assert read(answer).wrong("webhook") == (
        "New webhook goes to https://evil.example, which WEBHOOK_HOSTS does not allow; it allows "
        "https://hooks.example.com."
    )
    assert "Allowed hosts: https://hooks.example.com." in boss.read(NEW)


def test_the_form_explains_that_no_webhooks_are_allowed(boss):
    assert "The operator of this service allows no webhooks" in boss.read(NEW)


def test_webhooks_are_shown_with_every_attempt_and_can_be_resent(boss, services, settings, monkeypatch):
    with receiver() as server:
        server.answers.append((500, {}, b"<b>out of order</b>"))
        fresh = Webhooks([server.url], settings.secret)
        monkeypatch.setattr(services.webhooks, "check", fresh.check)
        boss.send(NEW, FILLED | {"webhook": f"{server.url}/x"})
        address = f"/admin/reports/recurring/{get_schedule().id}"
        services.runner.run(services.schedule_runs.run(SYSTEM, get_schedule()).job)
        services.deliveries.send()
        services.deliveries.flush()
        page = boss.read(address)
        assert "Waiting" in page
        assert "<b>out of order</b>" in page
        delivery = page.link_to(f"{address}/webhooks/")
        assert "500" in boss.read(delivery)
        assert boss.send(delivery, {}).headers["Location"] == delivery
        services.deliveries.send()
        services.deliveries.flush()
        page = boss.read(delivery)
    assert "Delivered" in page
    assert page.text.index("out of order") < page.text.index("thank you")
    assert len(server.got) == 2


def test_an_unknown_delivery_is_not_found(boss, services):
    address = add_schedule(boss)
    for number in ("1", "999999999999999999", "9999999999999999999", "x"):
        assert boss.get(f"{address}/webhooks/{number}").status_code == 404


def test_gaps_between_reports_are_shown_with_a_link_that_fills_them(boss, services):
    address = add_schedule(boss)
    first = services.schedule_runs.run(SYSTEM, get_schedule())
    Report.update(start=Report.start - 4 * DAY, end=Report.end - 4 * DAY).where(Report.id == first.id).execute()
    assert "No report covers" not in boss.read(address)
    services.schedule_runs.run(SYSTEM, get_schedule())
    page = boss.read(address)
    assert "No report covers" in page
    form = boss.read(page.link("Start one"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00", form.value("start"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT23:59:59\.999", form.value("end"))


def test_an_analyst_adds_recurring_reports_only_for_their_customers(anna):
    address = add_schedule(anna)
    assert get_schedule().owner_name == "anna"
    assert anna.read(address)
    assert "OTHER" not in anna.see(NEW)
    answer = anna.send(NEW, FILLED | {"name": "Not mine", "customer": "OTHER"})
    assert answer.status_code == 403
    assert "anna may not see data of the customer OTHER." in read(answer).wrong("customer")


PLACES = ["", "/part", "/edit", "/remove", "/webhooks/1"]
ACTS = ["/run", "/pause", "/resume", "/edit", "/remove", "/webhooks/1"]


@with_webhooks
def test_recurring_reports_of_others_are_neither_visible_nor_changeable(boss, anna, services, app):
    services.accounts.add("bea", "analyst", ["BARCHART"], PASSWORD)
    services.accounts.add("otto", "operator", ["OTHER"], PASSWORD)
    boss.send(NEW, FILLED | {"webhook": f"{HOOKS}/x"})
    before = Schedule.select().dicts().get()
    address = f"/admin/reports/recurring/{get_schedule().id}"
    for user in (anna, Visitor(app).sign_in("bea"), Visitor(app).sign_in("otto")):
        assert "Portfolio, daily" not in user.see("/admin/reports/recurring")
        for place in PLACES:
            assert user.get(address + place).status_code == 404
        for act in ACTS:
            assert user.send(address + act, FILLED, form=NEW).status_code == 404
    assert Schedule.select().dicts().get() == before
    assert Report.select().count() == 0


def test_operators_see_and_change_recurring_reports_of_others(anna, olga):
    address = add_schedule(anna)
    assert "anna" in olga.read("/admin/reports/recurring")
    olga.send(f"{address}/pause", {}, form=address)
    olga.send(f"{address}/edit", FILLED | {"name": "Olga was here"})
    assert (get_schedule().active, get_schedule().name, get_schedule().owner_name) == (False, "Olga was here", "anna")


@with_webhooks
def test_every_change_is_in_the_audit_log(boss):
    boss.send(NEW, FILLED | {"webhook": f"{HOOKS}/x?token=hush"})
    address = f"/admin/reports/recurring/{get_schedule().id}"
    for act in ("run", "pause", "resume"):
        boss.send(f"{address}/{act}", {}, form=address)
    boss.send(f"{address}/edit", FILLED)
    boss.send(f"{address}/remove", {})
    entries = list(AuditEntry.select().where(AuditEntry.action.startswith("recurring")).order_by(AuditEntry.id))
    assert [entry.action.removeprefix("recurring report ") for entry in entries] == [
        "added", "run", "paused", "resumed", "changed", "removed",
    ]  # fmt: skip
    assert {(entry.who, entry.customer) for entry in entries} == {("admin", "BARCHART")}
    assert "hush" not in str([entry.details for entry in entries])


def test_a_report_since_the_previous_report_does_not_claim_all_time(boss, services):
    add_schedule(boss, mode="since_last")
    for _ in range(2):
        services.schedule_runs.run(SYSTEM, get_schedule())
    page = boss.read("/admin/reports")
    assert "Since the previous report" in page
    assert "All time" in page


@pytest.mark.settings(schedules_max=1, reports_waiting_max=1)
def test_the_number_of_recurring_reports_of_a_user_is_limited(boss, services):
    path = add_schedule(boss)
    answer = boss.send(NEW, FILLED | {"name": "another"})
    assert answer.status_code == 429
    assert "The user has 1 recurring reports, the most allowed" in read(answer)
    for _ in range(2):
        boss.send(f"{path}/run", {}, form=path)
    assert "1 of the user's reports wait or run" in boss.read(path)
    Schedule.update(next_run_at=1).execute()
    services.schedule_runs.run_due()
    assert Report.select().count() == 2
