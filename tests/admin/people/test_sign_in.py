"""Signing in and out."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from tests.conftest import PASSWORD
from tests.support.page import read

PAGES = ["/admin/", "/admin/reports", "/admin/reports/new", "/admin/reports/JOB-1", "/admin/reports/JOB-1/download"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Signing in is tested on both databases in tests/security/test_sessions.py."""
    return sqlite_url


def without_tokens(page: str) -> str:
    return re.sub(r'(csrf_token"[^>]* value|name="user") ?(value)?="[^"]+"', "", page)


def test_the_front_door_leads_to_the_dashboard(visitor):
    assert visitor.get("/").headers["Location"] == "/admin/"


@pytest.mark.parametrize("page", PAGES)
def test_whoever_is_not_signed_in_is_asked_to_and_comes_back(visitor, admin, page):
    door = visitor.get(page).headers["Location"]
    assert door.startswith("/admin/sign-in?next=")
    answer = visitor.send(door, {"user": "admin", "password": PASSWORD})
    assert answer.headers["Location"] == page


def test_a_wrong_password_and_an_unknown_user_are_answered_alike(visitor, admin):
    answers = [
        visitor.send("/admin/sign-in", {"user": name, "password": "wrong"}) for name in ("admin", "nobody", "a\0b", "")
    ]
    pages = {
        without_tokens(answer.get_data(as_text=True)).replace(name, "")
        for answer, name in zip(answers, ("", "nobody", "a\0b", ""), strict=True)
    }
    assert {answer.status_code for answer in answers} == {401}
    assert all("Wrong user name or password." in page for page in pages)


def test_the_name_stays_and_the_password_does_not(visitor, admin):
    answer = visitor.send("/admin/sign-in", {"user": "admin", "password": "wrong one"})
    assert read(answer).value("user") == "admin"
    assert "wrong one" not in read(answer)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/admin/\\evil",
        "/admin/\r\nSet-Cookie: a=b",
        "/administer",
        "/admin/../docs/",
        "/admin/..//evil.example/",
        "/admin/x/%2E%2e/%2e./files",
        "/admin/..",
        "https:evil.example",
        "//evil.example/admin/",
        "/\t/evil.example/admin/",
        "/admin/\t//evil.example",
        "%2F%2Fevil.example",
        "/admin/\u2215evil.example",
        "javascript:alert(1)",
        "/reports",
        "",
    ],
)
def test_next_leads_nowhere_but_into_the_dashboard(visitor, admin, elsewhere):
    token = read(visitor.get("/admin/sign-in", query_string={"next": elsewhere})).value("csrf_token")
    fields = {"user": "admin", "password": PASSWORD, "csrf_token": token}
    answer = visitor._client.post("/admin/sign-in", query_string={"next": elsewhere}, data=fields)
    assert answer.headers["Location"] == "/admin/"


@pytest.mark.parametrize("page", ["/admin/events?text=/../&next=//evil.example/", "/admin/reports/new?product=a..b"])
def test_next_may_have_anything_behind_its_question_mark(visitor, admin, page):
    door = f"/admin/sign-in?{urlencode({'next': page})}"
    assert visitor.send(door, {"user": "admin", "password": PASSWORD}).headers["Location"] == page


def test_whoever_is_signed_in_is_not_asked_again(boss):
    assert boss.get("/admin/sign-in").headers["Location"] == "/admin/"
    assert boss.get("/admin/sign-in?next=//evil.example/").headers["Location"] == "/admin/"


def test_signing_out_ends_it(boss):
    boss.send("/admin/sign-out", {}, form="/admin/")
    assert "You are signed out." in boss.read("/admin/sign-in")
    assert boss.get("/admin/").status_code == 302


@pytest.mark.parametrize("path", ["/admin/sign-out", "/admin/reports/new"])
def test_a_form_without_the_sessions_token_is_refused(boss, path):
    answer = boss.post(path, {"customer": "BARCHART", "product": "PORTFOLIO"})
    assert answer.status_code == 400
    assert "Your session has ended." in read(answer)
    assert boss.get("/admin/").status_code == 200


def test_signing_in_without_a_token_is_refused(visitor, admin):
    assert visitor.post("/admin/sign-in", {"user": "admin", "password": PASSWORD}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "is_told"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://localhost"}, False),  # a proxy ends TLS that is not believed
    ],
)
def test_a_page_over_http_says_that_the_session_needs_the_https_of_public_url(app, admin, headers, is_told):
    """The browser keeps no cookie that is `Secure`, so that the form comes without its session."""
    answer = app.test_client(use_cookies=False).post(
        "/admin/sign-in", data={"user": "admin", "password": PASSWORD, "csrf_token": "x"}, headers=headers
    )
    page = read(answer)
    assert answer.status_code == 400
    assert ("PUBLIC_URL is https://tally.example" in page) is is_told
    assert ("Your session has ended." in page) is not is_told


@pytest.mark.settings(public_url="http://tally.example")
def test_without_tls_in_public_url_a_lost_session_is_told_as_one(app):
    answer = app.test_client(use_cookies=False).post("/admin/sign-in", data={"user": "admin"})
    assert "Your session has ended." in read(answer)


def test_the_api_needs_no_token(admin):
    assert admin.post("/events", []).status_code == 200
