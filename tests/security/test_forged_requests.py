"""Requests that another site's page makes a browser send, with the cookie or the password that the browser keeps."""

from __future__ import annotations

import pytest

from app.support.paths import is_api
from app.support.same_origin import SAFE_METHODS, is_cross_site, is_forged_call
from tests.admin.conftest import TOKEN
from tests.conftest import PASSWORD
from tests.security.matrix import SENT, rows
from tests.security.world import World
from tests.support.client import Client, event, root

OWN = ("tally.example", "localhost")
ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://tally.example.evil.example"},
    {"Origin": "https://tally.example:444"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://tally.example"},
]
HERE = [
    {},
    {"Origin": "https://tally.example"},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]
UNSAFE = [row.split() for row in rows() if row.split()[0] not in SAFE_METHODS]
FILTER = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Requests are told apart before any of them reaches a database."""
    return sqlite_url


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_browser_tells_that_another_sites_page_sends(headers):
    assert is_cross_site(headers, OWN)


@pytest.mark.parametrize("headers", HERE)
def test_our_own_pages_and_programs_are_believed(headers):
    assert not is_cross_site(headers, OWN)


class TestForms:
    @pytest.mark.parametrize("headers", ELSEWHERE)
    def test_one_from_another_site_is_refused_even_with_the_right_token(self, boss, headers):
        token = TOKEN.search(boss.get("/admin/").get_data(as_text=True))[1]
        answer = boss._client.post("/admin/sign-out", data={"csrf_token": token}, headers=headers)
        assert answer.status_code == 400
        assert "from a page of another site" in answer.get_data(as_text=True)
        assert boss.get("/admin/").status_code == 200

    @pytest.mark.parametrize("headers", HERE)
    def test_one_of_our_own_is_taken(self, boss, headers):
        token = TOKEN.search(boss.get("/admin/").get_data(as_text=True))[1]
        assert boss._client.post("/admin/sign-out", data={"csrf_token": token}, headers=headers).status_code == 302

    @pytest.mark.parametrize("headers", HERE)
    def test_but_never_without_the_token(self, boss, headers):
        assert boss._client.post("/admin/sign-out", headers=headers).status_code == 400

    def test_nobody_is_signed_in_by_another_site(self, visitor, admin):
        token = TOKEN.search(visitor.get("/admin/sign-in").get_data(as_text=True))[1]
        fields = {"user": "admin", "password": "correct horse", "csrf_token": token}
        answer = visitor._client.post("/admin/sign-in", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 400

    def test_a_link_on_another_site_may_lead_here(self, boss):
        assert boss.get("/admin/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200

    def test_a_form_behind_tls_needs_no_referrer(self, boss):
        token = TOKEN.search(boss.get("/admin/").get_data(as_text=True))[1]
        answer = boss._client.post("/admin/sign-out", data={"csrf_token": token}, base_url="https://localhost")
        assert answer.status_code in (302, 400)  # whether the cookie came along is the client's matter
        assert "Referrer" not in answer.get_data(as_text=True)


class TestTheApi:
    """What a browser sends for another site: a form has a type that it need not ask for, and cached credentials."""

    @pytest.fixture(autouse=True)
    def seen(self, nobody) -> None:
        nobody.send(event())

    @pytest.mark.parametrize("headers", ELSEWHERE)
    @pytest.mark.parametrize(
        "media_type",
        ["text/plain", "text/plain; charset=utf-8", "", "multipart/form-data", "application/x-www-form-urlencoded"],
    )
    def test_a_form_of_another_site_starts_no_report(self, admin, headers, media_type):
        answer = admin.post("/reports", FILTER, content_type=media_type, headers=headers)
        assert answer.status_code == 403
        assert root(answer) == "REQUEST_AUTHORIZATION_FAILURE"
        assert admin.get("/reports").get_json() == {"reports": []}

    @pytest.mark.parametrize("headers", ELSEWHERE)
    def test_a_script_that_knows_the_password_does(self, admin, headers):
        """A browser asks for leave first, without credentials, and is given it without leave to add any."""
        assert admin.post("/reports", FILTER, headers=headers).status_code == 200
        asked = admin.request("OPTIONS", "/reports", headers=headers)
        assert "Access-Control-Allow-Credentials" not in asked.headers

    @pytest.mark.parametrize("media_type", ["text/plain", "application/json"])
    def test_programs_and_our_own_pages_do_with_either_type(self, admin, media_type):
        for headers in HERE:
            assert admin.post("/reports", FILTER, content_type=media_type, headers=headers).status_code == 200

    @pytest.mark.parametrize("headers", ELSEWHERE)
    def test_reading_is_free(self, admin, headers):
        assert admin.get("/reports", headers=headers).status_code == 200

    @pytest.mark.parametrize("headers", ELSEWHERE)
    @pytest.mark.parametrize("media_type", ["text/plain", "application/json"])
    def test_products_send_events_from_any_page(self, nobody, headers, media_type):
        assert nobody.post("/events", [event()], content_type=media_type, headers=headers).status_code == 200

    @pytest.mark.settings(cors_origins=("https://app.example",))
    def test_where_origins_are_named_theirs_may_and_others_may_not(self, admin):
        for media_type in ("text/plain", "application/json"):
            for origin, status in (("https://app.example", 200), ("https://evil.example", 403)):
                headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
                answer = admin.post("/reports", FILTER, content_type=media_type, headers=headers)
                assert answer.status_code == status, (media_type, origin)

    def test_a_wrong_password_is_told_before_that(self, nobody):
        answer = nobody.post("/reports", FILTER, content_type="text/plain", headers={"Origin": "null"})
        assert answer.status_code == 401


def test_what_a_browser_asks_about_first_is_no_forgery_where_all_origins_may():
    headers = {"Origin": "https://evil.example"}
    assert not is_forged_call("DELETE", "", headers, OWN, ("*",))
    assert is_forged_call("DELETE", "", headers, OWN, ("https://app.example",))
    assert is_forged_call("POST", "", headers, OWN, ("*",))
    assert not is_forged_call("GET", "", headers, OWN, ())


class TestEveryRoute:
    """Generated from the matrix, which is held against the URL map: a new form or call is in here by itself."""

    @pytest.fixture
    def world(self, app) -> World:
        return World(app)

    def test_no_form_is_taken_without_the_sessions_token_nor_with_another_ones(self, world):
        boss, olga = world._known("admin"), world._known("operator")
        found = []
        for verb, path in (row for row in UNSAFE if not is_api(row[1])):
            for token in (None, "", "x", world._token(olga)):
                fields = SENT.get(f"{verb} {path}", {}) | ({} if token is None else {"csrf_token": token})
                answer = boss._client.open(world._address(verb, path), method=verb, data=fields)
                found += [(path, token, answer.status_code)] if answer.status_code != 400 else []
                found += [(path, token)] if b"token" not in answer.data else []
        assert found == []

    def test_nor_from_another_site_with_the_right_one(self, world):
        boss = world._known("admin")
        found = []
        for verb, path in (row for row in UNSAFE if not is_api(row[1])):
            for headers in ELSEWHERE:
                fields = SENT.get(f"{verb} {path}", {}) | {"csrf_token": world._token(boss)}
                answer = boss._client.open(world._address(verb, path), method=verb, data=fields, headers=headers)
                found += [(path, headers)] if answer.status_code != 400 or b"another site" not in answer.data else []
        assert found == []

    @pytest.mark.settings(cors_origins=("https://app.example",))
    def test_no_call_is_taken_from_another_site_by_the_password_that_a_browser_keeps(self, world):
        client = Client(world.app, ("admin", PASSWORD))
        found = []
        for verb, path in (row for row in UNSAFE if is_api(row[1]) and row[1] != "/events"):
            for headers in ELSEWHERE:
                body = {"data": b"{}", "content_type": "text/plain"} if verb == "POST" else {}
                answer = client.request(verb, world._address(verb, path), headers=headers, **body)
                found += [(path, headers)] if answer.status_code != 403 else []
        assert found == []
