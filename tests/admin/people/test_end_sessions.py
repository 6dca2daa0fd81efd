"""Ending sessions, one or all, of the caller or of another user."""

from __future__ import annotations

import re

import pytest

from app.store.models import Session
from tests.admin.conftest import Visitor, key
from tests.support.page import Element, read

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0"


def end_links(page: Element) -> list[str]:
    """Return the links of a page that end one session."""
    return [link for link in page.links if re.search(r"/sessions/\d+/end$", link)]


@pytest.fixture
def other(app, boss) -> Visitor:
    """Return the administrator in another browser."""
    visitor = Visitor(app).sign_in("admin")
    newest = Session.select().order_by(Session.id.desc()).get()
    Session.update(agent=FIREFOX, address="203.0.113.7").where(Session.id == newest.id).execute()
    return visitor


def test_an_own_session_ends_after_a_confirmation_with_browser_and_address(boss, other):
    [link] = end_links(boss.read("/admin/me"))
    page = boss.read(link)
    assert "End this session?" in page
    assert "Firefox on Windows, from 203.0.113.7, last act" in page
    assert other.get("/admin/me").status_code == 200, "nothing ended yet"
    assert boss.send(link, {}).headers["Location"] == "/admin/me"
    assert other.get("/admin/me").status_code == 302


def test_all_other_sessions_end_after_a_confirmation(app, boss, other):
    third = Visitor(app).sign_in("admin")
    assert "/admin/me/sessions/end" in boss.read("/admin/me").links
    page = boss.read("/admin/me/sessions/end")
    assert "End your 2 other sessions?" in page
    assert page.text.count("last act") == 2
    boss.send("/admin/me/sessions/end", {})
    assert "2 other sessions ended." in boss.read("/admin/me")
    assert [browser.get("/admin/me").status_code for browser in (boss, other, third)] == [200, 302, 302]


def test_sessions_of_a_user_end_after_a_confirmation_with_the_name(app, boss, anna):
    Visitor(app).sign_in("anna")
    path = f"/admin/people/{key('anna')}"
    listed = boss.read(path)
    assert len(end_links(listed)) == 2
    assert f"{path}/sessions/end" in listed.links
    page = boss.read(f"{path}/sessions/end")
    assert "End all 2 sessions?" in page
    assert "Of anna." in page
    confirmation = boss.read(end_links(listed)[0])
    assert "End this session?" in confirmation
    assert boss.send(f"{path}/sessions/end", {}).headers["Location"] == path
    assert "2 sessions of anna ended." in boss.read(path)
    assert anna.get("/admin/").status_code == 302


def test_without_other_sessions_there_is_nothing_to_end(boss):
    page = boss.read("/admin/me/sessions/end")
    assert "No session to end" in page
    assert page.first("main").all("button", class_="btn-danger") == []


@pytest.mark.parametrize("session", ["0", "999", "9" * 18])
def test_an_ended_session_is_not_found(boss, session):
    for path in (f"/admin/me/sessions/{session}/end", f"/admin/people/{key('admin')}/sessions/{session}/end"):
        answer = boss.get(path)
        assert answer.status_code == 404
        assert "There is no such session: it has ended." in read(answer)


def test_sessions_of_other_users_are_not_found(boss, anna):
    mine = Session.select().where(Session.account == key("admin")).get()
    assert anna.get(f"/admin/me/sessions/{mine.id}/end").status_code == 404
    assert anna.get(f"/admin/people/{key('admin')}/sessions/{mine.id}/end").status_code == 403
    assert boss.get(f"/admin/people/{key('anna')}/sessions/{mine.id}/end").status_code == 404
