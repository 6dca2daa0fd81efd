"""Audit log as a page and as a CSV file."""

from __future__ import annotations

import csv
import io
import re

import pytest

from app.services.people import audit
from app.store.models import AuditEntry
from tests.support.page import Element, read

PAGE, PART, FILE = "/admin/audit", "/admin/audit/part", "/admin/audit.csv"


def rows(page: Element) -> list[str]:
    return [row.text for row in page.all("tr", data_key=True)]


def note(services, action: str, object: str, count: int = 1, **kwargs: object) -> None:
    who = services.accounts.everyone()[0]
    for _ in range(count):
        audit.note(who, action, object, **kwargs)


def test_an_entry_shows_who_did_what_when_and_from_where(boss, services):
    boss.send("/admin/people/new", {"name": "eva", "role": "analyst", "customers": "BARCHART"})
    first = rows(boss.read(PAGE))[0]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} admin User added user eva", first)
    assert "role: analyst customers: BARCHART" in first
    assert "127.0.0.1" in first


def test_the_users_page_links_to_the_audit_log(boss):
    assert PAGE in boss.read("/admin/people").links


def test_an_operator_sees_neither_sign_ins_nor_addresses_of_others(boss, olga, services):
    note(services, "report started", "report JOB-1")
    AuditEntry.update(address="203.0.113.9").where(AuditEntry.action == "report started").execute()
    listed = rows(olga.read(PAGE))
    assert [re.search(r"admin|olga", row)[0] for row in listed] == ["admin", "olga"]
    assert "Report started" in listed[0]
    assert "203.0.113.9" not in olga.see(PAGE) + olga.get(FILE).get_data(as_text=True)
    assert "203.0.113.9" in boss.read(PAGE)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("who=admin", 3),
        ("who=ADMIN", 0),
        ("action=key+added", 1),
        ("action=", 4),
        ("text=WEB", 1),
        ("text=%25", 0),
        ("start=2026-01-01T00:00&end=2036-01-01T00:00", 4),
        ("end=2020-01-01T00:00", 0),
        ("start=1577836800000", 4),
    ],
)
def test_the_url_filters_entries(boss, services, query, count):
    note(services, "key added", "key web")
    note(services, "user added", "user eva")
    assert len(rows(boss.read(f"{PAGE}?{query}"))) == count
    assert len(rows(boss.read(f"{PART}?{query}"))) == count
    assert len(list(csv.reader(io.StringIO(boss.get(f"{FILE}?{query}").get_data(as_text=True))))) >= count + 1


@pytest.mark.parametrize("field", ["start", "end"])
def test_an_invalid_time_is_reported_beside_its_field(boss, field):
    answer = boss.get(f"{PAGE}?{field}=yesterday")
    assert answer.status_code == 400
    assert "is not a date and time in UTC, such as" in read(answer).wrong(field)
    assert "The filter is invalid." in read(answer)
    assert boss.get(f"{FILE}?{field}=yesterday").status_code == 400


def test_pages_have_all_entries_and_keep_the_filter(boss, services):
    note(services, "key added", "key web", 120)
    keys = []
    for page in boss.pages(f"{PAGE}?action=key+added", "Older"):
        keys += page.row_keys("entry-")
        assert "action=key+added" in (page.link("Older") or "action=key+added")
    assert keys == sorted(set(keys), key=int, reverse=True)
    assert len(keys) == 120


def test_an_unknown_action_is_reported_beside_its_field(boss):
    answer = boss.get(f"{PAGE}?action=<script>")
    assert answer.status_code == 400
    assert read(answer).wrong("action") == 'What is "<script>", which is not a known action.'


def test_only_the_latest_page_refreshes_itself(boss, services):
    note(services, "key added", "key web", 60)
    assert boss.read(PAGE).all(data_live=True)
    assert boss.read(f"{PAGE}?before=60").all(data_live=True) == []
    assert boss.get(f"{PAGE}?before=x").status_code == 404


def test_details_are_in_words(boss, services):
    note(services, "alert rule added", "alert rule 1", details={"active": True, "customers": None, "paused": False})
    row = rows(boss.read(PAGE))[0]
    assert ("active: yes" in row, "customers: all" in row, "paused: no" in row) == (True, True, True), row


class TestCsvFile:
    def test_has_the_entries_of_the_page(self, boss, services):
        note(services, "user added", "user eva", details={"customers": ["A", "B"]}, customer="A")
        answer = boss.get(FILE)
        assert answer.mimetype == "text/csv"
        assert answer.headers["Content-Disposition"] == "attachment; filename=audit.csv"
        assert answer.headers["Cache-Control"] == "private, no-store"
        table = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
        assert [row["action"] for row in table] == ["audit log exported", "user added", "signed in", "user added"]
        assert table[1] | {"time": ""} == {
            "time": "",
            "who": "admin",
            "action": "user added",
            "object": "user eva",
            "customer": "A",
            "address": "",
            "details": '{"customers":["A","B"]}',
        }

    @pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\nx", "＝1"])
    def test_has_no_formulas(self, boss, services, cell):
        note(services, "user added", cell)
        table = list(csv.DictReader(io.StringIO(boss.get(FILE).get_data(as_text=True))))
        assert table[1]["object"] == f"'{cell}"

    def test_is_recorded_in_the_audit_log(self, boss):
        boss.get(f"{FILE}?who=eva")
        entry = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
        assert (entry.who, entry.action, entry.details) == ("admin", "audit log exported", {"who": "eva"})
