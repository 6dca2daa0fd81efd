"""Requests that another site's page makes a browser send with the stored cookie or password."""

from __future__ import annotations

import pytest

from app.support.paths import is_api
from app.support.same_origin import SAFE_METHODS, is_cross_site, is_forged_call
from tests.admin.conftest import TOKEN
from tests.conftest import PASSWORD
from tests.security.matrix import SENT, rows
from tests.security.world import World
from tests.support.client import Client, event, root
from tests.support.pace import times

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
# mail programs send it without a session (RFC 8058); its address is signed, and permits nothing else
WITHOUT_SESSION = "/admin/unsubscribe/<token>"
# The identity provider sends a signed token instead of a form, and its request has no session.
UNSAFE = [row.split() for row in rows() if row.split()[0] not in SAFE_METHODS and "backchannel" not in row]
FORMS = [(verb, path) for verb, path in UNSAFE if not is_api(path) and path != WITHOUT_SESSION]
FILTER = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Use SQLite, because requests are rejected before any reaches a database."""
    return sqlite_url


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_request_by_another_sites_page_is_recognized(headers):
    assert is_cross_site(headers, OWN)


@pytest.mark.parametrize("headers", HERE)
def test_requests_of_our_own_pages_and_of_programs_are_accepted(headers):
    assert not is_cross_site(headers, OWN)


class TestForms:
    @pytest.mark.parametrize("headers", ELSEWHERE)
    def test_a_form_from_another_site_is_refused_even_with_the_right_token(self, boss, headers):
        token = TOKEN.search(boss.get("/admin/").get_data(as_text=True))[1]
        answer = boss.flask_client.post("/admin/sign-out", data={"csrf_token": token}, headers=headers)
        assert answer.status_code == 400
        assert "from a page of another site" in answer.get_data(as_text=True)
        assert boss.get("/admin/").status_code == 200

    @pytest.mark.parametrize("headers", HERE)
    def test_a_form_of_our_own_is_accepted(self, boss, headers):
        token = TOKEN.search(boss.get("/admin/").get_data(as_text=True))[1]
        assert boss.flask_client.post("/admin/sign-out", data={"csrf_token": token}, headers=headers).status_code == 302

    @pytest.mark.parametrize("headers", HERE)
    def test_a_form_without_the_token_is_refused(self, boss, headers):
        assert boss.flask_client.post("/admin/sign-out", headers=headers).status_code == 400

    def test_another_site_cannot_sign_anybody_in(self, visitor, admin):
        token = TOKEN.search(visitor.get("/admin/sign-in").get_data(as_text=True))[1]
        fields = {"user": "admin", "password": "correct horse", "csrf_token": token}
        answer = visitor.flask_client.post("/admin/sign-in", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 400

    def test_a_link_on_another_site_may_lead_here(self, boss):
        assert boss.get("/admin/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200

    def test_a_form_behind_tls_needs_no_referrer(self, boss):
        token = TOKEN.search(boss.get("/admin/").get_data(as_text=True))[1]
        answer = boss.flask_client.post("/admin/sign-out", data={"csrf_token": token}, base_url="https://localhost")
        assert answer.status_code in (302, 400)  # whether the browser sends the cookie is up to the browser
        assert "Referrer" not in answer.get_data(as_text=True)


class TestTheApi:
    """A browser sends forms of other sites without a preflight, with stored credentials."""

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
    def test_a_script_with_the_password_starts_a_report(self, admin, headers):
        """Its browser sends a preflight without credentials, and gets permission without credentials."""
        assert admin.post("/reports", FILTER, headers=headers).status_code == 200
        asked = admin.request("OPTIONS", "/reports", headers=headers)
        assert "Access-Control-Allow-Credentials" not in asked.headers

    @pytest.mark.parametrize("media_type", ["text/plain", "application/json"])
    def test_programs_and_our_own_pages_may_use_either_type(self, admin, media_type):
        for headers in HERE:
            assert admin.post("/reports", FILTER, content_type=media_type, headers=headers).status_code == 200

    @pytest.mark.parametrize("headers", ELSEWHERE)
    def test_another_site_may_read(self, admin, headers):
        assert admin.get("/reports", headers=headers).status_code == 200

    @pytest.mark.parametrize("headers", ELSEWHERE)
    @pytest.mark.parametrize("media_type", ["text/plain", "application/json"])
    def test_products_send_events_from_any_page(self, nobody, headers, media_type):
        assert nobody.post("/events", [event()], content_type=media_type, headers=headers).status_code == 200

    @pytest.mark.settings(cors_origins=("https://app.example",))
    def test_named_origins_may_send_events_and_others_may_not(self, admin):
        for media_type in ("text/plain", "application/json"):
            for origin, status in (("https://app.example", 200), ("https://evil.example", 403)):
                headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
                answer = admin.post("/reports", FILTER, content_type=media_type, headers=headers)
                assert answer.status_code == status, (media_type, origin)

    def test_a_wrong_password_is_reported_first(self, nobody):
        answer = nobody.post("/reports", FILTER, content_type="text/plain", headers={"Origin": "null"})
        assert answer.status_code == 401


def test_a_preflighted_request_is_no_forgery_if_all_origins_may_send():
    headers = {"Origin": "https://evil.example"}
    assert not is_forged_call("DELETE", "", headers, OWN, ("*",))
    assert is_forged_call("DELETE", "", headers, OWN, ("https://app.example",))
    assert is_forged_call("POST", "", headers, OWN, ("*",))
    assert not is_forged_call("GET", "", headers, OWN, ())


class TestEveryRoute:
    """Generated from the matrix, which is compared with the URL map, so that new forms and calls are included."""

    @pytest.fixture
    def world(self, app) -> World:
        return World(app)

    def test_no_form_is_accepted_without_the_sessions_token_or_with_another_sessions(self, world):
        boss, olga = world.known_client("admin"), world.known_client("operator")
        found = []
        for verb, path in FORMS:
            for token in (None, "", "x", world.csrf_token_of(olga)):
                fields = SENT.get(f"{verb} {path}", {}) | ({} if token is None else {"csrf_token": token})
                answer = boss.flask_client.open(world.address_of(verb, path), method=verb, data=fields)
                found += [(path, token, answer.status_code)] if answer.status_code != 400 else []
                found += [(path, token)] if b"token" not in answer.data else []
        assert found == []

    def test_no_form_is_accepted_from_another_site_with_the_right_token(self, world):
        """Of the 8 headers, a form gets 2 in turn; `test_a_form_from_another_site_…` sends all to one."""
        boss, found = world.known_client("admin"), []
        for number, (verb, path) in enumerate(FORMS):
            for headers in ELSEWHERE[number % times(4, 1) :: times(4, 1)]:
                fields = SENT.get(f"{verb} {path}", {}) | {"csrf_token": world.csrf_token_of(boss)}
                answer = boss.flask_client.open(world.address_of(verb, path), method=verb, data=fields, headers=headers)
                found += [(path, headers)] if answer.status_code != 400 or b"another site" not in answer.data else []
        assert found == []

    @pytest.mark.settings(cors_origins=("https://app.example",))
    def test_no_call_is_accepted_from_another_site_by_a_stored_password(self, world):
        client = Client(world.app, ("admin", PASSWORD))
        found = []
        for verb, path in (row for row in UNSAFE if is_api(row[1]) and row[1] != "/events"):
            for headers in ELSEWHERE:
                body = {"data": b"{}", "content_type": "text/plain"} if verb == "POST" else {}
                answer = client.request(verb, world.address_of(verb, path), headers=headers, **body)
                found += [(path, headers)] if answer.status_code != 403 else []
        assert found == []
