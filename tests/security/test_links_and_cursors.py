"""Signed links and cursors that are changed, expired, or taken from elsewhere."""

from __future__ import annotations

import itertools
from urllib.parse import parse_qs, urlsplit

import pytest

from app.storage import links
from tests.support.client import event

BASE = "https://tally.example"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because signatures and cursors are checked before the database is used."""
    return sqlite_url


@pytest.fixture
def link(admin) -> str:
    """Return the path and query of a signed link to a report's file."""
    admin.send(event(), event())
    job, _ = admin.run_report()
    return fetch(admin, job)


def fetch(admin, job: dict) -> str:
    answer = admin.get(f"/reports/{job['source']}", headers={"Accept": "application/json"})
    return answer.get_json()["link"].removeprefix(BASE)


class TestLinks:
    def test_a_link_works_for_everybody_and_sends_no_referrer(self, nobody, link):
        answer = nobody.get(link)
        assert answer.status_code == 200
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"].startswith("attachment;")

    def test_a_redirect_to_a_link_sends_no_referrer_either(self, admin, link):
        source = link.split("/")[2].partition("?")[0]
        answer = admin.get(f"/reports/{source}", headers={"Accept": "text/csv"})
        assert (answer.status_code, answer.headers["Referrer-Policy"]) == (302, "no-referrer")
        assert answer.headers["Cache-Control"] == "no-store"

    def test_a_change_of_any_character_invalidates_it(self, nobody, link):
        for place in range(len("/files/"), len(link)):
            other = "1" if link[place] == "0" else "0"
            assert nobody.get(link[:place] + other + link[place + 1 :]).status_code in (403, 404), link[place:]

    @pytest.mark.parametrize("part", ["expires", "nonce", "signature"])
    @pytest.mark.parametrize("value", [None, "", "0", "-1", "9" * 40, "a", "%00", "é", "1e99", "²", "true"])
    def test_any_other_value_invalidates_it(self, nobody, link, part, value):
        given = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
        given[part] = value
        query = {name: one for name, one in given.items() if one is not None}
        assert nobody.get(urlsplit(link).path, query_string=query).status_code == 403

    def test_a_further_parameter_invalidates_it(self, nobody, link):
        for more in ("&signature=x", "&expires=1", "&other=1", "&="):
            assert nobody.get(f"{link}{more}").status_code == 403, more
        assert nobody.get(link.replace("signature=", "signature=x&signature=")).status_code == 403

    def test_it_expires(self, nobody, link, monkeypatch):
        monkeypatch.setattr("app.services.reports.service.now", lambda: 4_102_444_800_000)
        assert nobody.get(link).status_code == 403

    def test_a_link_to_another_report_is_refused(self, admin, nobody, link):
        job, _ = admin.run_report()
        other = fetch(admin, job)
        assert nobody.get(f"{urlsplit(other).path}?{urlsplit(link).query}").status_code == 403

    def test_a_link_of_another_installation_is_refused(self, nobody, link, services):
        source = link.split("/")[2].partition("?")[0]
        foreign = links.Links(BASE, "the secret of another installation").make(source, 1_900_000_000_000)
        assert nobody.get(foreign.removeprefix(BASE)).status_code == 403

    def test_a_session_does_not_replace_a_link(self, boss, link):
        assert boss.get(urlsplit(link).path).status_code == 403

    def test_no_part_of_a_link_becomes_a_path(self, nobody, settings):
        own = links.Links(BASE, settings.secret())
        for name in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "JOB-1", "JOB-", ".", "JOB-\0", "a" * 5_000):
            made = own.make(name, 1_900_000_000_000).removeprefix(BASE)
            assert nobody.get(made).status_code in (404, 410), name


class TestCursors:
    """A cursor names a place in a list; what a user may see does not depend on who received the cursor."""

    WRONG = ("x", "-1", "0x1", "1.0", "9" * 40, "²", "1 OR 1=1", "\0", "%00", "'", "é", "AAAA", "=" * 100, "null", "[]")

    @pytest.fixture
    def pages(self, nobody) -> list[dict]:
        nobody.send(*[event(customer=code) for code in ("BARCHART", "FERNHILL") for _ in range(5)])

    @pytest.mark.usefixtures("pages")
    @pytest.mark.parametrize("path", ["/events", "/reports"])
    def test_an_invalid_cursor_is_reported_by_the_api(self, admin, path):
        for wrong in self.WRONG:
            answer = admin.get(path, query_string={"after": wrong})
            assert answer.status_code == 400, wrong
            assert "after" in answer.get_json()[0]["children"][0]["value"]["message"]

    @pytest.mark.usefixtures("pages")
    @pytest.mark.parametrize("path", ["/admin/events", "/admin/rejected", "/admin/audit", "/admin/reports"])
    def test_an_invalid_cursor_breaks_no_page(self, boss, path):
        for name, wrong in itertools.product(("after", "before", "page"), self.WRONG):
            assert boss.get(path, query_string={name: wrong}).status_code in (200, 302, 400, 404), (name, wrong)

    @pytest.mark.usefixtures("pages")
    def test_a_cursor_of_a_user_who_sees_more_shows_no_more(self, admin, analyst):
        more = admin.get("/events", query_string={"limit": 2}).get_json()["next"]
        limited = analyst.get("/events", query_string={"after": more})
        assert {one["customer"] for one in limited.get_json()["events"]} <= {"BARCHART"}

    def test_a_cursor_of_another_users_reports_shows_none_of_them(self, admin, analyst, nobody):
        nobody.send(event())
        for _ in range(3):
            admin.start_report()
        more = admin.get("/reports", query_string={"limit": 1}).get_json()["next"]
        assert analyst.get("/reports", query_string={"after": more}).get_json() == {"reports": []}
