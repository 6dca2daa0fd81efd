"""Login and logout."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from tests.conftest import PASSWORD
from tests.support.page import read

PAGES = ["/admin/", "/admin/reports", "/admin/reports/new", "/admin/reports/JOB-1", "/admin/reports/JOB-1/download"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because tests/security/test_sessions.py tests logins on both databases."""
    return sqlite_url


def without_tokens(page: str) -> str:
    return re.sub(r'(csrf_token"[^>]* value|name="user") ?(value)?="[^"]+"', "", page)


def test_the_root_redirects_to_the_dashboard(visitor):
    assert visitor.get("/").headers["Location"] == "/admin/"


@pytest.mark.parametrize("page", PAGES)
def test_a_visitor_returns_to_the_page_after_signing_in(visitor, admin, page):
    form_url = visitor.get(page).headers["Location"]
    assert form_url.startswith("/admin/sign-in?next=")
    answer = visitor.send(form_url, {"user": "admin", "password": PASSWORD})
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


def test_after_a_failed_sign_in_the_form_keeps_the_name_but_not_the_password(visitor, admin):
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
def test_next_redirects_only_within_the_dashboard(visitor, admin, elsewhere):
    token = read(visitor.get("/admin/sign-in", query_string={"next": elsewhere})).value("csrf_token")
    fields = {"user": "admin", "password": PASSWORD, "csrf_token": token}
    answer = visitor.flask_client.post("/admin/sign-in", query_string={"next": elsewhere}, data=fields)
    assert answer.headers["Location"] == "/admin/"


@pytest.mark.parametrize("page", ["/admin/events?text=/../&next=//evil.example/", "/admin/reports/new?product=a..b"])
def test_next_may_have_any_query(visitor, admin, page):
    form_url = f"/admin/sign-in?{urlencode({'next': page})}"
    assert visitor.send(form_url, {"user": "admin", "password": PASSWORD}).headers["Location"] == page


def test_a_signed_in_user_skips_the_login_page(boss):
    assert boss.get("/admin/sign-in").headers["Location"] == "/admin/"
    assert boss.get("/admin/sign-in?next=//evil.example/").headers["Location"] == "/admin/"


def test_signing_out_ends_the_session(boss):
    boss.send("/admin/sign-out", {}, form="/admin/")
    assert "You are signed out." in boss.read("/admin/sign-in")
    assert boss.get("/admin/").status_code == 302


@pytest.mark.parametrize("path", ["/admin/sign-out", "/admin/reports/new"])
def test_a_form_without_the_session_s_token_is_rejected(boss, path):
    answer = boss.post(path, {"customer": "BARCHART", "product": "PORTFOLIO"})
    assert answer.status_code == 400
    assert "Your session has ended." in read(answer)
    assert boss.get("/admin/").status_code == 200


def test_signing_in_without_a_token_is_rejected(visitor, admin):
    assert visitor.post("/admin/sign-in", {"user": "admin", "password": PASSWORD}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://localhost"}, False),  # behind an untrusted proxy that terminates TLS
    ],
)
def test_a_form_sent_over_http_explains_that_public_url_requires_https(app, admin, headers, expected):
    """The browser drops a `Secure` cookie, so the form arrives without its session."""
    answer = app.test_client(use_cookies=False).post(
        "/admin/sign-in", data={"user": "admin", "password": PASSWORD, "csrf_token": "x"}, headers=headers
    )
    page = read(answer)
    assert answer.status_code == 400
    assert ("PUBLIC_URL is https://tally.example" in page) is expected
    assert ("Your session has ended." in page) is not expected


@pytest.mark.settings(public_url="http://tally.example")
def test_without_https_in_public_url_a_lost_session_is_reported(app):
    answer = app.test_client(use_cookies=False).post("/admin/sign-in", data={"user": "admin"})
    assert "Your session has ended." in read(answer)


def test_the_api_needs_no_token(admin):
    assert admin.post("/events", []).status_code == 200
