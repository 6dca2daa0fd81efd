"""Before a session ends, it is said which one: one's own and others', one and all."""

from __future__ import annotations

import re

import pytest

from app.store.models import Session
from tests.admin.conftest import Visitor, key
from tests.support.page import Element, read

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0"


def ends(page: Element) -> list[str]:
    """Where one session of a page is ended."""
    return [link for link in page.links if re.search(r"/sessions/\d+/end$", link)]


@pytest.fixture
def other(app, boss) -> Visitor:
    """The administrator at another browser."""
    somebody = Visitor(app).sign_in("admin")
    newest = Session.select().order_by(Session.id.desc()).get()
    Session.update(agent=FIREFOX, address="203.0.113.7").where(Session.id == newest.id).execute()
    return somebody


def test_one_of_ones_own_is_asked_about_by_browser_and_address(boss, other):
    [link] = ends(boss.read("/admin/me"))
    page = boss.read(link)
    assert "End this session?" in page
    assert "Firefox on Windows, from 203.0.113.7, last act" in page
    assert other.get("/admin/me").status_code == 200, "nothing ended yet"
    assert boss.send(link, {}).headers["Location"] == "/admin/me"
    assert other.get("/admin/me").status_code == 302


def test_all_others_are_asked_about_and_this_one_stays(app, boss, other):
    third = Visitor(app).sign_in("admin")
    assert "/admin/me/sessions/end" in boss.read("/admin/me").links
    page = boss.read("/admin/me/sessions/end")
    assert "End your 2 other sessions?" in page
    assert page.text.count("last act") == 2
    boss.send("/admin/me/sessions/end", {})
    assert "2 other sessions ended." in boss.read("/admin/me")
    assert [one.get("/admin/me").status_code for one in (boss, other, third)] == [200, 302, 302]


def test_those_of_somebody_else_are_asked_about_under_their_name(app, boss, anna):
    Visitor(app).sign_in("anna")
    theirs = f"/admin/people/{key('anna')}"
    listed = boss.read(theirs)
    assert len(ends(listed)) == 2
    assert f"{theirs}/sessions/end" in listed.links
    page = boss.read(f"{theirs}/sessions/end")
    assert "End all 2 sessions?" in page
    assert "Of anna." in page
    one = boss.read(ends(listed)[0])
    assert "End this session?" in one
    assert boss.send(f"{theirs}/sessions/end", {}).headers["Location"] == theirs
    assert "2 sessions of anna ended." in boss.read(theirs)
    assert anna.get("/admin/").status_code == 302


def test_where_there_is_none_nothing_can_be_ended(boss):
    page = boss.read("/admin/me/sessions/end")
    assert "No session to end" in page
    assert page.first("main").all("button", class_="btn-danger") == []


@pytest.mark.parametrize("session", ["0", "999", "9" * 18])
def test_one_that_has_ended_is_told_so(boss, session):
    for path in (f"/admin/me/sessions/{session}/end", f"/admin/people/{key('admin')}/sessions/{session}/end"):
        answer = boss.get(path)
        assert answer.status_code == 404
        assert "There is no such session: it has ended." in read(answer)


def test_nobody_is_asked_about_anothers(boss, anna):
    mine = Session.select().where(Session.account == key("admin")).get()
    assert anna.get(f"/admin/me/sessions/{mine.id}/end").status_code == 404
    assert anna.get(f"/admin/people/{key('admin')}/sessions/{mine.id}/end").status_code == 403
    assert boss.get(f"/admin/people/{key('anna')}/sessions/{mine.id}/end").status_code == 404
