"""The page Personal data: what has a value is found, downloaded and erased, and the value is in no URL."""

from __future__ import annotations

import json
import re
import threading

import pytest

from app.admin.events import personal_data as view
from app.services.operations import personal_data
from app.store.events import by_value
from app.store.models import AuditEntry, Event, Report
from tests.admin.conftest import Visitor
from tests.conftest import PASSWORD
from tests.support.client import event
from tests.support.page import read

PATH = "/admin/events/personal-data"
RECEIPT = re.compile(r"/admin/events/personal-data/receipts/(\d+)")


@pytest.fixture
def stored(nobody, services) -> None:
    nobody.send(event(context=["u-17", "a"]), event(context=["u-18"]), event(customer="OTHER", context=["u-17"]))
    wrong = [event(context=["u-17"], timestamp=-1), event(context=["u-18"], timestamp=-1)]
    nobody.post("/events", wrong, headers={"Prefer": "handling=lenient"})
    services.rejected.flush()


def send(user: Visitor, act: str = "", value: str = "u-17", **fields: str):
    return user.send(f"{PATH}{act}", {"value": value} | fields, form=PATH)


def rows(answer) -> list[list[str]]:
    assert answer.status_code == 200
    table = read(answer).first("table", class_="numbers")
    return [[cell.text for cell in row.all("th") + row.all("td")] for row in table.all("tr")[1:]]


def test_the_page_shows_what_has_the_value_by_customer_and_product(boss, stored):
    assert rows(send(boss)) == [
        ["BARCHART", "PORTFOLIO", "1", "1", "0"],
        ["OTHER", "PORTFOLIO", "1", "0", "0"],
        ["Total", "", "2", "1", "0"],
    ]
    assert "Nothing contains this value" in send(boss, value="u-1").get_data(as_text=True)


def test_the_data_is_downloaded_as_json_lines(boss, stored):
    answer = send(boss, "/download")
    assert answer.headers["Content-Disposition"] == "attachment; filename=personal-data.jsonl"
    lines = [json.loads(line) for line in answer.get_data().splitlines()]
    assert [(line["state"], line.get("customer")) for line in lines] == [
        ("stored", "BARCHART"),
        ("stored", "OTHER"),
        ("rejected", None),
    ]
    entry = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
    assert (entry.action, entry.who) == ("personal data handed over", "admin")


def test_an_erasure_asks_first_and_leads_to_its_receipt(boss, admin, stored):
    job, _ = admin.run_report()
    question = send(boss, "/confirm")
    page = read(question)
    assert page.first("h1").text == "Erase 2 events of this person?"
    assert Event.select().count() == 3
    form = page.first("form", class_="ask")
    fields = {one["name"]: one["value"] for one in form.all("input")}
    answer = boss.post(form["action"], fields)
    location = answer.headers["Location"]
    assert RECEIPT.search(location)
    assert [row.context for row in Event.select()] == [["u-18"]]
    assert Report.get(Report.job == job["job"]).removed
    receipt = boss.read(location)
    assert job["source"] in receipt.text
    document = boss.get(receipt.link("Download receipt")).get_json()
    assert document["removed"]["events"] == 2
    assert document["reports"]["deleted"] == [job["source"]]
    assert "u-17" not in receipt.text + json.dumps(document)
    assert boss.read("/admin/audit").link("Receipt") == location


def test_only_administrators_erase(olga, anna, stored):
    for user in (olga, anna):
        assert "Erase" not in send(user).get_data(as_text=True)
        assert (send(user, "/confirm").status_code, send(user, "/erase").status_code) == (403, 403)
    assert Event.select().count() == 3


def test_an_analyst_finds_stored_events_of_their_customers(anna, stored):
    answer = send(anna)
    assert rows(answer) == [["BARCHART", "PORTFOLIO", "1", "0", "0"]]
    assert "Rejected events were not searched" in answer.get_data(as_text=True)


def test_a_limited_administrator_erases_only_data_of_their_customers(app, services, nobody, stored):
    services.accounts.add("lea", "admin", ["BARCHART"], PASSWORD)
    lea = Visitor(app).sign_in("lea")
    answer = send(lea, "/erase")
    assert sorted((row.customer, row.context) for row in Event.select()) == [
        ("BARCHART", ["u-18"]),
        ("OTHER", ["u-17"]),
    ]
    assert "OTHER" not in lea.see(answer.headers["Location"])


def test_a_receipt_is_shown_to_those_who_may_read_the_audit_log(boss, olga, limited, anna, stored):
    address = send(boss, "/erase").headers["Location"]
    assert olga.get(address).status_code == 200
    assert (limited.get(address).status_code, anna.get(address).status_code) == (404, 403)
    other = AuditEntry.get(AuditEntry.action == personal_data.STARTED).id
    assert boss.get(f"{PATH}/receipts/{other}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"value": ""}, "Value is missing."),
        ({"value": "x" * 4097}, "must be a string of 1 to 4,096 characters"),
        ({"item": "userId"}, "Context item is &#34;userId&#34;, which no event type"),
    ],
)
@pytest.mark.parametrize("act", ["", "/download", "/confirm", "/erase"])
def test_an_invalid_form_is_shown_again(boss, stored, act, fields, expected):
    answer = send(boss, act, **fields)
    assert (answer.status_code, expected in answer.get_data(as_text=True)) == (400, True)


def test_a_search_that_takes_too_long_says_what_to_do(boss, stored, monkeypatch):
    monkeypatch.setattr(view, "FIND_SECONDS", 0)
    monkeypatch.setattr(by_value, "STEP", 1)
    for act in ("", "/download", "/confirm", "/erase"):
        answer = send(boss, act)
        assert (answer.status_code, "tally events erase" in answer.get_data(as_text=True)) == (503, True)
    assert Event.select().count() == 3


def test_too_many_events_are_left_to_the_command(boss, stored, monkeypatch):
    monkeypatch.setattr(view, "MAX_ERASED", 1)
    for act in ("", "/confirm"):
        page = send(boss, act).get_data(as_text=True)
        assert "To erase more than 1 events, run this on the server" in page
        assert "Erase…" not in page
    answer = send(boss, "/erase")
    assert answer.status_code == 400
    assert "Value is in 2 events; it may be in at most 1 here. Run this on the server" in read(answer).wrong("value")
    assert Event.select().count() == 3


def test_few_searches_of_all_events_run_at_once(boss, stored, monkeypatch):
    monkeypatch.setattr(personal_data, "_slots", threading.BoundedSemaphore(1))
    with personal_data._slots:
        assert [send(boss, act).status_code for act in ("", "/download", "/confirm", "/erase")] == [429] * 4
    assert send(boss).status_code == 200


def test_the_events_page_and_an_event_lead_to_it(boss, stored):
    assert boss.read("/admin/events").link("Personal data") == PATH
    page = boss.read(f"/admin/events/{Event.select().order_by(Event.id).get().id}")
    form = next(one for one in page.all("form") if one["action"] == PATH)
    fields = {one["name"]: one["value"] for one in form.all("input")}
    assert len(rows(boss.post(PATH, fields))) == 3


def test_a_download_of_events_does_not_record_the_value_that_was_sought(boss, stored):
    boss.get("/admin/events/download?value=u-17&text=u-17").get_data()
    entry = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
    assert {"value SHA-256", "text SHA-256"} <= {*entry.details}
    assert "u-17" not in json.dumps(entry.details)
