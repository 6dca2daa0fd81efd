"""The audit log as a page and as a file: filtered, and each sees what their role and customers let them."""

from __future__ import annotations

import csv
import io
import re

import pytest

from app.services.people import audit
from app.store.models import AuditEntry
from tests.admin.conftest import Visitor, words

PAGE, PART, FILE = "/admin/audit", "/admin/audit/part", "/admin/audit.csv"


@pytest.fixture
def olga(app, operator) -> Visitor:
    """The operator, signed in."""
    return Visitor(app).sign_in("olga")


def rows(page: str) -> list[str]:
    return [words(row) for row in page.split("<tr data-key")[1:]]


def note(services, action: str, object: str, count: int = 1, **kwargs: object) -> None:
    who = services.accounts.everyone()[0]
    for _ in range(count):
        audit.note(who, action, object, **kwargs)


def test_it_tells_who_did_what_to_what_when_and_from_where(boss, services):
    boss.send("/admin/people/new", {"name": "eva", "role": "analyst", "customers": "BARCHART"})
    first = rows(boss.see(PAGE))[0]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} admin User added user eva", first)
    assert "role: analyst customers: BARCHART" in first
    assert "127.0.0.1" in first


def test_admins_find_it_beside_the_users_operators_in_the_bar_and_analysts_nowhere(boss, olga, anna):
    assert f'href="{PAGE}"' in boss.see("/admin/people")
    assert f'href="{PAGE}"' in olga.see("/admin/")
    assert f'href="{PAGE}"' not in anna.see("/admin/")
    for path in (PAGE, PART, FILE):
        assert [one.get(path).status_code for one in (boss, olga, anna)] == [200, 200, 403]


def test_an_operator_sees_neither_others_sign_ins_nor_where_they_were(boss, olga, services):
    note(services, "report started", "report JOB-1")
    AuditEntry.update(address="203.0.113.9").where(AuditEntry.action == "report started").execute()
    found = rows(olga.see(PAGE))
    assert [re.search(r"admin|olga", row)[0] for row in found] == ["admin", "olga"]
    assert "Report started" in found[0]
    assert "203.0.113.9" not in olga.see(PAGE) + olga.get(FILE).get_data(as_text=True)
    assert "203.0.113.9" in boss.see(PAGE)


@pytest.mark.parametrize(
    ("query", "found"),
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
def test_it_is_filtered_by_its_address(boss, services, query, found):
    note(services, "key added", "key web")
    note(services, "user added", "user eva")
    assert len(rows(boss.see(f"{PAGE}?{query}"))) == found
    assert len(rows(boss.see(f"{PART}?{query}"))) == found
    assert len(list(csv.reader(io.StringIO(boss.get(f"{FILE}?{query}").get_data(as_text=True))))) >= found + 1


@pytest.mark.parametrize("field", ["start", "end"])
def test_what_is_no_time_is_told_beside_its_field(boss, field):
    answer = boss.get(f"{PAGE}?{field}=yesterday")
    assert answer.status_code == 400
    assert "is not a date and time in UTC, such as" in answer.get_data(as_text=True)
    assert boss.get(f"{FILE}?{field}=yesterday").status_code == 400


def test_pages_follow_one_another_and_keep_the_filter(boss, services):
    note(services, "key added", "key web", 120)
    seen, path = [], f"{PAGE}?action=key+added"
    while path:
        page = boss.see(path)
        seen += re.findall(r'data-key="entry-(\d+)"', page)
        older = re.search(r'href="([^"]+)">Older', page)
        path = older and older[1]
        assert not path or "action=key+added" in path
    assert seen == sorted(set(seen), key=int, reverse=True)
    assert len(seen) == 120


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "²", "1;DROP TABLE audit"])
def test_a_cursor_that_is_none_leads_nowhere(boss, cursor):
    assert boss.get(f"{PAGE}?before={cursor}").status_code == 404


def test_what_nobody_does_is_told_beside_its_field(boss):
    answer = boss.get(f"{PAGE}?action=<script>")
    assert answer.status_code == 400
    assert "What is &#34;&lt;script&gt;&#34;, which is not a known action." in answer.get_data(as_text=True)


def test_only_the_newest_page_refreshes_itself(boss, services):
    note(services, "key added", "key web", 60)
    assert "data-live" in boss.see(PAGE)
    assert "data-live" not in boss.see(f"{PAGE}?before=60")


class TestTheFile:
    def test_has_what_the_page_has(self, boss, services):
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
    def test_runs_nothing_in_a_spreadsheet(self, boss, services, cell):
        note(services, "user added", cell)
        table = list(csv.DictReader(io.StringIO(boss.get(FILE).get_data(as_text=True))))
        assert table[1]["object"] == f"'{cell}"

    def test_is_noted_itself(self, boss):
        boss.get(f"{FILE}?who=eva")
        entry = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
        assert (entry.who, entry.action, entry.details) == ("admin", "audit log exported", {"who": "eva"})
